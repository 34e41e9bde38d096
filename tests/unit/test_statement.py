"""Ledgers and statements: what was executed, each release once, and what was assumed."""

from dataclasses import asdict

import pytest

from workflow_scripts.privacy.accountant import COARSE, FINE, BudgetExceeded, calibrate
from workflow_scripts.privacy.discrete_gaussian import DiscreteGaussianMechanism
from workflow_scripts.privacy.events import SampledGaussianEvent, SelectionEvent
from workflow_scripts.privacy.statement import LedgerProblem, check_ledgers, page, statement

DELTA = 1e-5
VOTES = {"type": "discrete-gaussian", "counts": 1}
PUBLIC = {
    "train_size": 1437,
    "classes": ["zero", "one"],
    "class_fractions": "uniform",
    "image": {"size": 8, "channels": 1},
    "preprocessing": {"split": {"seed": 0, "test_fraction": 0.2}},
}


def ledger(noise_multiplier=5.0, release_id="a", event=None, mechanism="vote", noise_source="os"):
    event = event or DiscreteGaussianMechanism.of(noise_multiplier).event
    return {
        "mechanism": mechanism,
        "iteration": 1,
        "event": asdict(event),
        "release_id": release_id,
        "noise_source": noise_source,
    }


def state(ledgers, epsilon=1.0, noise_source="os"):
    return statement(
        ledgers,
        epsilon,
        DELTA,
        noise_source,
        dataset="digits",
        public=PUBLIC,
        checksums={"iter1/ledger.json": "0" * 64},
    )


def test_without_releases_nothing_is_spent():
    stated = state([], epsilon=0)
    assert stated["epsilon"] == 0 and stated["releases"] == [] and stated["is_private"]
    assert "Nothing was read from digits" in page(stated, "random", {})


def test_a_statement_says_what_was_executed():
    sigma, _ = calibrate(1, DELTA, 3, VOTES)
    stated = state([ledger(sigma, name) for name in "abc"])
    assert stated["epsilon"] == pytest.approx(1, rel=1e-6)
    assert stated["epsilon_exact"] == pytest.approx(stated["epsilon"], rel=1e-6)
    assert [r["release_id"] for r in stated["releases"]] == ["a", "b", "c"]
    assert "zero-out" in stated["neighbouring_relation"]
    # √2 times the distance; not twice, which would be ε = 2.13 here.
    assert 1.4 < stated["replace_one"]["epsilon"] < 1.5
    assert stated["assumed_public"] == PUBLIC
    assert stated["accountant"]["discretisation"] in (COARSE, FINE)
    assert set(stated["versions"]) >= {"python", "dp-accounting", "opendp"}


def test_a_release_that_is_shared_is_charged_once():
    sigma, _ = calibrate(1, DELTA, 1, VOTES)
    assert len(state([ledger(sigma), ledger(sigma)])["releases"]) == 1
    with pytest.raises(BudgetExceeded):
        state([ledger(sigma, "a"), ledger(sigma, "b")])


def test_a_release_that_stands_there_with_two_costs_is_refused():
    with pytest.raises(LedgerProblem, match="release a stands there twice"):
        state([ledger(50.0, "a"), ledger(500.0, "a")])


def test_seeded_noise_is_no_privacy_and_says_so():
    stated = state([ledger(100.0, noise_source="seeded")], noise_source="seeded")
    assert stated["noise_source"] == "seeded" and stated["is_private"] is False
    assert "Not for release" in page(stated, "a run", {})
    with pytest.raises(LedgerProblem, match="seeded"):
        state([ledger(100.0, noise_source="seeded")], noise_source="os")


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


def test_an_event_of_an_unknown_kind_is_refused():
    strange = ledger()
    strange["event"]["type"] = "laplace"
    with pytest.raises(LedgerProblem, match="laplace"):
        state([strange])
    lacking = ledger()
    del lacking["event"]["counts"]
    with pytest.raises(LedgerProblem, match="counts"):
        state([lacking])


def test_a_page_has_every_point_that_a_reader_must_know():
    """The reporting list of "How to DP-fy ML", § 5.3."""
    training = SampledGaussianEvent(20.0, 0.1, 0.25, 40)
    query = DiscreteGaussianMechanism.of(50.0, 3).event
    ledgers = [
        ledger(event=query, release_id="q", mechanism="query_classes"),
        ledger(event=training, release_id="t", mechanism="finetune"),
        ledger(event=SelectionEvent(0.05, 1.0, 4), release_id="s", mechanism="choose_iteration"),
    ]
    stated = state(ledgers, epsilon=2.0)
    assert stated["epsilon_exact"] is None
    text = page(stated, "digits, privimage, ε = 2, seed 0", {"release.safetensors": "ab" * 32})
    for said in (
        "one record of the train split",
        "zero-out of one record",
        "replacement of one record",
        "δ = 1e-05",
        "dp-accounting 0.6.0, grid 0.001",
        "| query_classes | 1 | 50 | 1.73205 | none: every record takes part |",
        "| finetune | 40 | 20 | 0.1 | Poisson: each record in each step with probability 0.25 |",
        "| choose_iteration | 1 | ε = 0.05, of 4 |",
        "operating system's entropy",
        "1,437",
        "zero, one",
        "uniform",
        "test_fraction",
        "hyper-parameters",
        "evaluation",
        "opendp 0.16.0",
        "ab" * 32 + "  release.safetensors",
    ):
        assert said in text, said
    assert len(text.splitlines()) < 60, "one page"
