"""What the monitor says of runs, of the time that is left and of failures."""

import io
import logging
import os
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from workflow_scripts.monitor import handler
from workflow_scripts.monitor.failures import SEE_LOG, SHOWN, Failure, cause_of, refused, report
from workflow_scripts.monitor.screen import LiveScreen, PlainScreen
from workflow_scripts.monitor.tally import Job, Tally, in_words
from workflow_scripts.workflow import is_dry_run


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def tally(clock):
    """A public stage (1), two runs of ε (2 → 3 and 4 → 5), and a report (6) of both."""
    jobs = {
        1: Job("initialise", "glyphs"),
        2: Job("vote", "a", needs=(1,), epsilon=True),
        3: Job("evaluate", "a", needs=(2,), epsilon=True),
        4: Job("vote", "b", needs=(1,), epsilon=True),
        5: Job("evaluate", "b", needs=(4,), epsilon=True),
        6: Job("report", "", needs=(3, 5)),
    }
    return Tally(jobs, {"a": [3], "b": [5], "before": []}, clock)


def test_a_run_is_running_from_its_own_first_job_and_finished_with_its_last_metric(tally):
    tally.start(1)
    counts = tally.counts
    assert (counts.runs, counts.finished, counts.running) == (3, 1, 0), "a shared job is no run's"
    assert tally.finish(1) == []
    tally.start(2)
    assert tally.counts.running == 1
    assert tally.finish(2) == []
    tally.start(3)
    assert tally.finish(3) == ["a"]
    assert (tally.counts.finished, tally.counts.running, tally.counts.jobs_done) == (2, 0, 3)


def test_a_shared_job_that_fails_fails_all_runs_that_need_it(tally):
    tally.start(1)
    assert tally.fail(1) == ["a", "b"]
    assert (tally.counts.failed, tally.counts.jobs_failed) == (2, 1)


def test_a_run_is_lost_once_however_many_of_its_jobs_fail(tally):
    tally.finish(1)
    assert tally.fail(2) == ["a"] and tally.fail(3) == []
    assert tally.fail(4) == ["b"]
    assert tally.counts.failed == 2


def test_a_job_that_waits_for_another_attempt_has_not_failed(tally):
    tally.finish(1)
    tally.start(2)
    tally.stop(2)
    assert (tally.counts.failed, tally.counts.running, tally.running) == (0, 1, {})
    tally.start(2)
    tally.finish(2)
    tally.start(3)
    assert tally.finish(3) == ["a"]


def test_jobs_that_nobody_announced_are_passed_over(tally):
    tally.start(99)
    assert tally.finish(99) == tally.fail(99) == []
    assert tally.counts.jobs_done == 0


def test_the_rest_takes_as_long_as_jobs_of_its_rules_took_or_longer(tally, clock):
    assert tally.remaining() is None, "nothing is known yet"
    tally.start(1)
    clock.now = 10
    tally.finish(1)
    tally.start(2)
    clock.now = 30
    tally.finish(2)
    # One more vote of 20 s; evaluations and the report have not been seen.
    assert tally.remaining() == (20, True)
    tally.start(3)
    clock.now = 34
    tally.finish(3)
    tally.start(4)
    clock.now = 44
    # Half of the vote, 10 s, then an evaluation of 4 s; the report is unknown.
    seconds, is_lower = tally.remaining()
    assert seconds == pytest.approx(14) and is_lower


def test_a_job_that_runs_takes_as_long_as_those_that_took_longer_than_it_has(clock):
    tally = Tally({n: Job("finetune", "") for n in range(4)}, {}, clock)
    for number, took in enumerate((10, 20, 60)):
        tally.start(number)
        clock.now += took
        tally.finish(number)
    tally.start(3)
    for ran, left, is_lower in ((5, 25, False), (15, 25, False), (30, 30, False), (61, 0, True)):
        clock.now = 90 + ran
        assert tally.remaining() == (left, is_lower), f"after {ran} s"


def test_what_a_failure_blocks_is_not_waited_for(tally, clock):
    for number in (1, 2, 3):
        tally.start(number)
        clock.now += 10
        tally.finish(number)
    tally.start(4)
    tally.fail(4)
    assert tally.remaining() == (0.0, False)


def test_jobs_side_by_side_shorten_the_rest_but_no_chain(clock):
    jobs = {n: Job("vote", "") for n in range(8)}
    chain = {n: Job("vote", "", needs=(n - 1,)) for n in range(9, 11)}
    tally = Tally({**jobs, 8: Job("vote", ""), **chain}, {}, clock)
    for number in range(4):
        tally.start(number)
    clock.now = 10
    for number in range(4):
        tally.finish(number)
    # Seven votes of 10 s, four side by side: 17.5 s; but three of them follow one another.
    assert tally.remaining() == (30, False)


@pytest.mark.parametrize(
    ("seconds", "at_least", "words"),
    [
        (20, False, "less than a minute"),
        (20, True, "some time"),
        (61, False, "about 1 min"),
        (1300, True, "more than 20 min"),
        (9000, False, "about 2.5 h"),
        (200_000, False, "about 2 days"),
        (864_000, False, "about 10 days"),
    ],
    ids=str,
)
def test_a_duration_is_said_no_more_precisely_than_it_is_known(seconds, at_least, words):
    assert in_words(seconds, at_least) == words


def test_a_cause_is_the_last_one_of_the_jobs_own_log(tmp_path):
    log = tmp_path / "step.log"
    log.write_text("cause: an older one\n\nepoch 1\ncause: x.json: no such file\nsecond line\n")
    assert cause_of(str(log), time.time(), "") == "x.json: no such file\nsecond line"
    os.utime(log, (1000, 1000))
    assert "without a word" in cause_of(str(log), time.time(), ""), "that was an earlier job"
    assert "without a word" in cause_of(str(tmp_path / "none.log"), 0, "")


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ("Command 'x' died with <Signals.SIGKILL: 9>.", "killed (SIGKILL) without a word"),
        ("Command 'x' returned non-zero exit status 137.", "killed (SIGKILL) without a word"),
        ("Command 'x' died with <Signals.SIGBUS: 7>.", "ended by a signal (SIGBUS)"),
        ("Command 'x' returned non-zero exit status 1.", "it ended without a word"),
        ("SLURM status is: 'OUT_OF_MEMORY'. For further", "the scheduler says OUT_OF_MEMORY"),
        ("SLURM status is: 'FAILED'. For further", "it ended without a word"),
        ("Command 'x' returned non-zero exit status 74.", "no space left on the disk"),
        ("OSError: [Errno 28] No space left on device: 'x.tsv'", "no space left on the disk"),
        ("but some output files are missing. Missing files", "should have written"),
    ],
    ids=[
        "sigkill",
        "status-137",
        "sigbus",
        "status-1",
        "scheduler",
        "scheduler-failed",
        "disk-step",
        "disk-snakemake",
        "missing",
    ],
)
def test_a_job_that_died_without_a_cause_has_what_is_known_of_it(said, expected):
    assert expected in cause_of("", 0, said)


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        (
            "SLURM sbatch failed. The error message was 'sbatch: error: invalid partition: x\n"
            "sbatch: error: Batch job submission failed'.\n    sbatch call:\n        sbatch -p 'x'",
            "not submitted: sbatch: error: invalid partition: x\n"
            "sbatch: error: Batch job submission failed",
        ),
        (
            "Job submission failed with exception: The account labb is invalid. There are:\nlab"
            "For further error details see the cluster log.",
            "not submitted: The account labb is invalid. There are:\nlab",
        ),
        ("SLURM status is: 'FAILED'. For further", ""),
    ],
    ids=["sbatch", "account", "submitted"],
)
def test_what_slurm_does_not_take_has_its_words_for_a_cause(said, expected):
    assert refused(said) == expected


def test_a_sensitive_log_is_not_read(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    log = "results/sensitive/x/vote.log"
    (tmp_path / log).parent.mkdir(parents=True)
    (tmp_path / log).write_text("cause: 17 private images\n")
    assert cause_of(log, time.time(), "") == SEE_LOG
    killed = cause_of(log, time.time(), "died with <Signals.SIGKILL: 9>.")
    assert "SIGKILL" in killed and SEE_LOG in killed and "17" not in killed


COMMAND_FAILED = "Command 'x' returned non-zero exit status 1."
INTERRUPTED = "Command 'x' died with <Signals.SIGINT: 2>."


class Recorder:
    """A screen that keeps its lines."""

    def __init__(self):
        self.lines, self.last = [], []

    def line(self, text: str, style: str = "") -> None:
        self.lines.append(text)

    def close(self, lines: list[str]) -> None:
        self.last = lines


def reraise(_) -> None:
    """In the place of `logging.Handler.handleError`, which prints the error and goes on."""
    raise


class Snakemake:
    """Logs what Snakemake logs of a grid of 990 runs that share an encoder; every job is its own.

    Job 0 fetches the encoder, and jobs 1 … 990 are one of each run.
    """

    def __init__(self, monkeypatch, attempts: int = 1):
        runs = {f"digits pe ε=1 seed {n}": [n] for n in range(1, 991)}
        jobs = {n: Job("vote", f"{run} t 1", (0,), epsilon=True) for run, (n,) in runs.items()}
        jobs[0] = Job("fetch_encoder", "inception")
        monkeypatch.setattr(handler, "_jobs_and_runs", lambda *_: (jobs, runs))
        self.jobs = {
            n: SimpleNamespace(
                jobid=n, log=[], attempt=1, restart_times=attempts - 1, is_group=lambda: False
            )
            for n in jobs
        }
        self.failed = []
        dag = SimpleNamespace(needrun_jobs=self.jobs.values)
        scheduler = SimpleNamespace(failed=self.failed)
        self.monitor = handler.Monitor(SimpleNamespace(dag=dag, scheduler=scheduler), None)
        monkeypatch.setattr(self.monitor, "handleError", reraise)
        self.screen = Recorder()
        self.monitor.show(self.screen)

    def log(self, event: str | None, message: str = "", **fields) -> None:
        record = logging.makeLogRecord({"msg": message, "levelno": logging.INFO, **fields})
        if event:
            record.event = event
        self.monitor.handle(record)

    def start(self, number: int) -> None:
        self.log("job_info", jobid=number)

    def fail(self, number: int, said: str = COMMAND_FAILED) -> None:
        """As the executor, and then the scheduler, log it."""
        self.log("error", said, exception="RuleException")
        self.log("job_error", jobid=number, rule_msg="")
        self.end_attempt(number)

    def end_attempt(self, number: int) -> None:
        job = self.jobs[number]
        if job.restart_times > job.attempt - 1:
            self.log(None, f"Trying to restart job {number}.")
            job.attempt += 1
        else:
            self.failed.append(job)


def test_runs_that_a_shared_job_takes_with_it_are_one_line(monkeypatch):
    snakemake = Snakemake(monkeypatch)
    snakemake.start(0)
    snakemake.fail(0)
    failed, lost = snakemake.screen.lines
    assert failed.startswith("failed: fetch_encoder  inception: ")
    assert lost == "990 runs cannot be finished: " + (
        "digits pe ε=1 seed 1; digits pe ε=1 seed 2; digits pe ε=1 seed 3 and 987 more"
    )
    snakemake.monitor.close()
    assert snakemake.screen.last[1] == "1 job failed; 990 runs cannot be finished:"


def test_a_jobs_own_run_is_not_named_twice(monkeypatch):
    snakemake = Snakemake(monkeypatch)
    snakemake.start(7)
    snakemake.fail(7)
    (line,) = snakemake.screen.lines
    assert line.startswith("failed: vote  digits pe ε=1 seed 7 t 1: ")


def test_a_failure_with_attempts_left_says_so_and_takes_no_run_with_it(monkeypatch):
    snakemake = Snakemake(monkeypatch, attempts=3)
    for attempt in (1, 2):
        snakemake.start(0)
        snakemake.fail(0)
        (line,) = snakemake.screen.lines
        assert line.startswith(
            f"failed, will be tried again (attempt {attempt} of 3): fetch_encoder  inception: "
        )
        assert snakemake.monitor.summary()[0] == "0 of 990 runs finished, 0 running, 0 failed"
        snakemake.screen.lines.clear()
    snakemake.start(0)
    snakemake.fail(0)
    assert [line.partition(":")[0] for line in snakemake.screen.lines] == [
        "failed",
        "990 runs cannot be finished",
    ]


def test_only_what_failed_for_good_stands_last(monkeypatch):
    snakemake = Snakemake(monkeypatch, attempts=2)
    for number in (0, 7, 8):
        snakemake.start(number)
        snakemake.fail(number)
    snakemake.start(0)
    snakemake.log("job_finished", job_id=0)
    snakemake.start(7)
    snakemake.fail(7)
    snakemake.monitor.close()
    _, head, _, title, *_ = snakemake.screen.last
    assert head == "1 job failed; 1 run cannot be finished:"
    assert title == "vote  digits pe ε=1 seed 7 t 1"
    assert snakemake.monitor.summary()[0] == "0 of 990 runs finished, 1 failed"


def test_a_job_that_wrote_nothing_is_tried_again_too(monkeypatch):
    snakemake = Snakemake(monkeypatch, attempts=2)
    for _ in range(2):
        snakemake.start(0)
        message = "in rule x:\nJob 0  completed successfully, but some output files are missing."
        snakemake.log("error", message, exception="MissingOutputException")
        snakemake.end_attempt(0)
    again, failed, _ = snakemake.screen.lines
    assert again.startswith("failed, will be tried again (attempt 1 of 2): fetch_encoder")
    assert failed.startswith("failed: fetch_encoder  inception: it ended well, but files")


def test_an_error_of_a_job_that_is_tried_again_does_not_stand_last(monkeypatch):
    snakemake = Snakemake(monkeypatch, attempts=2)
    snakemake.start(0)
    snakemake.log("error", "older modification time", exception="WorkflowError")
    snakemake.end_attempt(0)
    snakemake.start(0)
    snakemake.log("job_finished", job_id=0)
    snakemake.monitor.close()
    assert snakemake.screen.last == []


def test_jobs_that_are_submitted_are_counted_though_none_is_done(monkeypatch):
    snakemake = Snakemake(monkeypatch)
    for number in (0, 7):
        snakemake.start(number)
    assert snakemake.monitor.summary()[1] == "0 of 991 jobs done, 2 under way"


def test_jobs_that_ctrl_c_ends_have_not_failed(monkeypatch):
    snakemake = Snakemake(monkeypatch)
    for number in (0, 7):
        snakemake.start(number)
    snakemake.fail(0, INTERRUPTED)
    snakemake.log(None, "Terminating processes on user request, this might take some time.")
    snakemake.fail(7, INTERRUPTED)
    snakemake.monitor.close()
    assert [line.partition(",")[0] for line in snakemake.screen.lines] == [
        "Terminating processes on user request"
    ]
    assert snakemake.screen.last == ["", handler.STOPPED]
    assert snakemake.monitor.summary()[0] == "0 of 990 runs finished, 0 failed"


def test_a_job_that_is_interrupted_alone_has_failed(monkeypatch):
    snakemake = Snakemake(monkeypatch)
    snakemake.start(0)
    snakemake.fail(0, INTERRUPTED)
    snakemake.monitor.close()
    _, head, _, title, cause = snakemake.screen.last
    assert head == "1 job failed; 990 runs cannot be finished:"
    assert (title, cause) == ("fetch_encoder  inception", "  cause: ended by a signal (SIGINT)")


def test_a_job_that_slurm_refuses_has_no_log(monkeypatch):
    snakemake = Snakemake(monkeypatch)
    snakemake.jobs[0].log = ["results/sensitive/digits/logs/fetch.log"]
    snakemake.start(0)
    refusal = "Job submission failed with exception: no such account"
    snakemake.log("job_error", jobid=0, rule_msg=refusal)
    snakemake.monitor.close()
    *_, cause = snakemake.screen.last
    assert cause == "  cause: not submitted: no such account"


def test_a_plain_screen_says_how_far_things_are_though_nothing_happens():
    stream = io.StringIO()
    screen = PlainScreen(stream, lambda: ["0 of 1 runs finished", "1 of 3 jobs done"], pause=0.01)
    deadline = time.monotonic() + 30
    while stream.getvalue().count("\n") < 3 and time.monotonic() < deadline:
        time.sleep(0.01)
    screen.close(["the end"])
    *summaries, last = stream.getvalue().splitlines()
    assert len(summaries) > 3 and last == "the end"
    assert {line[10:] for line in summaries} == {"0 of 1 runs finished; 1 of 3 jobs done"}
    time.sleep(0.05)
    assert stream.getvalue().endswith("the end\n"), "nothing comes after the last lines"


def test_lines_of_a_narrow_terminal_break_between_words_but_not_in_paths(monkeypatch):
    monkeypatch.setenv("COLUMNS", "40")
    stream = io.StringIO()
    screen = LiveScreen(stream, list)
    screen.line("failed: vote  digits pe ε=10 seed 0: no space left on the disk")
    path = "results/logs/vote/digits~0123456789ab/pe~0123456789ab.log"
    screen.close([f"  log:   {path}"])
    lines = stream.getvalue().splitlines()
    assert "failed: vote  digits pe ε=10 seed 0: no" in lines
    assert "  space left on the disk" in lines
    assert lines[-1] == f"  log:   {path}"


@pytest.mark.parametrize("ending", ["close", "exception", "interrupt"])
def test_the_cursor_comes_back(ending):
    """However Snakemake ends: its logger closes the handlers, and so does Python at the latest."""
    end = {
        "close": "screen.close([])",
        "exception": "raise OSError('no more')",
        "interrupt": "os.kill(os.getpid(), signal.SIGINT)",
    }
    program = f"""
import logging, os, signal, sys
from workflow_scripts.monitor.screen import LiveScreen
sys.stderr.isatty = lambda: True
class Handler(logging.Handler):
    def close(self):
        screen.close([])
handler = Handler()
screen = LiveScreen(sys.stderr, lambda: ["1 of 3 runs finished"])
{end[ending]}
"""
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=Path(__file__).parents[2],
        env={**os.environ, "TERM": "xterm-256color"},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert "\x1b[?25l" in done.stderr
    assert done.stderr.rindex("\x1b[?25h") > done.stderr.rindex("\x1b[?25l")


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ("-n", True),
        ("-nq", True),
        ("-kpn", True),
        ("--dry-run --cores 2", True),
        ("--cores 2", False),
        ("-sSnakefile -c2", False),
        ("-d/home/nina", False),
    ],
    ids=str,
)
def test_a_dry_run_is_known_by_its_options(arguments, expected):
    assert is_dry_run(["snakemake", *arguments.split()]) is expected


def test_failures_of_one_cause_stand_in_one_block_and_many_are_cut_short():
    alike = [Failure("vote", f"run {n}", "no space", f"{n}.log") for n in range(20)]
    lines = report(alike)
    assert lines[1] == "vote  run 0; run 1; run 2 and 17 more"
    assert lines[2] == "  cause: no space" and len(lines) == 6
    others = [Failure("vote", f"run {n}", f"cause {n}", f"{n}.log") for n in range(SHOWN + 5)]
    assert report(others)[-1] == "and 5 more kinds of failures"
    long = report([Failure("vote", "", "x\n" * 500, "")])
    assert len(long) < 25 and long[-1].endswith("… the log has the rest")
