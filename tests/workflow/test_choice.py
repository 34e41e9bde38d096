"""What decides which iteration is released: the configuration, or a mechanism that is charged."""

from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file
from sklearn.datasets import load_digits

from tests.workflow.conftest import SMALL, Project, new_project
from workflow_scripts.files import read_json

pytestmark = pytest.mark.slow

TRAIN, TEST = 900, 300
VARIATION = {"font": 0, "size": 1, "rotation": 3, "stroke": 0, "shift": 1}
LAST = {
    "family": "pe",
    "generator": "text",
    "encoder": "pixels",
    # The number of images says which iteration a release is of.
    "samples": [100, 120],
    "iterations": 1,
    "lookahead": 1,
    "variation": VARIATION,
    "threshold": {"sigmas": 1},
}
CHOICE = {"iterations": [0, 1], "classifier": "logistic", "epsilon": 1}
CHOOSING = {**LAST, "samples": [100, 120, 140], "iterations": 2, "choose": CHOICE}
RUN = "runs/handwritten~*/{}~*/eps10/seed0"


def built_with(folder: Path, test_labels: np.ndarray, environment: dict[str, str]) -> Project:
    """A project on digits in .npz files, built from nothing up to the accuracies."""
    project = new_project(folder)
    digits = load_digits()
    images = np.round(digits.images * 255 / 16).astype(np.uint8)
    np.savez(folder / "train.npz", images=images[:TRAIN], labels=digits.target[:TRAIN])
    np.savez(folder / "test.npz", images=images[TRAIN : TRAIN + TEST], labels=test_labels)
    handwritten = {
        "source": {"kind": "npz", "path": "train.npz", "test_path": "test.npz"},
        "image": {"size": 8, "channels": 1},
        "classes": list("0123456789"),
        "train_size": TRAIN,
    }
    project.edit_catalogue("datasets", sensitive={"handwritten": handwritten})
    project.edit_catalogue("methods", last=LAST, choosing=CHOOSING)
    project.write_experiment(
        {
            **SMALL,
            "datasets": ["handwritten"],
            "methods": ["last", "choosing"],
            "epsilons": [10],
            "overrides": {},
            "fidelity_encoders": [],
            "keep_populations": "none",
        }
    )
    project.build("--until", "evaluate_utility", **environment)
    return project


@pytest.fixture(scope="module")
def twins(tmp_path_factory, torch_is_forbidden) -> tuple[Project, Project]:
    """Two projects that differ in the order of the test labels alone."""
    labels = load_digits().target[TRAIN : TRAIN + TEST]
    permuted = np.random.default_rng(0).permutation(labels)
    folder = tmp_path_factory.mktemp("twins")
    return (
        built_with(folder / "true", labels, torch_is_forbidden),
        built_with(folder / "permuted", permuted, torch_is_forbidden),
    )


@pytest.fixture
def chosen(twins) -> Project:
    return twins[0]


def test_permuted_test_labels_change_no_release(twins):
    """Every file of every run: votes, choice, ledgers, statements, populations, releases."""
    released = [
        {
            str(path.relative_to(project.results)): path.read_bytes()
            for path in project.find("runs/**/*")
            if path.is_file()
        }
        for project in twins
    ]
    assert released[0] == released[1]
    names = {Path(path).name for path in released[0]}
    assert {"votes.safetensors", "choice.json", "ledger.json", "privacy.json"} <= names
    assert sum(path.endswith("release.safetensors") for path in released[0]) == 2
    # The labels did reach the evaluation: it alone has changed.
    for method in ("last", "choosing"):
        pattern = f"evaluation/handwritten~*/{method}~*/eps10/seed0/utility/*.json"
        true, permuted = (read_json(project.one(pattern))["accuracy_logistic"] for project in twins)
        assert true > permuted + 0.1


def test_the_chosen_iteration_is_the_one_that_is_released(chosen):
    run = RUN.format("choosing")
    choice = read_json(chosen.one(f"{run}/choice/choice.json"))
    assert choice == {"iteration": 1, "candidates": [0, 1]}
    released = load_file(chosen.one(f"{run}/release.safetensors"))
    assert np.bincount(released["labels"]).tolist() == [12] * 10
    # The population was kept until it was released, and no longer.
    assert not chosen.find(f"{run}/iter1/population/*.safetensors")


def test_without_a_choice_the_last_iteration_is_released(chosen):
    released = load_file(chosen.one(f"{RUN.format('last')}/release.safetensors"))
    assert len(released["labels"]) == LAST["samples"][-1]
    assert not chosen.find(f"{RUN.format('last')}/choice")


def test_a_choice_is_charged_to_its_run(chosen):
    stated = read_json(chosen.one(f"{RUN.format('choosing')}/privacy.json"))
    mechanisms = [release["mechanism"] for release in stated["releases"]]
    assert mechanisms == ["vote", "vote", "choose_iteration"]
    event = stated["releases"][-1]["event"]
    assert event == {"type": "report-noisy-max", "epsilon": 1, "sensitivity": 1, "candidates": 2}
    # The votes took what was left: test_choice.py of the unit tests says how much.
    assert 9.99 < stated["epsilon"] <= 10 * (1 + 1e-6)


def test_a_choice_that_is_made_again_is_the_journalled_one(chosen, tmp_path, torch_is_forbidden):
    """From the journal, as a candidate's population is gone; nothing is drawn or charged."""
    project = chosen.copy(tmp_path / "project")
    before = project.contents("runs/**/choice/*", "accounts/**/register.jsonl")
    assert len(before) == 3
    project.one(f"{RUN.format('choosing')}/choice/choice.json").unlink()
    again = ("--forcerun", "choose_iteration", "--until", "choose_iteration")
    project.build(*again, **torch_is_forbidden)
    assert project.contents("runs/**/choice/*", "accounts/**/register.jsonl") == before
