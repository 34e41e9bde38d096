"""The shipped experiments: each loads in a dry run, which prints the published noise."""

import re

import pytest

from tests.workflow.conftest import ROOT, Project, new_project

EXPERIMENTS = sorted(path.stem for path in (ROOT / "config/experiments").glob("*.yaml"))
# Experiment → (data set, ε) → σ, T and images generated, of the papers' scripts.
PUBLISHED = {
    "pe-cifar10": {("cifar10", "2.59438"): (7.0711, 20, 9_050_000)},
    "pe-camelyon17": {("camelyon17-64", "9.92107"): (2.8284, 29, 79_238_232)},
    "pe-cat": {("cat", "7.89008"): (2, 17, 30_800)},
    "sim-pe-mnist": {("mnist", "10"): (1.064422, 4, 2_220_000)},
    "sim-pe-celeba-avatar": {("celeba-gender-32", "10"): (1.456262, 7, 3_840_000)},
    "sim-pe-celeba-digiface": {("celeba-gender-32", "10"): (1.348237, 6, 3_300_000)},
    "dpimagebench-pe-eps1": {
        ("cifar10-45k", "1"): (8.342, 5, 2_760_000),
        ("fashion-mnist", "1"): (12.373, 11, 6_000_000),
        ("camelyon17-32", "1"): (9.870, 7, 3_840_000),
    },
    "dpimagebench-pe-eps10": {
        ("cifar10-45k", "10"): (1.118, 5, 2_760_000),
        ("mnist", "10"): (1.658, 11, 6_000_000),
        ("camelyon17-32", "10"): (1.323, 7, 3_840_000),
    },
}


@pytest.fixture(scope="module")
def project(tmp_path_factory) -> Project:
    return new_project(tmp_path_factory.mktemp("experiments") / "project")


def test_every_experiment_of_the_papers_is_there_with_a_small_twin():
    assert set(PUBLISHED) <= set(EXPERIMENTS)
    for name in [*PUBLISHED, "sim-pe-celeba-avatar-then-diffusion"]:
        twin = re.sub("-eps[0-9]+$", "", name) + "-small"
        assert twin in EXPERIMENTS, twin


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_an_experiment_loads_and_prints_its_noise(project, name):
    outcome = project.snakemake("-n", configfile=f"config/experiments/{name}.yaml")
    assert outcome.status == 0, outcome.text[-3000:]
    assert "Traceback" not in outcome.text
    head = next(line for line in outcome.text.splitlines() if line.startswith(f"{name}: "))
    assert re.search(r"\d+ runs", head)
    assert "write_report" in outcome.text, "the whole DAG was built"
    lines = [line.split() for line in outcome.text.splitlines()]
    for (dataset, epsilon), (sigma, iterations, images) in PUBLISHED.get(name, {}).items():
        (line,) = [x for x in lines if x[:1] == [dataset] and len(x) == 9 and x[2] == epsilon]
        digits = len(str(sigma).partition(".")[2])
        assert round(float(line[5]), digits) == pytest.approx(sigma, abs=1.01 * 10.0**-digits)
        assert int(line[4]) == iterations
        assert int(line[8].replace(",", "")) == images
