"""Integer counts with exact discrete Gaussian noise, and what it costs, exactly.

The discrete Gaussian of scale σ has P(x) ∝ exp(−x² / 2σ²) on the integers (Canonne, Kamath and
Steinke, arXiv 2004.00010). A record that changes k counts by 1 each costs what k releases of one
count cost, so n such changes under one scale are one sum of n independent draws, whose
distribution is a convolution: ε follows by summation, without a privacy loss distribution.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import expit

from workflow_scripts.privacy.events import DiscreteGaussianEvent
from workflow_scripts.privacy.noise import Noise, probabilities
from workflow_scripts.privacy.roots import root

# Outcomes that are summed over at most: 160 MB.
OUTCOMES = 10**7


@dataclass(frozen=True)
class DiscreteGaussianMechanism:
    """Adds discrete Gaussian noise to counts, of which a record changes k by 1 each.

    Attributes
    ----------
    scale : float
        Of the noise on every count; positive.
    counts : int
        k, at least 1.
    """

    scale: float
    counts: int

    def __post_init__(self):
        if not (math.isfinite(self.scale) and self.scale > 0):
            raise ValueError(f"the noise must be a positive number, found {self.scale}")
        if self.counts < 1:
            raise ValueError(f"counts must be at least 1, found {self.counts}")

    @classmethod
    def of(cls, noise_multiplier: float, counts: int = 1) -> "DiscreteGaussianMechanism":
        """The mechanism with noise of scale σ√k, for L2 sensitivity √k."""
        return cls(noise_multiplier * math.sqrt(counts), counts)

    @property
    def event(self) -> DiscreteGaussianEvent:
        """What a release costs."""
        return DiscreteGaussianEvent(self.scale, self.counts)

    def release(self, counts: np.ndarray, noise: Noise) -> tuple[np.ndarray, DiscreteGaussianEvent]:
        """The noisy counts (int64, same shape) and what they cost, together."""
        if counts.dtype != np.int64:
            raise ValueError(f"counts must be int64, found {counts.dtype}")
        return noise.discrete_gaussian(counts, self.scale), self.event


def epsilon_of(
    changes: Mapping[float, int], delta: float, pure: Sequence[float] = ()
) -> float | None:
    """ε at δ of counts that change by 1 under discrete Gaussian noise, by direct summation.

    Parameters
    ----------
    changes : mapping
        Scale of the noise → how many changes of a count by 1, over all releases.
    delta : float
    pure : sequence of float
        ε of further releases that are (ε, 0)-DP, taken for the worst of their kind, randomised
        response (Kairouz, Oh and Viswanath, arXiv 1311.0776).

    Returns
    -------
    float or None
        None if there would be more than `OUTCOMES` outcomes to sum over.
    """
    losses, chances = np.zeros(1), np.ones(1)
    parts = [_losses(scale, times) for scale, times in changes.items()]
    parts += [(np.array([e, -e]), np.array([expit(e), expit(-e)])) for e in pure]
    for own_losses, own_chances in parts:
        if losses.size * own_losses.size > OUTCOMES:
            return None
        losses = np.add.outer(losses, own_losses).ravel()
        chances = np.multiply.outer(chances, own_chances).ravel()

    def excess(epsilon: float) -> float:
        above = losses > epsilon
        return chances[above] @ -np.expm1(epsilon - losses[above]) - delta

    if excess(0.0) <= 0:
        return 0.0
    return root(excess, 0.0, losses.max(), xtol=1e-12)


def _losses(scale: float, times: int) -> tuple[np.ndarray, np.ndarray]:
    """Privacy losses and their probabilities, of `times` changes by 1 under one scale.

    The loss of an outcome x is log P(x) / P(x − 1) = (1 − 2x) / 2σ²: a function of the sum of the
    outcomes alone.
    """
    one = total = probabilities(scale)
    for bit in bin(times)[3:]:
        total = _convolved(total, total)
        if bit == "1":
            total = _convolved(total, one)
    reach = len(total) // 2
    sums = np.arange(-reach, reach + 1)
    return (times - 2 * sums) / (2 * scale**2), total


def _convolved(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """The distribution of a sum; both are symmetric about their middle, and so is it."""
    size = len(one) + len(other) - 1
    padded = 1 << (size - 1).bit_length()
    # By transforms; scipy.signal has them, but takes half a second to import, in every job.
    total = np.fft.irfft(np.fft.rfft(one, padded) * np.fft.rfft(other, padded), padded)
    total = np.maximum(total[:size], 0.0)
    # What lies beyond has a chance of 10⁻²⁰ or is noise of the transform.
    inside = np.flatnonzero(total > 1e-20)
    edge = min(inside[0], len(total) - 1 - inside[-1])
    return total[edge : len(total) - edge]
