"""Data sets: what is declared is compared with what is there; nothing in a file is executed."""

import gzip
import hashlib
import io
import json
import os
import pickle
import struct
import tarfile
import tracemalloc
import zipfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from pydantic import TypeAdapter, ValidationError
from sklearn.datasets import load_digits

from workflow_scripts.configuration.datasets import AnySource, Datasets, Download
from workflow_scripts.data.form import Form
from workflow_scripts.data.labelled import (
    DatasetProblem,
    LabelledImages,
    check_declared,
    hold_out,
    split_stratified,
)
from workflow_scripts.data.sources import load_split

ROOT = Path(__file__).parents[2]
MIRROR = ROOT.parent / "shared/data"

CLASSES = ("cat", "dog", "eel")
GREY = np.random.default_rng(0).integers(0, 256, size=(6, 4, 4), dtype=np.uint8)
COLOUR = np.random.default_rng(1).integers(0, 256, size=(6, 4, 4, 3), dtype=np.uint8)
LABELS = np.array([2, 0, 1, 1, 0, 2])
FORM = Form(4, 1)
COLOURED = Form(4, 3)


def load(source: dict, form: Form = FORM, split="train", classes=CLASSES) -> LabelledImages:
    """Read a source as the workflow does: validated, its files by field."""
    whole = TypeAdapter(AnySource).validate_python(source)
    return load_split(whole.model_dump(), whole.files, split, classes, form)


def load_npz(path, form=FORM, **arrays) -> LabelledImages:
    np.savez(path, **arrays)
    return load({"kind": "npz", "path": str(path)}, form)


def load_folder(path, form=FORM, classes=CLASSES, **settings) -> LabelledImages:
    return load({"kind": "image-folder", "path": str(path), **settings}, form, classes=classes)


def png(pixels: np.ndarray) -> bytes:
    content = io.BytesIO()
    Image.fromarray(pixels).save(content, "PNG")
    return content.getvalue()


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


# The declared form


def bicubic(length: int, wanted: int) -> np.ndarray:
    """The antialiased cubic filter (Keys, a = -1/2) as a matrix: an oracle for PIL's resizing."""
    scale = length / wanted
    centres = (np.arange(wanted)[:, None] + 0.5) * scale
    x = np.abs((np.arange(length) + 0.5 - centres) / max(scale, 1))
    weights = np.where(
        x < 1, 1.5 * x**3 - 2.5 * x**2 + 1, np.where(x < 2, -0.5 * x**3 + 2.5 * x**2 - 4 * x + 2, 0)
    )
    return weights / weights.sum(axis=1, keepdims=True)


@pytest.mark.parametrize(("height", "width"), [(40, 40), (41, 60), (60, 41), (5, 7)])
@pytest.mark.parametrize("channels", [1, 3])
def test_other_sizes_are_cropped_to_the_middle_and_resized(height, width, channels):
    rng = np.random.default_rng(2)
    pixels = rng.integers(0, 256, size=(height, width, channels), dtype=np.uint8)
    found = Form(12, channels, resize=True).fit(pixels[None], "x")
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    square = pixels[top : top + side, left : left + side].astype(float)
    weights = bicubic(side, 12)
    # PIL rounds and clips after rows and again after columns.
    across = np.einsum("jx,yxc->yjc", weights, square).round().clip(0, 255)
    expected = np.einsum("iy,yjc->ijc", weights, across).round().clip(0, 255)
    assert np.abs(found[0] - expected).max() <= 1
    assert found.shape == (1, 12, 12, channels) and found.dtype == np.uint8


def test_nothing_outside_the_square_is_mixed_in():
    """As in a portrait: bars above and below the square are cut off before resizing."""
    pixels = np.full((1, 10, 6, 3), [255, 0, 0], dtype=np.uint8)
    pixels[:, 2:8] = [0, 0, 255]
    for size in (3, 6, 9):
        found = Form(size, 3, resize=True).fit(pixels, "x")
        assert np.array_equal(found, np.full((1, size, size, 3), [0, 0, 255]))


def test_colours_become_grey_by_their_luma_and_grey_is_repeated():
    colours = np.array([[[255, 0, 0], [0, 255, 0]], [[0, 0, 255], [90, 90, 90]]], dtype=np.uint8)
    found = Form(2, 1, resize=True).fit(colours[None], "x")[0, ..., 0]
    assert np.abs(found - [[76.2, 149.7], [29.1, 90]]).max() <= 1
    with pytest.raises(DatasetProblem, match=r"x: found 2×2×3, declared 2×2×1 \(with resize: true"):
        Form(2, 1).fit(colours[None], "x")
    repeated = Form(4, 3).fit(GREY, "x")
    assert np.array_equal(repeated, np.stack([GREY] * 3, axis=-1))


def test_images_in_the_declared_form_are_not_copied():
    assert np.shares_memory(Form(4, 3, resize=True).fit(COLOUR, "x"), COLOUR)
    assert np.shares_memory(Form(4, 1).fit(GREY, "x"), GREY)


@pytest.mark.parametrize(
    ("mode", "grey"),
    [("1", True), ("L", True), ("LA", True), ("P", False), ("RGBA", False), ("CMYK", False)],
)
def test_every_mode_of_8_bits_is_read(mode, grey):
    content = io.BytesIO()
    image = Image.fromarray(COLOUR[0]).convert(mode)
    image.save(content, "TIFF" if mode == "CMYK" else "PNG")
    pixels = Form(4, 3).decode("x", content.getvalue())
    assert pixels.shape == (4, 4, 1 if grey else 3)
    assert np.array_equal(pixels.squeeze(), np.asarray(image.convert("L" if grey else "RGB")))


# Digits


def test_digits_are_those_of_scikit_learn():
    classes = tuple("0123456789")
    data = load({"kind": "sklearn-digits"}, Form(8, 1), classes=classes)
    check_declared(data, 8, 1, classes)
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


# Whatever has a path


@pytest.mark.parametrize(
    "fields",
    [
        {"kind": "npz", "path": "absent"},
        {"kind": "image-folder", "path": "absent"},
        {"kind": "idx", "images": "absent", "labels": "absent"},
        {"kind": "cifar", "variant": 10, "archive": "absent"},
        {"kind": "parquet", "path": "absent"},
        {
            "kind": "celeba",
            "path": ".",
            "attributes": "absent",
            "partition": ".",
            "attribute": "Male",
        },
        {"kind": "celeba", "path": "absent", "attributes": "", "partition": "", "attribute": "x"},
        {"kind": "camelyon17", "path": "absent"},
    ],
    ids=lambda fields: fields["kind"],
)
def test_a_missing_file_or_folder_is_named(tmp_path, fields, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DatasetProblem, match=r"absent.*: no such (file|folder)"):
        load(fields)


def test_an_unknown_kind_is_an_error():
    with pytest.raises(ValueError, match="'pickle'"):
        load_split({"kind": "pickle"}, {}, "train", CLASSES, FORM)


# Folders of images


def test_a_folder_is_read_in_the_order_of_classes_and_names(folder):
    (folder / "cat/notes.txt").write_text("not an image")
    data = load_folder(folder)
    check_declared(data, 4, 1, CLASSES)
    assert np.array_equal(data.images[..., 0], GREY) and data.images.dtype == np.uint8
    assert data.labels.tolist() == [0, 0, 1, 1, 2, 2] and data.labels.dtype == np.int64
    reordered = load_folder(folder, classes=("eel", "cat", "dog"))
    assert np.array_equal(reordered.images[..., 0], GREY[[4, 5, 0, 1, 2, 3]])


def test_folders_within_a_class_are_read_too_but_not_hidden_ones(folder):
    for i, place in ((1, "cat/b/images"), (0, "cat/a"), (5, "cat/.trash"), (5, ".git")):
        (folder / place).mkdir(parents=True)
        (folder / place / f"{i}.png").write_bytes(png(GREY[i]))
    (folder / "cat/0.png").unlink()
    (folder / "cat/1.png").rename(folder / "cat/._1.png")
    data = load_folder(folder)
    assert np.array_equal(data.images[..., 0], GREY) and data.labels.tolist() == [0, 0, 1, 1, 2, 2]


@pytest.mark.parametrize("suffix", ["png", "bmp", "webp", "PNG"])
def test_colour_images_keep_their_pixels(tmp_path, suffix):
    for name in CLASSES:
        (tmp_path / name).mkdir()
    lossless = {"lossless": True} if suffix == "webp" else {}
    Image.fromarray(COLOUR[0]).save(tmp_path / f"dog/a.{suffix}", **lossless)
    data = load_folder(tmp_path, COLOURED)
    assert np.array_equal(data.images, COLOUR[:1]) and data.labels.tolist() == [1]


def test_a_grey_image_among_colours_is_repeated(folder):
    (folder / "dog/4.png").write_bytes(png(COLOUR[0]))
    data = load_folder(folder, COLOURED)
    assert np.array_equal(data.images[4], COLOUR[0])
    assert np.array_equal(data.images[3], np.stack([GREY[3]] * 3, axis=-1))


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


@pytest.mark.parametrize(
    ("mode", "size", "found"), [("RGB", (4, 4), "4×4×3"), ("L", (4, 5), "5×4×1")]
)
def test_an_image_in_another_form_than_declared_is_named(folder, mode, size, found):
    Image.new(mode, size).save(folder / "dog/odd.png")
    odd = folder / "dog/odd.png"
    with pytest.raises(DatasetProblem, match=f"{odd}: found {found}, declared 4×4×1"):
        load_folder(folder)
    assert len(load_folder(folder, Form(4, 1, resize=True))) == 7


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
    for form in (FORM, COLOURED, Form(2, 3, resize=True)):
        with pytest.raises(DatasetProblem, match=rf"{folder}/cat/0\.png: found mode I"):
            load_folder(folder, form)


def test_folders_without_images_are_named(tmp_path):
    (tmp_path / "cat").mkdir()
    with pytest.raises(DatasetProblem, match=f"{tmp_path}: no images"):
        load_folder(tmp_path)


def zipped(path: Path, names: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in names.items():
            archive.writestr(name, content)
    return path


def test_a_zip_archive_is_read_like_a_folder(tmp_path, folder):
    names = {"set/train/notes.txt": b"", "set/train/dog/": b"", "set/val/cow/1.png": b"-"}
    # In any order, with what a Mac leaves behind.
    for file in sorted(folder.glob("*/*.png"), reverse=True):
        name = file.relative_to(folder)
        names[f"set/train/{name}"] = file.read_bytes()
        names[f"set/train/__MACOSX/{name}"] = b"-"
        names[f"set/train/{name.parent}/._{name.name}"] = b"-"
    archive = zipped(tmp_path / "data.zip", names)
    for inside in ("set/train", "set/train/"):
        data = load_folder(archive, inside=inside)
        expected = load_folder(folder)
        assert np.array_equal(data.images, expected.images)
        assert np.array_equal(data.labels, expected.labels)
    with pytest.raises(DatasetProblem, match=rf"{archive}.*\['set'\]"):
        load_folder(archive)
    with pytest.raises(DatasetProblem, match=rf"{archive}/absent: no images"):
        load_folder(archive, inside="absent")
    assert np.array_equal(load_folder(tmp_path, inside="data").images, expected.images)
    with pytest.raises(DatasetProblem, match=rf"{tmp_path}/absent: no such folder"):
        load_folder(tmp_path, inside="absent")


def test_a_damaged_zip_archive_is_named(tmp_path):
    archive = zipped(tmp_path / "data.zip", {f"cat/{i}.png": png(GREY[i]) for i in range(6)})
    content = archive.read_bytes()
    archive.write_bytes(content[: len(content) // 2])
    with pytest.raises(DatasetProblem, match=rf"{archive}: neither a folder nor a zip archive"):
        load_folder(archive)
    place = content.index(png(GREY[0])[-60:-50])
    archive.write_bytes(content[:place] + bytes([content[place] ^ 255]) + content[place + 1 :])
    with pytest.raises(DatasetProblem, match=rf"{archive}/cat/0\.png: not readable"):
        load_folder(archive)


# Idx


def idx(array: np.ndarray, kind: int = 8) -> bytes:
    return struct.pack(f">4B{array.ndim}I", 0, 0, kind, array.ndim, *array.shape) + array.tobytes()


def load_idx(folder: Path, images: bytes, labels: bytes, form=FORM) -> LabelledImages:
    (folder / "images").write_bytes(images)
    (folder / "labels").write_bytes(labels)
    source = {"kind": "idx", "images": str(folder / "images"), "labels": str(folder / "labels")}
    return load(source, form)


@settings(max_examples=30, deadline=None)
@given(n=st.integers(0, 5), size=st.integers(1, 6), packed=st.booleans(), seed=st.integers(0, 99))
def test_idx_files_are_read_as_they_are(tmp_path_factory, n, size, packed, seed):
    folder = tmp_path_factory.mktemp("idx")
    rng = np.random.default_rng(seed)
    images = rng.integers(0, 256, size=(n, size, size), dtype=np.uint8)
    labels = rng.integers(0, 3, size=n, dtype=np.uint8)
    pack = gzip.compress if packed else bytes
    data = load_idx(folder, pack(idx(images)), pack(idx(labels)), Form(size, 1))
    assert np.array_equal(data.images[..., 0], images)
    assert np.array_equal(data.labels, labels) and data.labels.dtype == np.int64


@settings(max_examples=40, deadline=None)
@given(cut=st.integers(0, 16 + GREY.size - 1), packed=st.booleans(), extra=st.booleans())
def test_an_idx_file_that_is_not_as_long_as_its_header_says_is_named(
    tmp_path_factory, cut, packed, extra
):
    folder = tmp_path_factory.mktemp("idx")
    content = idx(GREY) + b"-" if extra else idx(GREY)[:cut]
    pack = gzip.compress if packed else bytes
    with pytest.raises(DatasetProblem, match=f"{folder}/images: "):
        load_idx(folder, pack(content), idx(LABELS.astype(np.uint8)))


def test_what_a_damaged_idx_file_says_is_repeated(tmp_path):
    labels = idx(LABELS.astype(np.uint8))
    packed = gzip.compress(idx(GREY))
    for images, said in (
        (idx(GREY)[:-1], r"announces 6×4×4 = 96 values, found 95"),
        (idx(GREY, kind=0x0D), "type 0x0d; allowed: 0x08"),
        (labels, "found 1 dimensions, expected 3"),
        (b"\x89PNG", "not an idx file .*89504e47"),
        (idx(GREY)[:9], "header is cut off after 9 bytes"),
        (packed[: len(packed) // 2], "not a readable file"),
        (packed[:-8] + b"\0" * 8, "not a readable file"),
    ):
        with pytest.raises(DatasetProblem, match=f"{tmp_path}/images: .*{said}"):
            load_idx(tmp_path, images, labels)
    with pytest.raises(DatasetProblem, match=r"6 images in .*images and 5 labels in"):
        load_idx(tmp_path, idx(GREY), idx(LABELS[:5].astype(np.uint8)))


# CIFAR


CIFAR10 = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]
FINE = [f"class_{i}" for i in range(100)]
RNG = np.random.default_rng(3)
TINY = RNG.integers(0, 256, size=(12, 32, 32, 3), dtype=np.uint8)


def records(images: np.ndarray, *labels: np.ndarray) -> bytes:
    """As the page of CIFAR has it: label bytes, then red, green, blue, each row by row."""
    whole = b""
    for i, image in enumerate(images):
        whole += bytes(int(label[i]) for label in labels)
        whole += b"".join(image[..., channel].tobytes() for channel in range(3))
    return whole


def tarred(path: Path, names: dict[str, bytes]) -> Path:
    with tarfile.open(path, "w:gz") as archive:
        for name, content in names.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return path


def cifar10(labels: np.ndarray) -> dict[str, bytes]:
    """Two images a batch, the batches in an order of their own, as in the published archive."""
    batches = [records(TINY[i : i + 2], labels[i : i + 2]) for i in range(0, 12, 2)]
    folder = "cifar-10-batches-bin"
    return {
        f"{folder}/data_batch_1.bin": batches[0],
        f"{folder}/batches.meta.txt": "\n".join([*CIFAR10, ""]).encode(),
        **{f"{folder}/data_batch_{i + 1}.bin": batches[i] for i in (2, 1, 4, 3)},
        f"{folder}/readme.html": b"<html>",
        f"{folder}/test_batch.bin": batches[5],
    }


def load_cifar(archive, variant=10, split="train", classes=CIFAR10, form=None) -> LabelledImages:
    source = {"kind": "cifar", "variant": variant, "archive": str(archive)}
    return load(source, form or Form(32, 3), split, classes)


def test_cifar_10_is_read_in_the_order_of_its_batches(tmp_path):
    labels = RNG.integers(0, 10, size=12)
    archive = tarred(tmp_path / "cifar.tar.gz", cifar10(labels))
    train, test = load_cifar(archive), load_cifar(archive, split="test")
    assert np.array_equal(train.images, TINY[:10]) and train.labels.tolist() == list(labels[:10])
    assert np.array_equal(test.images, TINY[10:]) and test.labels.tolist() == list(labels[10:])
    assert train.labels.dtype == np.int64
    half = load_cifar(archive, form=Form(16, 1, resize=True))
    assert half.images.shape == (10, 16, 16, 1)


def test_cifar_100_is_read_with_its_fine_labels(tmp_path):
    coarse, fine = RNG.integers(0, 20, size=12), RNG.integers(0, 100, size=12)
    names = {
        "cifar-100-binary/train.bin": records(TINY[:9], coarse[:9], fine[:9]),
        "cifar-100-binary/test.bin": records(TINY[9:], coarse[9:], fine[9:]),
        "cifar-100-binary/fine_label_names.txt": "\n".join(FINE).encode(),
        "cifar-100-binary/coarse_label_names.txt": b"-",
    }
    archive = tarred(tmp_path / "cifar.tar.gz", names)
    for split, rows in (("train", slice(0, 9)), ("test", slice(9, 12))):
        data = load_cifar(archive, 100, split, FINE)
        assert np.array_equal(data.images, TINY[rows])
        assert data.labels.tolist() == fine[rows].tolist()


def test_classes_in_another_order_than_the_archive_says_are_named(tmp_path):
    archive = tarred(tmp_path / "cifar.tar.gz", cifar10(np.zeros(12)))
    swapped = [*CIFAR10[:2], "cat", "bird", *CIFAR10[4:]]
    with pytest.raises(DatasetProblem, match=r"meta\.txt: class 2 is 'bird', declared as 'cat'"):
        load_cifar(archive, classes=swapped)
    with pytest.raises(DatasetProblem, match="found 10 classes, declared 9"):
        load_cifar(archive, classes=CIFAR10[:9])


def test_a_damaged_cifar_archive_is_named(tmp_path):
    names, path = cifar10(np.zeros(12)), tmp_path / "cifar.tar.gz"
    batch = "cifar-10-batches-bin/data_batch_3.bin"
    for changed, said in (
        ({k: v for k, v in names.items() if k != batch}, r"has no file data_batch_3\.bin"),
        ({**names, batch: names[batch][:-1]}, r"data_batch_3\.bin: found 6145 bytes; .*3073"),
        ({**names, batch: b""}, r"data_batch_3\.bin: found 0 bytes"),
    ):
        with pytest.raises(DatasetProblem, match=f"{path}.*{said}"):
            load_cifar(tarred(path, changed))
    content = tarred(path, names).read_bytes()
    middle = len(content) // 2  # among pixels: nothing but the checksum knows
    flipped = content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :]
    for damaged in (content[:middle], content[:-4], flipped, b"", b"hello"):
        path.write_bytes(damaged)
        with pytest.raises(DatasetProblem, match=rf"{path}: not a readable \.tar\.gz archive"):
            load_cifar(path)


@pytest.mark.parametrize("folder", ["cifar-10-batches-py", "cifar-100-python"])
def test_the_python_version_of_cifar_is_refused(tmp_path, folder):
    bomb = pickle.dumps({"data": TINY, "labels": [0] * 12})
    path = tarred(tmp_path / "cifar.tar.gz", {f"{folder}/data_batch_1": bomb})
    with pytest.raises(DatasetProblem, match=f"{path}.*pickles; needs the binary version"):
        load_cifar(path)


# Parquet


def parquet(path, images=None, labels=LABELS, names=None, image_type=None, **options) -> Path:
    """A file as `datasets` writes it."""
    if images is None:
        images = [{"bytes": png(p), "path": f"{i}.png"} for i, p in enumerate(GREY)]
    table = pa.table({"image": pa.array(images, image_type), "label": labels, "extra": labels})
    if names is not None:
        feature = {"names": list(names), "_type": "ClassLabel"}
        info = {"info": {"features": {"image": {"_type": "Image"}, "label": feature}}}
        table = table.replace_schema_metadata({"huggingface": json.dumps(info)})
    pq.write_table(table, path, **options)
    return path


def load_parquet(path, form=FORM, **columns) -> LabelledImages:
    return load({"kind": "parquet", "path": str(path), **columns}, form)


NAMES = [CLASSES[label] for label in LABELS]


@pytest.mark.parametrize(
    "labels",
    [
        LABELS,
        LABELS.astype(np.uint8),
        NAMES,
        pa.array(NAMES, pa.large_string()),
        pa.array(NAMES).dictionary_encode(),
    ],
    ids=["int64", "uint8", "string", "large string", "dictionary"],
)
@pytest.mark.parametrize("layout", ["struct", "binary", "large binary"])
def test_parquet_is_read_in_every_layout(tmp_path, labels, layout):
    images, image_type = None, None
    if layout != "struct":
        images = [png(pixels) for pixels in GREY]
        image_type = pa.binary() if layout == "binary" else pa.large_binary()
    path = parquet(tmp_path / "a.parquet", images, labels, image_type=image_type, row_group_size=4)
    data = load_parquet(path)
    assert np.array_equal(data.images[..., 0], GREY)
    assert data.labels.tolist() == LABELS.tolist() and data.labels.dtype == np.int64


def test_a_column_of_true_and_false_is_a_class_of_two(tmp_path):
    path = parquet(tmp_path / "a.parquet", labels=LABELS > 0)
    assert load_parquet(path, label_column="label").labels.tolist() == [1, 0, 1, 1, 0, 1]


def test_a_folder_of_parquet_is_read_in_the_order_of_names(tmp_path):
    images = [png(pixels) for pixels in GREY]
    for i, rows in enumerate((slice(0, 1), slice(1, 5), slice(5, 6))):
        name = tmp_path / f"train-0000{i}-of-00003.parquet"
        parquet(name, images[rows], LABELS[rows], names=CLASSES)
    data = load_parquet(tmp_path)
    assert np.array_equal(data.images[..., 0], GREY) and np.array_equal(data.labels, LABELS)
    parquet(tmp_path / "test-00000-of-00001.parquet")
    with pytest.raises(DatasetProblem, match=rf"{tmp_path}: found files of .*\(test, train\)"):
        load_parquet(tmp_path)
    (tmp_path / "empty").mkdir()
    with pytest.raises(DatasetProblem, match=r"empty: no \.parquet files"):
        load_parquet(tmp_path / "empty")


def test_many_rows_are_read_in_batches(tmp_path):
    """More than one batch, over row groups of another size."""
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, size=(700, 4, 4), dtype=np.uint8)
    labels = rng.integers(0, 3, size=700)
    path = parquet(tmp_path / "a.parquet", [png(p) for p in pixels], labels, row_group_size=300)
    data = load_parquet(path)
    assert np.array_equal(data.images[..., 0], pixels) and np.array_equal(data.labels, labels)
    holed = [*labels[:610].tolist(), None, *labels[611:].tolist()]
    with pytest.raises(DatasetProblem, match=f"{path}, row 610: label is missing"):
        load_parquet(parquet(path, [png(p) for p in pixels], holed, row_group_size=300))


def test_the_classes_that_a_schema_names_are_compared(tmp_path):
    path = tmp_path / "a.parquet"
    assert np.array_equal(load_parquet(parquet(path, names=CLASSES)).labels, LABELS)
    for names, said in (
        (("dog", "cat", "eel"), "class 0 is 'dog', declared as 'cat'"),
        (("cat", "dog", "eel", "fox"), "found 4 classes, declared 3"),
    ):
        with pytest.raises(DatasetProblem, match=f"{path}, label: {said}"):
            load_parquet(parquet(path, names=names))


def test_what_is_wrong_in_a_parquet_file_is_named(tmp_path):
    path = tmp_path / "a.parquet"
    good = [png(pixels) for pixels in GREY]
    holes = [{"bytes": good[0], "path": ""}, *[{"bytes": None, "path": "1.png"}] * 5]
    for arguments, said in (
        ({"images": [*good[:2], None, *good[3:]]}, ", row 2: image has no bytes"),
        ({"images": holes}, ", row 1: image has no bytes"),
        ({"images": [*good[:5], b"?"]}, ", row 5: not a readable image"),
        ({"images": list(GREY.reshape(6, 16).tolist())}, ", image: found list"),
        ({"images": ["a.png"] * 6}, ", image: found string"),
        ({"labels": LABELS / 2}, ", label: found double"),
        ({"labels": [0, 1, None, 0, 0, 0]}, ", row 2: label is missing"),
        ({"labels": [*NAMES[:5], "cow"]}, r": found undeclared classes \['cow'\]"),
    ):
        with pytest.raises(DatasetProblem, match=f"{path}{said}"):
            load_parquet(parquet(path, **arguments))
    parquet(path)
    with pytest.raises(DatasetProblem, match=f"{path}: found columns image, label, extra; .*: img"):
        load_parquet(path, image_column="img")
    content = path.read_bytes()
    for damaged in (content[:-20], content[:40], b""):
        path.write_bytes(damaged)
        with pytest.raises(DatasetProblem, match=f"{path}: not a readable Parquet file"):
            load_parquet(path)


def test_a_parquet_file_with_damaged_pages_is_named(tmp_path):
    path = parquet(tmp_path / "a.parquet", [png(p) for p in GREY], write_page_checksum=False)
    content = path.read_bytes()
    path.write_bytes(content[:4] + bytes(60) + content[64:])
    with pytest.raises(DatasetProblem, match=str(path)):
        load_parquet(path)


# CelebA


@pytest.fixture
def celeba(tmp_path):
    """Eight faces of 10×6 pixels; the square in the middle has the face's number as its colour."""
    (tmp_path / "faces").mkdir()
    rows, splits = ["8", "5_o_Clock_Shadow Male Young "], []
    for i in range(1, 9):
        pixels = np.full((10, 6, 3), 255, dtype=np.uint8)
        pixels[2:8] = i
        Image.fromarray(pixels).save(tmp_path / f"faces/{i:06}.jpg", quality=100)
        rows.append(f"{i:06}.jpg -1 {'1' if i % 3 == 0 else '-1':>2}  1")
        splits.append(f"{i:06}.jpg {[0, 0, 0, 0, 1, 2, 2, 2][i - 1]}")
    (tmp_path / "attributes.txt").write_text("\n".join(rows) + "\n")
    (tmp_path / "partition.txt").write_text("\n".join(splits) + "\n")
    return tmp_path


def load_celeba(folder, split="train", attribute="Male", form=None) -> LabelledImages:
    source = {
        "kind": "celeba",
        "path": str(folder / "faces"),
        "attributes": str(folder / "attributes.txt"),
        "partition": str(folder / "partition.txt"),
        "attribute": attribute,
    }
    return load(source, form or Form(3, 3, resize=True), split, ("female", "male"))


def test_celeba_is_read_by_its_tables(celeba):
    train, test = load_celeba(celeba), load_celeba(celeba, "test")
    assert train.labels.tolist() == [0, 0, 1, 0] and test.labels.tolist() == [1, 0, 0]
    for data, numbers in ((train, [1, 2, 3, 4]), (test, [6, 7, 8])):
        assert data.images.shape == (len(numbers), 3, 3, 3)
        assert np.abs(data.images - np.reshape(numbers, (-1, 1, 1, 1)).astype(int)).max() <= 2
    assert load_celeba(celeba, attribute="Young").labels.tolist() == [1, 1, 1, 1]


def edit(path: Path, old: str, new: str) -> None:
    content = path.read_text()
    assert old in content
    path.write_text(content.replace(old, new, 1))


@pytest.mark.parametrize(
    ("file", "old", "new", "said"),
    [
        ("attributes.txt", "8\n", "9\n", "announces 9 faces, found 8"),
        ("attributes.txt", "8\n", "image_id,Male\n", "needs a first line with the number"),
        ("attributes.txt", "2.jpg -1 -1", "2.jpg -1 0", "line 4: found '000002.jpg -1 0"),
        ("attributes.txt", "2.jpg -1 ", "2.jpg ", "line 4: found"),
        ("partition.txt", "2.jpg 0", "2.jpg 3", "line 2: found '000002.jpg 3'"),
        ("partition.txt", "000002.jpg 0\n", "", "000002.jpg stands only in one of"),
        ("partition.txt", "000002.jpg 0", "000002.jpg,0", "line 2: found '000002.jpg,0'"),
    ],
)
def test_what_is_wrong_in_a_table_of_celeba_is_named(celeba, file, old, new, said):
    edit(celeba / file, old, new)
    with pytest.raises(DatasetProblem, match=said) as problem:
        load_celeba(celeba)
    assert file in str(problem.value)


def test_an_absent_face_or_attribute_is_named(celeba):
    with pytest.raises(DatasetProblem, match=r"no attribute 'male'; allowed: 5_o.*, Male, Young"):
        load_celeba(celeba, attribute="male")
    with pytest.raises(DatasetProblem, match=r"faces/000001\.jpg: found 10×6×3, declared 3×3×3"):
        load_celeba(celeba, form=Form(3, 3))
    (celeba / "faces/000003.jpg").unlink()
    with pytest.raises(DatasetProblem, match=r"faces/000003\.jpg: no such file"):
        load_celeba(celeba)


# Camelyon17


@pytest.fixture
def camelyon(tmp_path):
    """One patch for every hospital, split and class; its colour is its row."""
    lines = [",patient,node,x_coord,y_coord,tumor,slide,center,split"]
    for row in range(20):
        center, split, tumor = row // 4, row // 2 % 2, row % 2
        slide = f"patient_{20 * center:03}_node_{row % 3}"
        lines.append(
            f"{row},{20 * center:03},{row % 3},{row},{7 * row},{tumor},{center * 10},"
            f"{center},{split}"
        )
        patch = tmp_path / f"patches/{slide}/patch_{slide}_x_{row}_y_{7 * row}.png"
        patch.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGBA", (9, 9), (row, row, row, 255)).save(patch)
    (tmp_path / "metadata.csv").write_text("\n".join(lines) + "\n")
    return tmp_path


def load_camelyon(folder, split="train") -> LabelledImages:
    source = {"kind": "camelyon17", "path": str(folder)}
    return load(source, Form(3, 3, resize=True), split, ("no_tumor", "tumor"))


def test_camelyon17_is_split_as_wilds_has_it(camelyon):
    train, test = load_camelyon(camelyon), load_camelyon(camelyon, "test")
    # Hospitals 0, 3, 4 with split 0; all of hospital 2. Hospital 1 and the rest validate.
    assert train.images[:, 0, 0, 0].tolist() == [0, 1, 12, 13, 16, 17]
    assert test.images[:, 0, 0, 0].tolist() == [8, 9, 10, 11]
    for data in (train, test):
        assert data.images.shape[1:] == (3, 3, 3)
        assert data.labels.tolist() == [0, 1] * (len(data) // 2)


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("tumor", "label", "missing: tumor"),
        ("3,21,1", "3,21,7", "line 5: found tumor '7', center '0'"),
        ("13,91,1,30,3", "13,91,1,30,9", "line 15: found tumor '1', center '9'"),
    ],
)
def test_what_is_wrong_in_the_table_of_camelyon17_is_named(camelyon, old, new, said):
    edit(camelyon / "metadata.csv", old, new)
    with pytest.raises(DatasetProblem, match=rf"metadata\.csv.*{said}"):
        load_camelyon(camelyon)


def test_an_absent_patch_is_named(camelyon):
    patch = camelyon / "patches/patient_060_node_0/patch_patient_060_node_0_x_12_y_84.png"
    patch.unlink()
    with pytest.raises(DatasetProblem, match=f"{patch}: no such file"):
        load_camelyon(camelyon)


def test_images_are_read_into_one_array_and_little_else(tmp_path):
    """302,436 patches would need 3.7 GB, not twice that."""
    count = 400
    lines = ["patient,node,x_coord,y_coord,tumor,center,split"]
    folder = tmp_path / "patches/patient_000_node_0"
    folder.mkdir(parents=True)
    Image.fromarray(RNG.integers(0, 256, size=(96, 96, 3), dtype=np.uint8)).save(folder / "0.png")
    for i in range(count):
        os.link(folder / "0.png", folder / f"patch_patient_000_node_0_x_{i}_y_0.png")
        lines.append(f"000,0,{i},0,0,0,0")
    (tmp_path / "metadata.csv").write_text("\n".join(lines))
    source = {"kind": "camelyon17", "path": str(tmp_path)}
    load(source, Form(8, 3, resize=True), classes=("no_tumor", "tumor"))  # imports
    tracemalloc.start()
    data = load(source, Form(64, 3, resize=True), classes=("no_tumor", "tumor"))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert data.images.shape == (count, 64, 64, 3)
    assert peak < data.images.nbytes + 1_000_000


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
    data = load({"kind": "sklearn-digits"}, Form(8, 1), classes=MNIST)
    train, test = split_stratified(data, 0.2, 0)
    assert (len(train), len(test)) == (1437, 360)
    shares = np.bincount(test.labels) / np.bincount(data.labels)
    assert np.abs(shares - 0.2).max() < 1 / 150


def test_a_class_with_one_image_cannot_be_split():
    with pytest.raises(DatasetProblem, match="split is impossible"):
        split_stratified(numbered([0, 0, 0, 1]), 0.5, 0)


# What is held out


@settings(max_examples=50, deadline=None)
@given(n=st.integers(2, 300), share=st.floats(0, 0.99), seed=st.integers(0, 2**31))
def test_what_is_held_out_is_gone_and_the_rest_keeps_its_order(n, share, seed):
    size = max(1, min(n - 1, int(share * n)))
    data = numbered(np.arange(n) % 3)
    kept = hold_out(data, size, seed)
    assert len(kept) == n - size and rows(kept) == sorted(set(rows(kept)))
    assert set(rows(kept)) <= set(range(n))
    assert np.array_equal(kept.labels, np.array(rows(kept)) % 3)
    # By the number of images and the seed alone.
    assert rows(hold_out(numbered(np.zeros(n)), size, seed)) == rows(kept)


def test_every_image_is_as_likely_to_be_held_out():
    n, size, seeds = 40, 10, 2000
    kept = np.zeros(n)
    for seed in range(seeds):
        kept[rows(hold_out(numbered(np.zeros(n)), size, seed))] += 1
    # Each count is binomial: p = 3/4, standard deviation 19.4. A bound of 4.5 of them is passed by
    # chance in 40 · 7e-6 of all choices of seeds.
    assert np.abs(kept - seeds * (n - size) / n).max() < 4.5 * np.sqrt(seeds * 0.75 * 0.25)
    assert rows(hold_out(numbered(np.zeros(n)), size, 0)) != rows(
        hold_out(numbered(np.zeros(n)), size, 1)
    )


@pytest.mark.parametrize("size", [5, 6])
def test_something_must_be_left(size):
    with pytest.raises(DatasetProblem, match=f"hold_out.size: found {size}; .* the 5 images"):
        hold_out(numbered([0] * 5), size, 0)


# What a configuration may declare


def declare(kind="sensitive", **entry) -> Datasets:
    whole = {"image": {"size": 4, "channels": 1}, "classes": ["a", "b"], **entry}
    content = {"sensitive": {}, "public": {}, kind: {"mine": whole}}
    return TypeAdapter(Datasets).validate_python(json.loads(json.dumps(content)), strict=False)


SPLIT = {"test_fraction": 0.5, "seed": 0}
CAMELYON = {"kind": "camelyon17", "path": "x"}


@pytest.mark.parametrize(
    ("entry", "said"),
    [
        ({"source": {"kind": "npz", "path": "x"}}, "give split"),
        ({"source": CAMELYON, "split": SPLIT}, "found split, but .* camelyon17 has a test set"),
        ({"source": {**CAMELYON, "kind": "camelyon"}}, "camelyon"),
        ({"source": CAMELYON, "classes": ["a", "b", "c"]}, "found 3 classes; camelyon17 has 2"),
        (
            {"source": {"kind": "cifar", "variant": 100, "archive": "x"}},
            "found 2 classes; cifar has 100",
        ),
        (
            {"source": {"kind": "idx", "images": "x", "labels": "y", "test_images": "z"}},
            "give both",
        ),
        (
            {"source": {"kind": "npz", "path": {"url": "x.npz", "hash": f"md5:{'0' * 32}"}}},
            "url",
        ),
        (
            {"source": {"kind": "npz", "path": {"url": "https://x/y.npz", "hash": "md5:0"}}},
            "hash",
        ),
    ],
)
def test_a_declaration_that_cannot_be_is_refused(entry, said):
    with pytest.raises(ValidationError, match=said):
        declare(train_size=5, **entry)


def test_a_public_data_set_needs_as_many_classes_too():
    declare("public", source=CAMELYON)
    with pytest.raises(ValidationError, match="found 3 classes; camelyon17 has 2"):
        declare("public", source=CAMELYON, classes=["a", "b", "c"])


def test_the_files_of_a_source_are_its_files_only():
    download = {"url": "https://x.org/a.zip", "hash": f"sha256:{'0' * 64}"}
    sensitive = declare(
        train_size=5, split=SPLIT, source={"kind": "image-folder", "path": download, "inside": "x"}
    ).sensitive["mine"]
    assert sensitive.source.files == {"path": Download(**download)}
    public = declare("public", source={"kind": "parquet", "path": "x", "test_path": "y"})
    assert public.public["mine"].source.files == {"path": "x", "test_path": "y"}


# Real files, where there is a copy of them

MNIST = tuple("0123456789")
OFFICIAL = {
    "mnist": {
        "train-images-idx3-ubyte.gz": "f68b3c2dcbeaaa9fbdd348bbdeb94873",
        "train-labels-idx1-ubyte.gz": "d53e105ee54ea40749a09fcbcd1e9432",
        "t10k-images-idx3-ubyte.gz": "9fb629c4189551a2d022fa330f9573f3",
        "t10k-labels-idx1-ubyte.gz": "ec29112dd5afa0611ce80d1b7f02629c",
    },
    "fashion-mnist": {
        "train-images-idx3-ubyte.gz": "8d4fb7e6c68d591d4c3dfef9ec88bf0d",
        "train-labels-idx1-ubyte.gz": "25c81989df183df01b3e8a0aad5dffbe",
        "t10k-images-idx3-ubyte.gz": "bef4ecab320f06d8554ea6380940ec79",
        "t10k-labels-idx1-ubyte.gz": "bb300cfdad3c16e7a12a480ee83cd310",
    },
}


def real(name: str) -> Path:
    if not (MIRROR / name).is_dir():
        pytest.skip(f"no copy of {name} in {MIRROR}")
    return MIRROR / name


def load_real(name: str, split: str) -> LabelledImages:
    folder = real(name)
    source = {
        "kind": "idx",
        "images": str(folder / "train-images-idx3-ubyte.gz"),
        "labels": str(folder / "train-labels-idx1-ubyte.gz"),
        "test_images": str(folder / "t10k-images-idx3-ubyte.gz"),
        "test_labels": str(folder / "t10k-labels-idx1-ubyte.gz"),
    }
    return load(source, Form(28, 1), split, MNIST)


@pytest.mark.parametrize("name", OFFICIAL)
def test_the_copies_are_the_published_files(name):
    for file, expected in OFFICIAL[name].items():
        assert hashlib.md5((real(name) / file).read_bytes()).hexdigest() == expected


def test_the_catalogue_states_the_published_hashes():
    catalogue = yaml.safe_load((ROOT / "config/datasets.yaml").read_text())
    for entry in catalogue["sensitive"].values():
        for file in entry["source"].values():
            if isinstance(file, dict) and "mnist" in file["url"]:
                published = OFFICIAL["fashion-mnist" if "fashion" in file["url"] else "mnist"]
                assert file["hash"] == f"md5:{published[file['url'].split('/')[-1]]}"


@pytest.mark.parametrize(
    ("name", "split", "count", "first"),
    [
        ("mnist", "train", 60000, [5, 0, 4, 1, 9, 2, 1, 3, 1, 4]),
        ("mnist", "test", 10000, [7, 2, 1, 0, 4, 1, 4, 9, 5, 9]),
        ("fashion-mnist", "train", 60000, [9, 0, 0, 3, 0, 2, 7, 2, 5, 5]),
        ("fashion-mnist", "test", 10000, [9, 2, 1, 1, 6, 1, 4, 6, 5, 7]),
    ],
)
def test_real_files_are_read(name, split, count, first):
    data = load_real(name, split)
    check_declared(data, 28, 1, MNIST)
    assert len(data) == count and data.labels[:10].tolist() == first
    if name == "fashion-mnist":
        assert np.bincount(data.labels).tolist() == [count // 10] * 10
    elif split == "train":
        counts = [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]
        assert np.bincount(data.labels).tolist() == counts
        # The known mean and standard deviation of MNIST's training pixels.
        assert data.images.mean() / 255 == pytest.approx(0.1307, abs=5e-5)
        assert data.images.std() / 255 == pytest.approx(0.3081, abs=5e-5)


def test_real_training_images_are_held_out():
    train = load_real("mnist", "train")
    kept = hold_out(train, 5000, 0)
    assert len(kept) == 55000
    removed = np.bincount(train.labels) - np.bincount(kept.labels)
    # A uniform draw: about as many of each class, give or take 5 standard deviations.
    expected = np.bincount(train.labels) / 12
    assert removed.sum() == 5000 and np.all(np.abs(removed - expected) < 5 * np.sqrt(expected))
