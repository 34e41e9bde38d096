"""Camelyon17: patches and their table."""

import os
import tracemalloc

import numpy as np
import pytest
from PIL import Image

from tests.unit.reading import edit, load
from workflow_scripts.data.form import Form
from workflow_scripts.data.labelled import (
    DatasetProblem,
    LabelledImages,
)


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
    pixels = np.random.default_rng(3).integers(0, 256, size=(96, 96, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(folder / "0.png")
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
