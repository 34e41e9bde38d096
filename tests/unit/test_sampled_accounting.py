"""σ of DP-SGD against published and independently computed values: σ is compared, not ε."""

import math

import pytest
from opacus.accountants import PRVAccountant, RDPAccountant
from opacus.accountants.analysis import rdp
from scipy.optimize import brentq

from workflow_scripts.configuration.reading import read_yaml
from workflow_scripts.files import FileProblem, write_json
from workflow_scripts.privacy.accountant import (
    BudgetExceeded,
    CalibrationFailed,
    calibrate,
    check_budget,
    compose,
    exact,
)
from workflow_scripts.privacy.budget import read_budget
from workflow_scripts.privacy.closed_form import epsilon_of
from workflow_scripts.privacy.discrete_gaussian import DiscreteGaussianMechanism
from workflow_scripts.privacy.events import SampledGaussianEvent, repeated

MNIST_DELTA = 1 / (55000 * math.log(55000))
QUERY = DiscreteGaussianMechanism.of(50.0, 5).event


def sampled(q):
    """What each of the T steps of DP-SGD is."""
    return {
        "type": "poisson-sampled-gaussian",
        "sensitivity": 1.0,
        "sampling_probability": q,
    }


@pytest.mark.parametrize(
    ("epsilon", "others", "sigma"),
    [(1, [], 13.53930), (10, [], 1.89787), (1, [QUERY], 13.58510), (10, [QUERY], 1.89796)],
)
def test_the_noise_of_dpimagebench_on_mnist(epsilon, others, sigma):
    """q = 1/14, T = 2100: with and without PrivImage's query of σ = 50."""
    found, verified = calibrate(epsilon, MNIST_DELTA, 2100, sampled(1 / 14), others)
    assert found == pytest.approx(sigma, abs=1.5e-5)
    check_budget(verified, epsilon)
    assert verified.epsilon == pytest.approx(epsilon, rel=1e-5)


@pytest.mark.parametrize(("epsilon", "sigma"), [(1, 16.64), (5, 4.03), (10, 2.32)])
def test_the_noise_of_privimage_on_cifar10(epsilon, sigma):
    """q = 1/3 and T = 150 as the shipped method says, calibrated by RDP as the paper did."""
    method = read_yaml("config/methods.yaml")["privimage-cifar10"]
    q = 1 / method["batches_per_epoch"]
    (event,) = repeated(sampled(q), 1.0, method["batches_per_epoch"] * method["epochs"])
    assert event.steps == 150
    found = calibrated_by_rdp(epsilon, 1e-5, event.sampling_probability, event.steps)
    assert found == pytest.approx(sigma, abs=0.005)


def calibrated_by_rdp(epsilon, delta, q, steps, query=484.0):
    """By Opacus' RDP, whose fractional orders matter here."""
    orders = [*RDPAccountant.DEFAULT_ALPHAS, *range(500, 1500, 10)]
    asked = rdp.compute_rdp(q=1.0, noise_multiplier=query, steps=1, orders=orders)

    def excess(log_sigma):
        sigma = math.exp(log_sigma)
        trained = rdp.compute_rdp(q=q, noise_multiplier=sigma, steps=steps, orders=orders)
        return rdp.get_privacy_spent(orders=orders, rdp=asked + trained, delta=delta)[0] - epsilon

    return math.exp(brentq(excess, math.log(0.5), math.log(100), xtol=1e-5))


@pytest.mark.parametrize(
    ("q", "sigma", "steps", "delta", "epsilon"),
    [
        (0.01, 1.0, 1000, 1e-5, 1.828244),
        (256 / 60000, 1.1, 14062, 1e-5, 2.381686),
        (1 / 14, 9.0, 2100, MNIST_DELTA, 1.563421),
    ],
)
def test_the_cost_agrees_with_an_independent_accountant(q, sigma, steps, delta, epsilon):
    ours = compose([SampledGaussianEvent(sigma, 1.0, q, steps)], delta).epsilon
    assert ours == pytest.approx(epsilon, abs=2e-6)
    theirs = PRVAccountant()
    theirs.history = [(sigma, q, steps)]
    assert -1e-6 <= theirs.get_epsilon(delta, eps_error=1e-3) - ours <= 2e-3


def test_sampling_every_record_is_no_sampling():
    always = [SampledGaussianEvent(3.0, 1.0, 1.0, 4)]
    assert compose(always, 1e-5).epsilon == pytest.approx(exact(always, 1e-5), rel=1e-5)
    assert exact(always, 1e-5) == pytest.approx(epsilon_of(3.0, 4, 1e-5))


@pytest.mark.parametrize(
    "executed",
    [
        SampledGaussianEvent(1.0, 1.0, 0.25, 41),  # a step more
        SampledGaussianEvent(0.5, 1.0, 0.25, 40),  # half the noise
        SampledGaussianEvent(1.0, 1.0, 0.3, 40),  # larger samples
        SampledGaussianEvent(1.0, 1.0, 1.0, 40),  # no sampling at all
    ],
)
def test_other_than_calibrated_is_over_budget(executed):
    epsilon = compose([SampledGaussianEvent(1.0, 1.0, 0.25, 40)], 1e-5).epsilon
    with pytest.raises(BudgetExceeded):
        check_budget(compose([executed], 1e-5), epsilon)


def test_a_query_that_costs_more_than_the_budget_is_refused():
    with pytest.raises(CalibrationFailed, match="alone cost more"):
        calibrate(0.1, 1e-5, 100, sampled(0.25), [DiscreteGaussianMechanism.of(10.0).event])


def test_a_sampled_query_leaves_less_for_the_training():
    central = SampledGaussianEvent(5.0, 4.0, 0.25, 5)
    alone, _ = calibrate(1, 1e-5, 100, sampled(0.25))
    beside, verified = calibrate(1, 1e-5, 100, sampled(0.25), [central])
    assert beside > alone
    assert verified.epsilon <= 1 + 1e-6


BUDGET = {
    "epsilon": 2.0,
    "delta": 1e-5,
    "iterations": 40,
    "release": sampled(0.25),
    "others": [],
}


def test_a_budget_with_too_little_noise_draws_nothing(tmp_path):
    sigma, _ = calibrate(2.0, 1e-5, 40, sampled(0.25))
    for noise, allowed in ((sigma, True), (sigma * 0.99, False)):
        write_json(tmp_path / "budget.json", {**BUDGET, "noise_multiplier": noise})
        if allowed:
            assert read_budget(tmp_path / "budget.json", BUDGET)["noise_multiplier"] == noise
        else:
            with pytest.raises(FileProblem, match="nothing is drawn"):
                read_budget(tmp_path / "budget.json", BUDGET)
