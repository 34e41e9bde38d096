"""Idx, the format of MNIST, and its published files."""

import gzip
import hashlib
import struct
from pathlib import Path

import numpy as np
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.reading import (
    FORM,
    GREY,
    LABELS,
    load,
)
from workflow_scripts.data.form import Form
from workflow_scripts.data.labelled import (
    DatasetProblem,
    LabelledImages,
    check_declared,
    hold_out,
)

ROOT = Path(__file__).parents[2]
MIRROR = ROOT.parent / "shared/data"


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
