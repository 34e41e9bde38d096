"""Which runs of an experiment are finished, running or failed, and how long the rest may take.

A run is what the plan calls one: a data set, a method, ε and a seed. Which jobs it needs is read
from the graph of jobs, so a job that several runs share counts for none of them while it runs, and
for all of them if it fails.
"""

import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

# An estimate after fewer seconds than this says nothing.
SETTLED = 5.0


@dataclass(frozen=True)
class Job:
    """One job that is to be done.

    Attributes
    ----------
    rule : str
    about : str
        What it is about, for people: a run, or the names in its paths.
    needs : tuple of int
        Jobs that have to be done before.
    epsilon : bool
        Whether the job is of one ε: then it is a run's own even where several runs share it.
    metrics : tuple of str
        Files of metrics that it writes.
    """

    rule: str
    about: str
    needs: tuple[int, ...] = ()
    epsilon: bool = False
    metrics: tuple[str, ...] = ()


@dataclass(frozen=True)
class Counts:
    """How many runs, and how many jobs; runs that wait are the rest."""

    runs: int
    finished: int
    running: int
    failed: int
    jobs: int
    jobs_done: int
    jobs_failed: int


@dataclass
class Tally:
    """The state of one Snakemake.

    Parameters
    ----------
    jobs : mapping
        Number → job, of all jobs that are to be done.
    runs : mapping
        Name → the jobs that write a run's last files; none left means that it was finished before.
    clock : callable
        Seconds.
    """

    jobs: Mapping[int, Job]
    runs: Mapping[str, Sequence[int]]
    clock: Callable[[], float] = time.monotonic
    running: dict[int, float] = field(default_factory=dict)
    done: set[int] = field(default_factory=set)
    failed: set[int] = field(default_factory=set)

    def __post_init__(self):
        self._needed_by: dict[int, list[str]] = defaultdict(list)
        for name, last in self.runs.items():
            for number in self._below(last, lambda n: self.jobs[n].needs):
                self._needed_by[number].append(name)
        self._dependents = defaultdict(list)
        for number, job in self.jobs.items():
            for needed in job.needs:
                self._dependents[needed].append(number)
        self._order = self._sorted()
        self._began = self.clock()
        self._started: set[str] = set()
        self._left = {name: set(last) for name, last in self.runs.items()}
        self._failed_runs: set[str] = set()
        self._durations: dict[str, list[float]] = defaultdict(list)
        self._busy = 0.0

    def start(self, number: int) -> None:
        """A job began, for the first time or again."""
        if number not in self.jobs:
            return
        self.running[number] = self.clock()
        needed_by = self._needed_by[number]
        if self.jobs[number].epsilon or len(needed_by) == 1:
            self._started.update(needed_by)

    def finish(self, number: int) -> list[str]:
        """A job is done; the runs that are finished with it."""
        if number not in self.jobs or number in self.done:
            return []
        if number in self.running:
            self._durations[self.jobs[number].rule].append(self.stop(number))
        self.done.add(number)
        finished = []
        for name in self._needed_by[number]:
            if number in self._left[name]:
                self._left[name].discard(number)
                if not self._left[name]:
                    finished.append(name)
        return finished

    def stop(self, number: int) -> float:
        """A job runs no more, and waits if nothing else is said of it; the seconds that it took."""
        took = self.clock() - self.running.pop(number, self.clock())
        self._busy += took
        return took

    def fail(self, number: int) -> list[str]:
        """A job failed for good; the runs that cannot be finished without it."""
        if number not in self.jobs:
            return []
        self.stop(number)
        self.failed.add(number)
        lost = [name for name in self._needed_by[number] if name not in self._failed_runs]
        self._failed_runs.update(lost)
        return lost

    @property
    def counts(self) -> Counts:
        finished = {name for name, left in self._left.items() if not left}
        running = self._started - finished - self._failed_runs
        return Counts(
            runs=len(self.runs),
            finished=len(finished),
            running=len(running),
            failed=len(self._failed_runs),
            jobs=len(self.jobs),
            jobs_done=len(self.done),
            jobs_failed=len(self.failed),
        )

    def remaining(self) -> tuple[float, bool] | None:
        """Seconds that the rest may take, and whether that is only a lower limit.

        Every job that is left takes as long as the finished ones of its rule took on average; one
        that runs, as those that took longer than it has run. As many run side by side as did so
        far, but no chain of jobs is shorter than its sum. It is a lower limit while there is a job
        of which this says nothing: none of its rule has finished, or none took as long. None at the
        beginning.
        """
        now = self.clock()
        elapsed = now - self._began
        if elapsed < SETTLED or not self._durations:
            return None
        mean = {rule: sum(took) / len(took) for rule, took in self._durations.items()}
        blocked = self._blocked()
        chain: dict[int, float] = {}
        work, known = 0.0, True
        for number in self._order:
            if number in self.done or number in blocked:
                continue
            job = self.jobs[number]
            left = self._left_of(number, now) if number in self.running else mean.get(job.rule)
            known &= left is not None
            rest = left or 0.0
            work += rest
            before = (chain.get(needed, 0.0) for needed in job.needs)
            chain[number] = rest + max(before, default=0.0)
        if not chain:
            return 0.0, False
        busy = self._busy + sum(now - began for began in self.running.values())
        side_by_side = max(busy / elapsed, 1.0)
        return max(work / side_by_side, max(chain.values())), not known

    def _left_of(self, number: int, now: float) -> float | None:
        """Seconds that a running job may take yet; None if none of its rule took as long."""
        ran = now - self.running[number]
        longer = [took for took in self._durations.get(self.jobs[number].rule, ()) if took >= ran]
        return sum(longer) / len(longer) - ran if longer else None

    def _blocked(self) -> set[int]:
        """Jobs that failed, and those that need one of them."""
        return self._below(self.failed, lambda number: self._dependents[number])

    def _below(self, roots: Iterable[int], following: Callable[[int], Iterable[int]]) -> set[int]:
        found: set[int] = set()
        pending = list(roots)
        while pending:
            number = pending.pop()
            if number not in found:
                found.add(number)
                pending.extend(following(number))
        return found

    def _sorted(self) -> list[int]:
        """All jobs, each after those that it needs."""
        missing = Counter({number: len(job.needs) for number, job in self.jobs.items()})
        ready = [number for number in self.jobs if not missing[number]]
        for number in ready:
            for dependent in self._dependents[number]:
                missing[dependent] -= 1
                if not missing[dependent]:
                    ready.append(dependent)
        return ready


def in_words(seconds: float, at_least: bool = False) -> str:
    """A duration as far as it can be trusted: `about 3 h`."""
    if seconds < 60:
        return "some time" if at_least else "less than a minute"
    minutes = seconds / 60
    if minutes < 90:
        text = f"{round(minutes) if minutes < 10 else 5 * round(minutes / 5)} min"
    elif minutes < 48 * 60:
        text = f"{minutes / 60:.1f} h" if minutes < 600 else f"{minutes / 60:.0f} h"
    else:
        text = f"{minutes / 1440:.0f} days"
    return f"{'more than' if at_least else 'about'} {text}"
