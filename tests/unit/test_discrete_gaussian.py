"""The exact cost of discrete Gaussian noise, against sums that were written independently."""

import itertools
import math

import pytest

from workflow_scripts.privacy.accountant import compose
from workflow_scripts.privacy.closed_form import epsilon_of as continuous
from workflow_scripts.privacy.discrete_gaussian import epsilon_of
from workflow_scripts.privacy.events import DiscreteGaussianEvent


def delta_by_enumeration(epsilon, scales, reach):
    """δ(ε) = Σ (P(x) − e^ε P(x − 1))₊ over all outcomes of some counts, one by one."""

    def chances(scale):
        weights = {x: math.exp(-(x**2) / (2 * scale**2)) for x in range(-reach, reach + 2)}
        return {x: w / sum(weights.values()) for x, w in weights.items()}

    marginals = [chances(scale) for scale in scales]
    total = 0.0
    for outcome in itertools.product(range(-reach, reach + 1), repeat=len(scales)):
        one = math.prod(chance[x] for chance, x in zip(marginals, outcome, strict=True))
        other = math.prod(chance[x + 1] for chance, x in zip(marginals, outcome, strict=True))
        total += max(0.0, one - math.exp(epsilon) * other)
    return total


@pytest.mark.parametrize(
    ("changes", "scales"),
    [({0.7: 1}, [0.7]), ({0.7: 3}, [0.7] * 3), ({1.1: 2, 0.6: 1}, [1.1, 1.1, 0.6])],
)
@pytest.mark.parametrize("delta", [1e-2, 1e-5])
def test_epsilon_is_where_the_enumeration_reaches_delta(changes, scales, delta):
    epsilon = epsilon_of(changes, delta)
    assert delta_by_enumeration(epsilon, scales, reach=12) == pytest.approx(delta, rel=1e-6)


@pytest.mark.parametrize("iterations", [1, 6, 20, 100])
@pytest.mark.parametrize("noise_multiplier", [0.6, 2.0, 20.0])
@pytest.mark.parametrize("counts", [1, 3])
def test_the_accountant_agrees(iterations, noise_multiplier, counts):
    """PLD is an upper bound; its grid is 10⁻⁴."""
    scale = noise_multiplier * math.sqrt(counts)
    events = [DiscreteGaussianEvent(scale, counts)] * iterations
    by_summation = epsilon_of({scale: counts * iterations}, 1e-5)
    by_distribution = compose(events, 1e-5).epsilon
    gap = (by_distribution - by_summation) / max(1.0, by_summation)
    assert -1e-9 <= gap <= 1e-5


def test_much_noise_costs_what_continuous_noise_costs():
    assert epsilon_of({50.0: 20}, 1e-5) == pytest.approx(continuous(50.0, 20, 1e-5), rel=1e-4)


def test_little_noise_does_not():
    """The issue's example: noise that is enough for ε = 10 when it is continuous is not here."""
    deltas = (1e-5, 1 / (1437 * math.log(1437)), 1e-6)
    gaps = []
    for delta in deltas:
        for sigma in (0.5, 0.55, 0.6, 0.7, 0.8, 1.0, 1.2):
            gaps.append(epsilon_of({sigma: 6}, delta) / continuous(sigma, 6, delta) - 1)
    assert max(gaps) > 1e-4 and min(gaps) < -1e-4


def test_noise_that_hides_everything_costs_nothing():
    assert epsilon_of({1e4: 1}, 1e-3) == 0.0


def test_too_many_outcomes_have_no_exact_cost():
    assert epsilon_of({300.0: 50, 301.0: 50}, 1e-5) is None
