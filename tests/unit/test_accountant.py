"""Budgets, ledgers and statements; every planted fault is over budget."""

import math
from dataclasses import asdict

import pytest
from opacus.accountants import PRVAccountant

from workflow_scripts.privacy.accountant import (
    BudgetExceeded,
    CalibrationFailed,
    LedgerProblem,
    calibrate,
    check_budget,
    check_ledgers,
    compose,
    statement,
)
from workflow_scripts.privacy.gaussian import GaussianEvent

DELTA = 1e-5


def ledger(noise_multiplier: float, release_id: str = "a", noise_source: str = "os") -> dict:
    return {
        "mechanism": "vote",
        "event": asdict(GaussianEvent(noise_multiplier, 1.0)),
        "release_id": release_id,
        "noise_source": noise_source,
    }


def state(ledgers: list[dict], epsilon: float = 1.0, noise_source: str = "os") -> dict:
    return statement(ledgers, epsilon, DELTA, train_size=1000, noise_source=noise_source)


@pytest.mark.parametrize("epsilon", [0.01, 1, 10, 100])
@pytest.mark.parametrize("iterations", [1, 6])
def test_calibrated_noise_is_within_the_budget_and_hardly_below(epsilon, iterations):
    sigma, verified = calibrate(epsilon, DELTA, iterations)
    check_budget(verified, epsilon)
    assert verified.epsilon == pytest.approx(epsilon, rel=1e-5)
    check_budget(compose([GaussianEvent(sigma, 1.0)] * iterations, DELTA, epsilon), epsilon)


@pytest.mark.parametrize("iterations", [4, 10, 20])
@pytest.mark.parametrize("epsilon", [1, 10])
def test_counting_one_iteration_too_few_is_over_budget(epsilon, iterations):
    sigma, _ = calibrate(epsilon, DELTA, iterations - 1)
    with pytest.raises(BudgetExceeded, match=f"budget ε = {epsilon}"):
        check_budget(compose([GaussianEvent(sigma, 1.0)] * iterations, DELTA), epsilon)


def test_half_the_noise_is_over_budget():
    sigma, _ = calibrate(1, DELTA, 6)
    with pytest.raises(BudgetExceeded):
        check_budget(compose([GaussianEvent(sigma / 2, 1.0)] * 6, DELTA), 1)


def test_an_independent_accountant_confirms_unequal_events():
    """Opacus' PRV accountant is an upper bound with a stated error."""
    events = [GaussianEvent(5.0, 1.0)] * 3 + [GaussianEvent(8.0, 1.0)] * 2
    ours = compose(events, DELTA).epsilon
    theirs = PRVAccountant()
    theirs.history = [(5.0, 1.0, 3), (8.0, 1.0, 2)]
    gap = theirs.get_epsilon(DELTA, eps_error=1e-3) - ours
    assert 0 <= gap <= 2e-3


def test_no_events_cost_nothing():
    stated = state([], epsilon=0)
    assert stated["epsilon"] == 0 and stated["releases"] == [] and stated["is_private"]


def test_a_statement_says_what_was_executed():
    sigma, _ = calibrate(1, DELTA, 3)
    stated = state([ledger(sigma, name) for name in "abc"])
    assert stated["epsilon"] == pytest.approx(1, rel=1e-6)
    assert stated["epsilon_closed_form"] == pytest.approx(stated["epsilon"], rel=1e-6)
    assert [r["release_id"] for r in stated["releases"]] == ["a", "b", "c"]
    assert "zero-out" in stated["neighbouring_relation"]
    assert stated["train_size"] == {"value": 1000, "status": "declared, public"}


def test_a_release_that_is_shared_is_charged_once():
    sigma, _ = calibrate(1, DELTA, 1)
    stated = state([ledger(sigma), ledger(sigma)])
    assert len(stated["releases"]) == 1
    with pytest.raises(BudgetExceeded):
        state([ledger(sigma, "a"), ledger(sigma, "b")])


def test_seeded_noise_is_no_privacy_and_says_so():
    stated = state([ledger(100.0, noise_source="seeded")], noise_source="seeded")
    assert stated["noise_source"] == "seeded" and stated["is_private"] is False
    with pytest.raises(LedgerProblem, match="seeded"):
        state([ledger(100.0, noise_source="seeded")], noise_source="os")


def test_nothing_that_is_not_a_number_passes_for_within_budget():
    with pytest.raises(BudgetExceeded):
        check_budget(compose([GaussianEvent(1.0, 1.0)], DELTA), math.nan)


def test_ledgers_are_one_for_each_iteration_each_of_its_own_release():
    own = [{**ledger(5.0, name), "iteration": t} for t, name in enumerate("abc", start=1)]
    check_ledgers(own, 3)
    check_ledgers([], 0)
    with pytest.raises(LedgerProblem, match=r"iterations \[1, 2\]; allowed: 1 to 3"):
        check_ledgers(own[:2], 3)
    # One iteration's ledger in place of another's, with and without its number changed.
    with pytest.raises(LedgerProblem, match=r"\[1, 1, 3\]"):
        check_ledgers([own[0], own[0], own[2]], 3)
    with pytest.raises(LedgerProblem, match="same release"):
        check_ledgers([own[0], {**own[0], "iteration": 2}, own[2]], 3)


def test_an_event_of_an_unknown_kind_is_refused():
    strange = ledger(5.0)
    strange["event"]["type"] = "laplace"
    with pytest.raises(LedgerProblem, match="laplace"):
        state([strange])


def test_a_budget_that_the_accountant_cannot_confirm_is_refused_not_searched_for_ever():
    with pytest.raises(CalibrationFailed, match="no noise was found"):
        calibrate(1, 1e-20, 1)
    sigma, verified = calibrate(1, 1e-12, 6)
    assert verified.epsilon <= 1 * (1 + 1e-6) and sigma > 0
