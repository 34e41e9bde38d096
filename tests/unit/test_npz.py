"""NumPy archives: nothing in them is executed."""

import os
import pickle
import re

import numpy as np
import pytest

from tests.unit.reading import CLASSES, COLOUR, GREY, LABELS, load, load_npz
from workflow_scripts.data.form import Form
from workflow_scripts.data.labelled import (
    DatasetProblem,
    LabelledImages,
    check_declared,
)


@pytest.fixture
def npz(tmp_path):
    return tmp_path / "data.npz"


@pytest.mark.parametrize("images", [GREY, COLOUR, GREY[..., None]], ids=["grey", "colour", "one"])
@pytest.mark.parametrize(
    "labels",
    [LABELS, LABELS.astype(np.uint8), np.array(CLASSES)[LABELS], np.array(CLASSES, "S")[LABELS]],
    ids=["indices", "bytes", "names", "byte names"],
)
def test_an_archive_is_read_as_it_is(npz, images, labels):
    channels = 3 if images is COLOUR else 1
    data = load_npz(npz, Form(4, channels), images=images, labels=labels)
    check_declared(data, 4, channels, CLASSES)
    assert np.array_equal(data.images, images.reshape(6, 4, 4, channels))
    assert data.images.dtype == np.uint8
    assert data.labels.tolist() == LABELS.tolist() and data.labels.dtype == np.int64


def test_the_test_set_has_its_own_path(tmp_path):
    for name, rows in (("train", slice(0, 4)), ("test", slice(4, 6))):
        np.savez(tmp_path / f"{name}.npz", images=GREY[rows], labels=LABELS[rows])
    source = {
        "kind": "npz",
        "path": str(tmp_path / "train.npz"),
        "test_path": str(tmp_path / "test.npz"),
    }
    assert load(source).labels.tolist() == [2, 0, 1, 1]
    assert load(source, split="test").labels.tolist() == [0, 2]


def test_an_undeclared_class_name_is_named(npz):
    with pytest.raises(DatasetProblem) as problem:
        load_npz(npz, images=GREY, labels=np.array(["cat", "cow", "dog", "ape", "cow", "eel"]))
    assert str(npz) in str(problem.value)
    assert "['ape', 'cow']" in str(problem.value) and "cat, dog, eel" in str(problem.value)


def test_an_undeclared_index_is_named(npz):
    for outside in (3, -1):
        data = load_npz(npz, images=GREY, labels=np.array([0, 1, 2, outside, 0, outside]))
        with pytest.raises(DatasetProblem, match=rf"\[{outside}\].*0 to 2 \(cat, dog, eel\)"):
            check_declared(data, 4, 1, CLASSES)


@pytest.mark.parametrize(
    ("images", "found"),
    [
        (COLOUR, "4×4×3"),
        (GREY[:, :3], "3×4×1"),
        (GREY[:, :, :3], "4×3×1"),
        (GREY.reshape(6, 16), r"\(16,\)"),
        (GREY.reshape(6, 16)[:, 0], r"\(\)"),
        (GREY[:, :0], r"\(0, 4, 1\)"),
        (np.stack([GREY] * 4, axis=-1), r"\(4, 4, 4\)"),
        (GREY.astype(np.float32) / 255, "float32"),
        (GREY.astype(np.int64), "int64"),
    ],
)
def test_another_shape_or_type_than_declared_is_named(npz, images, found):
    with pytest.raises(DatasetProblem, match=rf"{npz}: found .*{found}.*declared"):
        load_npz(npz, images=images, labels=LABELS)


def test_one_label_per_image(npz):
    with pytest.raises(DatasetProblem, match=f"{npz}: found 6 images and 5 labels"):
        load_npz(npz, images=GREY, labels=LABELS[:5])
    with pytest.raises(DatasetProblem, match="6 images and 5 labels"):
        check_declared(LabelledImages(GREY[..., None], LABELS[:5]), 4, 1, CLASSES)


@pytest.mark.parametrize(
    "labels",
    [np.eye(3, dtype=np.int64)[LABELS], LABELS[:, None], np.array(CLASSES)[LABELS][:, None]],
    ids=["one-hot", "column", "column of names"],
)
def test_labels_that_are_no_list_are_refused(npz, labels):
    """One-hot rows of 0 and 1 would pass as indices."""
    with pytest.raises(DatasetProblem, match="labels"):
        load_npz(npz, images=GREY, labels=labels)


@pytest.mark.parametrize("labels", [LABELS / 2, LABELS > 1, LABELS * 1j])
def test_labels_that_are_neither_indices_nor_names_are_refused(npz, labels):
    with pytest.raises(DatasetProblem, match=f"{labels.dtype}"):
        load_npz(npz, images=GREY, labels=labels)


def test_an_archive_without_the_two_arrays_is_named(npz):
    for arrays in ({"images": GREY}, {"labels": LABELS}, {"x": GREY, "y": LABELS}):
        with pytest.raises(DatasetProblem, match=f"{npz}.*`images` and `labels`"):
            load_npz(npz, **arrays)


DAMAGE = {
    "empty": lambda data: b"",
    "text": lambda data: b"hello",
    "cut short": lambda data: data[: len(data) // 2],
    "a flipped byte": lambda data: data[:150] + bytes([data[150] ^ 255]) + data[151:],
    # The method in the central directory's entries; the versions before it differ between Pythons.
    "no such compression": lambda data: re.sub(
        b"(PK\1\2.{6})\0\0", b"\\g<1>\7\0", data, flags=re.DOTALL
    ),
    "one array, no archive": lambda data: data[data.index(b"\x93NUMPY") :][:224],
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_archive_is_named(npz, damage):
    np.savez(npz, images=GREY, labels=LABELS)
    npz.write_bytes(DAMAGE[damage](npz.read_bytes()))
    with pytest.raises(DatasetProblem, match=str(npz)):
        load({"kind": "npz", "path": str(npz)})


def test_a_damaged_compressed_archive_is_named(npz):
    np.savez_compressed(npz, images=GREY, labels=LABELS)
    data = bytearray(npz.read_bytes())
    # Behind the first file's header: a block of the type that does not exist.
    data[30 + int.from_bytes(data[26:28], "little") + int.from_bytes(data[28:30], "little")] = 255
    npz.write_bytes(data)
    with pytest.raises(DatasetProblem, match=str(npz)):
        load({"kind": "npz", "path": str(npz)})


@pytest.mark.parametrize("where", ["images", "labels", "the whole file"])
def test_a_pickle_is_refused_and_not_run(npz, tmp_path, where):
    marker = tmp_path / "executed"

    class Payload:
        def __reduce__(self):
            return os.mkdir, (str(marker),)

    if where == "the whole file":
        npz.write_bytes(pickle.dumps(Payload()))
    else:
        bomb = {where: np.array([Payload()] * 6, dtype=object)}
        np.savez(npz, **({"images": GREY, "labels": LABELS} | bomb))

    # The payload is live: a careless reader runs it.
    archive = np.load(npz, allow_pickle=True)
    if archive is not None:
        archive[where]
    assert marker.is_dir()
    marker.rmdir()

    with pytest.raises(DatasetProblem, match=str(npz)):
        load({"kind": "npz", "path": str(npz)})
    assert not marker.exists()
