"""The shipped experiments: each loads in a dry run, which prints the published noise, or T."""

import re

import pytest

from tests.workflow.conftest import ROOT, Project, new_project

pytestmark = pytest.mark.slow

SHIPPED = {path.stem for path in (ROOT / "config/experiments").glob("*.yaml")}
EXPERIMENTS = sorted(SHIPPED - {"scale"})  # a minute, in test_scale.py
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
# Experiment → (data set, method) → T = epochs · ⌈N/B⌉ and images released, of the papers' files.
TRAINED = {
    "dpdm-mnist": {("mnist-60k", "dpdm-mnist"): (4500, 60_000)},
    "dpdm-fmnist": {("fashion-mnist-60k", "dpdm-fmnist"): (4500, 60_000)},
    "pdp-cifar10": {("cifar10", "pdp-cifar10"): (150, 50_000)},
    "privimage-cifar10": {("cifar10", "privimage-cifar10"): (150, 50_000)},
    "privimage-celeba32": {("celeba-gender-32-163k", "privimage-celeba32"): (450, 50_000)},
    "privimage-celeba64": {("celeba-gender-64-163k", "privimage-celeba64"): (1000, 50_000)},
    "dpimagebench": {
        ("mnist", "dpimagebench-dpdm"): (2100, 60_000),
        ("fashion-mnist", "dpimagebench-privimage"): (2100, 60_000),
        ("cifar10-45k", "dpimagebench-dp-ldm"): (1650, 60_000),
        ("cifar100", "dpimagebench-dp-lora"): (1650, 60_000),
        ("eurosat-32", "dpimagebench-pdp"): (1650, 60_000),
        ("eurosat-32", "dpimagebench-privimage"): (900, 60_000),
        ("celeba-gender-32", "dpimagebench-dp-feta"): (5400, 60_000),
        ("celeba-gender-32", "dpimagebench-privimage"): (3600, 60_000),
        ("camelyon17-32", "dpimagebench-dp-feta"): (3300, 60_000),
    },
}


@pytest.fixture(scope="module")
def project(tmp_path_factory) -> Project:
    return new_project(tmp_path_factory.mktemp("experiments") / "project")


def test_every_experiment_of_the_papers_is_there_with_a_small_twin():
    published = {*PUBLISHED, *TRAINED, "sim-pe-celeba-avatar-then-diffusion"}
    assert published <= set(EXPERIMENTS)
    for name in published:
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
    # A row of the preview: data set, method, ε, δ, T, σ, H/σ, samples, images generated.
    rows = [row for line in outcome.text.splitlines() if len(row := line.split()) == 9]
    for (dataset, epsilon), (sigma, iterations, images) in PUBLISHED.get(name, {}).items():
        (line,) = [row for row in rows if row[0] == dataset and row[2] == epsilon]
        # Published for continuous noise; the same ε takes up to 2 % more or less of discrete noise.
        assert float(line[5]) == pytest.approx(sigma, rel=0.02)
        assert int(line[4]) == iterations
        assert int(line[8].replace(",", "")) == images
    for (dataset, method), (steps, images) in TRAINED.get(name, {}).items():
        found = [row for row in rows if row[:2] == [dataset, method]]
        assert found, "a line for every ε"
        # No closed form gives σ where records are sampled.
        assert {tuple(row[4:6]) for row in found} == {(str(steps), "calibrated")}
        assert {row[8] for row in found} == {f"{images:,}"}
