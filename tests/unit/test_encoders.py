"""Encoders: pixels by hand, the trained network against the one that was stored."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.numpy import load_file

from workflow_scripts.cnn import apply, train_classifier
from workflow_scripts.encoders import encode_pixels, open_encoder
from workflow_scripts.encoders.cnn import CnnEncoder, train_encoder
from workflow_scripts.files import FileProblem

SETTINGS = {
    "kind": "cnn",
    "dataset": "toy",
    "width": 4,
    "dimension": 6,
    "epochs": 10,
    "batch_size": 32,
    "learning_rate": 0.01,
    "seed": 3,
}


def corners(n: int, seed: int, channels: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """Noisy images 8×8 with one bright corner of four."""
    rng = np.random.default_rng(seed)
    images = rng.integers(0, 120, size=(n, 8, 8, channels), dtype=np.uint8)
    labels = rng.integers(4, size=n)
    for image, label in zip(images, labels, strict=True):
        y, x = 5 * (label // 2), 5 * (label % 2)
        image[y : y + 3, x : x + 3] += 130
    return images, labels


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """(weights' path, accuracy on the training set)."""
    path = tmp_path_factory.mktemp("encoder") / "weights.safetensors"
    return path, train_encoder(path, *corners(250, seed=0), 4, SETTINGS)


# Pixels


@pytest.mark.parametrize("channels", [1, 3])
def test_pixels_are_the_images_divided_by_255(channels):
    images = np.random.default_rng(0).integers(0, 256, size=(5, 3, 4, channels), dtype=np.uint8)
    images[0, 0, 0, 0], images[1, 0, 0, 0] = 0, 255
    found = open_encoder({"kind": "pixels"})(images)
    assert found.dtype == np.float32 and found.shape == (5, 12 * channels)
    for row, image in zip(found, images, strict=True):
        assert row.tolist() == pytest.approx([v / 255 for v in image.ravel().tolist()], abs=1e-7)
    assert found.min() == 0 and found.max() == 1


def test_zero_images_have_embeddings_of_the_same_length(trained):
    none = np.zeros((0, 8, 8, 1), np.uint8)
    assert encode_pixels(none).shape == (0, 64)
    assert CnnEncoder(str(trained[0]))(none).shape == (0, 6)


def test_pixels_need_no_torch():
    script = (
        "import sys; from workflow_scripts.encoders import open_encoder;"
        "open_encoder({'kind': 'pixels'}); sys.exit('torch' in sys.modules)"
    )
    root = Path(__file__).resolve().parents[2]
    assert subprocess.run([sys.executable, "-c", script], cwd=root, check=False).returncode == 0


def test_an_unknown_kind_is_named():
    with pytest.raises(ValueError, match="'clip'"):
        open_encoder({"kind": "clip"})


# The trained network


def test_the_stored_network_is_the_trained_one(trained):
    names = ("width", "dimension", "epochs", "batch_size", "learning_rate", "seed")
    images, labels = corners(250, seed=0)
    network = train_classifier(images, labels, 4, **{name: SETTINGS[name] for name in names})
    encoder = open_encoder(SETTINGS, str(trained[0]))
    images, labels = corners(100, seed=1)
    embeddings = encoder(images)
    assert embeddings.shape == (100, 6) and embeddings.dtype == np.float32
    assert np.array_equal(embeddings, apply(network.features, images))
    # The embedding is what the classifier's head reads.
    with torch.inference_mode():
        logits = network.head(torch.relu(torch.from_numpy(embeddings)).to(network.head.weight))
    assert np.allclose(logits.cpu(), apply(network, images), atol=1e-5)


def test_it_learns_the_toy_problem_and_reports_its_training_accuracy(trained):
    path, accuracy = trained
    assert 0.95 < accuracy <= 1
    (images, labels), (others, truth) = corners(100, seed=1), corners(100, seed=2)
    known, unknown = CnnEncoder(str(path))(images), CnnEncoder(str(path))(others)
    nearest = ((unknown[:, None] - known) ** 2).sum(2).argmin(1)
    assert np.mean(labels[nearest] == truth) > 0.95


def test_the_accuracy_is_that_of_the_stored_network_on_the_given_labels(tmp_path):
    images, labels = corners(250, seed=0)
    labels[:60] = (labels[:60] + 1) % 4  # no network gets all of these right
    accuracy = train_encoder(tmp_path / "weights", images, labels, 4, SETTINGS)
    head = load_file(tmp_path / "weights")
    embeddings = CnnEncoder(str(tmp_path / "weights"))(images).clip(0)
    logits = embeddings @ head["head.weight"].T + head["head.bias"]
    assert accuracy == pytest.approx(np.mean(logits.argmax(1) == labels))
    assert 0.5 < accuracy < 0.9


def test_an_embedding_does_not_depend_on_its_company(trained):
    encoder, (images, _) = CnnEncoder(str(trained[0])), corners(40, seed=1)
    rows = np.random.default_rng(0).permutation(40)[:17]
    assert np.allclose(encoder(images[rows]), encoder(images)[rows], rtol=0, atol=1e-5)


def test_the_file_says_its_architecture_and_is_equal_for_equal_seeds(trained, tmp_path):
    paths = [tmp_path / name for name in ("again", "other")]
    for path, seed in zip(paths, (3, 4), strict=True):
        train_encoder(path, *corners(250, seed=0), 4, SETTINGS | {"seed": seed})
    assert paths[0].read_bytes() == trained[0].read_bytes() != paths[1].read_bytes()
    with safe_open(trained[0], framework="numpy") as stored:
        (entry,) = stored.metadata().values()
        assert stored.get_tensor("features.8.weight").shape == (6, 64)
    assert json.loads(entry) == {"channels": 1, "width": 4, "dimension": 6, "classes": 4}


def test_colour_images_are_encoded(tmp_path):
    images, labels = corners(64, seed=0, channels=3)
    train_encoder(tmp_path / "weights", images, labels, 4, SETTINGS | {"epochs": 1})
    assert CnnEncoder(str(tmp_path / "weights"))(images).shape == (64, 6)


def test_missing_or_damaged_weights_are_named(trained, tmp_path):
    (tmp_path / "damaged").write_bytes(trained[0].read_bytes()[:-1])
    for name in ("damaged", "missing"):
        with pytest.raises(FileProblem, match=str(tmp_path / name)):
            CnnEncoder(str(tmp_path / name))
