"""CIFAR's binary archives."""

import io
import pickle
import tarfile
from pathlib import Path

import numpy as np
import pytest

from tests.unit.reading import load
from workflow_scripts.data.form import Form
from workflow_scripts.data.labelled import (
    DatasetProblem,
    LabelledImages,
)

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
