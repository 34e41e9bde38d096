"""How much of a noisy histogram is signal: diagnostics from released votes alone.

Post-processing: nothing here sees clean votes, and nothing here costs privacy.
"""

import math
from collections.abc import Sequence

import numpy as np
from scipy.special import ndtr

from workflow_scripts.evolution.selection import clip_votes


def spurious_mass(candidates: int, noise_multiplier: float, threshold: float) -> float:
    """Expected mass that pure noise leaves above the threshold.

    n·σ·(φ(h) − h(1 − Φ(h))) with h = H/σ, the mean of (σZ − H)₊ over n bins without a vote.
    """
    h = threshold / noise_multiplier
    density = math.exp(-(h**2) / 2) / math.sqrt(2 * math.pi)
    return candidates * noise_multiplier * (density - h * ndtr(-h))


def effective_number(weights: np.ndarray) -> float:
    """(Σw)² / Σw²: how many equal weights would spread as these do."""
    return float(weights.sum() ** 2 / (weights**2).sum())


def diagnose(
    votes: np.ndarray,
    competing: Sequence[tuple[np.ndarray, int]],
    parents: np.ndarray,
    threshold: float,
    noise_multiplier: float,
) -> dict[str, float]:
    """Diagnostics of one iteration.

    Parameters
    ----------
    votes : float64 [N]
        Noisy votes, noise of standard deviation σ.
    competing : sequence of (int64 [n], int)
        What `selection.ballots` returns.
    parents : int64 [P]
        Rows that were selected.
    threshold, noise_multiplier : float
        H and σ, in votes.

    Returns
    -------
    dict
        `threshold_in_sigmas` H/σ; `surviving_mass` Σ(ṽ − H)₊ over all bins; `spurious_mass`, what
        noise alone would be expected to leave of it (an upper bound, as bins with votes are not
        noise alone); `surviving_candidates`; `effective_parents`, the effective number of parents
        by their weights, summed over ballots; `diversity`, the share of different rows among the
        parents.
    """
    weights = [clip_votes(votes[rows], threshold) for rows, _ in competing]
    clipped = np.maximum(votes - threshold, 0.0)
    return {
        "threshold_in_sigmas": threshold / noise_multiplier,
        "surviving_mass": float(clipped.sum()),
        "spurious_mass": spurious_mass(len(votes), noise_multiplier, threshold),
        "surviving_candidates": int(np.count_nonzero(clipped)),
        "candidates": len(votes),
        "effective_parents": math.fsum(map(effective_number, weights)),
        "diversity": len(np.unique(parents)) / len(parents),
    }
