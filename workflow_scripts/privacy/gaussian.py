"""The Gaussian mechanism: one object yields both the noise and the event that accounts for it.

The closed form is that of Balle and Wang (arXiv 1805.06530, eq. 6): a release of L2 sensitivity 1
under noise of standard deviation σ, repeated T times adaptively, is one Gaussian release with
μ = √T / σ (Dong, Roth and Su, arXiv 1905.02383, cor. 3.3), and

    δ(ε; μ) = Φ(−ε/μ + μ/2) − e^ε Φ(−ε/μ − μ/2).

Everything is evaluated in log space, so that neither a tiny δ nor a large ε overflows.
"""

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy.optimize import brentq
from scipy.special import log_ndtr


@dataclass(frozen=True)
class GaussianEvent:
    """What one release costs: noise of `noise_multiplier` × `sensitivity` on every coordinate.

    Attributes
    ----------
    noise_multiplier : float
        Standard deviation of the noise divided by the L2 sensitivity.
    sensitivity : float
        L2 distance that one record can move the released vector, under zero-out.
    """

    noise_multiplier: float
    sensitivity: float
    type: Literal["gaussian"] = "gaussian"


@dataclass(frozen=True)
class GaussianMechanism:
    """Adds Gaussian noise to a vector of known L2 sensitivity.

    Parameters
    ----------
    noise_multiplier : float
        σ for sensitivity 1; positive.
    sensitivity : float
        The query's L2 sensitivity; positive.
    """

    noise_multiplier: float
    sensitivity: float = 1.0

    def __post_init__(self):
        for name in ("noise_multiplier", "sensitivity"):
            value = getattr(self, name)
            if not (math.isfinite(value) and value > 0):
                raise ValueError(f"{name} must be a positive number, found {value}")

    def release(
        self, values: np.ndarray, rng: np.random.Generator
    ) -> tuple[np.ndarray, GaussianEvent]:
        """The noisy values (float64, same shape) and what they cost, together.

        The noise is floating point: it does not protect against attacks on the low bits of
        floating-point samplers (Mironov, CCS 2012).
        """
        scale = self.noise_multiplier * self.sensitivity
        noisy = np.asarray(values, dtype=np.float64) + rng.normal(0.0, scale, size=np.shape(values))
        return noisy, GaussianEvent(self.noise_multiplier, self.sensitivity)


def log_delta_of(epsilon: float, mu: float) -> float:
    """log δ(ε; μ) of a Gaussian release with μ = sensitivity / standard deviation."""
    upper = log_ndtr(-epsilon / mu + mu / 2)
    lower = epsilon + log_ndtr(-epsilon / mu - mu / 2)
    # log(e^upper − e^lower); the difference is positive in exact arithmetic.
    return upper + math.log(max(-math.expm1(lower - upper), 5e-324))


def epsilon_of(noise_multiplier: float, iterations: int, delta: float) -> float:
    """ε of `iterations` adaptive Gaussian releases with this noise multiplier, at δ."""
    mu = math.sqrt(iterations) / noise_multiplier
    target = math.log(delta)
    if log_delta_of(0.0, mu) <= target:
        return 0.0
    upper = 1.0
    while log_delta_of(upper, mu) > target:
        upper *= 2
    return brentq(lambda epsilon: log_delta_of(epsilon, mu) - target, 0.0, upper, xtol=1e-12)


def noise_multiplier_of(epsilon: float, delta: float, iterations: int) -> float:
    """The least σ for which `iterations` Gaussian releases are (ε, δ)-DP, by the closed form.

    Parameters
    ----------
    epsilon : float
        Positive and finite.
    delta : float
        Between 0 and 1, both excluded.
    iterations : int
        At least 1.
    """
    if not (math.isfinite(epsilon) and epsilon > 0):
        raise ValueError(f"epsilon must be a positive number, found {epsilon}")
    if not 0 < delta < 1:
        raise ValueError(f"delta must be between 0 and 1, found {delta}")
    if iterations < 1:
        raise ValueError(f"iterations must be at least 1, found {iterations}")
    target = math.log(delta)

    def excess(log_mu: float) -> float:
        return log_delta_of(epsilon, math.exp(log_mu)) - target

    low = high = math.log(epsilon)
    while excess(low) > 0:
        low -= 1
    while excess(high) < 0:
        high += 1
    return math.sqrt(iterations) / math.exp(brentq(excess, low, high, xtol=1e-14, rtol=1e-14))
