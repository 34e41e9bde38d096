"""Budgets and compositions; every planted fault is over budget."""

import json
import math
from dataclasses import asdict

import pytest
from opacus.accountants import PRVAccountant

from workflow_scripts.privacy.accountant import (
    REPLACE_ONE,
    BudgetExceeded,
    CalibrationFailed,
    calibrate,
    check_budget,
    compose,
    exact,
)
from workflow_scripts.privacy.closed_form import epsilon_of, mu_of
from workflow_scripts.privacy.discrete_gaussian import DiscreteGaussianMechanism
from workflow_scripts.privacy.events import (
    DiscreteGaussianEvent,
    SampledGaussianEvent,
    SelectionEvent,
    event_of,
    repeated,
)

DELTA = 1e-5
VOTES = {"type": "discrete-gaussian", "counts": 1}


def votes(noise_multiplier, iterations, counts=1):
    return [DiscreteGaussianMechanism.of(noise_multiplier, counts).event] * iterations


@pytest.mark.parametrize("epsilon", [0.01, 1, 10, 30])
@pytest.mark.parametrize("iterations", [1, 6])
@pytest.mark.parametrize("counts", [1, 3])
def test_calibrated_noise_is_within_the_budget_and_hardly_below(epsilon, iterations, counts):
    release = {**VOTES, "counts": counts}
    sigma, verified = calibrate(epsilon, DELTA, iterations, release)
    check_budget(verified, epsilon)
    assert verified.epsilon == pytest.approx(epsilon, rel=2e-5)
    assert repeated(release, sigma, iterations) == votes(sigma, iterations, counts)
    assert exact(votes(sigma, iterations, counts), DELTA) <= epsilon * (1 + 1e-6)


@pytest.mark.parametrize("iterations", [4, 10, 20])
@pytest.mark.parametrize("epsilon", [1, 10])
def test_counting_one_iteration_too_few_is_over_budget(epsilon, iterations):
    sigma, _ = calibrate(epsilon, DELTA, iterations - 1, VOTES)
    with pytest.raises(BudgetExceeded, match=f"budget ε = {epsilon}"):
        check_budget(compose(votes(sigma, iterations), DELTA), epsilon)


def test_half_the_noise_is_over_budget():
    sigma, _ = calibrate(1, DELTA, 6, VOTES)
    with pytest.raises(BudgetExceeded):
        check_budget(compose(votes(sigma / 2, 6), DELTA), 1)


@pytest.mark.parametrize(
    ("epsilon", "iterations", "continuous"),
    [(1, 10, 11.797293), (1, 20, 16.683892), (10, 10, 1.580787), (10, 1, 0.499889)],
)
def test_noise_on_counts_is_calibrated_as_what_it_is(epsilon, iterations, continuous):
    """Near the published σ of continuous noise, but not equal to it where noise is small."""
    sigma, _ = calibrate(epsilon, DELTA, iterations, VOTES)
    assert sigma == pytest.approx(continuous, rel=3e-3)
    assert epsilon_of(sigma, iterations, DELTA) == pytest.approx(epsilon, rel=5e-3)


def test_unequal_gaussians_add_up_by_their_squares():
    """A release of noise s leaves √T / √(μ² − 1/s²) for T others (arXiv 1905.02383, cor. 3.3)."""
    left = mu_of(1, DELTA) ** 2 - 1 / 20**2 - 1 / 30**2
    others = [SampledGaussianEvent(s, 1.0, 1.0, 1) for s in (20.0, 30.0)]
    events = [*others, SampledGaussianEvent(math.sqrt(6 / left), 1.0, 1.0, 6)]
    assert exact(events, DELTA) == pytest.approx(1, rel=1e-9)
    assert compose(events, DELTA).epsilon == pytest.approx(1, rel=1e-5)


def test_an_independent_accountant_confirms_unequal_events():
    """Opacus' PRV accountant is an upper bound with a stated error; q = 1 is no sampling."""
    events = [SampledGaussianEvent(5.0, 1.0, 1.0, 3), SampledGaussianEvent(8.0, 1.0, 1.0, 2)]
    ours = compose(events, DELTA).epsilon
    theirs = PRVAccountant()
    theirs.history = [(5.0, 1.0, 3), (8.0, 1.0, 2)]
    gap = theirs.get_epsilon(DELTA, eps_error=1e-3) - ours
    assert 0 <= gap <= 2e-3
    # Counts with as much noise cost the same.
    counts = [*votes(5.0, 3), *votes(8.0, 2)]
    assert compose(counts, DELTA).epsilon == pytest.approx(ours, rel=1e-4)


def test_no_events_cost_nothing():
    assert compose([], DELTA).epsilon == 0 and exact([], DELTA) == 0


def test_nothing_that_is_not_a_number_passes_for_within_budget():
    with pytest.raises(BudgetExceeded):
        check_budget(compose(votes(1.0, 1), DELTA), math.nan)


def test_a_count_of_the_classes_takes_its_share_of_the_budget():
    (count,) = votes(20.0, 1)
    alone, _ = calibrate(1, DELTA, 6, VOTES)
    sigma, verified = calibrate(1, DELTA, 6, VOTES, [count])
    assert sigma > alone and verified.epsilon <= 1 + 1e-6
    assert compose([count, *votes(sigma, 6)], DELTA).epsilon == pytest.approx(1, rel=1e-4)
    with pytest.raises(BudgetExceeded):
        check_budget(compose([count, *votes(alone, 6)], DELTA), 1)
    with pytest.raises(CalibrationFailed, match="alone cost more"):
        calibrate(1, DELTA, 6, VOTES, votes(1.0, 1))


def test_a_selection_takes_its_share_of_the_budget():
    alone, _ = calibrate(1, DELTA, 6, VOTES)
    sigma, verified = calibrate(1, DELTA, 6, VOTES, [SelectionEvent(0.2, 1.0, 3)])
    assert sigma > alone and verified.epsilon <= 1 + 1e-6
    events = [SelectionEvent(0.2, 1.0, 3), *votes(sigma, 6)]
    assert exact(events, DELTA) == pytest.approx(compose(events, DELTA).epsilon, rel=1e-5)
    # It costs at most its ε, and pure ε adds up.
    assert sigma <= calibrate(0.8, DELTA, 6, VOTES)[0]
    assert compose([SelectionEvent(0.2, 1.0, 3)] * 3, 1e-12).epsilon == pytest.approx(0.6, abs=1e-3)


def test_a_wider_vote_with_wider_noise_costs_the_same():
    """k votes of scale σ√k are k changes of one count, as are k releases of one vote each."""
    sigma, k = 5.0, 4
    wide = compose(votes(sigma, 1, counts=k), DELTA)
    split = compose([DiscreteGaussianEvent(sigma * math.sqrt(k), 1)] * k, DELTA)
    assert wide.epsilon == pytest.approx(split.epsilon, rel=1e-6)
    assert wide.epsilon == pytest.approx(epsilon_of(sigma, 1, DELTA), rel=1e-3)


@pytest.mark.parametrize(
    ("epsilon", "iterations", "replaced"), [(1, 10, 1.4652), (10, 10, 15.4606), (1, 1, 1.4652)]
)
def test_replacing_a_record_costs_root_two_not_two(epsilon, iterations, replaced):
    """The published values; dp-accounting's REPLACE_ONE says 4.4 where 2.9 is right."""
    sigma, _ = calibrate(epsilon, DELTA, iterations, VOTES)
    found = compose(votes(sigma, iterations), DELTA, relation=REPLACE_ONE).epsilon
    assert found == pytest.approx(replaced, rel=5e-3)
    # A count that leaves one bin for another: two unit changes, each under its own noise.
    assert found == pytest.approx(exact(votes(sigma, 2 * iterations), DELTA), rel=1e-5)


def test_replacing_a_record_moves_gradients_by_two():
    """q = 0.01, z = 1, T = 1000: the reference's 2.84345; without sampling, twice the distance."""
    found = compose([SampledGaussianEvent(1.0, 0.1, 0.01, 1000)], DELTA, relation=REPLACE_ONE)
    assert found.epsilon == pytest.approx(2.84345, abs=1e-4)
    always = compose([SampledGaussianEvent(2.0, 1.0, 1.0, 1)], DELTA, relation=REPLACE_ONE)
    assert always.epsilon == pytest.approx(epsilon_of(1.0, 1, DELTA), rel=1e-4)


def test_replacing_a_record_doubles_the_cost_of_a_selection():
    found = compose([SelectionEvent(0.3, 1.0, 4)], 1e-12, relation=REPLACE_ONE)
    assert found.epsilon == pytest.approx(0.6, abs=1e-3)


@pytest.mark.parametrize(
    "event",
    [
        DiscreteGaussianEvent(5.0, 3),
        SampledGaussianEvent(1.0, 0.1, 0.25, 40),
        SelectionEvent(0.2, 1.0, 3),
    ],
)
def test_an_event_is_the_same_after_it_was_written_down(event):
    assert event_of(json.loads(json.dumps(asdict(event)))) == event


def test_an_event_of_an_unknown_kind_is_refused():
    with pytest.raises(ValueError, match="laplace"):
        event_of({"type": "laplace", "scale": 1.0})


def test_a_budget_that_the_accountant_cannot_confirm_is_refused_not_searched_for_ever():
    with pytest.raises(CalibrationFailed, match="no noise was found"):
        calibrate(1, 1e-20, 1, VOTES)
    sigma, verified = calibrate(1, 1e-12, 6, VOTES)
    assert verified.epsilon <= 1 * (1 + 1e-6) and sigma > 0
