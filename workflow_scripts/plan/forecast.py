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
from workflow_scripts.plan.rates import Recorded, published
from workflow_scripts.plan.runs import Run
from workflow_scripts.plan.work import JOB, Work
from workflow_scripts.privacy.zones import ZONES, zone_of

HOUR = 3600
UNITS = ("B", "kB", "MB", "GB", "TB", "PB")
HEAD = ("rule", "jobs", "done", "to do", "work to do", "time to do", "estimate from")
NO_FIGURE = "no figure"


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
    unsized : tuple of str
        Large outputs of unknown size.
    """

    rule: str
    pending: bool
    gpu: bool
    work: Work
    benchmark: str = ""
    kept: float = 0.0
    unsized: tuple[str, ...] = ()

    @property
    def is_private(self) -> bool:
        """Whether what it takes is private."""
        return bool(self.benchmark) and zone_of(self.benchmark) == "sensitive"


@dataclass
class Line:
    """The jobs of a rule together.

    Attributes
    ----------
    work : Counter
        Unit → how much of it there is to do.
    hours : Counter
        `GPU` or `core` → hours of the jobs that are to run and have an estimate.
    unknown, private : int
        Jobs to run that have none, and those among them that read private data.
    """

    jobs: int = 0
    pending: int = 0
    unknown: int = 0
    private: int = 0
    work: Counter = field(default_factory=Counter)
    hours: Counter = field(default_factory=Counter)
    sources: dict[str, None] = field(default_factory=dict)


def estimate(jobs: Sequence[PlannedJob], recorded: Recorded) -> dict[str, Line]:
    """Jobs, what is done of them, and the work and the hours of the rest, by rule."""
    lines: dict[str, Line] = defaultdict(Line)
    for job in jobs:
        line = lines[job.rule]
        line.jobs += 1
        if not job.pending:
            continue
        line.pending += 1
        line.work[job.work.unit] += job.work.amount
        rate = recorded.rate(job.rule, job.work) or published(job.rule, job.work)
        if rate is None:
            line.unknown += 1
            line.private += job.is_private
            continue
        kind = "GPU" if job.gpu and rate.on_gpu else "core"
        line.hours[kind] += rate.seconds * job.work.amount / HOUR
        line.sources[rate.source] = None
    return dict(lines)


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
    trained = set()
    for run in runs:
        text = budget_text(plan, run)
        if run.is_trained:
            trained.add(text)
        directory = plan.training(run).directory if run.is_trained else run.directory
        path = Path(directory, "budget.json")
        if found.get(text) is None:
            stored = read_json(path) if path.exists() else {}
            found[text] = stored.get("noise_multiplier")
    missing = [text for text, sigma in found.items() if sigma is None]
    if missing:
        slow = len(trained.intersection(missing))
        some = f", {slow} of DP-SGD, which take some seconds each" if slow else ""
        print(f"finding σ for {_many(len(missing), 'budget')}{some}", file=sys.stderr, flush=True)
    if len(missing) < 2 or processes < 2:
        return found | {text: noise_of_text(text) for text in missing}
    with ProcessPoolExecutor(processes) as pool:
        return found | dict(zip(missing, pool.map(noise_of_text, missing), strict=True))


def forecast(plan: Plan, jobs: Sequence[PlannedJob], recorded: Recorded) -> str:
    """The plan as text: runs with their noise, jobs by rule with estimates, sums.

    Parameters
    ----------
    plan : Plan
    jobs : sequence of PlannedJob
        All jobs of the experiment, those that are done among them.
    recorded : Recorded
    """
    seeds = plan.experiment.seeds
    runs = [run for run in plan.runs if run.seed == seeds[0] and not run.is_real]
    noisy = [run for run in runs if run.iterations or run.is_trained]
    noise = noise_of_runs(noisy, plan, len(os.sched_getaffinity(0)))
    lines = estimate(jobs, recorded)
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
    numbers = (line.jobs, line.jobs - line.pending, line.pending)
    # Of jobs as such there is a column.
    work = [_many(round(n), unit) for unit, n in line.work.items() if unit != JOB]
    sources = list(line.sources)
    if line.unknown:
        missing = f"{NO_FIGURE}, private" if line.private else NO_FIGURE
        sources.append(f"{missing}: {_many(line.unknown, 'job')}" if sources else missing)
    return (
        name,
        *map(str, numbers),
        " + ".join(work) or "–",
        " + ".join(_times(line.hours)) or "–",
        "; ".join(sources) or "–",
    )


def _times(hours: Mapping[str, float]) -> list[str]:
    return [f"{_three_digits(number)} {kind}-hours" for kind, number in sorted(hours.items())]


def _sums(jobs: Sequence[PlannedJob], lines: Mapping[str, Line]) -> Iterable[str]:
    pending = [job for job in jobs if job.pending]
    done, on_gpu = len(jobs) - len(pending), sum(job.gpu for job in pending)
    to_do = f"{len(pending):,} to do"
    yield f"jobs: {len(jobs):,}, {done:,} done, {to_do}, {on_gpu:,} of them ask for a GPU"
    yield f"generator calls to do: {sum(job.work.images for job in pending):,} images"
    yield f"estimate: {_estimated(lines.values())}"
    unsized = dict.fromkeys(f"{name} of {job.rule}" for job in pending for name in job.unsized)
    omitted = [*unsized, "downloads", "public data", "what is deleted on the way"]
    yield (
        f"disk: {size_of(sum(job.kept for job in pending))} of arrays and weights to add, "
        f"{_free()}; not counted: {', '.join(omitted)}"
    )


def _estimated(lines: Iterable[Line]) -> str:
    """The sum of all hours, and what is not in it."""
    hours: Counter = Counter()
    unknown = private = 0
    for line in lines:
        hours.update(line.hours)
        unknown += line.unknown
        private += line.private
    total = " and ".join(_times(hours)) or "–"
    if not unknown:
        return total
    some = "" if private == unknown else f"{private:,} of "
    why = f", {some}which read private data" if private else ""
    least = f"at least {total}" if hours else "none"
    return f"{least}; {NO_FIGURE} for {_many(unknown, 'job')}{why} (docs/planning.md)"


def _free() -> str:
    """The free space where results lie, and where zones lie that are links to other places."""
    found: dict[int, tuple[str, int]] = {}
    for folder in ("results", *ZONES.values()):
        real = Path(folder).resolve()
        there = next(path for path in (real, *real.parents) if path.exists())
        device = there.stat().st_dev
        if device not in found:
            found[device] = folder.removesuffix("/"), shutil.disk_usage(there).free
    (_, free), *others = found.values()
    apart = [f", {size_of(more)} for {place}" for place, more in others]
    return f"{size_of(free)} are free{''.join(apart)}"


def _many(number: int, what: str) -> str:
    return f"{number:,} {what}" if number == 1 else f"{number:,} {what}s"


def _three_digits(number: float) -> str:
    return f"{number:,.0f}" if number >= 100 else f"{number:.3g}"


def size_of(number: float) -> str:
    """Bytes for people, in powers of 1,000."""
    for unit in UNITS[:-1]:
        if number < 1000:
            return f"{number:.3g} {unit}"
        number /= 1000
    return f"{number:.3g} {UNITS[-1]}"
