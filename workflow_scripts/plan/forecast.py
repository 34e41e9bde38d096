"""What an experiment would run and what it would take, as `snakemake plan` prints it.

An estimate scales a rate (`plan.rates`) with the work of the jobs that are still to run
(`plan.work`): recorded times of the same rule and model, or else published ones. Where there is
neither there is none.
"""

import os
import shutil
import sys
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from workflow_scripts.files import read_json
from workflow_scripts.plan import Plan
from workflow_scripts.plan.preview import COLUMNS, budget_text, noise_of_text, rows_of, table_of
from workflow_scripts.plan.rates import Rate, published, recorded
from workflow_scripts.plan.runs import Run
from workflow_scripts.plan.work import FAMILIES, Work

HOUR = 3600
UNITS = ("B", "kB", "MB", "GB", "TB", "PB")
HEAD = ("rule", "jobs", "done", "to do", "hours to do", "of", "estimate from")


@dataclass(frozen=True)
class PlannedJob:
    """A job of the experiment, as Snakemake sees it.

    Attributes
    ----------
    rule : str
    pending : bool
        Whether Snakemake would run it.
    gpu : bool
        Whether it asks for one.
    work : Work
    benchmark : str
        Where Snakemake writes what it took; empty for none.
    kept : float
        Bytes of its large outputs that stay.
    """

    rule: str
    pending: bool
    gpu: bool
    work: Work
    benchmark: str = ""
    kept: float = 0.0


@dataclass
class Line:
    """The jobs of a rule together.

    Attributes
    ----------
    hours : dict
        `GPU` or `core` → hours of the jobs that are to run and have an estimate.
    unknown : int
        Jobs to run that have none.
    """

    jobs: int = 0
    pending: int = 0
    unknown: int = 0
    hours: Counter = field(default_factory=Counter)
    sources: dict[str, None] = field(default_factory=dict)


def estimate(jobs: Sequence[PlannedJob], on_gpu: bool) -> dict[str, Line]:
    """Jobs, what is done of them, and the hours of the rest, by rule.

    Parameters
    ----------
    jobs : sequence of PlannedJob
    on_gpu : bool
        Whether jobs that ask for a GPU have one where times were recorded.
    """
    rates = recorded(((job.rule, job.work, job.benchmark) for job in jobs), on_gpu)
    lines: dict[str, Line] = defaultdict(Line)
    for job in jobs:
        line = lines[job.rule]
        line.jobs += 1
        if not job.pending:
            continue
        line.pending += 1
        rate = _rate(job, rates)
        if rate is None:
            line.unknown += 1
            continue
        kind = "GPU" if job.gpu and rate.on_gpu else "core"
        line.hours[kind] += rate.seconds * job.work.amount / HOUR
        line.sources[rate.source] = None
    return dict(lines)


def _rate(job: PlannedJob, rates: Mapping) -> Rate | None:
    key = (FAMILIES.get(job.rule, job.rule), job.work.unit, job.work.model)
    return rates.get(key) or published(job.rule, job.work)


def noise_of_runs(runs: Iterable[Run], plan: Plan, processes: int) -> dict[str, float | None]:
    """σ of every run's budget: as `calibrate` found it already, or found now.

    Parameters
    ----------
    runs : iterable of Run
        Of Private Evolution and DP-SGD.
    plan : Plan
    processes : int
        In which budgets are calibrated side by side; equal ones once.

    Returns
    -------
    dict
        The run's budget, in JSON → σ.
    """
    found: dict[str, float | None] = {}
    for run in runs:
        text = budget_text(plan, run)
        directory = plan.training(run).directory if run.is_trained else run.directory
        path = Path(directory, "budget.json")
        if found.get(text) is None:
            stored = read_json(path) if path.exists() else {}
            found[text] = stored.get("noise_multiplier")
    missing = [text for text, sigma in found.items() if sigma is None]
    if missing:
        print(
            f"finding σ for {len(missing)} budgets; those of DP-SGD take some seconds each",
            file=sys.stderr,
            flush=True,
        )
    if len(missing) < 2 or processes < 2:
        return found | {text: noise_of_text(text) for text in missing}
    with ProcessPoolExecutor(processes) as pool:
        return found | dict(zip(missing, pool.map(noise_of_text, missing), strict=True))


def forecast(plan: Plan, jobs: Sequence[PlannedJob], on_gpu: bool) -> str:
    """The plan as text: runs with their noise, jobs by rule with estimates, sums.

    Parameters
    ----------
    plan : Plan
    jobs : sequence of PlannedJob
        All jobs of the experiment, those that are done among them.
    on_gpu : bool
        As in `estimate`.
    """
    seeds = plan.experiment.seeds
    runs = [run for run in plan.runs if run.seed == seeds[0] and not run.is_real]
    noisy = [run for run in runs if run.iterations or run.is_trained]
    noise = noise_of_runs(noisy, plan, len(os.sched_getaffinity(0)))
    lines = estimate(jobs, on_gpu)
    title = f"{plan.experiment.experiment}: {len(plan.runs)} runs, {len(seeds)} of each line"
    return "\n".join(
        [
            title,
            table_of([COLUMNS, *rows_of(plan, runs, noise)]),
            "",
            table_of([HEAD, *(_row(name, line) for name, line in lines.items())]),
            "",
            *_sums(jobs, lines),
            "",
        ]
    )


def _row(name: str, line: Line) -> tuple[str, ...]:
    hours = [_three_digits(value) for value in line.hours.values()]
    kinds = [f"{kind}-hours" for kind in line.hours]
    sources = list(line.sources)
    if line.unknown and line.hours:
        sources.append(f"no figure for {line.unknown}")
    if line.pending and not sources:
        sources = ["no figure"]
    done = line.jobs - line.pending
    cells = (str(line.jobs), str(done), str(line.pending))
    return (
        name,
        *cells,
        " + ".join(hours) or "–",
        " + ".join(kinds) or "–",
        "; ".join(sources) or "–",
    )


def _sums(jobs: Sequence[PlannedJob], lines: Mapping[str, Line]) -> Iterable[str]:
    pending = [job for job in jobs if job.pending]
    yield f"jobs: {len(jobs):,}, {len(jobs) - len(pending):,} done, {len(pending):,} to do"
    yield f"generator calls to do: {sum(job.work.images for job in pending):,} images"
    hours: Counter = Counter()
    for line in lines.values():
        hours.update(line.hours)
    unknown = sum(line.unknown for line in lines.values())
    parts = [f"{_three_digits(n)} {kind}-hours" for kind, n in sorted(hours.items())] or ["–"]
    yield f"estimate: {' and '.join(parts)}" + (
        f", and {unknown:,} jobs without a figure" if unknown else ""
    )
    more = sum(job.kept for job in pending)
    free = shutil.disk_usage(".").free
    yield (
        f"disk: {size_of(more)} of arrays and weights to add, {size_of(free)} are free; not "
        "counted: downloads, public data, what is deleted on the way"
    )


def _three_digits(number: float) -> str:
    return f"{number:,.0f}" if number >= 100 else f"{number:.3g}"


def size_of(number: float) -> str:
    """Bytes for people, in powers of 1,000."""
    for unit in UNITS[:-1]:
        if number < 1000:
            return f"{number:.3g} {unit}"
        number /= 1000
    return f"{number:.3g} {UNITS[-1]}"
