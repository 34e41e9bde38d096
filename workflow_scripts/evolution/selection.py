"""From noisy votes to the parents of the next population.

Post-processing of a release: nothing here costs privacy. Arrays are in the order of the
population; every class is treated on its own.
"""

from collections.abc import Mapping
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


def select_parents(
    votes: np.ndarray,
    labels: np.ndarray,
    threshold: float,
    mode: Literal["sample", "rank"],
    rng: np.random.Generator,
) -> np.ndarray:
    """Rows of the parents, as many per class as there were candidates.

    Parameters
    ----------
    votes : float64 [N]
        Noisy votes.
    labels : int64 [N]
        Classes of the candidates.
    threshold : float
        H, in votes.
    mode : {'sample', 'rank'}
        `sample` draws with replacement in proportion to the clipped votes (algorithm 1 of
        arXiv 2305.15560). `rank` takes the candidates in order of their noisy votes, each
        that passes the threshold once, and starts over until the class is full.
    rng : numpy.random.Generator
        Public randomness.

    Returns
    -------
    int64 [N]
        In order of class, as `labels` sorted.
    """
    parents = []
    for label in np.unique(labels):
        rows = np.flatnonzero(labels == label)
        weights = clip_votes(votes[rows], threshold)
        if mode == "sample":
            chosen = rng.choice(len(rows), size=len(rows), replace=True, p=weights / weights.sum())
        else:
            ranked = np.argsort(-weights, kind="stable")[: np.count_nonzero(weights)]
            chosen = np.resize(ranked, len(rows))
        parents.append(rows[np.sort(chosen)])
    return np.concatenate(parents)
