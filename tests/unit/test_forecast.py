"""What `snakemake plan` says: work, rates, sizes, against published counts and written files."""

import json
from pathlib import Path

import numpy as np
import pytest

from workflow_scripts.configuration import load_configuration, read_yaml
from workflow_scripts.files import write_arrays, write_json
from workflow_scripts.generators.population import Population, save_population
from workflow_scripts.plan import Plan, forecast
from workflow_scripts.plan.disk import bytes_of, dimensions, parameters
from workflow_scripts.plan.forecast import PlannedJob, estimate, noise_of_runs, size_of
from workflow_scripts.plan.preview import generator_calls
from workflow_scripts.plan.rates import has_gpu, published, recorded
from workflow_scripts.plan.work import EVALUATION, GRADIENT, IMAGE, JOB, TRAINED, Work, work_of
from workflow_scripts.settings import settings_of

ROOT = Path(__file__).parents[2]
HOUR = 3600


class Wildcards(dict):
    __getattr__ = dict.__getitem__


def plan_of(name: str, **changes) -> Plan:
    file = ROOT / f"config/experiments/{name}.yaml"
    return Plan(load_configuration(ROOT / "config", read_yaml(file) | changes, str(file)))


def run_of(plan: Plan, method: str, dataset: str | None = None):
    return next(
        run
        for run in plan.runs
        if run.method.name == method and dataset in (None, run.dataset.name)
    )


def wildcards_of(plan: Plan, run, **more) -> Wildcards:
    stages = plan.methods.get(run.method.label)
    return Wildcards(
        dataset=run.dataset.label,
        method=run.method.label,
        epsilon=run.epsilon,
        seed=str(run.seed),
        initial=stages.initial.label if stages else "",
        lookahead=stages.lookahead.label if stages and stages.lookahead else "",
        **more,
    )


def works_of(plan: Plan, run) -> dict[str, list[Work]]:
    """The work of a run of Private Evolution, by rule."""

    def one(rule: str, **more) -> Work:
        return work_of(rule, settings_of(plan, rule)(wildcards_of(plan, run, **more)))

    iterations = range(1, run.iterations + 1)
    return {
        "initialise": [one("initialise")],
        "look_ahead": [one("look_ahead")],
        "vary": [one("vary", t=str(t)) for t in iterations],
    }


@pytest.mark.parametrize(
    ("name", "method", "dataset", "images", "evaluations"),
    [
        ("pe-cifar10", "pe-cifar10", "cifar10", 9_050_000, 716_000_000),
        ("pe-camelyon17", "pe-camelyon17", "camelyon17-64", 79_238_232, 868_596_192),
        ("pe-cat", "pe-cat", "cat", 30_800, 1_082_800),
        ("dpimagebench-pe-eps1", "dpimagebench-pe", "cifar10-45k", 2_760_000, 259_800_000),
    ],
    ids=["cifar10", "camelyon17", "cat", "dpimagebench"],
)
def test_jobs_of_private_evolution_add_up_to_the_published_counts(
    name, method, dataset, images, evaluations
):
    plan = plan_of(name)
    run = run_of(plan, method, dataset)
    works = [work for some in works_of(plan, run).values() for work in some]
    assert sum(work.images for work in works) == images == generator_calls(run.settings)
    assert {work.unit for work in works} == {EVALUATION}
    # Published by the scripts' schedules; half steps are rounded one way or the other.
    assert sum(work.amount for work in works) == pytest.approx(evaluations, rel=0.02)


def test_simulators_are_counted_in_images():
    plan = plan_of("sim-pe-mnist-small")
    works = works_of(plan, run_of(plan, "sim-pe-28"))
    assert {work.unit for some in works.values() for work in some} == {IMAGE}


def test_shards_share_the_work():
    plan = plan_of("pe-cifar10")
    run = run_of(plan, "pe-cifar10")
    settings = settings_of(plan, "initialise")(wildcards_of(plan, run))
    whole, part = work_of("initialise", settings), work_of("initialise", settings, shards=4)
    assert whole.amount == 4 * part.amount == 5_000_000
    assert part.images == 12_500 and part.model == whole.model


def test_gradients_of_dp_sgd_are_the_published_number():
    plan = plan_of("dpimagebench")
    run = plan.training(run_of(plan, "dpimagebench-dpdm", "cifar10-45k"))
    work = work_of("finetune", settings_of(plan, "finetune")(wildcards_of(plan, run)))
    # 150 epochs of 45,000 records with 32 draws of noise
    assert work.unit == GRADIENT and work.amount == pytest.approx(216_000_000)
    rate = published("finetune", work)
    assert rate.on_gpu and rate.seconds * work.amount == pytest.approx(20.5 * 4 * HOUR)
    assert 730 <= 1 / rate.seconds <= 2150, "gradients a second, as in its logs"


def test_published_hours_of_private_evolution_come_out_again():
    plan = plan_of("dpimagebench-pe-eps1")
    run = run_of(plan, "dpimagebench-pe", "cifar10-45k")
    seconds = sum(
        published(rule, work).seconds * work.amount
        for rule, works in works_of(plan, run).items()
        for work in works
    )
    assert seconds == pytest.approx(48 * HOUR, rel=0.01)


def test_another_model_has_no_published_figure():
    plan = plan_of("pe-cat")
    for rule, works in works_of(plan, run_of(plan, "pe-cat")).items():
        assert [published(rule, work) for work in works] == [None] * len(works)
    for name, method in (("dpdm-mnist-small", "dpdm-28"), ("dpimagebench", "dpimagebench-dp-ldm")):
        plan = plan_of(name)
        run = plan.training(run_of(plan, method))
        work = work_of("finetune", settings_of(plan, "finetune")(wildcards_of(plan, run)))
        assert published("finetune", work) is None, "a tiny network; a part of one"


def record(path: str, seconds: float) -> None:
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    Path(path).write_text(f"s\th:m:s\tmax_rss\n{seconds}\t0:00:01\t-\n")


VARY = "results/benchmarks/runs/d~0/m~0/eps{}/seed{}/vary.iter1.1-of-1.tsv"


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_rates_are_scaled_by_work_and_take_other_epsilons_and_seeds_in(folder):
    small, large = Work(100, IMAGE, "a"), Work(300, IMAGE, "a")
    last = "results/benchmarks/runs/d~0/m~0/eps{}/seed{}/vary.final.1-of-1.tsv"
    record(VARY.format(1, 0), 10)
    record(VARY.format(10, 7), 20)
    record(last.format(1, 0), 45)
    jobs = [
        ("vary", small, VARY.format(1, 0)),
        ("vary", small, VARY.format(1, 1)),
        ("vary_last", large, last.format(1, 0)),
    ]
    (rate,) = recorded(jobs, on_gpu=False).values()
    assert rate.seconds == pytest.approx((10 + 20 + 45) / (100 + 100 + 300))
    assert rate.source == "recorded: 3 jobs"


def test_times_of_another_model_are_not_taken(folder):
    record(VARY.format(1, 0), 10)
    rates = recorded([("vary", Work(100, IMAGE, "a"), VARY.format(1, 0))], on_gpu=False)
    assert ("vary", IMAGE, "a") in rates and ("vary", IMAGE, "b") not in rates


def test_times_that_lie_in_the_sensitive_zone_are_not_looked_at(folder):
    path = "results/sensitive/d~0/benchmarks/vote/m~0/eps1/seed0/iter1.tsv"
    record(path, 10)
    work = Work(1, JOB, "a")
    assert recorded([("vote", work, path)], on_gpu=False) == {}
    (line,) = estimate([PlannedJob("vote", True, False, work, path)], on_gpu=False).values()
    assert line.unknown == 1 and not line.hours


def test_hours_are_those_of_jobs_to_do_and_say_of_what(folder):
    work = Work(7200, IMAGE, "a")
    record(VARY.format(1, 0), 7200)
    jobs = [
        PlannedJob("vary", False, True, work, VARY.format(1, 0)),
        PlannedJob("vary", True, True, work, VARY.format(1, 1)),
        PlannedJob("sample", True, True, Work(1, IMAGE, "b")),
    ]
    here = estimate(jobs, on_gpu=False)
    assert here["vary"].hours == {"core": 2} and here["vary"].pending == 1
    assert estimate(jobs, on_gpu=True)["vary"].hours == {"GPU": 2}
    assert here["sample"].unknown == 1, "no number is made up"


def test_a_gpu_is_known_by_its_device(tmp_path):
    (tmp_path / "nvidia-modprobe").touch()
    assert not has_gpu(tmp_path)
    (tmp_path / "nvidia0").touch()
    assert has_gpu(tmp_path)


def test_training_images_are_steps_times_the_batch():
    plan = plan_of("dpimagebench")
    run = run_of(plan, "dpimagebench-pdp", "cifar10-45k")
    stage = plan.trainings[run.method.label].start
    settings = settings_of(plan, "train_generator")(Wildcards(generator=stage.label))
    work = work_of("train_generator", settings)
    assert work.unit == TRAINED and work.amount == 1024 * 200_160
    # 160 epochs of ImageNet took 32 hours on four GPUs.
    hours = published("train_generator", work).seconds * work.amount / HOUR
    assert hours == pytest.approx(128, rel=0.01)


@pytest.mark.parametrize(
    ("network", "size", "channels", "millions"),
    [
        ({"channels": 32, "multipliers": [1, 2, 2], "blocks": 2, "attention": [7]}, 28, 1, 1.75),
        ({"channels": 32, "multipliers": [2, 4], "blocks": 2, "attention": [16]}, 32, 3, 3.8),
    ],
    ids=["dpdm-mnist", "dpimagebench-32"],
)
def test_networks_are_as_large_as_published(network, size, channels, millions):
    found = parameters(json.dumps(network), size, channels, 10, False)
    assert found / 1e6 == pytest.approx(millions, rel=0.05)


def test_a_stored_population_has_the_predicted_size(tmp_path):
    plan = plan_of("sim-pe-mnist-small")
    run = run_of(plan, "sim-pe-28")
    wildcards = wildcards_of(plan, run, t="1")
    rows, numbers = 2000, np.zeros(2000, np.int64)
    state = {f"parameter{i}": numbers for i in range(9)}
    population = Population(np.zeros((rows, 28, 28, 1), np.uint8), numbers, state)
    save_population(tmp_path / "population", [population], rows)
    votes = {"votes": numbers, "labels": numbers, "brightness": numbers.astype(np.float32)}
    write_arrays(tmp_path / "votes", votes)
    for rule, output, file, copies in (
        ("initialise", "population", "population", 1),
        ("vary", "population", "population", 1),
        ("select", "parents", "population", 1),
        ("vote", "votes", "votes", 2),
    ):
        settings = settings_of(plan, rule)(wildcards)
        found = bytes_of(plan, rule, wildcards, settings)[output]
        size = copies * (tmp_path / file).stat().st_size
        assert found == pytest.approx(size, rel=0.05), (rule, output)


def test_embeddings_have_the_dimensions_of_their_encoder():
    image = {"size": 8, "channels": 3}
    assert dimensions({"kind": "pixels"}, image) == 192
    assert dimensions({"kind": "cnn", "dimension": 64}, image) == 64
    assert dimensions({"kind": "inception"}, image) == 2048
    assert dimensions({"kind": "torchscript"}, image) is None


def test_noise_is_found_once_for_equal_budgets_and_read_where_it_was_found(folder, monkeypatch):
    plan = plan_of("sim-pe-mnist-small", epsilons=[1, 10], seeds=[0, 1, 2])
    runs = [run for run in plan.runs if run.method.name == "sim-pe-28"]
    asked = []
    monkeypatch.setattr(forecast, "noise_of_text", lambda text: asked.append(text) or 7.0)
    assert set(noise_of_runs(runs, plan, 1).values()) == {7.0}
    assert len(asked) == 2, "one for each ε"
    first = next(run for run in runs if run.epsilon == "10" and run.seed == 2)
    write_json(f"{first.directory}/budget.json", {"noise_multiplier": 3.5})
    asked.clear()
    assert sorted(noise_of_runs(runs, plan, 1).values()) == [3.5, 7.0]
    assert len(asked) == 1


@pytest.mark.parametrize(
    ("number", "text"),
    [(0, "0 B"), (999, "999 B"), (1234, "1.23 kB"), (5.6e9, "5.6 GB"), (2e18, "2e+03 PB")],
    ids=["nothing", "bytes", "kilobytes", "gigabytes", "beyond"],
)
def test_sizes_print_for_people(number, text):
    assert size_of(number) == text
