"""What a change re-runs: the exact jobs, and never a second draw of noise."""

import copy
import os
import time
from collections import Counter

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from tests.workflow.conftest import DETERMINISTIC, SMALL

REPORT = Counter(
    all=1,
    collect_diagnostics=1,
    collect_iterations=1,
    collect_metrics=1,
    collect_runs=1,
    draw_accuracy_by_epsilon=1,
    draw_accuracy_by_iteration=1,
    draw_diagnostics=1,
    draw_samples=1,
    tabulate=1,
    write_report=1,
    add_up=1,
    add_up_published=1,
)
# One run of Sim-PE with T = 3, from calibration to its metrics, given what is shared.
RUN = Counter(
    calibrate=1,
    vote=3,
    select=3,
    vary=2,
    vary_last=1,
    account=1,
    release=1,
    evaluate_utility=1,
    evaluate_fidelity=1,
    evaluate_iterations=1,
)


def changed(**keys) -> dict:
    """The small experiment with other settings of sim-pe."""
    experiment = copy.deepcopy(SMALL)
    experiment["overrides"]["sim-pe"].update(keys)
    return experiment


def test_an_unchanged_experiment_has_nothing_to_do(built_once):
    assert built_once.planned() == Counter()


def test_a_new_epsilon_runs_only_its_own_steps(built):
    built.write_experiment({**SMALL, "epsilons": [10, 1]})
    assert built.planned() == RUN + REPORT


def test_a_new_seed_also_has_its_own_initial_population(built):
    built.write_experiment({**SMALL, "seeds": [0, 1]})
    own = Counter(initialise=1, look_ahead=1, evaluate_real_utility=1, evaluate_real_fidelity=1)
    random = Counter(account=1, release=1, evaluate_utility=1, evaluate_fidelity=1)
    # The sample grid shows the first seed only.
    assert built.planned() == RUN + own + random + REPORT - Counter(draw_samples=1)


@pytest.mark.slow
def test_a_new_threshold_shares_the_initial_population_and_keeps_the_old_results(built):
    before = built.contents(*DETERMINISTIC)
    built.write_experiment(changed(threshold=1))
    assert built.planned() == RUN + REPORT
    built.build()
    after = built.contents(*DETERMINISTIC)
    assert before.items() <= after.items()
    assert len(built.find("runs/digits~*/sim-pe~*")) == 2
    assert len(built.find("public/initial/*/seed0/population")) == 1
    # Back to the old value: its results are still there.
    built.write_experiment(SMALL)
    assert not set(built.planned()) & set(RUN)


def test_grids_over_epsilon_and_threshold_generate_the_initial_population_once_per_seed(project):
    project.edit_catalogue(
        "methods",
        **{
            "low": {"extends": "sim-pe", **SMALL["overrides"]["sim-pe"], "threshold": 0},
            "high": {"extends": "sim-pe", **SMALL["overrides"]["sim-pe"], "threshold": 3},
        },
    )
    project.write_experiment(
        {
            **SMALL,
            "methods": ["low", "high"],
            "epsilons": [1, 2, 4],
            "seeds": [0, 1],
            "overrides": {},
        }
    )
    jobs = project.planned()
    assert jobs["initialise"] == jobs["look_ahead"] == 2
    assert jobs["calibrate"] == 2 * 3 * 2


def test_swapped_values_are_noticed(built):
    variation = SMALL["overrides"]["sim-pe"]["variation"]
    swapped = {**variation, "size": variation["rotation"], "rotation": variation["size"]}
    built.write_experiment(changed(variation=swapped))
    # The first degree is another, so the first lookahead is too.
    assert built.planned() == RUN + Counter(look_ahead=1) + REPORT


def test_the_order_of_keys_and_the_way_that_numbers_are_written_do_not_matter(built):
    method = SMALL["overrides"]["sim-pe"]
    same = dict(reversed(method.items()))
    same["variation"] = {**dict(reversed(method["variation"].items())), "stroke": 1.0}
    built.write_experiment(
        {**SMALL, "epsilons": [10.0], "overrides": {**SMALL["overrides"], "sim-pe": same}}
    )
    assert built.planned() == Counter()


def test_touched_scripts_and_other_shards_re_run_nothing(built):
    time.sleep(1.1)
    for script in (built.folder / "workflow_scripts/steps").glob("*.py"):
        os.utime(script)
    assert built.planned() == Counter()
    assert built.planned("--set-scatter", "shards=3") == Counter()


def test_other_shards_and_a_lookahead_made_again_leave_the_old_runs_alone(built):
    """What is there in some number of shards is used as it is."""
    built.write_experiment({**SMALL, "epsilons": [10, 1]})
    shared = built.one("public/initial/*/seed0/lookahead/*/*.safetensors")
    sharded = RUN + Counter(vary=2 * 2, vary_last=2) + REPORT
    assert built.planned("--set-scatter", "shards=3") == sharded
    shared.unlink()
    assert built.planned() == RUN + Counter(look_ahead=1) + REPORT


@pytest.mark.slow
def test_votes_are_replayed_although_their_lookahead_is_rounded_otherwise(built):
    """As on a GPU: a lookahead that is made again is never the same to the last bit."""
    votes = built.one("runs/**/iter1/votes.safetensors")
    before = votes.read_bytes()
    lookahead = built.one("public/initial/*/seed0/lookahead/*/*.safetensors")
    arrays = load_file(lookahead)
    arrays["embeddings"] = arrays["embeddings"] * np.float32(1 + 1e-6)
    save_file(arrays, lookahead)
    votes.unlink()
    built.build("--forcerun", "vote")
    assert votes.read_bytes() == before


@pytest.mark.slow
def test_a_forced_re_run_replays_the_journal_and_draws_nothing(built):
    """With OS entropy, so that a second draw could not go unnoticed."""
    seeded = built.find("runs/**/votes.safetensors")
    built.write_experiment({**SMALL, "noise_source": "os"})
    built.build()
    before = built.contents(*DETERMINISTIC)
    journal = built.contents("sensitive/journal/**/*.safetensors")
    drawn = set(built.find("runs/**/votes.safetensors")) - set(seeded)
    assert len(drawn) == 3
    for votes in drawn:
        votes.unlink()
    built.build("--forcerun", "vote")
    assert built.contents(*DETERMINISTIC) == before
    assert built.contents("sensitive/journal/**/*.safetensors") == journal


@pytest.mark.slow
def test_noise_from_the_operating_system_differs_from_run_to_run(built, tmp_path):
    once = changed(iterations=1, variation=dict.fromkeys(("size", "rotation", "shift"), 1))
    once["overrides"]["sim-pe"]["variation"] |= {"font": 0.5, "stroke": 0}
    built.write_experiment({**once, "noise_source": "os"})
    other = built.copy(tmp_path / "other")
    for project in (built, other):
        project.build("--until", "vote")
    first, second = (p.contents("runs/**/iter1/votes.safetensors") for p in (built, other))
    assert len(first) == 2 and first.keys() == second.keys()
    # The seeded one is copied with the project; the other is drawn in each.
    assert sum(first[path] != second[path] for path in first) == 1


@pytest.mark.slow
def test_the_result_does_not_depend_on_shards_or_cores(built_once, project):
    project.build("--set-scatter", "shards=3", cores=1)
    assert len(project.find("runs/digits~*/sim-pe~*/eps10/seed0/final/*.safetensors")) == 3
    assert project.contents(*DETERMINISTIC) == built_once.contents(*DETERMINISTIC)


@pytest.mark.slow
def test_more_shards_than_blocks_leave_some_empty_and_change_nothing(built_once, project):
    project.build("--set-scatter", "shards=5", "--until", "release")
    assert project.contents("runs/**/release.safetensors") == built_once.contents(
        "runs/**/release.safetensors"
    )
