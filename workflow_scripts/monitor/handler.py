"""Snakemake's log, turned into runs: a handler in the place of the one that writes to the screen.

It is attached when the first job is about to start, in the process of the user's own Snakemake
alone: dry runs, `--quiet` and the Snakemakes that the jobs of a cluster start are as ever. Who asks
Snakemake for more (`--verbose`, `--printshellcmds`, `--show-failed-logs`, `--debug-dag`) or for
another logger gets Snakemake's own lines, and the failures after them.
"""

import logging
import os
import re
import sys
import threading
import time
from collections.abc import Iterable

from workflow_scripts.files import read_json
from workflow_scripts.monitor.failures import (
    Failure,
    cause_of,
    first_few,
    refused,
    report,
    was_interrupted,
)
from workflow_scripts.monitor.screen import LiveScreen, PlainScreen, open_screen
from workflow_scripts.monitor.tally import Job, Tally, in_words
from workflow_scripts.plan import Plan
from workflow_scripts.plan.runs import Run
from workflow_scripts.problems import Problem
from workflow_scripts.report.measures import SAMPLE_SIZE, measure_of, printed_epsilon, scale_of
from workflow_scripts.settings import iteration_files, metric_files
from workflow_scripts.step import MONITORED

SCREEN = "DefaultStreamHandler"  # Snakemake's name of its handler
SHOWN_JOBS = 6
ESTIMATE_SECONDS = 5.0
# What Snakemake says between jobs, at any level, that the monitor says better or not at all.
NOISE = re.compile(
    r"Exiting because a job execution failed|At least one job did not complete|"
    r"Exception in run_(array_jobs|job) for rule"
)
# What it says without a level that a user has to know.
STOPPING = "Terminating processes on user request"
NEWS = re.compile(rf"Will exit after finishing|{STOPPING}")
# What stands last then.
STOPPED = "stopped on request; the same command goes on from what is finished"
# What it says of a job that wrote no files, which has no record of its failure.
WROTE_NOTHING = re.compile(r"Job (\d+)\s+completed successfully, but some output files are missing")


def watch(workflow, plan: Plan) -> None:
    """Show runs instead of jobs from now on, in the main process."""
    settings = workflow.output_settings
    logger = workflow.logger_manager.logger
    screens = [handler for handler in logger.handlers if handler.name == SCREEN]
    if not workflow.is_main_process or workflow.touch or settings.quiet or not screens:
        return
    monitor = Monitor(workflow, plan)
    wants_more = ("verbose", "printshellcmds", "show_failed_logs", "debug_dag")
    if not any(getattr(settings, wish) for wish in wants_more):
        (screen,) = screens
        logger.removeHandler(screen)
        monitor.setFormatter(screen.formatter)
        # What prints a table of its own, as `snakemake audit` does, has no runs; a display that
        # moves would write over it.
        live = bool(monitor.runs)
        monitor.show(open_screen(screen.stream, monitor.summary, live, not settings.nocolor))
        os.environ[MONITORED] = "1"
    logger.addHandler(monitor)


class Monitor(logging.Handler):
    """Follows the jobs of one Snakemake, and says at its end what failed.

    Parameters
    ----------
    workflow
        Snakemake's, with its graph of jobs.
    plan : Plan
    """

    def __init__(self, workflow, plan: Plan):
        super().__init__()
        self._workflow = workflow
        self._jobs = {job.jobid: job for job in workflow.dag.needrun_jobs()}
        self._tally = Tally(*_jobs_and_runs(workflow.dag, self._jobs, plan))
        # What the display reads is changed under this lock, and nothing is printed under it: the
        # display holds a lock of its own while it reads.
        self._state = threading.Lock()
        self._screen: PlainScreen | LiveScreen | None = None
        self._began: dict[int, float] = {}
        self._said: dict[int, str] = {}  # by thread, of its last exception
        self._failures: dict[int, Failure] = {}
        self._interrupted: dict[int, str] = {}  # what was said of jobs that Ctrl-C ended
        self._metrics: dict[str, list[str]] = {}
        self._estimate: tuple[float, bool] | None = None
        self._estimate_again = 0.0
        self._latest = ""
        self._stopped_by = ""  # an error of Snakemake itself, or the user
        self._closed = False

    @property
    def runs(self) -> int:
        """How many runs Snakemake is asked for, finished ones included."""
        return self._tally.counts.runs

    def show(self, screen: PlainScreen | LiveScreen) -> None:
        """Use a screen; without one only the failures are shown, at the end."""
        self._screen = screen

    def emit(self, record: logging.LogRecord) -> None:
        try:
            with self._state:
                lines = self._take(record)
            if self._screen:
                for text, style in lines:
                    self._screen.line(text, style)
        except Exception:
            self.handleError(record)

    def close(self) -> None:
        """Show the failures; Snakemake closes its handlers after its own last words."""
        if not self._closed:
            self._closed = True
            with self._state:
                self._add_silent_failures()
                lines = self._last_lines()
            if self._screen:
                self._screen.close(lines)
            elif lines:
                print(*lines, sep="\n", file=sys.stderr)
        super().close()

    def summary(self) -> list[str]:
        """How far things are, in a few lines."""
        with self._state:
            counts = self._tally.counts
            remaining = self._remaining()
            lines = []
            if counts.runs:
                # At the end nothing runs, also of runs that are not finished.
                now_running = "" if self._closed else f"{counts.running} running, "
                lines.append(
                    f"{counts.finished} of {counts.runs} runs finished, {now_running}"
                    f"{counts.failed} failed"
                )
            jobs = f"{counts.jobs_done} of {counts.jobs} jobs done"
            if (under_way := len(self._tally.running)) and not self._closed:
                jobs += f", {under_way} under way"
            if remaining and not self._closed:
                jobs += f", {in_words(*remaining)} left"
            lines.append(jobs)
            if self._latest:
                lines.append(f"latest: {self._latest}")
            if isinstance(self._screen, LiveScreen) and not self._closed:
                lines += self._running()
            return lines

    def _running(self) -> list[str]:
        """The jobs that have run longest, with their times."""
        running = sorted(self._tally.running.items(), key=lambda item: item[1])
        shown = [(began, self._tally.jobs[number]) for number, began in running[:SHOWN_JOBS]]
        width = max((len(job.rule) for _, job in shown), default=0)
        now = time.monotonic()
        lines = [
            f"  {_clock(now - began)}  {job.rule:{width}}  {job.about}" for began, job in shown
        ]
        if len(running) > SHOWN_JOBS:
            lines.append(f"  and {len(running) - SHOWN_JOBS} more jobs")
        return lines

    def _remaining(self) -> tuple[float, bool] | None:
        """The estimate, not made anew for every picture: it looks at all jobs."""
        if time.monotonic() >= self._estimate_again:
            self._estimate = self._tally.remaining()
            self._estimate_again = time.monotonic() + ESTIMATE_SECONDS
        return self._estimate

    def _take(self, record: logging.LogRecord) -> Iterable[tuple[str, str]]:
        """What a record changes; the lines that it is worth, with their styles."""
        match getattr(record, "event", None):
            case "job_info":
                self._began[record.jobid] = record.created
                self._tally.start(record.jobid)
            case "job_finished":
                return self._finish(record.job_id)
            case "job_error":
                said = f"{self._said.pop(record.thread, '')} {record.rule_msg or ''}"
                return self._fail(record.jobid, said)
            case "error" if not NOISE.search(message := record.getMessage()):
                if found := WROTE_NOTHING.search(message):
                    return self._fail(int(found[1]), message)
                self._said[record.thread] = message
                if record.exception != "RuleException":
                    repeated, self._stopped_by = self._stopped_by, message
                    return [(message, "red")] * (message != repeated)
            case None:
                message = str(record.msg or "")
                if record.levelno >= logging.WARNING and not NOISE.search(message):
                    return [(self.format(record), "yellow")]
                if STOPPING in message:
                    self._stopped_by = STOPPED
                if NEWS.search(message):
                    return [(message, "")]
                if message.startswith("Trying to restart job"):
                    self._stopped_by = ""  # it was an error of that job
        return []

    def _finish(self, number: int) -> list[tuple[str, str]]:
        finished = self._tally.finish(number)
        if (job := self._tally.jobs.get(number)) is None:
            return []
        for file in job.metrics:
            if metric := _metric(file):
                self._metrics.setdefault(job.about, []).append(metric)
                self._latest = f"{job.about}: {metric}"
        lines = []
        for run in finished:
            metrics = ", ".join(self._metrics.get(run, []))
            lines.append((f"finished: {run}" + (f" ({metrics})" if metrics else ""), "green"))
        return lines

    def _fail(self, number: int, said: str) -> list[tuple[str, str]]:
        if (job := self._tally.jobs.get(number)) is None:
            return []
        if was_interrupted(said) and not self._closed:
            # No failure if Snakemake was too, of which it tells only later.
            self._tally.stop(number)
            self._interrupted[number] = said
            return []
        refusal = refused(said)
        log = "" if refusal else next(iter(map(str, self._jobs[number].log)), "")
        cause = refusal or cause_of(log, self._began.get(number, 0.0), said)
        failure = Failure(job.rule, job.about, cause, log)
        words = f"{failure.title}: {cause.splitlines()[0]}"
        # The scheduler compares the same numbers, after this, before it counts another attempt.
        attempt, attempts = self._jobs[number].attempt, self._jobs[number].restart_times + 1
        if attempt < attempts:
            self._tally.stop(number)
            again = f"will be tried again (attempt {attempt} of {attempts})"
            return [(f"failed, {again}: {words}", "yellow")]
        self._failures[number] = failure
        lines = [f"failed: {words}"]
        # A job's own run has been named with it.
        own = f"{job.about} "
        if lost := [run for run in self._tally.fail(number) if not own.startswith(f"{run} ")]:
            lines.append(f"{_several(len(lost), 'run')} cannot be finished: {first_few(lost)}")
        return [(line, "red") for line in lines]

    def _add_silent_failures(self) -> None:
        """Jobs that Snakemake gave up without naming them, or that were interrupted alone."""
        failed = getattr(self._workflow.scheduler, "failed", ())
        known = set(self._failures)
        if self._stopped_by == STOPPED:
            known |= set(self._interrupted)
        for member in (m for job in failed for m in (job if job.is_group() else [job])):
            if member.jobid not in known:
                said = self._interrupted.get(member.jobid, " ".join(self._said.values()))
                self._fail(member.jobid, said)

    def _last_lines(self) -> list[str]:
        if not self._failures:
            return ["", self._stopped_by] if self._stopped_by else []
        head = f"{_several(len(self._failures), 'job')} failed"
        if failed := self._tally.counts.failed:
            head += f"; {_several(failed, 'run')} cannot be finished"
        return ["", f"{head}:", *report(self._failures.values())]


def _jobs_and_runs(dag, jobs: dict, plan: Plan) -> tuple[dict[int, Job], dict[str, list[int]]]:
    """The jobs that are to be done, and the runs whose last files are among what is asked for."""
    names = {run.identity: _name(run) for run in plan.runs}
    evaluated = {file: run for run in plan.runs for file in metric_files(plan, run)}
    last: dict[str, Run] = {**evaluated, **iteration_files(plan)}
    if not evaluated:
        last |= {f"{run.directory}/release.safetensors": run for run in plan.runs}
    makers = {str(file): job for job in dag.jobs for file in job.output}
    asked = {run.identity for file, run in last.items() if file in makers}
    runs: dict[str, list[int]] = {names[identity]: [] for identity in names if identity in asked}
    for file, run in last.items():
        maker = makers.get(file)
        if maker is not None and maker.jobid in jobs:
            runs[names[run.identity]].append(maker.jobid)
    metrics_of: dict[int, list[str]] = {}
    for file in evaluated:
        if (maker := makers.get(file)) is not None:
            metrics_of.setdefault(maker.jobid, []).append(file)
    found = {}
    for number, job in jobs.items():
        metrics = metrics_of.get(number, [])
        found[number] = Job(
            rule=job.rule.name,
            about=names[evaluated[metrics[0]].identity] if metrics else _about(job, names),
            needs=tuple(d.jobid for d in dag.dependencies[job] if d.jobid in jobs),
            epsilon="epsilon" in job.wildcards_dict,
            metrics=tuple(metrics),
        )
    return found, runs


def _name(run: Run) -> str:
    epsilon = printed_epsilon(float(run.epsilon))
    return f"{run.dataset.name} {run.method.name} ε={epsilon} seed {run.seed}"


def _about(job, names: dict[str, str]) -> str:
    """A job's run and what else stands in its paths, without keys."""
    wildcards = dict(job.wildcards_dict)
    about = []
    try:
        identity = "{dataset}/{method}/eps{epsilon}/seed{seed}".format(**wildcards)
        about.append(names[identity])
        for key in ("dataset", "method", "epsilon", "seed"):
            del wildcards[key]
    except KeyError:
        pass  # not of one run
    for key, value in wildcards.items():
        value = value.partition("~")[0]
        what = "shard" if key == "scatteritem" else key
        about.append(value if "~" in job.wildcards_dict[key] else f"{what} {value}")
    return " ".join(about)


def _metric(file: str) -> str:
    """The first metric of a file, printed."""
    try:
        content = read_json(file)
        name, value = next(i for i in content.items() if not SAMPLE_SIZE.match(i[0]))
        measure, where = measure_of(name)
        scale = scale_of(measure, [value])
        unit = f" {scale.unit}" if scale.unit == "%" else f"×{scale.unit}" * bool(scale.unit)
        return f"{measure.title} {where} {scale.printed(value)}{unit}"
    except (Problem, OSError, AttributeError, StopIteration, TypeError):
        return ""  # what a job wrote is for its readers to judge


def _several(number: int, thing: str) -> str:
    return f"{number} {thing}{'s' if number > 1 else ''}"


def _clock(seconds: float) -> str:
    minutes, seconds = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours:2d}:{minutes:02d}:{seconds:02d}"
