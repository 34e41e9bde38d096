"""The tests of the audits: scale, independence, and a lower bound of ε.

Each raises a false alarm with probability `findings.FALSE_ALARM`, if the numbers are many enough
for the central limit theorem: thousands, here.
"""

import numpy as np
from scipy import stats
from scipy.special import ndtri

from workflow_scripts.audits.findings import FALSE_ALARM, Finding
from workflow_scripts.privacy.closed_form import epsilon_of_mu

# How many cut-offs of the scores are tried, on canaries of which is known who is in.
THRESHOLDS = 50


def noise_scale(mechanism: str, noise: np.ndarray, fourth: float = 3.0) -> Finding:
    """The standard deviation of noise that ought to have mean 0 and variance 1.

    For normal noise this is the χ² test.

    Parameters
    ----------
    noise : float [n]
    fourth : float
        The fourth moment that the noise ought to have.
    """
    width = -ndtri(FALSE_ALARM / 2) * np.sqrt((fourth - 1) / noise.size)
    return Finding(
        mechanism,
        "noise: standard deviation / claimed",
        found=float(np.sqrt(np.mean(noise**2))),
        lowest=float(np.sqrt(max(0.0, 1 - width))),
        highest=float(np.sqrt(1 + width)),
        false_alarm=FALSE_ALARM,
    )


def shared_noise(mechanism: str, draws: np.ndarray) -> list[Finding]:
    """Whether any two draws of noise float [R, n] are the same, but for a factor, or correlated."""
    pairs = len(draws) * (len(draws) - 1) // 2
    deviations = draws - draws.mean(axis=1, keepdims=True)
    norms = np.linalg.norm(deviations, axis=1, keepdims=True)
    # No noise is the same as no noise: a correlation of 1.
    none = np.full_like(deviations, draws.shape[1] ** -0.5)
    deviations = np.divide(deviations, norms, where=norms > 0, out=none)
    correlations = np.abs(deviations @ deviations.T)[np.triu_indices(len(draws), 1)]
    return [
        Finding(
            mechanism, "noise: pairs of draws that are one", int(np.sum(correlations > 1 - 1e-6)), 0
        ),
        Finding(
            mechanism,
            "noise: largest correlation of two draws",
            found=float(correlations.max()),
            highest=float(-ndtri(FALSE_ALARM / 2 / pairs) / np.sqrt(draws.shape[1])),
            false_alarm=FALSE_ALARM,
        ),
    ]


def two_worlds(
    mechanism: str, scores: np.ndarray, included: np.ndarray, claimed: float, delta: float
) -> Finding:
    """A lower bound of ε at δ, from guesses who is in the data.

    Parameters
    ----------
    scores : float [M]
        Of each canary: the larger, the more likely it is in. Independent of each other.
    included : bool [M]
        Which of them were in, each by a fair coin.
    claimed : float
        ε.
    """
    half = len(scores) // 2
    thresholds = np.quantile(scores[:half], np.linspace(0.005, 0.995, THRESHOLDS))
    best = np.argmax(_mu(scores[:half], included[:half], thresholds))
    (mu,) = _mu(scores[half:], included[half:], thresholds[[best]])
    return Finding(
        mechanism,
        f"two worlds: lower bound of ε at δ = {delta:g}",
        found=epsilon_of_mu(float(mu), delta) if mu > 0 else 0.0,
        highest=claimed,
        claimed=claimed,
        false_alarm=FALSE_ALARM,
    )


def _mu(scores: np.ndarray, included: np.ndarray, thresholds: np.ndarray) -> np.ndarray:
    """Lower bounds of μ of a Gaussian mechanism, by Clopper and Pearson on both kinds of error.

    Of a Gaussian mechanism, no test has errors a and b with Φ⁻¹(1 − a) − Φ⁻¹(b) > μ (Dong, Roth
    and Su, arXiv 1905.02383). Lattice noise that is added up over releases is as good as normal.
    """
    outside, inside = np.sort(scores[~included]), np.sort(scores[included])
    wrongly_in = len(outside) - np.searchsorted(outside, thresholds)
    wrongly_out = np.searchsorted(inside, thresholds)
    return -ndtri(_at_most(wrongly_in, len(outside))) - ndtri(_at_most(wrongly_out, len(inside)))


def _at_most(errors: np.ndarray, trials: int) -> np.ndarray:
    """Upper ends of one-sided intervals of probabilities, with half of the false alarm each."""
    # Where all are errors there is nothing to be said, and the function has no number.
    upper = stats.beta.ppf(1 - FALSE_ALARM / 2, errors + 1, np.maximum(trials - errors, 1))
    return np.where(errors < trials, upper, 1.0)


def dispersion(mechanism: str, check: str, deviations: np.ndarray) -> Finding:
    """The mean square of about normal numbers float [n] with mean 0 and variance 1, by χ²."""
    n = deviations.size
    low, high = stats.chi2.ppf([FALSE_ALARM / 2, 1 - FALSE_ALARM / 2], n) / n
    mean = float(np.mean(deviations**2))
    return Finding(mechanism, check, mean, float(high), float(low), false_alarm=FALSE_ALARM)
