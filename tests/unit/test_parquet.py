"""Parquet, as hubs store images."""

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.unit.reading import CLASSES, FORM, GREY, LABELS, load, png
from workflow_scripts.data.labelled import (
    DatasetProblem,
    LabelledImages,
)


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
