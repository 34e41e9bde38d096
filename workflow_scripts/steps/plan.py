"""Ask Snakemake what it would run, and print what that would take."""

import csv
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Sequence

from snakemake.io import is_flagged
from snakemake.iocontainers import Wildcards

from workflow_scripts.plan import Plan
from workflow_scripts.plan.disk import bytes_of
from workflow_scripts.plan.forecast import PlannedJob, forecast
from workflow_scripts.plan.rates import has_gpu
from workflow_scripts.plan.work import work_of

# As `snakemake --summary` writes them.
PENDING, FILE = "update pending", "output_file"


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
    jobs = planned_jobs(workflow, plan, summary(arguments))
    print(forecast(plan, jobs, has_gpu()), *plan.absent(), sep="\n")


def summary(arguments: Sequence[str]) -> list[dict[str, str]]:
    """The output files of an experiment and whether Snakemake would make them: a row for each.

    Snakemake itself says so, in a process of its own, which locks nothing.
    """
    others = [argument for argument in arguments[1:] if argument != "plan"]
    command = [sys.executable, "-m", "snakemake", *others, "-n", "--summary", "--quiet"]
    with tempfile.TemporaryFile("w+", encoding="utf-8") as output:
        done = subprocess.run(  # noqa: S603 — our own
            command, stdout=output, stderr=subprocess.PIPE, text=True, check=False
        )
        if done.returncode:
            sys.exit(done.stderr)
        output.seek(0)
        lines = [line for line in output if "\t" in line]
    return list(csv.DictReader(lines, delimiter="\t", quoting=csv.QUOTE_NONE))


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
    shards = int(wildcards.get("scatteritem", "1-of-1").split("-of-")[1])
    asked = rule.resources
    sizes = bytes_of(plan, rule.name, wildcards, settings)
    kept = [name for name, file in rule.output.items() if not is_flagged(file, "temp")]
    return PlannedJob(
        rule=rule.name,
        pending=pending,
        gpu="gpu" in asked and bool(asked["gpu"].evaluate(wildcards).value),
        work=work_of(rule.name, settings, shards),
        benchmark=str(rule.expand_benchmark(wildcards) or ""),
        kept=sum(sizes.get(name, 0) for name in kept) / shards,
    )
