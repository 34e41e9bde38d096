"""Data sets: what is declared is compared with what is there; nothing in a file is executed."""

import os
import pickle

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from sklearn.datasets import load_digits

from workflow_scripts.data.datasets import (
    DatasetProblem,
    LabelledImages,
    check_declared,
    load_source,
    split_stratified,
)

CLASSES = ("cat", "dog", "eel")
GREY = np.random.default_rng(0).integers(0, 256, size=(6, 4, 4), dtype=np.uint8)
COLOUR = np.random.default_rng(1).integers(0, 256, size=(6, 4, 4, 3), dtype=np.uint8)
LABELS = np.array([2, 0, 1, 1, 0, 2])


def load_npz(path, **arrays) -> LabelledImages:
    np.savez(path, **arrays)
    return load_source({"kind": "npz", "path": str(path)}, "path", CLASSES)


def load_folder(path) -> LabelledImages:
    return load_source({"kind": "image-folder", "path": str(path)}, "path", CLASSES)


@pytest.fixture
def npz(tmp_path):
    return tmp_path / "data.npz"


@pytest.fixture
def folder(tmp_path):
    """Two images per class, named so that alphabetical order is the order of GREY."""
    for i, pixels in enumerate(GREY):
        path = tmp_path / "data" / CLASSES[i // 2] / f"{i}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(path)
    return tmp_path / "data"


# Digits


def test_digits_are_those_of_scikit_learn():
    data = load_source({"kind": "sklearn-digits"}, "path", tuple("0123456789"))
    check_declared(data, 8, 1, tuple("0123456789"))
    truth = load_digits()
    assert data.images.shape == (1797, 8, 8, 1) and data.labels.dtype == np.int64
    assert np.array_equal(data.labels, truth.target)
    # 17 grey levels, 0 to 16, spread over 0 to 255.
    assert np.abs(data.images[..., 0] - truth.images * 255 / 16).max() <= 0.5
    assert len(np.unique(data.images)) == 17 and data.images.max() == 255


# NumPy archives


@pytest.mark.parametrize("images", [GREY, COLOUR, GREY[..., None]], ids=["grey", "colour", "one"])
@pytest.mark.parametrize(
    "labels",
    [LABELS, LABELS.astype(np.uint8), np.array(CLASSES)[LABELS], np.array(CLASSES, "S")[LABELS]],
    ids=["indices", "bytes", "names", "byte names"],
)
def test_an_archive_is_read_as_it_is(npz, images, labels):
    data = load_npz(npz, images=images, labels=labels)
    channels = 3 if images is COLOUR else 1
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
    assert load_source(source, "path", CLASSES).labels.tolist() == [2, 0, 1, 1]
    assert load_source(source, "test_path", CLASSES).labels.tolist() == [0, 2]


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
        (COLOUR, r"\(4, 4, 3\)"),
        (GREY[:, :3], r"\(3, 4, 1\)"),
        (GREY[:, :, :3], r"\(4, 3, 1\)"),
        (GREY.reshape(6, 16), r"\(16,\)"),
        (GREY.astype(np.float32) / 255, "float32"),
        (GREY.astype(np.int64), "int64"),
    ],
)
def test_another_shape_or_type_than_declared_is_named(npz, images, found):
    data = load_npz(npz, images=images, labels=LABELS)
    with pytest.raises(DatasetProblem, match=rf"found .*{found}.*declared uint8 \(4, 4, 1\)"):
        check_declared(data, 4, 1, CLASSES)


def test_one_label_per_image(npz):
    data = load_npz(npz, images=GREY, labels=LABELS[:5])
    with pytest.raises(DatasetProblem, match="6 images and 5 labels"):
        check_declared(data, 4, 1, CLASSES)


@pytest.mark.parametrize(
    "labels",
    [np.eye(3, dtype=np.int64)[LABELS], LABELS[:, None], np.array(CLASSES)[LABELS][:, None]],
    ids=["one-hot", "column", "column of names"],
)
def test_labels_that_are_no_list_are_refused(npz, labels):
    """One-hot rows of 0 and 1 would pass as indices."""
    with pytest.raises(DatasetProblem, match="labels"):
        check_declared(load_npz(npz, images=GREY, labels=labels), 4, 1, CLASSES)


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
    "no such compression": lambda data: data.replace(
        b"PK\1\2\x2d\3\x2d\0\0\0\0\0", b"PK\1\2\x2d\3\x2d\0\0\0\7\0"
    ),
    "one array, no archive": lambda data: data[data.index(b"\x93NUMPY") :][:224],
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_archive_is_named(npz, damage):
    np.savez(npz, images=GREY, labels=LABELS)
    npz.write_bytes(DAMAGE[damage](npz.read_bytes()))
    with pytest.raises(DatasetProblem, match=str(npz)):
        load_source({"kind": "npz", "path": str(npz)}, "path", CLASSES)


def test_a_damaged_compressed_archive_is_named(npz):
    np.savez_compressed(npz, images=GREY, labels=LABELS)
    data = bytearray(npz.read_bytes())
    # Behind the first file's header: a block of the type that does not exist.
    data[30 + int.from_bytes(data[26:28], "little") + int.from_bytes(data[28:30], "little")] = 255
    npz.write_bytes(data)
    with pytest.raises(DatasetProblem, match=str(npz)):
        load_source({"kind": "npz", "path": str(npz)}, "path", CLASSES)


def test_a_missing_file_or_folder_is_named(tmp_path):
    for kind in ("npz", "image-folder"):
        source = {"kind": kind, "path": str(tmp_path / "absent")}
        with pytest.raises(DatasetProblem, match=str(tmp_path / "absent")):
            load_source(source, "path", CLASSES)


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
        load_source({"kind": "npz", "path": str(npz)}, "path", CLASSES)
    assert not marker.exists()


# Folders of images


def test_a_folder_is_read_in_the_order_of_classes_and_names(folder):
    (folder / "cat/notes.txt").write_text("not an image")
    data = load_folder(folder)
    check_declared(data, 4, 1, CLASSES)
    assert np.array_equal(data.images[..., 0], GREY) and data.images.dtype == np.uint8
    assert data.labels.tolist() == [0, 0, 1, 1, 2, 2] and data.labels.dtype == np.int64
    reordered = load_source(
        {"kind": "image-folder", "path": str(folder)}, "path", ("eel", "cat", "dog")
    )
    assert np.array_equal(reordered.images[..., 0], GREY[[4, 5, 0, 1, 2, 3]])


@pytest.mark.parametrize("suffix", ["png", "bmp", "webp", "PNG"])
def test_colour_images_keep_their_pixels(tmp_path, suffix):
    for name in CLASSES:
        (tmp_path / name).mkdir()
    lossless = {"lossless": True} if suffix == "webp" else {}
    Image.fromarray(COLOUR[0]).save(tmp_path / f"dog/a.{suffix}", **lossless)
    data = load_folder(tmp_path)
    check_declared(data, 4, 3, CLASSES)
    assert np.array_equal(data.images, COLOUR[:1]) and data.labels.tolist() == [1]


def test_a_class_without_images_is_no_problem(folder):
    for file in (folder / "dog").iterdir():
        file.unlink()
    assert load_folder(folder).labels.tolist() == [0, 0, 2, 2]
    (folder / "dog").rmdir()
    assert load_folder(folder).labels.tolist() == [0, 0, 2, 2]


def test_an_undeclared_folder_is_named(folder):
    (folder / "cow").mkdir()
    with pytest.raises(DatasetProblem, match=rf"{folder}.*\['cow'\].*cat, dog, eel"):
        load_folder(folder)


@pytest.mark.parametrize(("mode", "size"), [("RGB", (4, 4)), ("L", (4, 5))])
def test_an_image_unlike_the_others_is_named(folder, mode, size):
    Image.new(mode, size).save(folder / "dog/odd.png")
    with pytest.raises(DatasetProblem, match=str(folder / "dog/odd.png")):
        load_folder(folder)


@pytest.mark.parametrize("content", [b"", b"not an image", "half"])
def test_an_unreadable_image_is_named(folder, content):
    bad = folder / "dog/bad.png"
    if content == "half":
        Image.fromarray(np.tile(GREY[0], (8, 8))).save(bad)
        content = bad.read_bytes()[: bad.stat().st_size // 2]
    bad.write_bytes(content)
    with pytest.raises(DatasetProblem, match=str(bad)):
        load_folder(folder)


def test_images_of_16_bits_do_not_lose_their_contrast(folder):
    """PIL's conversion to 8 bits cuts everything above 255 off: nearly white images."""
    for i, file in enumerate(sorted(folder.glob("*/*.png"))):
        Image.fromarray(GREY[i].astype(np.uint16) * 257).save(file)
    try:
        data = load_folder(folder)
    except DatasetProblem as problem:
        assert str(folder / "cat/0.png") in str(problem)
    else:
        assert np.array_equal(data.images[..., 0], GREY)


def test_folders_without_images_are_named(tmp_path):
    (tmp_path / "cat").mkdir()
    with pytest.raises(DatasetProblem, match=f"{tmp_path}: no images"):
        load_folder(tmp_path)


def test_an_unknown_kind_is_named():
    with pytest.raises(DatasetProblem, match="'pickle'"):
        load_source({"kind": "pickle"}, "path", CLASSES)


# Splits


def numbered(labels) -> LabelledImages:
    """Images that hold their row's number."""
    n = len(labels)
    images = np.arange(n, dtype=np.uint32).view(np.uint8).reshape(n, 2, 2, 1)
    return LabelledImages(images, np.asarray(labels, dtype=np.int64))


def rows(data: LabelledImages) -> list[int]:
    return data.images.reshape(len(data), 4).view(np.uint32).ravel().tolist()


@settings(max_examples=60, deadline=None)
@given(
    counts=st.lists(st.integers(2, 60), min_size=2, max_size=5),
    fraction=st.floats(0.1, 0.9),
    seed=st.integers(0, 2**31),
)
def test_a_split_is_whole_disjoint_ordered_and_in_proportion(counts, fraction, seed):
    labels = np.random.default_rng(seed).permutation(np.repeat(np.arange(len(counts)), counts))
    data = numbered(labels)
    try:
        train, test = split_stratified(data, fraction, seed)
    except DatasetProblem:
        # Only where one side has fewer rows than there are classes.
        assert min(np.ceil(fraction * len(data)), np.floor((1 - fraction) * len(data))) < len(
            counts
        )
        return
    assert sorted(rows(train) + rows(test)) == list(range(len(data)))
    for part in (train, test):
        assert rows(part) == sorted(rows(part))
        assert np.array_equal(part.labels, labels[rows(part)])
    assert len(test) == np.ceil(fraction * len(data))
    share = len(test) / len(data)
    assert np.all(
        np.abs(np.bincount(test.labels, minlength=len(counts)) - share * np.array(counts)) <= 1
    )


def test_a_split_is_the_same_when_called_again_and_another_for_another_seed():
    data = numbered(np.arange(200) % 4)
    first = split_stratified(data, 0.25, 0)[1]
    np.random.seed(1)
    np.random.random(17)
    assert rows(split_stratified(data, 0.25, 0)[1]) == rows(first)
    assert rows(split_stratified(data, 0.25, 1)[1]) != rows(first)


def test_the_split_of_the_digits_is_what_the_catalogue_declares():
    data = load_source({"kind": "sklearn-digits"}, "path", tuple("0123456789"))
    train, test = split_stratified(data, 0.2, 0)
    assert (len(train), len(test)) == (1437, 360)
    shares = np.bincount(test.labels) / np.bincount(data.labels)
    assert np.abs(shares - 0.2).max() < 1 / 150


def test_a_class_with_one_image_cannot_be_split():
    with pytest.raises(DatasetProblem, match="split is impossible"):
        split_stratified(numbered([0, 0, 0, 1]), 0.5, 0)
