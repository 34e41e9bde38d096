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
    closed_form,
    compose,
    repeated,
    statement,
)
from workflow_scripts.privacy.budget import read_budget
from workflow_scripts.privacy.gaussian import GaussianEvent, SampledGaussianEvent

MNIST_DELTA = 1 / (55000 * math.log(55000))
QUERY = GaussianEvent(50.0, math.sqrt(5))


@pytest.mark.parametrize(
    ("epsilon", "others", "sigma"),
    [(1, [], 13.53930), (10, [], 1.89787), (1, [QUERY], 13.58510), (10, [QUERY], 1.89796)],
)
def test_the_noise_of_dpimagebench_on_mnist(epsilon, others, sigma):
    """q = 1/14, T = 2100: with and without PrivImage's query of σ = 50."""
    found, verified = calibrate(epsilon, MNIST_DELTA, 2100, others, 1 / 14)
    assert found == pytest.approx(sigma, abs=1.5e-5)
    check_budget(verified, epsilon)
    assert verified.epsilon == pytest.approx(epsilon, rel=1e-5)


@pytest.mark.parametrize(("epsilon", "sigma"), [(1, 16.64), (5, 4.03), (10, 2.32)])
def test_the_noise_of_privimage_on_cifar10(epsilon, sigma):
    """q = 1/3 and T = 150 as the shipped method says, calibrated by RDP as the paper did."""
    method = read_yaml("config/methods.yaml")["privimage-cifar10"]
    q = 1 / method["batches_per_epoch"]
    (event,) = repeated(1.0, method["batches_per_epoch"] * method["epochs"], q)
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
    assert repeated(3.0, 4, 1) == [GaussianEvent(3.0, 1.0)] * 4
    always = compose([SampledGaussianEvent(3.0, 1.0, 1.0, 4)], 1e-5).epsilon
    assert always == pytest.approx(closed_form(repeated(3.0, 4, 1), 1e-5), rel=1e-5)


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
        calibrate(0.1, 1e-5, 100, [GaussianEvent(10.0, 1.0)], 0.25)


def test_a_sampled_query_leaves_less_for_the_training():
    central = SampledGaussianEvent(5.0, 4.0, 0.25, 5)
    alone, _ = calibrate(1, 1e-5, 100, [], 0.25)
    beside, verified = calibrate(1, 1e-5, 100, [central], 0.25)
    assert beside > alone
    assert verified.epsilon <= 1 + 1e-6


BUDGET = {
    "epsilon": 2.0,
    "delta": 1e-5,
    "iterations": 40,
    "sampling_probability": 0.25,
    "others": [],
}


def test_a_budget_with_too_little_noise_draws_nothing(tmp_path):
    sigma, _ = calibrate(2.0, 1e-5, 40, [], 0.25)
    for noise, allowed in ((sigma, True), (sigma * 0.99, False)):
        write_json(tmp_path / "budget.json", {**BUDGET, "noise_multiplier": noise})
        if allowed:
            assert read_budget(tmp_path / "budget.json", BUDGET)["noise_multiplier"] == noise
        else:
            with pytest.raises(FileProblem, match="nothing is drawn"):
                read_budget(tmp_path / "budget.json", BUDGET)


def test_a_statement_says_how_records_were_sampled():
    ledger = {
        "mechanism": "finetune",
        "event": {
            "type": "poisson-sampled-gaussian",
            "noise_multiplier": 2.0,
            "sensitivity": 0.01,
            "sampling_probability": 0.25,
            "steps": 40,
        },
        "release_id": "a",
        "noise_source": "os",
    }
    stated = statement([ledger], 10, 1e-5, train_size=1000, noise_source="os")
    assert stated["sampling"].startswith("Poisson")
    assert stated["epsilon_closed_form"] is None
    assert stated["releases"][0]["event"] == ledger["event"]
