"""Audits of the accounting: privacy loss distributions against what knows nothing of them.

That is summation over all outcomes (counts), the closed form (Gaussians without sampling, and about
so for counts), and Opacus's accountant by FFT (arXiv 2106.02848; DP-SGD). Nothing is drawn.
"""

import math
import warnings

from workflow_scripts.audits.counts import CLAIMS, DELTA
from workflow_scripts.audits.findings import Finding
from workflow_scripts.privacy import accountant, closed_form
from workflow_scripts.privacy.events import DiscreteGaussianEvent, SampledGaussianEvent, repeated

# Iterations, and counts that a record changes.
VOTES = ((1, 1), (6, 1), (20, 1), (6, 3))
# σ, q, T.
TRAININGS = ((1.0, 0.01, 1000), (1.0, 0.25, 40), (9.0, 1 / 14, 2100))
# PRV states an upper bound that is as much too high at most, and a PLD one that is about exact.
PRV_ERROR = 1e-3
PRV_EXCESS = 2e-3
# Discrete Gaussian noise of a scale below 1 is a little other than Gaussian noise of this scale.
LATTICE = 0.006


def audit() -> list[Finding]:
    """Calibrated votes, DP-SGD with full batches, and DP-SGD with Poisson samples."""
    findings = []
    for claim in CLAIMS:
        for iterations, counts in VOTES:
            findings += calibrated_votes(claim, iterations, counts)
    findings += full_batches(2.0, 16)
    for training in TRAININGS:
        findings += poisson_samples(*training)
    return findings


def calibrated_votes(claim: float, iterations: int, counts: int) -> list[Finding]:
    """T releases with the noise that `calibrate` finds for them cost what was asked for."""
    release = {"type": DiscreteGaussianEvent.type, "counts": counts}
    sigma, _ = accountant.calibrate(claim, DELTA, iterations, release)
    events = repeated(release, sigma, iterations)
    name = f"accounting, votes T = {iterations}, k = {counts}"
    summed = accountant.exact(events, DELTA)
    composed = accountant.compose(events, DELTA, scale=claim).epsilon
    closed = closed_form.epsilon_of(sigma, iterations, DELTA)
    return [
        _agreement(name, "ε by summation / claimed", summed / claim, 1e-6, claim),
        _agreement(name, "ε by PLD / by summation", composed / summed, 1e-5, claim),
        _agreement(name, "ε by closed form / by PLD", closed / composed, LATTICE, claim),
    ]


def full_batches(sigma: float, steps: int) -> list[Finding]:
    """DP-SGD that takes every record in every step."""
    event = SampledGaussianEvent(sigma, 1.0, 1.0, steps)
    composed = accountant.compose([event], DELTA).epsilon
    closed = closed_form.epsilon_of(sigma, steps, DELTA)
    name = f"accounting, DP-SGD q = 1, T = {steps}"
    return [_agreement(name, "ε by PLD / by closed form", composed / closed, 1e-5, composed)]


def poisson_samples(sigma: float, probability: float, steps: int) -> list[Finding]:
    """DP-SGD, against Opacus."""
    from opacus.accountants import PRVAccountant

    other = PRVAccountant()
    other.history = [(sigma, probability, steps)]
    with warnings.catch_warnings():
        # It computes logarithms where it then does not use them.
        warnings.simplefilter("ignore")
        upper = other.get_epsilon(delta=DELTA, eps_error=PRV_ERROR)
    event = SampledGaussianEvent(sigma, 1.0, probability, steps)
    composed = accountant.compose([event], DELTA).epsilon
    name = f"accounting, DP-SGD q = {probability:.3g}, T = {steps}"
    excess = float(upper) - composed
    return [Finding(name, "ε by PRV − by PLD", excess, PRV_EXCESS, lowest=0.0, claimed=composed)]


def _agreement(name: str, check: str, ratio: float, tolerance: float, claim: float) -> Finding:
    found = ratio if math.isfinite(ratio) else math.nan
    return Finding(name, check, found, 1 + tolerance, 1 - tolerance, claimed=claim)
