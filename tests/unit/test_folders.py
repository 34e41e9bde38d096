"""Folders and zip archives of images."""

import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.unit.reading import CLASSES, COLOUR, COLOURED, FORM, GREY, load_folder, png
from workflow_scripts.data.form import Form
from workflow_scripts.data.labelled import (
    DatasetProblem,
    check_declared,
)


@pytest.fixture
def folder(tmp_path):
    """Two images per class, named so that alphabetical order is the order of GREY."""
    for i, pixels in enumerate(GREY):
        path = tmp_path / "data" / CLASSES[i // 2] / f"{i}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(path)
    return tmp_path / "data"


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
