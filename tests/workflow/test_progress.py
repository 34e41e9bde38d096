"""What stands on the screen while the workflow runs: runs, then what failed and why, last."""

import fcntl
import os
import pty
import re
import shutil
import struct
import subprocess
import termios
import time

import pytest

from tests.workflow.conftest import Project

pytestmark = pytest.mark.slow

METRICS = "results/reports/small/metrics.csv"
# How the table of a dry run begins.
PREVIEW = "small: 3 runs"
# Snakemake's own lines between jobs.
NOISE = re.compile(
    r"Traceback|RuleException|CalledProcessError|Exiting because|Removing output|"
    r"Error in rule|Finished jobid|Execute \d+ jobs|localrule|^rule ",
    re.M,
)


@pytest.fixture
def evaluated(built: Project) -> Project:
    """The small experiment with its metrics yet to be made; seven jobs."""
    shutil.rmtree(built.results / "evaluation")
    shutil.rmtree(built.results / "reports")
    return built


def damage(project: Project, pattern: str) -> None:
    """Cut a file short, so that its readers fail."""
    os.truncate(project.one(pattern), 300)


def last_block(text: str) -> list[str]:
    """The lines after the count of failures."""
    return re.split(r"\d+ jobs? failed[^\n]*:\n", text)[-1].splitlines()


def test_without_a_terminal_finished_runs_are_lines_and_jobs_are_not(evaluated):
    outcome = evaluated.snakemake("--cores", "2", METRICS)
    assert outcome.status == 0
    lines = [line[10:] for line in outcome.text.splitlines()]
    assert "0 of 3 runs finished, 0 running, 0 failed; 0 of 7 jobs done" in lines
    assert sum(line.startswith("finished: ") for line in lines) == 3
    for run in ("random ε=0", "real ε=∞", "sim-pe ε=10"):
        assert re.search(
            rf"finished: digits {run} seed 0 \(.*Accuracy logistic \d+\.\d %", outcome.text
        )
    assert lines[-1].startswith("3 of 3 runs finished, 0 failed; 7 of 7 jobs done")
    assert "latest: digits" in lines[-1]
    assert not NOISE.search(outcome.text)


def test_runs_that_were_finished_before_count_as_finished(evaluated):
    evaluated.build(METRICS)
    for file in evaluated.find("evaluation/digits~*/random~*/**/*.json"):
        file.unlink()
    shutil.rmtree(evaluated.results / "reports")
    outcome = evaluated.snakemake("--cores", "2", METRICS)
    assert outcome.status == 0
    assert "2 of 3 runs finished, 0 running, 0 failed; 0 of 3 jobs done" in outcome.text
    assert outcome.text.count("finished: digits") == 1


def test_a_failure_stands_last_with_its_cause_and_log(built):
    ledger = built.one("runs/digits~*/sim-pe~*/eps10/seed0/iter2/ledger.json")
    time.sleep(1.1)
    ledger.write_text("{")
    built.one("runs/digits~*/sim-pe~*/eps10/seed0/release.safetensors").unlink()
    outcome = built.snakemake("--cores", "1")
    assert outcome.status != 0
    assert not NOISE.search(outcome.text)
    blank, title, cause, log = last_block(outcome.text)
    assert (blank, title) == ("", "account  digits sim-pe ε=10 seed 0")
    assert cause.startswith("  cause: results/runs/") and "ledger.json: not valid JSON" in cause
    path = log.removeprefix("  log:   ")
    assert path.startswith("results/logs/account/") and (built.folder / path).is_file()
    assert "1 job failed; 1 run cannot be finished:" in outcome.text


def test_several_failures_stand_last_and_say_nothing_of_sensitive_logs(evaluated):
    for run in ("random~*/eps0", "sim-pe~*/eps10"):
        damage(evaluated, f"runs/digits~*/{run}/seed0/release.safetensors")
    outcome = evaluated.snakemake("--cores", "2", "--keep-going", METRICS)
    assert outcome.status != 0
    assert not NOISE.search(outcome.text)
    assert "4 jobs failed; 2 runs cannot be finished:" in outcome.text
    assert "1 of 3 runs finished, 2 failed" in outcome.text
    block = "\n".join(last_block(outcome.text))
    for rule in ("evaluate_utility", "evaluate_fidelity"):
        for run in ("random ε=0", "sim-pe ε=10"):
            assert f"{rule}  digits {run} seed 0\n  cause: see the log, which lies in" in block
    logs = re.findall(r"^  log:   (results/sensitive/.*)$", block, re.M)
    assert len(logs) == 4 and all((evaluated.folder / log).is_file() for log in logs)
    causes = [(evaluated.folder / log).read_text() for log in logs]
    assert all("not a readable safetensors file" in cause for cause in causes)
    assert "not a readable" not in outcome.text


def test_a_job_that_is_tried_again_fails_when_no_attempt_is_left(evaluated):
    damage(evaluated, "runs/digits~*/random~*/eps0/seed0/release.safetensors")
    outcome = evaluated.snakemake("--cores", "2", "--keep-going", "--retries", "1", METRICS)
    assert outcome.status != 0
    lines = [line[10:] for line in outcome.text.splitlines()]
    for rule in ("evaluate_utility", "evaluate_fidelity"):
        job = f"{rule}  digits random ε=0 seed 0: see the log"
        told = [line for line in lines if job in line]
        assert len(told) == 2
        assert told[0].startswith(f"failed, will be tried again (attempt 1 of 2): {job}")
        assert told[1].startswith(f"failed: {job}")
    assert "2 jobs failed; 1 run cannot be finished:" in outcome.text
    assert "Trying to restart" not in outcome.text


@pytest.mark.parametrize(
    ("ending", "cause"),
    [
        ("os.kill(os.getpid(), 9)", "killed (SIGKILL) without a word"),
        ("sys.exit(0)", "it ended well, but files that it should have written are not there"),
        ("sys.exit(3)", "it ended without a word"),
    ],
    ids=["killed", "wrote-nothing", "said-nothing"],
)
def test_a_job_that_dies_without_a_word_is_named_too(evaluated, ending, cause):
    step = evaluated.folder / "workflow_scripts/steps/collect_metrics.py"
    step.write_text(f"import os, sys\n{ending}\n")
    outcome = evaluated.snakemake("--cores", "2", "--latency-wait", "1", METRICS)
    assert outcome.status != 0 and "Traceback" not in outcome.text
    block = "\n".join(last_block(outcome.text))
    assert "collect_metrics  experiment small" in block
    assert f"  cause: {cause}" in block
    assert "  log:   results/logs/report/small/collect_metrics.log" in block


def on_a_terminal(project: Project, *arguments: str) -> tuple[int, str]:
    """Run Snakemake with a terminal of 100 × 30 for its errors; what it wrote there."""
    main, terminal = pty.openpty()
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 30, 100, 0, 0))
    process = subprocess.Popen(
        project.command(*arguments),
        cwd=project.folder,
        stdout=subprocess.DEVNULL,
        stderr=terminal,
        env={**os.environ, "TERM": "xterm-256color"},
    )
    os.close(terminal)
    written = b""
    try:
        while piece := os.read(main, 65536):
            written += piece
    except OSError:
        pass  # the other side is closed
    os.close(main)
    return process.wait(timeout=60), written.decode()


def test_on_a_terminal_a_display_shows_jobs_and_goes_away_and_failures_stand_last(evaluated):
    damage(evaluated, "runs/digits~*/random~*/eps0/seed0/release.safetensors")
    status, text = on_a_terminal(evaluated, "--cores", "2", "--keep-going", METRICS)
    assert status != 0 and "\x1b[?25l" in text, "the cursor is hidden while the display is there"
    assert text.rindex("\x1b[?25h") > text.rindex("\x1b[?25l"), "and shown again"
    assert re.search(r" 0:00:0\d  evaluate_", text), "running jobs with their times"
    plain = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", text).replace("\r", "")
    assert not NOISE.search(plain)
    assert "finished: digits real ε=∞ seed 0" in plain
    block = last_block(plain)
    assert sum(line.startswith("  cause: ") for line in block) == 2
    assert block[-1].startswith("  log:   results/sensitive/"), "nothing comes after the failures"
    assert "not a readable" not in plain


def test_dry_runs_and_quiet_runs_are_as_snakemake_has_them(evaluated):
    dry = evaluated.snakemake("-n", METRICS)
    assert dry.status == 0 and "Job stats:" in dry.text and "runs finished" not in dry.text
    assert PREVIEW in dry.text
    for option in (("-nq",), ("-n", "-q", "progress")):
        dry = evaluated.snakemake(METRICS, *option)
        assert dry.status == 0 and PREVIEW not in dry.text, option
    quiet = evaluated.snakemake("--cores", "2", METRICS, "--quiet", "all")
    assert quiet.status == 0 and "finished" not in quiet.text


def test_who_asks_for_commands_gets_snakemakes_lines_and_then_the_failures(evaluated):
    damage(evaluated, "runs/digits~*/random~*/eps0/seed0/release.safetensors")
    outcome = evaluated.snakemake("--cores", "2", "--keep-going", "--printshellcmds", METRICS)
    assert outcome.status != 0
    assert "Error in rule evaluate_utility" in outcome.text, "Snakemake's own"
    block = last_block(outcome.text)
    assert sum(line.startswith("  cause: see the log") for line in block) == 2
    assert block[-1].startswith("  log:   results/sensitive/")
