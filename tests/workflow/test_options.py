"""Every option of Private Evolution, through real Snakemake, on 3 shards."""

import json
from collections import Counter

import numpy as np
import pandas as pd
import pytest
from safetensors.numpy import load_file

from tests.workflow.conftest import SMALL, Project, new_project
from workflow_scripts.evolution.votes import count_votes
from workflow_scripts.files import read_json
from workflow_scripts.privacy.closed_form import epsilon_of_mu
from workflow_scripts.shards import Shards

pytestmark = pytest.mark.slow

VARIATION = {"font": 0.5, "size": 2, "rotation": 5, "stroke": 1, "shift": 1}
BASE = {
    "family": "pe",
    "generator": "text",
    "encoder": "pixels",
    "samples": 40,
    "iterations": 3,
    "lookahead": 1,
    "variation": VARIATION,
    "threshold": {"sigmas": 1},
}
METHODS = {
    "unlabelled": {
        **BASE,
        "histogram": "joint",
        "lookahead": 0,
        "neighbours": 3,
        "metric": "cosine",
    },
    "growing": {
        **BASE,
        "samples": [20, 30, 40, 50],
        "initial_fold": 1,
        "initial_variation": VARIATION,
        "fold": 2,
        "keep_selected": True,
        "selection": "rank",
    },
    "counting": {**BASE, "class_fractions": "noised", "class_count_noise": 30},
}


@pytest.fixture(scope="module")
def options(tmp_path_factory, torch_is_forbidden) -> Project:
    project = new_project(tmp_path_factory.mktemp("options") / "project")
    project.edit_catalogue("methods", **METHODS)
    project.write_experiment(
        {**SMALL, "methods": list(METHODS), "overrides": {}, "keep_populations": {"every": 2}}
    )
    project.build("--set-scatter", "shards=3", **torch_is_forbidden)
    return project


def released(options: Project, method: str) -> np.ndarray:
    return load_file(options.one(f"runs/digits~*/{method}~*/eps10/seed0/release.safetensors"))


def statement(options: Project, method: str) -> dict:
    return read_json(options.one(f"runs/digits~*/{method}~*/eps10/seed0/privacy.json"))


def test_a_joint_histogram_keeps_the_size_and_inherits_labels(options):
    labels = released(options, "unlabelled")["labels"]
    assert len(labels) == 40 and set(labels) <= set(range(10))


def test_neighbours_are_charged_as_one_wider_event(options):
    stated = statement(options, "unlabelled")
    events = [release["event"] for release in stated["releases"]]
    assert [event["counts"] for event in events] == [3] * 3
    assert [release["sensitivity"] for release in stated["releases"]] == [3**0.5] * 3
    mu = sum(event["counts"] / event["scale"] ** 2 for event in events) ** 0.5
    assert epsilon_of_mu(mu, stated["delta"]) == pytest.approx(stated["epsilon"], rel=1e-2)
    # The stored votes are the clean ones and noise of scale σ√3, in whole numbers.
    run = "runs/*/unlabelled~*/eps10/seed0"
    private = options.find("sensitive/digits~*/embeddings/pixels~*/train/*.safetensors")
    candidates = options.find(f"{run}/iter2/lookahead/*.safetensors")
    clean = count_votes(Shards(*private), Shards(*candidates), 3, "cosine", joint=True)
    votes = load_file(options.one(f"{run}/iter3/votes.safetensors"))["votes"]
    assert votes.dtype == np.int64
    noise = (votes - clean) / events[0]["scale"]
    # χ² of 40 standard normals: outside [16, 83] once in 10,000 runs; the seed is fixed.
    assert 16 < np.sum(noise**2) < 83


def test_a_population_grows_by_its_schedule_and_folds(options):
    # 2 variations of each of 50 parents, and the parents.
    assert np.bincount(released(options, "growing")["labels"]).tolist() == [15] * 10
    parents = options.one("runs/digits~*/growing~*/eps10/seed0/iter2/parents.safetensors")
    assert len(load_file(parents)["labels"]) == 40
    initial = options.find("public/initial/text~*/seed0/population/*.safetensors")
    sizes = Counter(path.parents[2].name for path in initial for _ in load_file(path)["labels"])
    assert sorted(sizes.values()) == [40, 40], "20 and a variation of each; 40 of the others"


def test_noisy_class_counts_are_released_charged_and_used(options):
    stated = statement(options, "counting")
    mechanisms = [release["mechanism"] for release in stated["releases"]]
    assert mechanisms == ["count_classes", "vote", "vote", "vote"]
    assert stated["releases"][0]["event"]["scale"] == 30
    assert stated["epsilon"] <= 10 * (1 + 1e-6)
    folder = "runs/digits~*/counting~*/eps10/seed0"
    noisy = load_file(options.one(f"{folder}/class_counts/counts.safetensors"))["counts"]
    assert noisy.dtype == np.int64
    labels = load_file(options.one("sensitive/digits~*/train.safetensors"))["labels"]
    # A count without noise by chance: two of ten, once in 100; the seed is fixed.
    assert np.sum(noisy == np.bincount(labels)) < 2
    sizes = np.bincount(released(options, "counting")["labels"], minlength=10)
    assert sizes.sum() == 40 and sizes.min() >= 1
    # One each, and 30 by largest remainders: within one of the exact share.
    exact = 1 + 30 * np.maximum(noisy, 0) / np.maximum(noisy, 0).sum()
    assert np.abs(sizes - exact).max() < 1


def test_populations_that_are_not_kept_are_gone_and_nothing_asks_for_them(options):
    kept = options.find("runs/digits~*/counting~*/eps10/seed0/iter*/population/*.safetensors")
    assert {path.parents[1].name for path in kept} == {"iter2"}
    iterations = pd.read_csv(options.results / "reports/small/iterations.csv")
    assert sorted(iterations["iteration"].unique()) == [0, 2, 3]
    assert options.planned("--set-scatter", "shards=3") == Counter()


def test_the_report_has_diagnostics_of_every_iteration(options):
    diagnostics = pd.read_csv(options.results / "reports/small/diagnostics.csv")
    assert len(diagnostics) == 3 * 3
    assert np.allclose(diagnostics["threshold_in_sigmas"], 1)
    assert (diagnostics["effective_parents"] <= diagnostics["candidates"]).all()
    assert (options.results / "reports/small/figures/diagnostics.png").stat().st_size > 5000
    html = (options.results / "reports/small/report.html").read_text()
    assert "Signal and noise of the votes" in html


COUNTING = '''"""The text simulator, with a line in a file for every image that it is asked for."""

import os

from workflow_scripts.generators.text import TextSimulator


class Counted(TextSimulator):
    def __init__(self, classes, **settings):
        super().__init__(classes, settings)

    def random(self, labels, rng):
        self._write("random", len(labels))
        return super().random(labels, rng)

    def vary(self, population, degree, rng):
        self._write("vary", len(population))
        return super().vary(population, degree, rng)

    def _write(self, call, n):
        with open(os.environ["CALLS"], "a") as file:
            file.write(f"{call}\\n" * n)
'''


def test_a_grid_over_budgets_and_thresholds_pays_for_the_beginning_once_per_seed(tmp_path):
    """3 ε × 2 thresholds × 2 seeds: the generator is asked for 2 initial populations, not 12."""
    project = new_project(tmp_path / "project")
    (project.folder / "counted.py").write_text(COUNTING)
    project.edit_catalogue("generators")
    import yaml

    text = yaml.safe_load((project.folder / "config/generators.yaml").read_text())["text"]
    defaults = {"texts": None, "channels": 1, "foreground": [255, 255], "background": [0, 0]}
    counted = {
        "kind": "python",
        "class": "counted:Counted",
        "image": {"size": 8, "channels": 1},
        "settings": {**defaults, **text},
        "degrees": list(VARIATION),
    }
    project.edit_catalogue("generators", counted=counted)
    method = {**BASE, "generator": "counted", "samples": 20, "iterations": 1}
    project.edit_catalogue(
        "methods", low={**method, "threshold": 1}, high={**method, "threshold": 4}
    )
    project.write_experiment(
        {**SMALL, "methods": ["low", "high"], "epsilons": [1, 3, 10], "seeds": [0, 1]}
        | {"overrides": {}, "classifiers": [], "fidelity_encoders": []}
    )
    calls = tmp_path / "calls"
    project.build(CALLS=str(calls))
    asked = Counter(calls.read_text().split())
    assert asked["random"] == 2 * 20
    # The first lookahead once per seed; the last population of each of the 12 runs.
    assert asked["vary"] == 2 * 20 + 12 * 20
    assert len(project.find("runs/digits~*/*/eps*/seed*/release.safetensors")) == 12
    assert json.dumps(project.planned()) == "{}"
