"""From noisy votes to the parents of the next population.

Post-processing of a release: nothing here costs privacy. Arrays are in the order of the
population; every class is treated on its own, unless the histogram is joint.
"""

from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np


def threshold_in_votes(threshold: float | Mapping, noise_multiplier: float) -> float:
    """H in votes: as given, or `{sigmas: x}`, a multiple of the noise's standard deviation."""
    if isinstance(threshold, Mapping):
        return threshold["sigmas"] * noise_multiplier
    return float(threshold)


def clip_votes(votes: np.ndarray, threshold: float) -> np.ndarray:
    """(ṽ − H)₊ for one class, with a rule for the class in which nothing passes.

    If no bin exceeds H, the threshold falls back to 0; if no bin is positive either, every
    candidate gets the same weight.

    Parameters
    ----------
    votes : float64 [N]
        Noisy votes.
    threshold : float
        H, in votes.

    Returns
    -------
    float64 [N]
        Non-negative, with a positive sum.
    """
    for level in (threshold, 0.0):
        clipped = np.maximum(votes - level, 0.0)
        if clipped.sum() > 0:
            return clipped
    return np.ones_like(votes)


def ballots(labels: np.ndarray, sizes: Sequence[int] | int) -> list[tuple[np.ndarray, int]]:
    """Which candidates compete, and for how many places.

    Parameters
    ----------
    labels : int64 [N]
        Classes of the candidates.
    sizes : sequence of int, or int
        Places for each class, or for all candidates of a joint histogram.
    """
    if isinstance(sizes, int):
        return [(np.arange(len(labels)), sizes)]
    return [(np.flatnonzero(labels == label), size) for label, size in enumerate(sizes)]


def select_parents(
    votes: np.ndarray,
    competing: Sequence[tuple[np.ndarray, int]],
    threshold: float,
    mode: Literal["sample", "rank"],
    rng: np.random.Generator,
) -> np.ndarray:
    """Rows of the parents.

    Parameters
    ----------
    votes : float64 [N]
        Noisy votes.
    competing : sequence of (int64 [n], int)
        What `ballots` returns.
    threshold : float
        H, in votes.
    mode : {'sample', 'rank'}
        `sample` draws with replacement in proportion to the clipped votes (algorithm 1 of
        arXiv 2305.15560). `rank` takes the candidates in order of their noisy votes, each
        that passes the threshold once, and starts over until all places are taken.
    rng : numpy.random.Generator
        Public randomness.

    Returns
    -------
    int64 [sum of places]
        Ballot after ballot, in order of rows within each.
    """
    parents = []
    for rows, places in competing:
        weights = clip_votes(votes[rows], threshold)
        if mode == "sample":
            chosen = rng.choice(len(rows), size=places, replace=True, p=weights / weights.sum())
        else:
            ranked = np.argsort(-weights, kind="stable")[: np.count_nonzero(weights)]
            chosen = np.resize(ranked, places)
        parents.append(rows[np.sort(chosen)])
    return np.concatenate(parents)
