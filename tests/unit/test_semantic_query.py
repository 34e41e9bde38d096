"""The semantic query: counts against loops, the sensitivity that is charged, and what it picks."""

import hashlib
import itertools
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from scipy.stats import chi2
from sklearn.datasets import load_digits
from torch import nn

from workflow_scripts import shards
from workflow_scripts.cnn import apply, train_classifier
from workflow_scripts.configuration import read_yaml
from workflow_scripts.configuration.encoders import CnnEncoder
from workflow_scripts.configuration.generators import TextGenerator
from workflow_scripts.configuration.reading import validate
from workflow_scripts.encoders import EncoderProblem
from workflow_scripts.encoders.cnn import train_encoder
from workflow_scripts.files import FileProblem, write_arrays
from workflow_scripts.generators.text import TextSimulator
from workflow_scripts.privacy.discrete_gaussian import DiscreteGaussianMechanism
from workflow_scripts.privacy.events import DiscreteGaussianEvent
from workflow_scripts.privacy.noise import noise_of
from workflow_scripts.resizing import fit
from workflow_scripts.semantic import query
from workflow_scripts.semantic.classifier import open_classifier
from workflow_scripts.semantic.query import most_alike, release_query, semantic_histogram
from workflow_scripts.semantic.selection import select_classes, signal_to_noise
from workflow_scripts.shards import Shards

# torch's advice to leave TorchScript.
pytestmark = pytest.mark.filterwarnings("ignore:.*torch.jit:FutureWarning")

CLASSES, PUBLIC = 3, 12


class Scene:
    """Sensitive images, in memory and as shards on disk, and a linear classifier."""

    def __init__(self, folder, seed=0, n=60):
        rng = np.random.default_rng(seed)
        self.folder, self.written = folder, itertools.count()
        self.images = rng.integers(0, 256, size=(n, 4, 4, 1), dtype=np.uint8)
        self.labels = rng.integers(CLASSES, size=n)
        # Whole numbers: logits are exact, and equal ones occur.
        self.weights = rng.integers(-1, 2, size=(16, PUBLIC)).astype(np.float32)

    def classify(self, images):
        return images.reshape(len(images), 16).astype(np.float32) // 64 @ self.weights

    def shards(self, keep=slice(None), parts=1):
        images, labels = self.images[keep], self.labels[keep]
        paths = [self.folder / f"{next(self.written)}" for _ in range(parts)]
        for i, path in enumerate(paths):
            rows = slice(i * len(labels) // parts, (i + 1) * len(labels) // parts)
            write_arrays(path, {"images": images[rows], "labels": labels[rows]})
        return Shards(*paths)

    def counts(self, k, keep=slice(None), parts=1):
        return semantic_histogram(self.shards(keep, parts), self.classify, CLASSES, PUBLIC, k)

    def release(self, sigma, k, *identity):
        mechanism, noise = DiscreteGaussianMechanism.of(sigma, k), noise_of("seeded", *identity)
        return release_query(self.shards(), self.classify, CLASSES, PUBLIC, mechanism, noise)


@pytest.fixture
def scene(tmp_path):
    return Scene(tmp_path)


def counts_by_loops(scene, k):
    counts = [[0] * PUBLIC for _ in range(CLASSES)]
    for image, label in zip(scene.images, scene.labels.tolist(), strict=True):
        levels = [int(level) // 64 for level in image.ravel()]
        logits = [
            sum(x * int(w) for x, w in zip(levels, column, strict=True))
            for column in scene.weights.T
        ]
        for column in sorted(range(PUBLIC), key=lambda j: (-logits[j], j))[:k]:
            counts[label][column] += 1
    return counts


# Counts


@pytest.mark.parametrize("k", [1, 3, PUBLIC])
def test_counts_agree_with_loops(tmp_path, k):
    for seed in range(3):
        scene = Scene(tmp_path / f"{seed}", seed)
        found = scene.counts(k)
        assert found.dtype == np.int64 and found.tolist() == counts_by_loops(scene, k)


@pytest.mark.parametrize("parts", [2, 5])
def test_shards_and_blocks_do_not_matter(scene, parts, monkeypatch):
    whole = scene.counts(3)
    assert np.array_equal(scene.counts(3, parts=parts), whole)
    monkeypatch.setattr(shards, "BLOCK", 7)
    assert np.array_equal(scene.counts(3, parts=parts), whole)


def test_every_image_counts_k_times_in_its_own_row(scene):
    rows = scene.counts(4).sum(axis=1)
    assert rows.tolist() == (4 * np.bincount(scene.labels, minlength=CLASSES)).tolist()


def test_a_class_without_images_and_no_images_at_all_count_nothing(scene):
    assert not scene.counts(2, keep=scene.labels != 1)[1].any()
    assert scene.counts(2, keep=slice(0, 0)).tolist() == [[0] * PUBLIC] * CLASSES


SPECIAL = st.sampled_from([math.nan, math.inf, -math.inf, 0.0, -0.0, 1.0])


@given(
    arrays.arrays(np.float32, (4, 6), elements=st.one_of(SPECIAL, st.floats(-2, 2, width=32))),
    st.integers(1, 6),
)
def test_whatever_the_logits_an_image_names_k_different_classes(logits, k):
    named = most_alike(logits, k)
    assert named.shape == (4, k)
    for row, columns in zip(logits, named.tolist(), strict=True):
        assert len(set(columns)) == k and min(columns) >= 0 and max(columns) < 6
        ranked = sorted(range(6), key=lambda j: (np.isnan(row[j]), -row[j], j))
        # Python's sort does not order NaN: among themselves they stay as they are.
        known = [j for j in ranked if not np.isnan(row[j])]
        assert columns == (known + [j for j in range(6) if np.isnan(row[j])])[:k]


@pytest.mark.parametrize("label", [-1, CLASSES, 10**12])
def test_a_label_outside_the_classes_is_an_error(scene, label):
    scene.labels[5] = label
    with pytest.raises(ValueError, match="labels: found others than 0 to 2"):
        scene.counts(1)


@pytest.mark.parametrize("k", [0, -1, PUBLIC + 1])
def test_k_must_be_possible(scene, k):
    with pytest.raises(ValueError, match=f"k: found {k}; allowed: 1 to 12"):
        scene.counts(k)


def test_logits_of_another_shape_are_an_error(scene):
    scene.weights = scene.weights[:, 1:]
    with pytest.raises(ValueError, match=r"logits: found \[60, 11\]; expected \[60, 12\]"):
        scene.counts(1)


# Privacy


def moved(scene, k):
    """How far each record, taken out, moves the counts: 200 zero-out neighbours."""
    whole = scene.counts(k)
    everyone = np.arange(len(scene.labels))
    return [np.linalg.norm(whole - scene.counts(k, everyone != out)) for out in everyone]


@pytest.mark.parametrize("k", [1, 3, 5])
def test_every_record_moves_the_counts_by_exactly_the_sensitivity(tmp_path, k):
    scene = Scene(tmp_path, n=200)
    _, event = scene.release(1.0, k, "x")
    assert event.sensitivity == math.sqrt(k)
    assert moved(scene, k) == pytest.approx([math.sqrt(k)] * 200, abs=1e-12)


FAULTS = {
    "one class named k times": lambda logits, k: np.repeat(logits.argmax(1)[:, None], k, axis=1),
    "one class too many": lambda logits, k: most_alike(logits, k + 1),
    "all equal to the k-th": lambda logits, k: np.array(
        [np.resize(np.flatnonzero(row >= np.sort(row)[-k]), PUBLIC) for row in logits]
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_planted_faults_move_the_counts_further(tmp_path, monkeypatch, fault):
    monkeypatch.setattr(query, "most_alike", FAULTS[fault])
    assert max(moved(Scene(tmp_path, n=50), 3)) > math.sqrt(3) + 0.1


@pytest.mark.parametrize("k", [1, 5])
def test_noise_and_event_come_together(scene, k):
    noisy, event = scene.release(250.0, k, "x")
    assert event == DiscreteGaussianEvent(250.0 * math.sqrt(k), k) and noisy.dtype == np.int64
    clean = scene.counts(k)
    drawn = noise_of("seeded", "x").discrete_gaussian(clean, 250.0 * math.sqrt(k))
    assert np.array_equal(noisy, drawn)
    assert np.all(noisy != clean), "cells without a count have noise too"


def test_the_noise_has_the_standard_deviation_that_is_charged(scene):
    """χ² at 99.9 % on 10⁵ draws, fixed seed: no false alarms."""
    k, sigma, repeats = 3, 7.0, 2800
    clean, private = scene.counts(k), scene.shards()
    logits = scene.classify(scene.images)
    mechanism, noise = DiscreteGaussianMechanism.of(sigma, k), []
    for i in range(repeats):
        own = noise_of("seeded", "draws", i)
        noisy, _ = release_query(private, lambda _: logits, CLASSES, PUBLIC, mechanism, own)
        noise.append(noisy - clean)
    standard = np.ravel(noise) / (sigma * math.sqrt(k))
    low, high = chi2.ppf([0.0005, 0.9995], standard.size)
    assert standard.size > 100_000 and low < np.sum(standard**2) < high
    # Noise for sensitivity 1, or drawn uniformly as in the published code, is seen.
    assert not low < np.sum((standard / math.sqrt(k)) ** 2) < high
    uniform = np.random.default_rng(0).random(standard.size)
    assert not low < np.sum(uniform**2) < high


# Classifiers


SETTINGS = {
    "kind": "cnn",
    "width": 4,
    "dimension": 6,
    "epochs": 2,
    "batch_size": 32,
    "learning_rate": 0.01,
    "augment": False,
    "seed": 3,
}
IMAGE = {"size": 8, "channels": 1}


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """(path of the weights, the network itself)."""
    rng = np.random.default_rng(0)
    images, labels = rng.integers(0, 256, (64, 8, 8, 1), dtype=np.uint8), rng.integers(5, size=64)
    path = tmp_path_factory.mktemp("classifier") / "encoder.safetensors"
    train_encoder(path, images, labels, 5, SETTINGS)
    training = {name: value for name, value in SETTINGS.items() if name != "kind"}
    return path, train_classifier(images, labels, 5, **training)


def test_the_logits_are_those_of_the_trained_network(trained):
    path, network = trained
    images = np.random.default_rng(1).integers(0, 256, (9, 8, 8, 1), dtype=np.uint8)
    logits = open_classifier(SETTINGS, path, 5, IMAGE)(images)
    assert logits.dtype == np.float32 and np.array_equal(logits, apply(network, images))


@pytest.mark.parametrize(("size", "channels"), [(8, 3), (28, 1), (5, 3)])
def test_images_of_another_shape_are_brought_to_the_public_one(trained, size, channels):
    images = np.random.default_rng(2).integers(0, 256, (6, size, size, channels), dtype=np.uint8)
    classify = open_classifier(SETTINGS, trained[0], 5, IMAGE)
    assert np.array_equal(classify(images), classify(fit(images, 8, 1)))
    assert classify(images[:0]).shape == (0, 5)


def test_a_classifier_of_other_classes_is_refused(trained):
    with pytest.raises(FileProblem, match=f"{trained[0]}: .* 5 outputs; allowed: 62"):
        open_classifier(SETTINGS, trained[0], 62, IMAGE)


@pytest.mark.parametrize("kind", ["pixels", "inception"])
def test_other_kinds_do_not_classify(kind):
    with pytest.raises(EncoderProblem, match=f"found '{kind}'.*; allowed: cnn, torchscript"):
        open_classifier({"kind": kind}, "weights", 5, IMAGE)


class Corners(nn.Module):
    """The means of four quarters of one channel: for TorchScript."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.nn.functional.adaptive_avg_pool2d(x[:, 0], 2).flatten(1)


@pytest.fixture
def script(tmp_path):
    path = tmp_path / "classifier.pt"
    torch.jit.script(Corners()).save(path)
    weights = {"sha256": hashlib.sha256(path.read_bytes()).hexdigest()}
    settings = {"kind": "torchscript", "weights": weights, "batch_size": 4}
    return path, settings | {"size": 8, "channels": 3, "range": [0.0, 1.0]}


def test_the_outputs_of_a_script_are_the_logits(script):
    path, settings = script
    images = np.random.default_rng(3).integers(0, 256, (9, 8, 8, 1), dtype=np.uint8)
    logits = open_classifier(settings, path, 4, {"size": 8, "channels": 3})(images)
    expected = images.reshape(9, 2, 4, 2, 4).mean(axis=(2, 4)).reshape(9, 4) / 255
    assert logits.dtype == np.float32 and np.allclose(logits, expected, atol=1e-5)


@pytest.mark.parametrize("classes", [3, 5])
def test_a_script_of_another_width_is_refused(script, classes):
    path, settings = script
    with pytest.raises(FileProblem, match=f"{path}: .* 4 outputs; allowed: {classes}, one for"):
        open_classifier(settings, path, classes, IMAGE)


# Handwritten digits among printed letters


GLYPHS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
# What a badly written digit is most easily taken for, by eye: written down before any result.
ALIKE = {
    "0": "0OoDQCcGU", "1": "1lIiJjtTf", "2": "2Zz", "3": "3BSs", "4": "4AqyYH", "5": "5Ss",
    "6": "6bGEhk", "7": "7TYfFt", "8": "8BgS", "9": "9gqS",
}  # fmt: skip


def catalogued(catalogue, name, model):
    path = Path(__file__).resolve().parents[2] / "config" / f"{catalogue}.yaml"
    return validate(model, read_yaml(path)[name], str(path)).model_dump()


@pytest.fixture(scope="module")
def glyph_query(tmp_path_factory):
    """(digits as shards, the classifier of `glyph-cnn`), as the catalogue says."""
    folder = tmp_path_factory.mktemp("digits")
    settings = catalogued("encoders", "glyph-cnn", CnnEncoder)
    text = catalogued("generators", "glyph-text", TextGenerator)
    labels = np.repeat(np.arange(len(GLYPHS)), 100)
    glyphs = TextSimulator(list(GLYPHS), text).random(labels, np.random.default_rng(0))
    train_encoder(folder / "encoder", glyphs.images, labels, len(GLYPHS), settings)
    digits, truth = load_digits(return_X_y=True)
    images = np.round(digits * (255 / 16)).astype(np.uint8).reshape(-1, 8, 8, 1)
    write_arrays(folder / "train", {"images": images[:1437], "labels": truth[:1437].astype("i8")})
    classifier = open_classifier(settings, folder / "encoder", len(GLYPHS), IMAGE)
    return Shards(folder / "train"), classifier


def alike(noisy):
    """How many digits choose first what is the digit itself or looks like it."""
    chosen = select_classes(noisy, 1)[:, 0].tolist()
    return sum(GLYPHS[column] in ALIKE[str(digit)] for digit, column in enumerate(chosen))


@pytest.mark.parametrize("k", [1, 3, 5])
def test_digits_pick_what_looks_like_them_far_more_often_than_by_chance(glyph_query, k):
    """Half of them do, without noise or with σ = 10: the classifier is the limit, not the noise.

    At 8×8 it tells the ten digits apart in 4 of 10 handwritten ones. With σ = 50 on 144 images of a
    class, the noise is the limit.
    """
    clean = semantic_histogram(*glyph_query, 10, len(GLYPHS), k)
    found = {0.0: alike(clean)}
    for sigma in (10.0, 50.0):
        rng, scale = np.random.default_rng(0), sigma * math.sqrt(k)
        found[sigma] = np.mean(
            [alike(clean + rng.normal(0, scale, clean.shape)) for _ in range(99)]
        )
    print(f"k={k}: of 10 digits, by σ: {found}")
    by_chance = sum(map(len, ALIKE.values())) / len(GLYPHS)
    assert found[10.0] > 4 * by_chance and found[10.0] > 2 * found[50.0]


@pytest.mark.parametrize("k", [1, 3, 5])
def test_noise_changes_no_clear_choice(glyph_query, k):
    clean = semantic_histogram(*glyph_query, 10, len(GLYPHS), k)
    second, first = np.sort(clean, axis=1)[:, -2:].T
    for sigma, per_class in itertools.product((1.0, 10.0, 50.0), (1, 3)):
        mechanism, noise = DiscreteGaussianMechanism.of(sigma, k), noise_of("seeded", sigma, k)
        noisy, _ = release_query(*glyph_query, 10, len(GLYPHS), mechanism, noise)
        clear = first - second > 5 * sigma * math.sqrt(k)
        assert clear.sum() >= (4 if sigma == 1.0 else 0)
        assert np.array_equal(noisy.argmax(1)[clear], clean.argmax(1)[clear])
        chosen = select_classes(noisy, per_class)
        snr, margin = signal_to_noise(noisy, chosen, k, sigma)
        for digit, picked, its, over in zip("0123456789", chosen, snr, margin, strict=True):
            names = " ".join(f"{GLYPHS[c]} {x:.1f}" for c, x in zip(picked, its, strict=True))
            print(f"k={k} σ={sigma:g} {digit} → {names}; margin of the first {over[0]:.1f}")


@pytest.mark.parametrize("k", [1, 5])
def test_a_real_classifiers_counts_are_as_sensitive_as_is_charged(glyph_query, tmp_path, k):
    """Images' logits differ in the last bits by their company; no vote may."""
    rows = glyph_query[0].take(slice(0, 200))
    write_arrays(tmp_path / "whole", rows)
    whole = semantic_histogram(Shards(tmp_path / "whole"), glyph_query[1], 10, 62, k)
    for out in range(200):
        keep = np.arange(200) != out
        write_arrays(tmp_path / "without", {name: x[keep] for name, x in rows.items()})
        without = semantic_histogram(Shards(tmp_path / "without"), glyph_query[1], 10, 62, k)
        assert np.linalg.norm(whole - without) == pytest.approx(math.sqrt(k))
