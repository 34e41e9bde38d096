"""Central images: sums against loops, the sensitivity that is charged, and pictures that show."""

import itertools
import math

import numpy as np
import pytest
from PIL import Image
from scipy.stats import chi2, kstest
from sklearn.datasets import load_digits

from workflow_scripts import shards
from workflow_scripts.files import write_arrays
from workflow_scripts.privacy.events import SampledGaussianEvent
from workflow_scripts.randomness import rng_of
from workflow_scripts.semantic import central_images
from workflow_scripts.semantic.central_images import (
    augmented_copies,
    mean_levels,
    mode_levels,
    release_central_images,
    sampled_sums,
    sensitivity_of,
)
from workflow_scripts.shards import Shards

CLASSES, KINDS = 3, ["mean", "mode"]


class Scene:
    """Sensitive images, in memory and as shards on disk."""

    def __init__(self, folder, seed=0, n=60, size=6, channels=1):
        rng = np.random.default_rng(seed)
        self.folder, self.written = folder, itertools.count()
        self.images = rng.integers(0, 256, size=(n, size, size, channels), dtype=np.uint8)
        self.labels = rng.integers(CLASSES, size=n)

    def shards(self, keep=slice(None), parts=1):
        images, labels = self.images[keep], self.labels[keep]
        paths = [self.folder / f"{next(self.written)}" for _ in range(parts)]
        for i, path in enumerate(paths):
            rows = slice(i * len(labels) // parts, (i + 1) * len(labels) // parts)
            write_arrays(path, {"images": images[rows], "labels": labels[rows]})
        return Shards(*paths)

    def release(self, kind="mean", keep=slice(None), parts=1, **changes):
        settings = {
            "size": 3,
            "images_per_class": 4,
            "sampling_probability": 0.5,
            "noise_multiplier": 2.0,
            "train_size": 60,
            "sampling_rng": rng_of("sample"),
            "noise_rng": rng_of("noise"),
        }
        return release_central_images(
            self.shards(keep, parts), CLASSES, kind=kind, **settings | changes
        )


@pytest.fixture
def scene(tmp_path):
    return Scene(tmp_path)


def halved(image):
    """One image at half its size, in whole grey levels, by PIL."""
    size = (image.shape[1] // 2, image.shape[0] // 2)
    planes = [
        np.asarray(Image.fromarray(image[..., c]).resize(size, Image.Resampling.BICUBIC))
        for c in range(image.shape[2])
    ]
    return np.stack(planes, axis=-1)


def sums_by_loops(scene, samples, kind, levels):
    dimension = math.prod(halved(scene.images[0]).shape)
    planes = 1 if kind == "mean" else levels
    sums = np.zeros((planes, len(samples), CLASSES, dimension))
    for n, image, label in zip(itertools.count(), scene.images, scene.labels, strict=False):
        for d, level in enumerate(halved(image).ravel().tolist()):
            for t in np.flatnonzero(samples[:, n]):
                if kind == "mean":
                    sums[0, t, label, d] += level / 127.5 - 1
                else:
                    nearest = min(range(levels), key=lambda i: abs(level - 255 * i / (levels - 1)))
                    sums[nearest, t, label, d] += 1
    return sums


# Sums


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(("kind", "levels"), [("mean", 2), ("mode", 2), ("mode", 8), ("mode", 16)])
def test_sums_agree_with_loops(tmp_path, kind, levels, channels):
    scene = Scene(tmp_path, n=25, channels=channels)
    samples = np.random.default_rng(1).random((3, 25)) < 0.6
    found = sampled_sums(scene.shards(), samples, CLASSES, size=3, kind=kind, levels=levels)
    assert np.allclose(found, sums_by_loops(scene, samples, kind, levels), rtol=0, atol=1e-12)


@pytest.mark.parametrize("kind", KINDS)
def test_shards_and_blocks_do_not_matter(scene, kind, monkeypatch):
    images, labels, _ = scene.release(kind)
    monkeypatch.setattr(shards, "BLOCK", 7)
    for parts in (1, 2, 5):
        others = scene.release(kind, parts=parts)
        assert np.array_equal(images, others[0]) and np.array_equal(labels, others[1])


@pytest.mark.parametrize("label", [-1, CLASSES])
def test_a_label_outside_the_classes_is_an_error(scene, label):
    scene.labels[5] = label
    with pytest.raises(ValueError, match="labels: found others than 0 to 2"):
        scene.release()


def test_images_whose_norm_is_not_bounded_are_an_error(scene):
    scene.images = scene.images.astype(np.float32)
    with pytest.raises(ValueError, match="images: found float32; expected uint8"):
        scene.release()


@pytest.mark.parametrize("q", [0.0, -0.1, 1.1, math.nan])
def test_a_sampling_probability_is_one(scene, q):
    with pytest.raises(ValueError, match="sampling_probability: found"):
        scene.release(sampling_probability=q)


# Privacy


def moved(scene, kind, levels=8):
    """How far each record, taken out of a sample of all, moves the sums."""
    private, n = scene.shards(), len(scene.labels)
    samples = np.ones((n + 1, n), dtype=bool)
    samples[np.arange(n), np.arange(n)] = False
    sums = sampled_sums(private, samples, CLASSES, size=3, kind=kind, levels=levels)
    return np.linalg.norm((sums[:, -1:] - sums[:, :-1]).swapaxes(0, 1).reshape(n, -1), axis=1)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("kind", KINDS)
def test_no_record_moves_the_sums_by_more_than_the_sensitivity(tmp_path, kind, channels):
    """200 zero-out neighbours, the most extreme images among them."""
    scene = Scene(tmp_path, n=200, channels=channels)
    scene.images[0], scene.images[1] = 0, 255
    bound = sensitivity_of((3, 3, channels))
    assert bound == pytest.approx(3 * math.sqrt(channels))
    distances = moved(scene, kind)
    assert distances.max() == pytest.approx(bound) and np.all(distances <= bound + 1e-9)
    if kind == "mode":  # every record has all of its votes
        assert distances == pytest.approx([bound] * 200)


def test_taking_a_record_off_the_disk_is_the_same_as_out_of_the_sample(scene):
    samples = np.ones((1, 60), dtype=bool)
    for kind, out in itertools.product(KINDS, (0, 17, 59)):
        keep = np.arange(60) != out
        without = sampled_sums(scene.shards(keep), samples[:, :59], CLASSES, size=3, kind=kind)
        whole = sampled_sums(scene.shards(), samples & keep, CLASSES, size=3, kind=kind)
        assert np.array_equal(without, whole)


FAULTS = {
    "pixels to 2": lambda images, kind, levels: iter([images.reshape(len(images), -1) * 2.0]),
    "votes for two levels": lambda images, kind, levels: iter(
        [np.ones((len(images), images[0].size))] * 2
    ),
}


@pytest.mark.parametrize(("fault", "kind"), list(zip(FAULTS, KINDS, strict=True)))
def test_planted_faults_move_the_sums_further(tmp_path, monkeypatch, fault, kind):
    monkeypatch.setattr(central_images, "_planes", FAULTS[fault])
    scene = Scene(tmp_path, n=20)
    scene.images[0] = 255
    assert moved(scene, kind).max() > 1.2 * sensitivity_of((3, 3, 1))


@pytest.mark.parametrize("kind", KINDS)
def test_event_and_shapes(scene, kind):
    images, labels, event = scene.release(kind, sampling_probability=0.25)
    assert event == SampledGaussianEvent(2.0, 3.0, sampling_probability=0.25, steps=4)
    assert images.dtype == np.uint8 and images.shape == (12, 3, 3, 1)
    assert labels.dtype == np.int64 and labels.tolist() == [0, 1, 2] * 4


@pytest.fixture
def recorded(monkeypatch):
    """The clean sums that come in, and the noisy ones that go out."""
    seen, add = [], central_images.noisy_sums

    def record(sums, scale, rng):
        noisy = add(sums, scale, rng)
        seen.append((np.array(sums), noisy))
        return noisy

    monkeypatch.setattr(central_images, "noisy_sums", record)
    return seen


@pytest.mark.parametrize("kind", KINDS)
def test_the_noise_on_every_sum_is_what_is_charged(tmp_path, recorded, kind):
    """χ² and Kolmogorov-Smirnov at 99.9 % on 10⁵ draws, fixed seed: no false alarms."""
    scene = Scene(tmp_path)
    images, _, event = scene.release(kind, images_per_class=4000 if kind == "mean" else 500)
    ((clean, noisy),) = recorded
    standard = np.ravel(noisy - clean) / (event.noise_multiplier * event.sensitivity)
    low, high = chi2.ppf([0.0005, 0.9995], standard.size)
    assert standard.size > 100_000 and low < np.sum(standard**2) < high
    assert kstest(standard, "norm").pvalue > 0.001
    assert not low < np.sum((standard * 0.95) ** 2) < high
    # Nothing else than the noisy sums is in the pictures.
    after = mean_levels(noisy[0], 0.5 * 60 / 3) if kind == "mean" else mode_levels(noisy)
    assert np.array_equal(images.ravel(), after.ravel())


def test_every_record_is_sampled_on_its_own(tmp_path, recorded):
    """All images black: a sum says how many of a class were in the sample."""
    scene, rounds, q = Scene(tmp_path, n=200), 2000, 0.3
    scene.images[:] = 0
    scene.release(images_per_class=rounds, sampling_probability=q)
    ((clean, _),) = recorded
    drawn, sizes = -clean[0, :, :, 0], np.bincount(scene.labels, minlength=CLASSES)
    # Binomial: mean nq, variance nq(1−q); five standard errors, fixed seed.
    error = np.sqrt(sizes * q * (1 - q) / rounds)
    assert np.all(np.abs(drawn.mean(0) - sizes * q) < 5 * error)
    spread = drawn.var(0, ddof=1) / (sizes * q * (1 - q))
    assert np.all(np.abs(spread - 1) < 5 * math.sqrt(2 / rounds))
    # A shuffle would draw equally many in all rounds: the classes would be anticorrelated.
    assert np.abs(np.corrcoef(drawn.T) - np.eye(CLASSES)).max() < 5 / math.sqrt(rounds)


def test_samples_and_noise_have_streams_of_their_own(scene):
    first, *_ = scene.release()
    assert np.array_equal(scene.release()[0], first)
    for name in ("sampling_rng", "noise_rng"):
        assert not np.array_equal(scene.release(**{name: rng_of("other")})[0], first)


# Pictures


def test_the_divisor_does_not_depend_on_how_many_images_a_class_has(tmp_path):
    """A class with twice the images has twice the contrast: nothing private divides it."""
    scene = Scene(tmp_path)
    scene.labels = np.repeat([0, 1, 2], [10, 20, 30])
    scene.images[:] = 160
    settings = {"sampling_probability": 1.0, "noise_multiplier": 1e-9, "images_per_class": 1}
    images, *_ = scene.release(**settings)
    for image, count in zip(images, (10, 20, 30), strict=True):
        grey = 127.5 + (160 - 127.5) * count / 20
        assert image.ravel().tolist() == [round(grey)] * 9
    # What is publicly said of the size is what counts.
    images, *_ = scene.release(**settings, train_size=120)
    assert images[1].ravel().tolist() == [round(127.5 + (160 - 127.5) / 2)] * 9


@pytest.mark.parametrize("kind", KINDS)
def test_an_empty_class_is_a_picture_of_noise(scene, kind, recwarn):
    images, labels, event = scene.release(kind, keep=scene.labels != 1)
    nothing, *_ = scene.release(kind, keep=slice(0, 0))
    assert not recwarn.list and event == scene.release(kind)[2]
    assert len(np.unique(images[labels == 1])) > 1
    assert np.array_equal(images[labels == 1], nothing[labels == 1])


def test_levels_are_clipped_and_cover_the_whole_range():
    sums = np.array([[[-9.0, -2.0, 0.0, 1.0, 2.0, 9.0]]])
    assert mean_levels(sums, 2.0).tolist() == [[[0, 0, 128, 191, 255, 255]]]
    votes = np.eye(4)[:, None, None, :]
    assert mode_levels(votes).tolist() == [[[0, 85, 170, 255]]]


@pytest.fixture
def digits(tmp_path):
    images, labels = load_digits(return_X_y=True)
    images = np.round(images * (255 / 16)).astype(np.uint8).reshape(-1, 8, 8, 1)
    write_arrays(tmp_path / "digits", {"images": images, "labels": labels.astype(np.int64)})
    return Shards(tmp_path / "digits"), images, labels


@pytest.mark.parametrize("kind", KINDS)
def test_without_much_noise_digits_are_nearest_to_their_own_mean(digits, kind):
    private, images, truth = digits
    central, labels, _ = release_central_images(
        private,
        10,
        size=4,
        kind=kind,
        images_per_class=1,
        sampling_probability=0.5,
        noise_multiplier=0.5,
        train_size=len(truth),
        sampling_rng=rng_of("sample"),
        noise_rng=rng_of("noise"),
    )
    small = np.stack([halved(image) for image in images]).reshape(-1, 1, 16).astype(float)
    nearest = ((small - central.reshape(10, 16)) ** 2).sum(2).argmin(1)
    accuracy = np.mean(labels[nearest] == truth)
    print(f"{kind}: nearest central image is of the right class for {accuracy:.2f}")
    assert accuracy > 0.5


# The training set of the warm-up


def test_copies_are_large_and_different_and_labelled():
    images = np.random.default_rng(0).integers(0, 256, (3, 4, 4, 1), dtype=np.uint8)
    labels = np.array([2, 0, 1])
    copies, theirs = augmented_copies(images, labels, 5, 8, rng_of("copies"))
    assert copies.dtype == np.uint8 and copies.shape == (15, 8, 8, 1)
    assert theirs.dtype == np.int64 and theirs.tolist() == [2, 0, 1] * 5
    assert len(np.unique(copies.reshape(15, -1), axis=0)) == 15
    again, _ = augmented_copies(images, labels, 5, 8, rng_of("copies"))
    other, _ = augmented_copies(images, labels, 5, 8, rng_of("other"))
    assert np.array_equal(copies, again) and not np.array_equal(copies, other)


@pytest.mark.parametrize("channels", [1, 3])
def test_copies_show_what_they_are_copies_of(channels):
    """A plain picture stays plain; a bright corner stays where it is, more or less."""
    plain = np.full((1, 4, 4, channels), 200, np.uint8)
    copies, _ = augmented_copies(plain, np.zeros(1, np.int64), 9, 8, rng_of("copies"))
    assert np.all(copies == 200)
    corner = np.zeros((1, 8, 8, channels), np.uint8)
    corner[:, :4, :4] = 255
    copies, _ = augmented_copies(corner, np.zeros(1, np.int64), 50, 16, rng_of("copies"))
    assert copies[:, 3:5, 3:5].mean() > 240 and copies[:, 11:, 11:].mean() < 15
