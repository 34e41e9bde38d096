"""Central images of the sensitive classes, as DP-FETA releases them (arXiv 2504.01395).

Pictures of low resolution that show the middle of each class are enough for a model to learn the
rough shape of things before DP-SGD begins. Each of n rounds draws a Poisson sample of the records
and releases, for every class, a noisy sum over its images in the sample: of the pixels themselves
(`mean`), or of votes for the grey level of each pixel (`mode`).

An image of D = H·W·channels pixels, scaled to [−1, 1], has an L2 norm of at most R = √D, and so
have its votes, one for each pixel. A record is in one class, so R is the L2 sensitivity of a
round's sums over all classes under zero-out. (On [0, 1] it would be as large, for half the
contrast.) The mean is the noisy sum divided by the number of images that a class is expected to
have in a sample, q·N/C, which is public: DPImageBench divides by the actual number, which is
private, and charges the sensitivity as if it were the expected one.
"""

import math
from collections.abc import Iterator, Sequence
from typing import Literal

import numpy as np

from workflow_scripts.privacy.events import SampledGaussianEvent
from workflow_scripts.resizing import fit
from workflow_scripts.shards import Shards

Kind = Literal["mean", "mode"]


def release_central_images(
    private: Shards,
    classes: int,
    *,
    size: int,
    kind: Kind,
    images_per_class: int,
    sampling_probability: float,
    noise_multiplier: float,
    train_size: int,
    sampling_rng: np.random.Generator,
    noise_rng: np.random.Generator,
    levels: int = 8,
) -> tuple[np.ndarray, np.ndarray, SampledGaussianEvent]:
    """Noisy central images and their privacy event: a mechanism.

    Parameters
    ----------
    private : Shards
        `images` uint8 [N, H, W, channels] and `labels` int64 [N].
    classes : int
        C
    size : int
        Height and width of the central images, in pixels: half of the private images' in DP-FETA.
    kind : {'mean', 'mode'}
    images_per_class : int
        n, the number of rounds: each yields an image of every class.
    sampling_probability : float
        q, in (0, 1].
    noise_multiplier : float
        σ: the noise on every coordinate of a sum has the standard deviation σ·R.
    train_size : int
        N, as it is publicly known.
    sampling_rng, noise_rng : numpy.random.Generator
        Both secret: from whoever knows the samples, sampling hides nobody.
    levels : int
        Of grey, evenly spaced from 0 to 255, that a mode can be; at least 2.

    Returns
    -------
    images : uint8 [n·C, size, size, channels]
        Round after round, in each the classes in order.
    labels : int64 [n·C]
    event : SampledGaussianEvent

    Notes
    -----
    Memory: 8·n·C·D bytes for the sums, and for a mode as much for each level; a block of images
    at the size of the release in float64.
    """
    if not 0 < sampling_probability <= 1:
        raise ValueError(f"sampling_probability: found {sampling_probability}; allowed: in (0, 1]")
    samples = np.stack(
        [sampling_rng.random(len(private)) < sampling_probability for _ in range(images_per_class)]
    )
    sums = sampled_sums(private, samples, classes, size=size, kind=kind, levels=levels)
    shape = (size, size, private.files[0]["images"].shape[3])
    sensitivity = sensitivity_of(shape)
    noisy = noisy_sums(sums, noise_multiplier * sensitivity, noise_rng)
    event = SampledGaussianEvent(
        noise_multiplier, sensitivity, sampling_probability, steps=images_per_class
    )
    if kind == "mean":
        grey = mean_levels(noisy[0], sampling_probability * train_size / classes)
    else:
        grey = mode_levels(noisy)
    labels = np.tile(np.arange(classes), images_per_class)
    return grey.reshape(-1, *shape), labels, event


def noisy_sums(sums: np.ndarray, scale: float, rng: np.random.Generator) -> np.ndarray:
    """Sums with Gaussian noise of a standard deviation on every coordinate, in floating point."""
    return sums + rng.normal(0.0, scale, sums.shape)


def sensitivity_of(shape: Sequence[int]) -> float:
    """R = √(H·W·channels), the largest norm of an image in [−1, 1]^D, and that of its D votes."""
    return math.sqrt(math.prod(shape))


def sampled_sums(
    private: Shards, samples: np.ndarray, classes: int, *, size: int, kind: Kind, levels: int = 8
) -> np.ndarray:
    """Clean sums over samples. SENSITIVE: for `release_central_images` alone, never to be stored.

    Parameters
    ----------
    private : Shards
    samples : bool [n, N]
        Which records are in the sample of each round.
    classes, size, kind, levels
        As in `release_central_images`.

    Returns
    -------
    float64 [planes, n, C, D]
        One plane with the sums of pixels in [−1, 1], or one for each level with votes for it.
    """
    sums: list[np.ndarray] = []
    start = 0
    for block in private.blocks(None, "images", "labels"):
        labels = block["labels"]
        if not np.isin(labels, np.arange(classes)).all():
            raise ValueError(f"labels: found others than 0 to {classes - 1}")
        drawn = samples[:, None, start : start + len(labels)]
        start += len(labels)
        member = (drawn & (labels == np.arange(classes)[:, None])).astype(np.float64)
        images = block["images"]
        if images.dtype != np.uint8:
            raise ValueError(f"images: found {images.dtype}; expected uint8, which bounds them")
        planes = _planes(fit(images, size, images.shape[3]), kind, levels)
        # Products of whole numbers: exact in float64, so blocks and their order do not matter.
        parts = [member @ plane for plane in planes]
        sums = [whole + part for whole, part in zip(sums, parts, strict=True)] if sums else parts
    return np.stack(sums) / (255 if kind == "mean" else 1)


def _planes(images: np.ndarray, kind: Kind, levels: int) -> Iterator[np.ndarray]:
    """What of images uint8 [B, H, W, c] is added up: whole numbers, float64 [B, D] each."""
    pixels = images.reshape(len(images), math.prod(images.shape[1:]))
    if kind == "mean":
        yield 2.0 * pixels - 255
        return
    nearest = np.rint(pixels * ((levels - 1) / 255))
    for level in range(levels):
        yield (nearest == level).astype(np.float64)


def mean_levels(noisy: np.ndarray, expected: float) -> np.ndarray:
    """Grey levels uint8 [n, C, D] from noisy sums [n, C, D] of pixels in [−1, 1].

    `expected` is how many images of a class a sample is expected to have. A class of which there
    are fewer comes out nearer to middle grey, one of which there are more with more contrast.
    """
    means = (noisy / expected).clip(-1, 1)
    return np.rint((means + 1) * 127.5).astype(np.uint8)


def mode_levels(noisy: np.ndarray) -> np.ndarray:
    """Grey levels uint8 [n, C, D] with the most of the noisy votes [levels, n, C, D]."""
    return np.rint(noisy.argmax(axis=0) * (255 / (len(noisy) - 1))).astype(np.uint8)


def augmented_copies(
    images: np.ndarray, labels: np.ndarray, copies: int, size: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """The training set of the warm-up: central images enlarged, and turned, scaled and shifted.

    Parameters
    ----------
    images : uint8 [N, H, W, C]
    labels : int64 [N]
    copies : int
        Of each image, every one changed on its own.
    size : int
        Height and width of the result.
    rng : numpy.random.Generator
        Public randomness: the images are released.

    Returns
    -------
    (uint8 [copies·N, size, size, C], int64 [copies·N])
    """
    from workflow_scripts.cnn import as_tensor, augmented
    from workflow_scripts.device import choose_device

    large = as_tensor(fit(images, size, images.shape[3]), choose_device())
    parts = []
    for _ in range(copies):
        levels = augmented(large, rng).add(1).mul(127.5).round().clamp(0, 255)
        parts.append(levels.byte().permute(0, 2, 3, 1).cpu().numpy())
    return np.concatenate(parts), np.tile(labels, copies)
