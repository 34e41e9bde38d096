"""Ask Snakemake what it would run, and print what that would take."""

import csv
import subprocess
import sys
import tempfile
from ast import literal_eval
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace

from snakemake.io import IOFile, apply_wildcards, is_flagged, strip_wildcard_constraints
from snakemake.iocontainers import Wildcards
from snakemake.persistence.file import FilePersistence
from snakemake.utils import listfiles

from workflow_scripts.plan import Plan
from workflow_scripts.plan.disk import bytes_of
from workflow_scripts.plan.forecast import PlannedJob, forecast
from workflow_scripts.plan.rates import FinishedJob, Recorded, has_gpu, is_public
from workflow_scripts.plan.work import FAMILIES, JOB, Work, work_of
from workflow_scripts.problems import Problem

# As `snakemake --summary` writes them.
PENDING, FILE = "update pending", "output_file"
# Jobs that differ in these alone are the same work where nothing better is known.
ALIKE = ("epsilon", "seed", "t", "scatteritem")


def show_plan(workflow, plan: Plan, arguments: Sequence[str]) -> None:
    """Print the plan of the experiment.

    Parameters
    ----------
    workflow
        Snakemake's, with all its rules.
    plan : Plan
    arguments : sequence of str
        That Snakemake was called with.
    """
    jobs = planned_jobs(workflow, plan, summary(arguments, workflow.rundir))
    # Nodes are given where a scheduler runs the jobs, and gives those a GPU that ask for one.
    on_gpu = has_gpu() or workflow.resource_settings.nodes is not None
    recorded = Recorded(finished_jobs(workflow, plan, jobs), on_gpu)
    print(forecast(plan, jobs, recorded), *plan.absent(), sep="\n")


def summary(arguments: Sequence[str], folder: str) -> list[dict[str, str]]:
    """The output files of an experiment and whether Snakemake would make them: a row for each.

    Snakemake itself says so, in a process of its own, which locks nothing.

    Parameters
    ----------
    arguments : sequence of str
    folder : str
        In which Snakemake was called with them: paths among them are relative to it.

    Raises
    ------
    Problem
        If Snakemake could not say; the message is what it said instead.
    """
    others = [argument for argument in arguments[1:] if argument != "plan"]
    command = [sys.executable, "-m", "snakemake", *others, "-n", "--summary", "--quiet"]
    with tempfile.TemporaryFile("w+", encoding="utf-8") as output:
        done = subprocess.run(  # noqa: S603 — our own
            command, cwd=folder, stdout=output, stderr=subprocess.PIPE, text=True, check=False
        )
        output.seek(0)
        lines = output.readlines()
    if done.returncode:
        said = [line for line in lines if "\t" not in line]
        raise Problem("".join([*said, done.stderr]).strip())
    rows = (line for line in lines if "\t" in line)
    return list(csv.DictReader(rows, delimiter="\t", quoting=csv.QUOTE_NONE))


def planned_jobs(workflow, plan: Plan, rows: Iterable[dict[str, str]]) -> list[PlannedJob]:
    """The jobs that make some files, each once, in the order of the rules.

    Parameters
    ----------
    workflow
    plan : Plan
    rows : iterable of dict
        As of `summary`.
    """
    jobs: dict[tuple, PlannedJob] = {}
    rules = {rule.name: rule for rule in workflow.rules}
    for row in rows:
        rule = rules[row["rule"]]
        found = rule.get_wildcards(row[FILE])
        key = (rule.name, *sorted(found.items()))
        if key not in jobs:
            pending = row["plan"] == PENDING
            jobs[key] = _job(plan, rule, Wildcards(fromdict=found), pending)
    order = list(rules)
    return sorted(jobs.values(), key=lambda job: order.index(job.rule))


def _job(plan: Plan, rule, wildcards, pending: bool) -> PlannedJob:
    settings = dict(rule.params.items()).get("settings")
    settings = settings(wildcards) if settings else {}
    asked = rule.resources
    sizes = bytes_of(plan, rule.name, wildcards, settings)
    kept = [name for name, file in rule.output.items() if not is_flagged(file, "temp")]
    return PlannedJob(
        rule=rule.name,
        pending=pending,
        gpu="gpu" in asked and bool(asked["gpu"].evaluate(wildcards).value),
        work=_work(plan, rule, wildcards, settings),
        benchmark=str(rule.expand_benchmark(wildcards) or ""),
        kept=sum(sizes.get(name) or 0 for name in kept) / _shards(wildcards),
        unsized=tuple(name for name in kept if name in sizes and sizes[name] is None),
    )


def _shards(wildcards: Mapping) -> int:
    return int(wildcards.get("scatteritem", "1-of-1").split("-of-")[1])


def _work(plan: Plan, rule, wildcards: Mapping, settings: Mapping) -> Work:
    known = {**settings, **from_inputs(plan, rule.name, wildcards, settings)}
    work = work_of(rule.name, known, _shards(wildcards))
    if work.unit == JOB and rule.benchmark:
        alike = {**wildcards, **dict.fromkeys(ALIKE, "*")}
        return replace(work, model=_path(rule.benchmark, alike))
    return work


def from_inputs(plan: Plan, rule: str, wildcards: Mapping, settings: Mapping) -> dict:
    """What `work_of` has to know besides a job's settings; the step learns it from its inputs."""
    match rule:
        case "train_generator":
            public = plan.configuration.datasets.public[settings["generator"]["dataset"]]
            return {"size": public.image.size}
        case "sample":
            trained = plan.trainings[wildcards["method"]].training.settings
            dataset = plan.stages[wildcards["dataset"]].settings["dataset"]
            return {"network": trained["network"], "size": dataset["image"]["size"]}
    return {}


def finished_jobs(workflow, plan: Plan, jobs: Iterable[PlannedJob]) -> Iterator[FinishedJob]:
    """Jobs that have run in this folder, for whatever experiment, of rules that have some to run.

    What they computed is known from the plan if they belong to it, otherwise from the settings
    that Snakemake remembers of them. Rules that read sensitive data are left out.
    """
    families = {FAMILIES.get(job.rule, job.rule) for job in jobs if job.pending}
    planned = {job.benchmark: job.work for job in jobs}
    memory, seen = FilePersistence(nolock=True), set()
    for rule in workflow.rules:
        if FAMILIES.get(rule.name, rule.name) not in families or not rule.benchmark:
            continue
        if not is_public(rule.benchmark):
            continue
        for benchmark, found in listfiles(strip_wildcard_constraints(rule.benchmark)):
            wildcards = dict(found.items())
            work = planned.get(benchmark) or _remembered(plan, rule, wildcards, memory)
            if work and benchmark not in seen:
                seen.add(benchmark)
                yield FinishedJob(rule.name, work, benchmark, _path(rule.log[0], wildcards))


def _remembered(plan: Plan, rule, wildcards: dict, memory: FilePersistence) -> Work | None:
    """The work of a job that ran; None if its settings are not known, or not those of today."""
    output = IOFile(_path(rule.output[0], wildcards))
    try:
        settings = literal_eval(next(iter(memory.params(output) or []), "{}"))
        return _work(plan, rule, wildcards, settings)
    except (KeyError, TypeError, ValueError, SyntaxError, AttributeError):
        return None


def _path(pattern: str, wildcards: Mapping) -> str:
    return apply_wildcards(strip_wildcard_constraints(pattern), wildcards)
