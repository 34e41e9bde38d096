"""The noise itself, and where it comes from."""

import numpy as np
import pytest
from scipy.stats import chi2, chisquare

from workflow_scripts.privacy.discrete_gaussian import DiscreteGaussianMechanism
from workflow_scripts.privacy.events import DiscreteGaussianEvent
from workflow_scripts.privacy.noise import NoiseKey, SystemNoise, noise_of

N = 100_000


def pmf(scale, reach):
    """P(x) ∝ exp(−x² / 2σ²), summed in plain Python."""
    weights = [np.exp(-(x**2) / (2 * scale**2)) for x in range(-reach, reach + 1)]
    return np.array(weights) / sum(weights)


def fits(drawn, scale):
    """χ² of the outcomes against the exact probabilities; rare ones are put together."""
    reach = int(3 * scale) + 1
    expected = pmf(scale, 12 * reach)[11 * reach : 13 * reach + 1] * len(drawn)
    found = np.array([np.sum(drawn == x) for x in range(-reach, reach + 1)], dtype=float)
    expected = np.append(expected, len(drawn) - expected.sum())
    found = np.append(found, len(drawn) - found.sum())
    return chisquare(found, expected).pvalue


@pytest.mark.parametrize("scale", [0.5, 1.0, 8.24])
def test_seeded_noise_has_the_distribution_that_is_charged(scale):
    """χ² at 99.9 %, fixed seed: no false alarms; it sees a scale that is 5 % too small."""
    zeros = np.zeros(N, dtype=np.int64)
    drawn, event = DiscreteGaussianMechanism(scale, 1).release(zeros, noise_of("seeded", scale))
    assert event == DiscreteGaussianEvent(scale, 1)
    assert drawn.dtype == np.int64 and fits(drawn, scale) > 0.001
    smaller = noise_of("seeded", scale).discrete_gaussian(zeros, 0.95 * scale)
    assert fits(smaller, scale) < 1e-6


@pytest.mark.parametrize("scale", [0.5, 8.24])
def test_the_systems_noise_has_the_same_distribution(scale):
    """20,000 draws of OpenDP's sampler. Not seeded: a false alarm once in 10⁶."""
    drawn = SystemNoise().discrete_gaussian(np.zeros(20_000, dtype=np.int64), scale)
    assert drawn.dtype == np.int64 and fits(drawn, scale) > 1e-6


def test_counts_keep_their_shape_and_get_their_own_noise():
    counts = np.arange(2000, dtype=np.int64).reshape(20, 100) * 10**6
    for source in ("os", "seeded"):
        noisy = noise_of(source, "x").discrete_gaussian(counts, 40.0)
        noise = noisy - counts
        assert noisy.shape == counts.shape and np.abs(noise).max() < 400
        # Independent across rows (classes): 5 standard deviations of a correlation; once in 10⁴.
        correlations = np.corrcoef(noise) - np.eye(20)
        assert np.abs(correlations).max() < 5.5 / np.sqrt(100)
        assert chi2.ppf(1e-6, 2000) < np.sum(noise**2) / 40.0**2 < chi2.ppf(1 - 1e-6, 2000)


@pytest.mark.parametrize("value", [0, -1, np.nan, np.inf])
def test_a_mechanism_without_noise_cannot_be_made(value):
    with pytest.raises(ValueError, match="positive"):
        DiscreteGaussianMechanism(value, 1)
    with pytest.raises(ValueError, match="at least 1"):
        DiscreteGaussianMechanism(1.0, 0)


def test_only_whole_numbers_are_noised():
    with pytest.raises(ValueError, match="int64, found float64"):
        DiscreteGaussianMechanism.of(1.0).release(np.zeros(3), noise_of("os"))


def test_the_operating_systems_noise_is_never_the_same():
    zeros = np.zeros(50, dtype=np.int64)
    draws = [noise_of("os", "release", 1).discrete_gaussian(zeros, 9.0) for _ in range(20)]
    # |correlation| of 50 independent pairs: above 0.7 once in 10⁷.
    assert np.abs(np.corrcoef(draws) - np.eye(20)).max() < 0.7


def test_seeded_noise_is_its_identitys_alone():
    """Independent between ε, seeds and iterations: 5 standard deviations, fixed seeds."""
    identities = [("run", eps, seed, t) for eps in (1, 10) for seed in (0, 1) for t in (1, 2)]

    def draws():
        zeros = np.zeros(400, dtype=np.int64)
        return np.array([noise_of("seeded", *i).discrete_gaussian(zeros, 9.0) for i in identities])

    drawn = draws()
    assert np.array_equal(drawn, draws())
    assert np.abs(np.corrcoef(drawn) - np.eye(len(drawn))).max() < 5 / np.sqrt(400)


def test_an_unknown_source_is_refused():
    for draw in (noise_of, NoiseKey.draw):
        with pytest.raises(ValueError, match="allowed: os, seeded"):
            draw("urandom")


def permute_and_flip(scores, scale):
    """Exact chances of the index that permute-and-flip returns, by its recursion over subsets."""

    def chances(left):
        best = max(scores)
        total = np.zeros(len(scores))
        for i in left:
            accepted = np.exp((scores[i] - best) / scale) / len(left)
            total[i] += accepted
            if accepted < 1 / len(left):
                total += (1 / len(left) - accepted) * chances(left - {i})
        return total

    return chances(frozenset(range(len(scores))))


@pytest.mark.parametrize("source", ["os", "seeded"])
def test_the_noisy_maximum_is_permute_and_flip(source):
    """χ² against the exact chances; seeded at 99.9 %, the system's with a false alarm in 10⁶."""
    scores, scale, n = np.array([10, 12, 0, 11]), 3.0, 2000
    noise = noise_of(source, "largest")
    found = np.bincount([noise.largest(scores, scale) for _ in range(n)], minlength=4)
    assert chisquare(found, permute_and_flip(scores, scale) * n).pvalue > {
        "os": 1e-6,
        "seeded": 0.001,
    }.get(source)


def test_opendp_states_the_same_privacy_for_what_is_drawn():
    """Its own maps: ρ = Δ²/2σ² for the discrete Gaussian, ε = Δ/scale for monotone scores."""
    from opendp.domains import atom_domain, vector_domain
    from opendp.measurements import make_gaussian, make_noisy_max
    from opendp.measures import max_divergence
    from opendp.metrics import l2_distance, linf_distance
    from opendp.mod import enable_features

    enable_features("contrib")
    counts = vector_domain(atom_domain(T="i64"))
    gaussian = make_gaussian(counts, l2_distance(T="f64"), 7.0)
    assert gaussian.map(np.sqrt(3)) == pytest.approx(3 / (2 * 7.0**2))
    selection = make_noisy_max(counts, linf_distance("i64", monotonic=True), max_divergence(), 5.0)
    assert selection.map(1) == pytest.approx(1 / 5.0)
