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
from workflow_scripts.plan.rates import RESUMED, FinishedJob, Recorded, has_gpu, published
from workflow_scripts.plan.work import (
    EVALUATION,
    GRADIENT,
    IMAGE,
    JOB,
    TRAINED,
    Work,
    evaluations,
    work_of,
)
from workflow_scripts.problems import Problem
from workflow_scripts.settings import settings_of
from workflow_scripts.steps.plan import from_inputs

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


def work_in(plan: Plan, rule: str, wildcards: Wildcards, step: str | None = None) -> Work:
    """The work of a job of a rule, whose settings are those of `step`."""
    settings = settings_of(plan, step or rule)(wildcards)
    return work_of(rule, settings | from_inputs(plan, rule, wildcards, settings))


@pytest.mark.parametrize(
    ("name", "method", "dataset", "images", "expected"),
    [
        ("pe-cifar10", "pe-cifar10", "cifar10", 9_050_000, 716_000_000),
        ("pe-camelyon17", "pe-camelyon17", "camelyon17-64", 79_238_232, 868_596_192),
        ("pe-cat", "pe-cat", "cat", 30_800, 1_082_800),
        ("dpimagebench-pe-eps1", "dpimagebench-pe", "cifar10-45k", 2_760_000, 259_800_000),
    ],
    ids=["cifar10", "camelyon17", "cat", "dpimagebench"],
)
def test_jobs_of_private_evolution_add_up_to_the_published_counts(
    name, method, dataset, images, expected
):
    plan = plan_of(name)
    run = run_of(plan, method, dataset)
    works = [work for some in works_of(plan, run).values() for work in some]
    assert sum(work.images for work in works) == images == generator_calls(run.settings)
    assert {work.unit for work in works} == {EVALUATION}
    # Published by the scripts' schedules; half steps are rounded one way or the other.
    assert sum(work.amount for work in works) == pytest.approx(expected, rel=0.02)


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


@pytest.mark.parametrize(
    ("sampler", "degree", "times"),
    [
        ({"sampler": "ddim", "steps": 50}, {}, 50),
        ({"sampler": "stochastic-ddim", "steps": 50}, {}, 50),
        ({"sampler": "heun", "steps": 50}, {}, 99),
        ({"sampler": "churn", "steps": 1000}, {}, 1999),
        ({"sampler": "heun", "steps": 50}, {"strength": 0.5}, 49),
    ],
    ids=["ddim", "stochastic", "heun", "churn", "heun-variation"],
)
def test_the_network_runs_as_often_as_the_sampler_says(sampler, degree, times):
    assert evaluations({"kind": "edm", "sampling": sampler}, degree) == times


def test_the_sampler_runs_the_network_as_often():
    import torch

    from workflow_scripts.edm.sampling import Solver, noise_levels

    for name in ("ddim", "heun", "churn", "stochastic-ddim"):
        calls = []
        solver = Solver(name, churn=1.0)
        x = torch.zeros(1, 1, 2, 2)
        solver.run(
            lambda x, sigma, calls=calls: calls.append(sigma) or x,
            x,
            noise_levels(7, 0.002, 80.0),
            7,
            lambda x=x: x,
        )
        generator = {"kind": "edm", "sampling": {"sampler": name, "steps": 7}}
        assert len(calls) == evaluations(generator, {}), name


def test_another_model_has_no_published_figure():
    plan = plan_of("pe-cat")
    for rule, works in works_of(plan, run_of(plan, "pe-cat")).items():
        assert [published(rule, work) for work in works] == [None] * len(works)


def finetuned(plan: Plan, method: str, dataset: str) -> Work:
    run = plan.training(run_of(plan, method, dataset))
    return work_of("finetune", settings_of(plan, "finetune")(wildcards_of(plan, run)))


def test_published_figures_are_of_the_network_that_was_measured():
    bench = plan_of("dpimagebench")
    assert published("finetune", finetuned(bench, "dpimagebench-dpdm", "cifar10-45k"))
    assert published("finetune", finetuned(bench, "dpimagebench-dpdm", "eurosat-32"))
    for method, dataset in (
        ("dpimagebench-dpdm", "mnist"),  # fewer channels at 28 pixels
        ("dpimagebench-dp-ldm", "cifar10-45k"),  # a part of it is trained
    ):
        assert published("finetune", finetuned(bench, method, dataset)) is None, (method, dataset)
    # 32 channels as well, at half the depth: a fraction of the work.
    paper = plan_of("privimage-cifar10")
    assert published("finetune", finetuned(paper, "privimage-cifar10", "cifar10")) is None


def test_sampling_and_pretraining_are_published_for_that_network_alone():
    bench, paper = plan_of("dpimagebench"), plan_of("pdp-cifar10")
    for plan, method, dataset, known in (
        (bench, "dpimagebench-pdp", "cifar10-45k", True),
        (bench, "dpimagebench-pdp", "mnist", False),
        (paper, "pdp-cifar10", "cifar10", False),
    ):
        run = run_of(plan, method, dataset)
        sampled = work_in(plan, "sample", wildcards_of(plan, run))
        assert (published("sample", sampled) is not None) == known, (method, dataset)
        start = Wildcards(generator=plan.trainings[run.method.label].start.label)
        trained = work_in(plan, "train_generator", start)
        assert (published("train_generator", trained) is not None) == known, (method, dataset)
    # 0.17 h on four GPUs
    run = run_of(bench, "dpimagebench-pdp", "cifar10-45k")
    sampled = work_in(bench, "sample", wildcards_of(bench, run))
    hours = published("sample", sampled).seconds * sampled.amount / HOUR
    assert hours == pytest.approx(0.68, rel=0.01)


def test_small_batches_of_pretraining_have_no_published_figure():
    plan = plan_of("dpimagebench")
    run = run_of(plan, "dpimagebench-dp-feta", "cifar10-45k")
    stages = plan.trainings[run.method.label]
    wildcards = wildcards_of(plan, run)
    wildcards |= {"query": stages.query.stage.label, "pretraining": stages.start.label}
    rule = "pretrain_on_central_images"
    assert published(rule, work_in(plan, rule, Wildcards(wildcards), "pretrain")) is None


VARY = "results/benchmarks/runs/d~0/m~0/eps1/seed{}/vary.iter1.1-of-1.tsv"
LOG = "results/logs/vary/d~0/m~0/eps1/seed{}/iter1.1-of-1.log"


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def write(path: str, text: str) -> None:
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    Path(path).write_text(text)


def record(path: str, seconds: float) -> None:
    write(path, f"s\th:m:s\tmax_rss\n{seconds}\t0:00:01\t-\n")


def finished(work: Work, seconds: float, seed: int = 0, rule: str = "vary") -> FinishedJob:
    """A job that took so long, with its benchmark file."""
    record(VARY.format(seed), seconds)
    return FinishedJob(rule, work, VARY.format(seed), LOG.format(seed))


def test_rates_are_scaled_by_work(folder):
    small, large = Work(100, IMAGE, "a"), Work(300, IMAGE, "a")
    jobs = [
        finished(small, 10, seed=0),
        finished(small, 20, seed=1),
        finished(large, 45, seed=2, rule="vary_for_once"),
    ]
    rate = Recorded(jobs, on_gpu=False).rate("vary", Work(7, IMAGE, "a"))
    assert rate.seconds == pytest.approx((10 + 20 + 45) / (100 + 100 + 300))
    assert rate.source == "recorded: 3 jobs"


def test_times_of_another_model_are_not_taken(folder):
    rates = Recorded([finished(Work(100, IMAGE, "a"), 10)], on_gpu=False)
    assert rates.rate("vary", Work(1, IMAGE, "a"))
    assert rates.rate("vary", Work(1, IMAGE, "b")) is None
    assert rates.rate("vary", Work(1, EVALUATION, "a")) is None
    assert rates.rate("look_ahead", Work(1, IMAGE, "a")) is None


def test_the_last_variation_is_estimated_by_the_others_until_one_has_run(folder):
    plan = plan_of("pe-cifar10")
    run = run_of(plan, "pe-cifar10")
    first = work_in(plan, "vary", wildcards_of(plan, run, t="1"))
    last = work_in(plan, "vary_last", wildcards_of(plan, run), step="vary")
    assert first.model == last.model and first.embeds and not last.embeds
    one = finished(first, first.amount, seed=0)
    rates = Recorded([one], on_gpu=True)
    assert rates.rate("vary_last", last).seconds == rates.rate("vary", first).seconds == 1
    both = [one, finished(last, last.amount / 2, seed=1, rule="vary_last")]
    rates = Recorded(both, on_gpu=True)
    assert rates.rate("vary_last", last).seconds == 0.5 and rates.rate("vary", first).seconds == 1


def test_embeddings_of_another_encoder_take_another_time(folder):
    plan = plan_of("sim-pe-mnist-small", overrides={"sim-pe-28": {"encoder": "pixels"}})
    other = plan_of("sim-pe-mnist-small")
    works = [
        work_in(p, "vary", wildcards_of(p, run_of(p, "sim-pe-28"), t="1")) for p in (plan, other)
    ]
    rates = Recorded([finished(works[0], 10)], on_gpu=False)
    assert rates.rate("vary", works[0]) and rates.rate("vary", works[1]) is None


def test_a_model_is_the_same_with_more_steps_more_images_and_another_data_set():
    small = plan_of("pe-cifar10", overrides={"pe-cifar10": {"samples": 500, "lookahead": 1}})
    large = plan_of("pe-cifar10")
    works = [
        work_in(p, "vary", wildcards_of(p, run_of(p, "pe-cifar10"), t="2")) for p in (small, large)
    ]
    assert works[0].amount < works[1].amount / 100
    assert (works[0].model, works[0].embeds) == (works[1].model, works[1].embeds)


def test_a_training_is_the_same_with_more_steps_alone():
    plan = plan_of("dpimagebench")
    start = plan.trainings[run_of(plan, "dpimagebench-pdp", "cifar10-45k").method.label].start
    settings = settings_of(plan, "train_generator")(Wildcards(generator=start.label))

    def trained(**changes) -> Work:
        training = settings["generator"]["training"] | changes
        generator = settings["generator"] | {"training": training}
        return work_of("train_generator", settings | {"generator": generator, "size": 32})

    assert trained(training_steps=10).model == trained().model
    assert trained(training_steps=10).amount < trained().amount
    assert trained(batch_size=8).model != trained().model


def test_times_that_lie_in_the_sensitive_zone_are_not_looked_at(folder):
    path = "results/sensitive/d~0/benchmarks/vote/m~0/eps1/seed0/iter1.tsv"
    record(path, 10)
    work = Work(1, JOB, "a")
    recorded = Recorded([FinishedJob("vote", work, path)], on_gpu=False)
    assert recorded.rate("vote", work) is None
    (line,) = estimate([PlannedJob("vote", True, False, work, path)], recorded).values()
    assert line.unknown == line.private == 1 and not line.hours


@pytest.mark.parametrize(
    "text",
    [
        "",
        "s\th:m:s\n",
        "s\th:m:s\nNA\tNA\n",
        "s\th:m:s\nnan\t-\n",
        "time\n12\n",
        "s",
        "\0\0\0",
        "h:m:s\ts\n1\n",
    ],
    ids=["empty", "header", "na", "nan", "other", "cut", "zeros", "short"],
)
def test_a_benchmark_that_cannot_be_read_is_passed_over(folder, text):
    work = Work(100, IMAGE, "a")
    broken = finished(work, 1, seed=0)
    write(broken.benchmark, text)
    assert Recorded([broken], on_gpu=False).rate("vary", work) is None
    rate = Recorded([broken, finished(work, 10, seed=1)], on_gpu=False).rate("vary", work)
    assert rate.seconds == 0.1 and rate.source == "recorded: 1 job"


def test_a_benchmark_that_is_no_text_or_gone_is_passed_over(folder):
    work = Work(100, IMAGE, "a")
    job = finished(work, 1)
    Path(job.benchmark).write_bytes(b"s\n\xff\xfe\n")
    assert Recorded([job], on_gpu=False).rate("vary", work) is None
    Path(job.benchmark).unlink()
    assert Recorded([job], on_gpu=False).rate("vary", work) is None


def test_a_job_that_went_on_after_an_interruption_is_no_measure(folder):
    work = Work(100, IMAGE, "a")
    job = finished(work, 1)
    write(job.log, "goes on after 50 of 100 images\n50/100\n")
    assert Recorded([job], on_gpu=False).rate("vary", work) is None
    write(job.log, "100/100 images\n")
    assert Recorded([job], on_gpu=False).rate("vary", work)


def test_steps_say_so_in_these_words():
    from workflow_scripts import resuming
    from workflow_scripts.evolution import kept_blocks

    for module in (resuming, kept_blocks):
        assert f'print(f"{RESUMED} ' in Path(module.__file__).read_text()


def test_hours_are_those_of_jobs_to_do_and_say_of_what(folder):
    work = Work(7200, IMAGE, "a")
    ran = [finished(work, 7200)]
    jobs = [
        PlannedJob("vary", False, True, work, VARY.format(0)),
        PlannedJob("vary", True, True, work, VARY.format(1)),
        PlannedJob("sample", True, True, Work(1, IMAGE, "b")),
    ]
    here = estimate(jobs, Recorded(ran, on_gpu=False))
    assert here["vary"].hours == {"core": 2} and here["vary"].pending == 1
    assert here["vary"].work == {IMAGE: 7200}
    assert estimate(jobs, Recorded(ran, on_gpu=True))["vary"].hours == {"GPU": 2}
    assert here["sample"].unknown == 1, "no number is made up"


def sums_of(jobs: list[PlannedJob], *ran: FinishedJob) -> str:
    lines = estimate(jobs, Recorded(ran, on_gpu=True))
    return "\n".join(forecast._sums(jobs, lines))


def test_the_sum_is_a_least_one_while_a_job_has_no_figure(folder):
    work = Work(7200, IMAGE, "a", images=7200)
    timed = PlannedJob("vary", True, True, work, VARY.format(1))
    vote = "results/sensitive/d~0/benchmarks/vote/m~0/eps1/seed0/iter1.tsv"
    private = PlannedJob("vote", True, False, Work(1, JOB, ""), vote)
    other = PlannedJob("select", True, False, Work(1, JOB, ""))
    ran = finished(work, 7200)
    assert "estimate: 2 GPU-hours\n" in sums_of([timed], ran)
    least = "estimate: at least 2 GPU-hours; no figure for 2 jobs, 1 of which read private data"
    assert least in sums_of([timed, private, other], ran)
    assert "no figure for 1 job, which read private data (" in sums_of([timed, private], ran)
    assert "estimate: none; no figure for 1 job (" in sums_of([other])
    done = PlannedJob("vary", False, True, work)
    assert "estimate: –\n" in sums_of([done])
    assert "2 to do, 1 of them ask for a GPU\n" in sums_of([timed, other])


def test_outputs_of_unknown_size_are_named(folder):
    job = PlannedJob("train_generator", True, True, Work(1, TRAINED, "{}"), unsized=("pipeline",))
    assert "not counted: pipeline of train_generator, downloads, " in sums_of([job])
    assert "pipeline" not in sums_of([PlannedJob("vote", True, False, Work(1, JOB, ""))])


def test_the_work_is_in_the_row(folder):
    jobs = [
        PlannedJob("vary", True, True, Work(20_000.4, EVALUATION, '{"generators": ["{}"]}')),
        PlannedJob("vary", True, True, Work(1000, IMAGE, "b")),
    ]
    (line,) = estimate(jobs, Recorded([], on_gpu=True)).values()
    assert forecast._row("vary", line)[4] == "20,000 network evaluations + 1,000 images"


def test_space_is_that_of_the_place_where_results_lie(folder, monkeypatch):
    asked = []
    real = forecast.shutil.disk_usage
    monkeypatch.setattr(forecast.shutil, "disk_usage", lambda p: asked.append(Path(p)) or real(p))
    elsewhere = folder / "elsewhere"
    elsewhere.mkdir()
    Path("results").symlink_to(elsewhere / "not/yet/there")
    forecast._free()
    assert asked == [elsewhere]


def test_space_of_a_zone_on_another_file_system_is_said_apart(folder):
    other = Path("/dev/shm")  # a file system of its own on Linux
    if not other.is_dir() or other.stat().st_dev == folder.stat().st_dev:
        pytest.skip("no second file system")
    assert "results/sensitive" not in forecast._free()
    Path("results").mkdir()
    Path("results/sensitive").symlink_to(other)
    assert forecast._free().endswith(" for results/sensitive")


def test_a_gpu_is_known_by_its_device(tmp_path):
    (tmp_path / "nvidia-modprobe").touch()
    assert not has_gpu(tmp_path)
    (tmp_path / "nvidia0").touch()
    assert has_gpu(tmp_path)


def test_training_images_are_steps_times_the_batch():
    plan = plan_of("dpimagebench")
    run = run_of(plan, "dpimagebench-pdp", "cifar10-45k")
    stage = plan.trainings[run.method.label].start
    work = work_in(plan, "train_generator", Wildcards(generator=stage.label))
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


def test_parents_are_of_the_generator_that_goes_on_with_them():
    plan = plan_of("sim-pe-celeba-avatar-then-diffusion")
    run = run_of(plan, "sim-pe-avatar-then-diffusion")
    # Avatars in iterations 1 to 4, and handed over at the end of the fourth.
    sizes = {
        t: bytes_of(plan, rule, wildcards_of(plan, run, t=t), settings)[output]
        for t, rule, output in (("4", "select", "parents"), ("5", "select", "parents"))
        for settings in [settings_of(plan, rule)(wildcards_of(plan, run, t=t))]
    }
    avatar, diffusion = 32 * 32 * 3 + 8 + 16 * 8, 64 * 64 * 3 + 8 + 8
    assert sizes == {"4": 60_000 * avatar, "5": 60_000 * diffusion}


def test_a_pool_is_embedded_and_written_once_more_as_its_index(folder):
    plan = plan_of("sim-pe-celeba-digiface")
    (label,) = plan.labels("generator", "pool")
    sizes = {}

    def sized() -> dict:
        for rule in ("embed_pool", "index_pool"):
            sizes.update(bytes_of(plan, rule, Wildcards(generator=label), {}))
        return sizes

    assert sized() == {"embeddings": None, "index": None}, "the data set is not there yet"
    public, _ = plan.stages[label].parents
    rows = 30
    images = Path(f"results/public/datasets/{public.label}/images.safetensors")
    images.parent.mkdir(parents=True)
    write_arrays(images, {"labels": np.zeros(rows, np.int64)})
    assert sized() == {"embeddings": rows * (4 * 2048 + 8), "index": rows * 4 * 2048}


def test_weights_of_a_diffusion_model_are_of_unknown_size():
    plan = plan_of("pe-cifar10-small")
    (label,) = plan.labels("generator", "diffusion")
    wildcards = Wildcards(generator=label)
    settings = settings_of(plan, "train_generator")(wildcards)
    assert bytes_of(plan, "train_generator", wildcards, settings) == {"pipeline": None}


def test_embeddings_have_the_dimensions_of_their_encoder():
    image = {"size": 8, "channels": 3}
    assert dimensions({"kind": "pixels"}, image) == 192
    assert dimensions({"kind": "cnn", "dimension": 64}, image) == 64
    assert dimensions({"kind": "inception"}, image) == 2048
    assert dimensions({"kind": "torchscript"}, image) is None


def test_noise_is_found_once_for_equal_budgets_and_read_where_it_was_found(
    folder, monkeypatch, capsys
):
    plan = plan_of("sim-pe-mnist-small", epsilons=[1, 10], seeds=[0, 1, 2])
    runs = [run for run in plan.runs if run.method.name == "sim-pe-28"]
    asked = []
    monkeypatch.setattr(forecast, "noise_of_text", lambda text: asked.append(text) or 7.0)
    assert set(noise_of_runs(runs, plan, 1).values()) == {7.0}
    assert len(asked) == 2, "one for each ε"
    assert "2 budgets\n" in capsys.readouterr().err, "none of DP-SGD"
    first = next(run for run in runs if run.epsilon == "10" and run.seed == 2)
    write_json(f"{first.directory}/budget.json", {"noise_multiplier": 3.5})
    asked.clear()
    assert sorted(noise_of_runs(runs, plan, 1).values()) == [3.5, 7.0]
    assert len(asked) == 1


def test_slow_budgets_are_announced(folder, monkeypatch, capsys):
    plan = plan_of("digits-dpsgd")
    runs = [run for run in plan.runs if run.is_trained and run.seed == 0]
    monkeypatch.setattr(forecast, "noise_of_text", lambda text: 7.0)
    noise_of_runs(runs, plan, 1)
    assert " of DP-SGD, which take some seconds each\n" in capsys.readouterr().err


def test_a_budget_that_is_cut_short_is_named(folder):
    plan = plan_of("sim-pe-mnist-small")
    run = run_of(plan, "sim-pe-28")
    write(f"{run.directory}/budget.json", '{"noise_mul')
    with pytest.raises(Problem, match=r"budget\.json: not valid JSON"):
        noise_of_runs([run], plan, 1)


@pytest.mark.parametrize(
    ("number", "text"),
    [(0, "0 B"), (999, "999 B"), (1234, "1.23 kB"), (5.6e9, "5.6 GB"), (2e18, "2e+03 PB")],
    ids=["nothing", "bytes", "kilobytes", "gigabytes", "beyond"],
)
def test_sizes_print_for_people(number, text):
    assert size_of(number) == text
