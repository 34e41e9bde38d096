"""The noise itself, and where it comes from."""

import numpy as np
import pytest
from scipy.stats import chi2, kstest

from workflow_scripts.privacy.gaussian import GaussianEvent, GaussianMechanism
from workflow_scripts.privacy.noise import noise_rng

N = 100_000


@pytest.mark.parametrize(("sigma", "sensitivity"), [(1.0, 1.0), (0.5, 1.0), (8.24, 2.0)])
def test_noise_has_the_standard_deviation_that_is_charged(sigma, sensitivity):
    """χ² at 99.9 % and Kolmogorov-Smirnov at 99.9 %, fixed seed: no false alarms."""
    noisy, event = GaussianMechanism(sigma, sensitivity).release(
        np.zeros(N), noise_rng("seeded", "test", sigma)
    )
    assert event == GaussianEvent(sigma, sensitivity)
    standard = noisy / (sigma * sensitivity)
    assert chi2.ppf(0.0005, N) < np.sum(standard**2) < chi2.ppf(0.9995, N)
    assert kstest(standard, "norm").pvalue > 0.001
    # The same test sees noise that is 5 % too small.
    assert not chi2.ppf(0.0005, N) < np.sum((0.95 * standard) ** 2) < chi2.ppf(0.9995, N)


def test_every_coordinate_gets_its_own_noise():
    noisy, _ = GaussianMechanism(1.0).release(np.zeros(1000), noise_rng("os"))
    assert len(np.unique(noisy)) == 1000


@pytest.mark.parametrize("value", [0, -1, np.nan, np.inf])
@pytest.mark.parametrize("name", ["noise_multiplier", "sensitivity"])
def test_a_mechanism_without_noise_cannot_be_made(name, value):
    arguments = {"noise_multiplier": 1.0, "sensitivity": 1.0, name: value}
    with pytest.raises(ValueError, match=name):
        GaussianMechanism(**arguments)


def test_the_operating_systems_noise_is_never_the_same():
    draws = [noise_rng("os", "release", 1).normal(size=50) for _ in range(20)]
    # |correlation| of 50 independent pairs: above 0.7 once in 10⁷.
    assert np.abs(np.corrcoef(draws) - np.eye(20)).max() < 0.7


def test_seeded_noise_is_its_identitys_alone():
    identities = [("run", eps, seed, t) for eps in (1, 10) for seed in (0, 1) for t in (1, 2)]
    draws = np.array([noise_rng("seeded", *i).normal(size=400) for i in identities])
    again = np.array([noise_rng("seeded", *i).normal(size=400) for i in identities])
    assert np.array_equal(draws, again)
    # 5 standard deviations of an empirical correlation; the seeds are fixed.
    assert np.abs(np.corrcoef(draws) - np.eye(len(draws))).max() < 5 / np.sqrt(400)


def test_an_unknown_source_is_refused():
    with pytest.raises(ValueError, match="allowed: os, seeded"):
        noise_rng("urandom")
