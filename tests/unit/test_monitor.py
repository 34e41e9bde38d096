"""What the monitor says of runs, of the time that is left and of failures."""

import os
import time

import pytest

from workflow_scripts.monitor.failures import SEE_LOG, SHOWN, Failure, cause_of, report
from workflow_scripts.monitor.tally import Job, Tally, in_words


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


def test_a_job_that_is_tried_again_has_not_failed(tally):
    tally.finish(1)
    tally.start(2)
    assert tally.fail(2) == ["a"]
    tally.start(2)
    assert (tally.counts.failed, tally.counts.running) == (0, 1)
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


def test_a_sensitive_log_is_not_read(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    log = "results/sensitive/x/vote.log"
    (tmp_path / log).parent.mkdir(parents=True)
    (tmp_path / log).write_text("cause: 17 private images\n")
    assert cause_of(log, time.time(), "") == SEE_LOG
    killed = cause_of(log, time.time(), "died with <Signals.SIGKILL: 9>.")
    assert "SIGKILL" in killed and SEE_LOG in killed and "17" not in killed


def test_failures_of_one_cause_stand_in_one_block_and_many_are_cut_short():
    alike = [Failure("vote", f"run {n}", "no space", f"{n}.log") for n in range(20)]
    lines = report(alike)
    assert lines[1] == "vote  run 0; run 1; run 2 and 17 more"
    assert lines[2] == "  cause: no space" and len(lines) == 6
    others = [Failure("vote", f"run {n}", f"cause {n}", f"{n}.log") for n in range(SHOWN + 5)]
    assert report(others)[-1] == "and 5 more kinds of failures"
    long = report([Failure("vote", "", "x\n" * 500, "")])
    assert len(long) < 25 and long[-1].endswith("… the log has the rest")
