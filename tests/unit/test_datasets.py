"""Data sets: what is declared is compared with what is there."""

import json

import numpy as np
import pytest
from pydantic import TypeAdapter, ValidationError
from sklearn.datasets import load_digits

from tests.unit.reading import CLASSES, FORM, load
from workflow_scripts.configuration.datasets import Datasets, Download
from workflow_scripts.data.form import Form
from workflow_scripts.data.labelled import (
    DatasetProblem,
    check_declared,
)
from workflow_scripts.data.sources import load_split

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
