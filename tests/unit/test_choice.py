"""The choice of the iteration to release: its sensitivity, its distribution, its price."""

import itertools
import math
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
import yaml
from scipy.stats import chisquare
from sklearn.datasets import load_digits
from threadpoolctl import threadpool_limits

from workflow_scripts.configuration import ConfigurationProblem, load_configuration
from workflow_scripts.evaluation.utility import accuracy
from workflow_scripts.evolution.choice import NoisyMaximum, choose, right_answers
from workflow_scripts.plan import Plan
from workflow_scripts.privacy.accountant import calibrate, compose
from workflow_scripts.privacy.events import DiscreteGaussianEvent, SelectionEvent
from workflow_scripts.privacy.noise import noise_of
from workflow_scripts.privacy.statement import page, statement

ROOT = Path(__file__).parents[2]
LOGISTIC = {"kind": "logistic", "inverse_regularisation": 1.0, "max_iterations": 200}
DELTA = 1e-4
VOTES = {"type": "discrete-gaussian", "counts": 1}

# Zeros to threes: 720 images.
FEW = load_digits(n_class=4)
IMAGES = np.round(FEW.images * 255 / 16).astype(np.uint8)[..., None]


def digits(start: int, stop: int, mislabelled: int = 0) -> dict[str, np.ndarray]:
    """Images and labels, of which the first few are wrong."""
    labels = FEW.target[start:stop].astype(np.int64)
    labels[:mislabelled] = (labels[:mislabelled] + 1) % 4
    return {"images": IMAGES[start:stop], "labels": labels}


PRIVATE = digits(0, 200)
POPULATIONS = [digits(300, 320, 8), digits(400, 420), digits(500, 520, 4)]
SEEDS = [1, 2, 3]


def scores(private) -> np.ndarray:
    # Threads would take longer to start than so small a fit.
    with threadpool_limits(1):
        return right_answers(private, POPULATIONS, LOGISTIC, 4, SEEDS)


# --- sensitivity ---


def test_scores_are_the_numbers_of_right_answers():
    found = scores(PRIVATE)
    assert found.dtype == np.int64
    shares = [accuracy(p, PRIVATE, LOGISTIC, classes=4, seed=0) for p in POPULATIONS]
    assert np.allclose(found / 200, shares, rtol=0, atol=1e-12)
    assert len(set(found.tolist())) == 3 and found.argmax() == 1


def test_one_record_adds_zero_or_one_to_every_score():
    """Record and replay on 200 neighbours: zero-out of any record."""
    whole, moved = scores(PRIVATE), set()
    for out in range(200):
        difference = whole - scores({n: np.delete(a, out, axis=0) for n, a in PRIVATE.items()})
        # Never below 0: all in one direction, which is why the noise has scale 1 / ε and not 2 / ε.
        assert set(difference.tolist()) <= {0, 1}
        moved.add(tuple(difference.tolist()))
    # The bound is reached, in one score alone and in all at once.
    assert {(0, 1, 0), (1, 1, 1), (0, 0, 0)} <= moved


# --- distribution ---


def permute_and_flip(scores: np.ndarray, epsilon: float) -> np.ndarray:
    """The published algorithm's probabilities, over all orders of the candidates.

    McKenna and Sheldon, algorithm 1, for scores that all move one way: in a random order, each is
    accepted with probability exp(ε (score − largest)).
    """
    accepted = np.exp(epsilon * (scores - scores.max()))
    chances = np.zeros(len(scores))
    orders = list(itertools.permutations(range(len(scores))))
    for order in orders:
        reached = 1.0
        for i in order:
            chances[i] += reached * accepted[i] / len(orders)
            reached *= 1 - accepted[i]
    return chances


CASES = [
    (np.array([10, 12, 11]), 0.5),
    (np.array([100, 100, 97, 90]), 0.2),
    (np.array([-3, 0]), 1.0),
]


@pytest.mark.parametrize(("found", "epsilon"), CASES)
@pytest.mark.parametrize(("source", "draws"), [("seeded", 20_000), ("os", 4_000)])
def test_the_choice_has_the_distribution_of_permute_and_flip(found, epsilon, source, draws):
    """χ² at 10⁻⁴: seeded draws are fixed; the system's fail one of its three tests in 10,000."""
    mechanism = NoisyMaximum(epsilon, len(found))
    noise = noise_of(source, "choice", epsilon, len(found))
    chosen = [mechanism.release(found, noise)[0][0] for _ in range(draws)]
    counts = np.bincount(chosen, minlength=len(found))
    assert chisquare(counts, draws * permute_and_flip(found, epsilon)).pvalue > 1e-4
    # The same test sees noise of twice the scale, and of half.
    for wrong in (epsilon / 2, 2 * epsilon):
        assert chisquare(counts, draws * permute_and_flip(found, wrong)).pvalue < 1e-4


@pytest.mark.parametrize("epsilon", [0.05, 0.5, 3.0])
def test_no_neighbours_probabilities_differ_by_more_than_is_charged(epsilon):
    """Over all scores 0 … 3 of three candidates, and all records that could be taken out."""
    worst = 0.0
    for found in itertools.product(range(4), repeat=3):
        for answers in itertools.product((0, 1), repeat=3):
            one = permute_and_flip(np.array(found), epsilon)
            other = permute_and_flip(np.array(found) + np.array(answers), epsilon)
            worst = max(worst, float(np.abs(np.log(one / other)).max()))
    assert worst <= epsilon + 1e-9
    assert worst > 0.9 * epsilon, "and no smaller ε could be stated"


def test_choosing_returns_an_index_and_what_it_costs():
    mechanism = NoisyMaximum(5.0, 3)
    arguments = (mechanism, noise_of("seeded", "x"), LOGISTIC, 4, SEEDS)
    chosen, event = choose(PRIVATE, iter(POPULATIONS), *arguments)
    assert chosen.dtype == np.int64 and chosen.tolist() == [1]
    assert event == mechanism.event == SelectionEvent(5.0, 1.0, 3)


@pytest.mark.parametrize(
    ("epsilon", "candidates", "part"),
    [(0, 2, "epsilon"), (math.inf, 2, "epsilon"), (math.nan, 2, "epsilon"), (1, 1, "candidates")],
)
def test_a_choice_without_noise_or_between_nothing_cannot_be_made(epsilon, candidates, part):
    with pytest.raises(ValueError, match=part):
        NoisyMaximum(epsilon, candidates)


@pytest.mark.parametrize("found", [np.array([1, 2]), np.array([1.0, 2.0, 3.0])])
def test_scores_of_another_number_or_type_are_an_error(found):
    with pytest.raises(ValueError, match=r"int64 \[3\]"):
        NoisyMaximum(1.0, 3).release(found, noise_of("seeded", "x"))


# --- price ---


def test_the_votes_pay_for_the_choice():
    choice = NoisyMaximum(0.2, 3).event
    without, _ = calibrate(1.0, DELTA, 4, VOTES)
    noise, composition = calibrate(1.0, DELTA, 4, VOTES, [choice])
    assert noise > 1.05 * without
    assert 0.999 < composition.epsilon <= 1 + 1e-6
    # With the noise that votes alone would have had, the choice is over budget.
    votes = [DiscreteGaussianEvent(without, 1)] * 4
    assert compose([*votes, choice], DELTA).epsilon > 1.05


def test_a_choice_alone_costs_its_epsilon():
    # δ buys a little: (1 − e^{ε − 0.2}) of e^{0.2} / (1 + e^{0.2}).
    assert compose([NoisyMaximum(0.2, 3).event], DELTA).epsilon == pytest.approx(0.2, abs=5e-4)


def test_the_statement_and_its_page_show_the_choice():
    events = [DiscreteGaussianEvent(30.0, 1), NoisyMaximum(0.25, 3).event]
    ledgers = [
        {
            "mechanism": mechanism,
            "iteration": iteration,
            "event": asdict(event),
            "release_id": mechanism,
            "noise_source": "os",
        }
        for mechanism, iteration, event in zip(
            ("vote", "choose_iteration"), (1, 0), events, strict=True
        )
    ]
    public = {
        "train_size": 1437,
        "classes": ["0", "1"],
        "class_fractions": "uniform",
        "image": {"size": 8, "channels": 1},
        "preprocessing": {},
    }
    stated = statement(ledgers, 1.0, DELTA, "os", "digits", public, {})
    # Stated on a coarse grid: an upper bound.
    assert 1 <= stated["epsilon"] / compose(events, DELTA).epsilon < 1 + 1e-4
    assert stated["epsilon"] > compose(events[:1], DELTA).epsilon + 0.1
    choice = stated["releases"][1]
    assert choice["mechanism"] == "choose_iteration" and choice["event"] == asdict(events[1])
    assert "exponential noise" in choice["noise"]
    assert "| choose_iteration | 1 | ε = 0.25, of 3 |" in page(stated, "a run", {})


# --- configuration ---

CHOICE = {"iterations": [1, 3, 5], "classifier": "logistic", "epsilon": 0.2}


def plan(tmp_path, choice: dict | None, epsilons=(1,), **evaluation) -> Plan:
    for name in ("datasets", "generators", "encoders", "methods", "evaluation"):
        content = yaml.safe_load((ROOT / f"config/{name}.yaml").read_text())
        if name == "evaluation":
            content["classifiers"]["logistic"].update(evaluation)
        (tmp_path / f"{name}.yaml").write_text(yaml.safe_dump(content))
    experiment = {
        "experiment": "choosing",
        "datasets": ["digits"],
        "methods": ["sim-pe"],
        "epsilons": list(epsilons),
        "seeds": [0],
        "overrides": {"sim-pe": {"choose": choice}} if choice else {},
    }
    return Plan(load_configuration(tmp_path, experiment, "my.yaml"), tmp_path)


@pytest.mark.parametrize(
    ("change", "parts"),
    [
        (
            {"classifier": "svm"},
            ["my.yaml, overrides.sim-pe.choose.classifier: found 'svm'", "cnn", "logistic"],
        ),
        (
            {"iterations": [1, 6]},
            ["my.yaml, overrides.sim-pe.choose.iterations: found 6; allowed: 0 to 5"],
        ),
        ({"iterations": [5]}, ["choose.iterations: found [5]; allowed: at least two, in order"]),
        ({"iterations": [1, 1]}, ["choose.iterations: found [1, 1]", "each once"]),
        ({"iterations": [3, 1]}, ["choose.iterations: found [3, 1]", "in order"]),
        ({"iterations": [-1, 1]}, ["choose.iterations.0: found -1", "greater than or equal to 0"]),
        ({"epsilon": 0}, ["choose.epsilon: found 0", "greater than 0"]),
        (
            {"epsilon": 1},
            ["my.yaml, overrides.sim-pe.choose.epsilon: found 1; allowed: less than 1, the sm"],
        ),
        ({"epsilo": 1}, ["choose: unknown key 'epsilo'", "did you mean epsilon?"]),
    ],
)
def test_a_choice_that_cannot_be_made_is_explained(tmp_path, change, parts):
    with pytest.raises(ConfigurationProblem) as problem:
        plan(tmp_path, CHOICE | change, epsilons=(10, 1))
    for part in parts:
        assert part in str(problem.value)


def test_a_run_budgets_for_its_choice_and_expects_its_ledger_last(tmp_path):
    planned = plan(tmp_path, CHOICE)
    (run,) = planned.runs
    assert planned.budget(run)["others"] == [asdict(SelectionEvent(0.2, 1.0, 3))]
    ledgers = planned.ledgers(run)
    assert list(ledgers.values()) == [*(["vote", t] for t in range(1, 6)), ["choose_iteration", 0]]
    assert list(ledgers)[-1] == f"{run.directory}/choice/ledger.json"
    folders = planned.candidate_folders(run)
    assert list(folders) == [1, 3, 5] and folders[5] == f"{run.directory}/final"


def test_without_a_choice_the_last_population_is_the_only_one_to_release(tmp_path):
    planned = plan(tmp_path, None)
    (run,) = planned.runs
    assert planned.budget(run)["others"] == []
    assert planned.candidate_folders(run) == {5: f"{run.directory}/final"}


def test_the_choice_and_its_classifier_are_part_of_the_key(tmp_path):
    def label(*arguments, **evaluation) -> str:
        return plan(tmp_path, *arguments, **evaluation).runs[0].method.label

    labels = [
        label(None),
        label(CHOICE),
        label(CHOICE | {"iterations": [1, 2, 5]}),
        label(CHOICE | {"epsilon": 0.3}),
        label(CHOICE | {"classifier": "cnn"}),
        label(CHOICE, max_iterations=7),
    ]
    assert len(set(labels)) == len(labels)
    # Without a choice no classifier is.
    assert label(None, max_iterations=7) == labels[0]
