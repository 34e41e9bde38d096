"""From noisy votes to the parents of the next population.

Post-processing of a release: nothing here costs privacy. Arrays are in the order of the
population; every class is treated on its own, unless the histogram is joint.
"""

from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np

from workflow_scripts.problems import Problem

# Grey levels by which an image, made again, may differ in the mean: rounding on a GPU.
ROUNDING = 1.0


class OtherCandidates(Problem):
    """Votes that were cast on other images than those that are to be selected from."""


def check_candidates(voted_on: np.ndarray, found: np.ndarray) -> None:
    """Refuse candidates that are not those of the votes, by the brightness of each."""
    if len(voted_on) != len(found):
        raise OtherCandidates(f"found {len(found)} candidates; the votes are on {len(voted_on)}")
    (other,) = np.nonzero(np.abs(voted_on - found) > ROUNDING)
    if len(other):
        i = other[0]
        raise OtherCandidates(
            f"{len(other)} of {len(found)} candidates are not those that were voted on; the first "
            f"is number {i}: found a mean grey value of {found[i]:.1f}, expected "
            f"{voted_on[i]:.1f}. Votes are released once: put the old population back, or give the "
            "method another seed"
        )


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
