"""Diagnostics of noisy votes against simulation and the published table."""

import numpy as np
import pytest
from scipy.integrate import quad
from scipy.stats import norm

from workflow_scripts.evolution.diagnostics import diagnose, effective_number, spurious_mass
from workflow_scripts.evolution.selection import ballots, select_parents


@pytest.mark.parametrize(
    ("candidates", "sigma", "threshold", "mass"),
    [
        # Per class, of the experiments of the papers.
        (5_000, 5 * 2**0.5, 10, 1_256),
        (5_000, 10 * 2**0.5, 20, 2_513),
        (151_218, 2 * 2**0.5, 4, 15_198),
        (100, 2, 2, 17),
        (6_000, 1.064422, 1, 596),
        (30_000, 1.456262, 1, 6_384),
        (30_000, 1.348237, 1, 5_381),
    ],
)
def test_the_published_experiments_have_the_published_spurious_mass(
    candidates, sigma, threshold, mass
):
    # The table's figures are rounded here and cut off there.
    assert spurious_mass(candidates, sigma, threshold) == pytest.approx(mass, abs=0.8)


def test_spurious_mass_is_the_mean_of_clipped_noise():
    mean, _ = quad(lambda x: (x - 3) * norm.pdf(x, scale=2), 3, np.inf)
    assert spurious_mass(10, 2.0, 3.0) == pytest.approx(10 * mean)


def test_equal_weights_count_as_many_and_one_as_one():
    assert effective_number(np.full(7, 0.3)) == pytest.approx(7)
    assert effective_number(np.array([5.0, 0, 0])) == 1


def test_pure_noise_shows_as_such_and_signal_as_signal():
    """Noise alone: surviving mass within 5 standard errors of what is expected; fixed seed."""
    rng = np.random.default_rng(0)
    labels = np.arange(20_000) % 2
    noise = rng.normal(0, 3, len(labels))
    competing = ballots(labels, (10_000, 10_000))

    def of(votes):
        parents = select_parents(votes, competing, 6.0, "sample", rng)
        return diagnose(votes, competing, parents, 6.0, 3.0)

    nothing = of(noise)
    clipped = np.maximum(noise - 6, 0)
    error = 5 * clipped.std() * np.sqrt(len(noise))
    assert nothing["surviving_mass"] == pytest.approx(nothing["spurious_mass"], abs=error)
    assert nothing["threshold_in_sigmas"] == 2 and nothing["candidates"] == len(labels)
    assert nothing["surviving_candidates"] == np.count_nonzero(noise > 6)

    votes = noise.copy()
    votes[:2] += 10_000
    strong = of(votes)
    assert strong["surviving_mass"] > 10 * strong["spurious_mass"]
    assert strong["effective_parents"] < 3 < nothing["effective_parents"]
    assert strong["diversity"] < nothing["diversity"] < 1
