"""The Gaussian mechanism's exact privacy, in closed form.

A release of L2 sensitivity 1 under noise of standard deviation σ, repeated T times adaptively, is
one Gaussian release with μ = √T / σ (Dong, Roth and Su, arXiv 1905.02383, cor. 3.3), and it is
(ε, δ)-DP exactly for (Balle and Wang, arXiv 1805.06530, eq. 6)

    δ(ε; μ) = Φ(−ε/μ + μ/2) − e^ε Φ(−ε/μ − μ/2).

Everything is evaluated in log space, so that neither a tiny δ nor a large ε overflows.
"""

import math

from scipy.special import log_ndtr

from workflow_scripts.privacy.roots import root


def log_delta_of(epsilon: float, mu: float) -> float:
    """log δ(ε; μ) of a Gaussian release with μ = sensitivity / standard deviation."""
    upper = log_ndtr(-epsilon / mu + mu / 2)
    lower = epsilon + log_ndtr(-epsilon / mu - mu / 2)
    # log(e^upper − e^lower); the difference is positive in exact arithmetic.
    return upper + math.log(max(-math.expm1(lower - upper), 5e-324))


def epsilon_of_mu(mu: float, delta: float) -> float:
    """ε of a Gaussian release with μ = sensitivity / standard deviation, at δ."""
    target = math.log(delta)
    if log_delta_of(0.0, mu) <= target:
        return 0.0
    upper = 1.0
    while log_delta_of(upper, mu) > target:
        upper *= 2
    return root(lambda epsilon: log_delta_of(epsilon, mu) - target, 0.0, upper, xtol=1e-12)


def mu_of(epsilon: float, delta: float) -> float:
    """The largest μ for which a Gaussian release is (ε, δ)-DP.

    Parameters
    ----------
    epsilon : float
        Positive and finite.
    delta : float
        Between 0 and 1, both excluded.
    """
    if not (math.isfinite(epsilon) and epsilon > 0):
        raise ValueError(f"epsilon must be a positive number, found {epsilon}")
    if not 0 < delta < 1:
        raise ValueError(f"delta must be between 0 and 1, found {delta}")
    target = math.log(delta)

    def excess(log_mu: float) -> float:
        return log_delta_of(epsilon, math.exp(log_mu)) - target

    low = high = math.log(epsilon)
    while excess(low) > 0:
        low -= 1
    while excess(high) < 0:
        high += 1
    return math.exp(root(excess, low, high, xtol=1e-14, rtol=1e-14))


def epsilon_of(noise_multiplier: float, iterations: int, delta: float) -> float:
    """ε of `iterations` adaptive Gaussian releases with this noise multiplier, at δ."""
    return epsilon_of_mu(math.sqrt(iterations) / noise_multiplier, delta)


def noise_multiplier_of(epsilon: float, delta: float, iterations: int) -> float:
    """The least σ for which Gaussian releases are (ε, δ)-DP together, by the closed form.

    Parameters
    ----------
    epsilon, delta : float
        As in `mu_of`.
    iterations : int
        How many releases have the noise multiplier σ; at least 1.
    """
    if iterations < 1:
        raise ValueError(f"iterations must be at least 1, found {iterations}")
    return math.sqrt(iterations) / mu_of(epsilon, delta)
