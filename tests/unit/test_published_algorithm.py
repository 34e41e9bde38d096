"""One iteration against the reference library's algorithm, written down independently in NumPy.

As described in §1 of its documentation and of arXiv 2305.15560: mean lookahead embeddings,
per-class k nearest votes of weight 1/√k, noise on every bin, (· − H)₊, sampling in proportion.
"""

import math

import numpy as np
import pytest

from workflow_scripts.evolution.blocks import blocks_of, look_ahead
from workflow_scripts.evolution.selection import ballots, clip_votes, select_parents
from workflow_scripts.evolution.votes import release_votes
from workflow_scripts.files import write_arrays, write_rows
from workflow_scripts.generators.population import (
    Population,
    StoredPopulation,
    save_population,
)
from workflow_scripts.privacy.discrete_gaussian import DiscreteGaussianMechanism
from workflow_scripts.privacy.noise import noise_of
from workflow_scripts.shards import Shards

CLASSES, N, M, L, SIGMA, H = 3, 60, 200, 4, 1.5, 1.0
IMAGE = {"size": 4, "channels": 1}


class Jitter:
    """VARIATION adds noise to the pixels, from the given generator."""

    def vary(self, population, degree, rng):
        noise = rng.integers(-20, 21, population.images.shape)
        images = np.clip(population.images.astype(int) + noise, 0, 255).astype(np.uint8)
        return Population(images, population.labels)


def embed(images):
    return images.reshape(len(images), 16).astype(np.float32)


class Recorder(Jitter):
    """Keeps every variation, so that the oracle embeds the very same images."""

    def __init__(self):
        self.varied = []

    def vary(self, population, degree, rng):
        made = super().vary(population, degree, rng)
        self.varied.append(made.images)
        return made


def reference(varied, labels, private, private_labels, k, noise):
    """(noisy votes, thresholded histogram), by loops over images."""
    v = [
        np.mean([variation[j].reshape(16).astype(np.float64) for variation in varied], axis=0)
        for j in range(len(labels))
    ]
    votes = np.zeros(len(labels))
    for x, y in zip(private, private_labels, strict=True):
        own = [j for j in range(len(labels)) if labels[j] == y]
        own.sort(key=lambda j: float(np.linalg.norm(x - v[j])))
        for j in own[:k]:
            votes[j] += 1 / math.sqrt(k)
    noisy = votes + noise
    return noisy, np.maximum(noisy, H) - H


@pytest.mark.parametrize("k", [1, 3])
def test_votes_threshold_and_selection_are_the_reference_s(tmp_path, k):
    rng = np.random.default_rng(k)
    labels = np.repeat(np.arange(CLASSES), N // CLASSES)
    images = rng.integers(0, 256, (N, 4, 4, 1), dtype=np.uint8)
    private = rng.integers(0, 256, (M, 16)).astype(np.float32)
    private_labels = rng.integers(0, CLASSES, M)

    save_population(tmp_path / "population", [Population(images, labels)], N)
    generator = Recorder()
    ahead = look_ahead(
        generator,
        embed,
        StoredPopulation(tmp_path / "population"),
        1,
        {},
        L,
        IMAGE,
        blocks_of(N, N, "1-of-1"),
        ["x"],
    )
    write_rows(tmp_path / "ahead", ahead, N)
    write_arrays(tmp_path / "private", {"embeddings": private, "labels": private_labels})
    shards = Shards(tmp_path / "private"), Shards(tmp_path / "ahead")
    mechanism = DiscreteGaussianMechanism.of(SIGMA, k)
    counts, event = release_votes(*shards, mechanism, noise_of("seeded", "published"))
    noisy = counts / math.sqrt(k)
    assert len(generator.varied) == L

    # The same draws, in the units of the reference: noise of scale σ on votes of 1/√k.
    zeros = np.zeros(N, dtype=np.int64)
    drawn = noise_of("seeded", "published").discrete_gaussian(zeros, SIGMA * math.sqrt(k))
    noise = drawn / math.sqrt(k)
    expected, histogram = reference(
        generator.varied, labels, private.astype(np.float64), private_labels, k, noise
    )
    assert np.allclose(noisy, expected, rtol=0, atol=1e-12)
    assert event.noise_multiplier == pytest.approx(SIGMA) and event.sensitivity == pytest.approx(
        math.sqrt(k)
    )

    for label in range(CLASSES):
        own = labels == label
        assert np.allclose(clip_votes(noisy[own], H), histogram[own], rtol=0, atol=1e-12)
    # The very same draws of parents: multinomial with the reference's probabilities.
    parents = select_parents(
        noisy, ballots(labels, [N // CLASSES] * CLASSES), H, "sample", np.random.default_rng(5)
    )
    draws, chosen = np.random.default_rng(5), []
    for label in range(CLASSES):
        own = np.flatnonzero(labels == label)
        p = histogram[own] / histogram[own].sum()
        chosen += sorted(draws.choice(own, len(own), replace=True, p=p).tolist())
    assert parents.tolist() == chosen
