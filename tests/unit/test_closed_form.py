"""The closed form against published values, a numerical integral and two other accountants."""

import math

import numpy as np
import pytest
from dp_accounting import GaussianDpEvent, NeighboringRelation, get_sigma_gaussian
from dp_accounting.pld import PLDAccountant
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import norm

from workflow_scripts.privacy.closed_form import (
    epsilon_of,
    epsilon_of_mu,
    log_delta_of,
    mu_of,
    noise_multiplier_of,
)

MNIST = 1 / (55_000 * math.log(55_000))
CELEBA = 1 / (145_064 * math.log(145_064))


@pytest.mark.parametrize(
    ("noise_multiplier", "iterations", "delta", "epsilon"),
    [
        (5 * math.sqrt(2), 1, 1e-5, 0.497),
        (5 * math.sqrt(2), 20, 1e-5, 2.594383),  # PE's CIFAR-10
        (10 * math.sqrt(2), 7, 1e-5, 0.6745),
        (10 * math.sqrt(2), 20, 1e-5, 1.1994),
        (20 * math.sqrt(2), 20, 1e-5, 0.5613),
        (2 * math.sqrt(2), 29, 3e-6, 9.921071),  # PE's Camelyon17
        (2 * math.sqrt(2), 5, 1e-5, 3.34141),
        (2.1793, 19, 3e-6, 10.5337),
        (2.1793, 11, 3e-6, 7.585),
        (2.0, 17, 1e-3, 7.890076),  # PE's Cat
        (2.0, 13, 1e-3, 6.619),
        (0.1, 20, 1e-5, 1189.78),  # where the peers' solver saturates at 709.78
    ],
)
def test_published_noise_costs_the_published_epsilon(noise_multiplier, iterations, delta, epsilon):
    digits = len(str(epsilon).partition(".")[2])
    assert round(epsilon_of(noise_multiplier, iterations, delta), digits) == pytest.approx(epsilon)


@pytest.mark.parametrize(
    ("epsilon", "iterations", "delta", "noise_multiplier"),
    [
        (1, 4, MNIST, 8.237943),
        (10, 4, MNIST, 1.064422),
        (1, 7, CELEBA, 11.470284),
        (10, 7, CELEBA, 1.456262),
        (1, 6, CELEBA, 10.619420),
        (10, 6, CELEBA, 1.348237),
        (1, 10, 1e-5, 11.797293),
        (10, 10, 1e-5, 1.580787),
        (1, 20, 1e-5, 16.683892),
        (10, 20, 1e-5, 2.235570),
        (0.1, 20, 1e-5, 137.516240),
        # DPImageBench's Private Evolution, as printed there.
        (1, 5, 1e-5, 8.342),
        (10, 5, 1e-5, 1.118),
        (1, 7, 1e-5, 9.870),
        (10, 7, 1e-5, 1.323),
        (1, 11, 1e-5, 12.373),
        (10, 11, 1e-5, 1.658),
        (0.2, 1, 1e-5, 16.304133),
        (10, 1, 1e-5, 0.499889),
    ],
)
def test_the_oracle_noise_multipliers_are_reproduced(epsilon, iterations, delta, noise_multiplier):
    found = noise_multiplier_of(epsilon, delta, iterations)
    digits = len(str(noise_multiplier).partition(".")[2])
    assert found == pytest.approx(noise_multiplier, abs=0.51 * 10.0 ** -max(digits, 3))


def test_mu_and_epsilon_are_each_others_inverse():
    assert epsilon_of_mu(mu_of(1, 1e-5), 1e-5) == pytest.approx(1, rel=1e-9)


@pytest.mark.parametrize("epsilon", [1e-4, 0.01, 1, 100, 1e4])
@pytest.mark.parametrize("delta", [1e-300, 1e-12, 1e-5, 0.3, 0.999])
@pytest.mark.parametrize("iterations", [1, 20, 1000])
def test_every_valid_budget_has_a_solution(epsilon, delta, iterations):
    sigma = noise_multiplier_of(epsilon, delta, iterations)
    assert math.isfinite(sigma) and sigma > 0
    assert epsilon_of(sigma, iterations, delta) == pytest.approx(epsilon, rel=1e-6)


@given(st.floats(0.05, 20), st.floats(1e-9, 1e-2), st.integers(1, 50))
def test_one_release_agrees_with_an_independent_implementation(epsilon, delta, iterations):
    theirs = get_sigma_gaussian(epsilon, delta) * math.sqrt(iterations)
    assert noise_multiplier_of(epsilon, delta, iterations) == pytest.approx(theirs, rel=1e-6)


@pytest.mark.parametrize(("epsilon", "mu"), [(0.5, 0.3), (1, 1), (3, 2), (10, 2.5)])
def test_delta_is_the_hockey_stick_divergence(epsilon, mu):
    """δ = ∫ max(p − e^ε q, 0) for N(μ, 1) against N(0, 1), by quadrature."""
    x = np.linspace(-20, 40, 2_000_001)
    gap = np.maximum(norm.pdf(x, mu) - math.exp(epsilon) * norm.pdf(x), 0)
    integral = np.trapezoid(gap, x)
    assert math.exp(log_delta_of(epsilon, mu)) == pytest.approx(integral, rel=1e-5)


@pytest.mark.parametrize("iterations", [1, 6])
def test_the_accountant_agrees(iterations):
    sigma = noise_multiplier_of(1, 1e-5, iterations)
    accountant = PLDAccountant(NeighboringRelation.ADD_OR_REMOVE_ONE)
    accountant.compose(GaussianDpEvent(sigma), iterations)
    assert accountant.get_epsilon(1e-5) == pytest.approx(1, rel=1e-5)


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ((0, 1e-5, 1), "epsilon"),
        ((-1, 1e-5, 1), "epsilon"),
        ((math.inf, 1e-5, 1), "epsilon"),
        ((1, 0, 1), "delta"),
        ((1, 1, 1), "delta"),
        ((1, 1e-5, 0), "iterations"),
    ],
)
def test_an_impossible_budget_is_named(arguments, named):
    with pytest.raises(ValueError, match=named):
        noise_multiplier_of(*arguments)
