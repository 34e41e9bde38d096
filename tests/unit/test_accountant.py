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
    expected = [["count_classes", 0], ["vote", 1], ["vote", 2]]
    own = [
        {**ledger(5.0, name), "mechanism": mechanism, "iteration": t}
        for (mechanism, t), name in zip(expected, "abc", strict=True)
    ]
    check_ledgers(own, expected)
    check_ledgers([], [])
    with pytest.raises(LedgerProblem, match=r"count_classes 0, vote 1; allowed: .* vote 2"):
        check_ledgers(own[:2], expected)
    with pytest.raises(LedgerProblem, match="vote 1, vote 2; allowed: count_classes 0"):
        check_ledgers(own[1:], expected)
    # One iteration's ledger in place of another's, with and without its number changed.
    with pytest.raises(LedgerProblem, match="vote 1, vote 1; allowed"):
        check_ledgers([own[0], own[1], own[1]], expected)
    with pytest.raises(LedgerProblem, match="same release"):
        check_ledgers([own[0], own[1], {**own[1], "iteration": 2}], expected)


def test_a_count_of_the_classes_takes_its_share_of_the_budget():
    count = GaussianEvent(20.0, 1.0)
    alone, _ = calibrate(1, DELTA, 6)
    sigma, verified = calibrate(1, DELTA, 6, [count])
    assert sigma > alone and verified.epsilon <= 1 + 1e-6
    # dp-accounting's own search for the same composition, an independent inversion.
    spent = compose([count, *[GaussianEvent(sigma, 1.0)] * 6], DELTA)
    assert spent.epsilon == pytest.approx(1, rel=2e-3)
    with pytest.raises(BudgetExceeded):
        check_budget(compose([count, *[GaussianEvent(alone, 1.0)] * 6], DELTA), 1)
    with pytest.raises(CalibrationFailed, match="alone cost more"):
        calibrate(1, DELTA, 6, [GaussianEvent(1.0, 1.0)])


def test_a_wider_vote_with_wider_noise_costs_the_same():
    """k votes of σ√k are one Gaussian of noise multiplier σ, as are k unit votes of σ√k each."""
    sigma, k = 5.0, 4
    wide = compose([GaussianEvent(sigma, math.sqrt(k))], DELTA)
    split = compose([GaussianEvent(sigma * math.sqrt(k), 1.0)] * k, DELTA)
    assert wide.epsilon == pytest.approx(split.epsilon, rel=1e-3)


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
