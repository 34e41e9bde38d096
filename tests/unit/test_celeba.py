"""CelebA: faces and their tables."""

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
