"""Bad configuration through Snakemake itself: one message, no traceback, no job."""

import math

import pytest
import yaml
from dp_accounting.pld.privacy_loss_distribution import from_discrete_gaussian_mechanism

from tests.workflow.conftest import SMALL

SIM_PE = SMALL["overrides"]["sim-pe"]


@pytest.mark.parametrize(
    ("change", "parts"),
    [
        ({"epsilonss": [1]}, ["experiment.yaml", "epsilonss", "did you mean epsilons?"]),
        ({"methods": ["sim-pee"]}, ["experiment.yaml", "'sim-pee'", "sim-pe"]),
        ({"epsilons": [-1]}, ["experiment.yaml", "epsilons.0", "-1", "greater than 0"]),
        ({"delta": 2}, ["experiment.yaml", "delta", "found 2", "less than 1"]),
        (
            {"overrides": {"sim-pe": {**SIM_PE, "iterations": 4}}},
            ["variation.font", "found 3 entries", "4 entries"],
        ),
        (
            {"overrides": {"sim-pe": {**SIM_PE, "class_names": {"ten": "X"}}}},
            ["class_names", "'ten'", "0, 1, 2"],
        ),
    ],
)
def test_a_mistake_is_one_message_before_any_job(project, change, parts):
    project.write_experiment({**SMALL, **change})
    outcome = project.snakemake("--cores", "1")
    assert outcome.status != 0
    assert "Traceback" not in outcome.text
    for part in parts:
        assert part in outcome.text, outcome.text
    assert not project.results.exists()


def test_malformed_yaml_in_the_catalogue_is_located(project):
    (project.folder / "config/methods.yaml").write_text("sim-pe: {family: pe\nreal: 3\n")
    outcome = project.snakemake("-n")
    assert outcome.status != 0 and "Traceback" not in outcome.text
    assert "methods.yaml, line 2" in outcome.text and "not valid YAML" in outcome.text


def test_malformed_yaml_in_the_default_experiment_is_located(project):
    (project.folder / "config/config.yaml").write_text("experiment: [demo\nseeds: 1\n")
    outcome = project.snakemake("-n", configfile=None)
    assert outcome.status != 0 and "Traceback" not in outcome.text
    assert "config.yaml, line 2" in outcome.text


def test_malformed_yaml_given_to_snakemake_stops_it(project):
    """Snakemake reads --configfile before the workflow does, and says so in its own words."""
    (project.folder / "experiment.yaml").write_text("experiment: [demo\nseeds: 1\n")
    outcome = project.snakemake("-n")
    assert outcome.status != 0 and "Traceback" not in outcome.text
    assert "not valid JSON or YAML" in outcome.text


def test_a_configfile_replaces_the_default_experiment_and_config_changes_single_keys(project):
    outcome = project.snakemake("-n", "--quiet", "host", "--config", "experiment=renamed")
    assert outcome.status == 0, outcome.text
    assert "results/reports/renamed/report.html" in outcome.text
    # Nothing of the default experiment is merged in: no method pe, one seed.
    assert "/pe~" not in outcome.text and "seed1" not in outcome.text


def test_a_dry_run_shows_the_noise_and_what_is_absent_and_a_run_refuses(project):
    source = {"kind": "npz", "path": "data/mine.npz"}
    project.edit_catalogue("datasets")
    path = project.folder / "config/datasets.yaml"
    catalogue = yaml.safe_load(path.read_text())
    catalogue["sensitive"]["digits"]["source"] = source
    path.write_text(yaml.safe_dump(catalogue))
    dry = project.snakemake("-n")
    assert dry.status == 0, dry.text
    assert "digits.source.path: found 'data/mine.npz'" in dry.text
    (line,) = [
        line for line in dry.text.splitlines() if line.startswith("digits  ") and "sim" in line
    ]
    # T = 3, δ = 1 / (1437 ln 1437): ε = 10 from an independent implementation at the printed σ.
    distribution = from_discrete_gaussian_mechanism(float(line.split()[5]), use_connect_dots=True)
    epsilon = distribution.self_compose(3).get_epsilon_for_delta(1 / (1437 * math.log(1437)))
    assert epsilon == pytest.approx(10, rel=1e-5)
    # 60 drawn, 3 × 60 varied, and one variation of each candidate to look ahead.
    assert line.split()[-1] == str(60 + 180 + 180)
    wet = project.snakemake("--cores", "1")
    assert wet.status != 0 and "data/mine.npz" in wet.text and "Traceback" not in wet.text
    assert not project.results.exists()


def test_the_linter_finds_nothing(project):
    outcome = project.snakemake("--lint")
    assert outcome.status == 0 and "good condition" in outcome.text, outcome.text
