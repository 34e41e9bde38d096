"""Kills, tampering and leaks: what fails, fails closed, and says what it is."""

import json
import os
import shutil
import signal
import socket
import subprocess
import time

import pytest
from safetensors.numpy import load_file, save_file

from tests.workflow.conftest import DETERMINISTIC
from workflow_scripts.files import read_json, write_json

RUN = "runs/digits~*/sim-pe~*/eps10/seed0"


@pytest.mark.parametrize(
    "stop_after",
    ["iter1/ledger.json", pytest.param("iter2/parents.safetensors", marks=pytest.mark.slow)],
)
def test_a_run_killed_in_the_middle_resumes_to_the_same_bytes(built_once, project, stop_after):
    process = subprocess.Popen(
        project.command("--cores", "2"),
        cwd=project.folder,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    deadline = time.monotonic() + 600
    while not project.find(f"{RUN}/{stop_after}"):
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.02)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    assert not project.find("runs/**/release.safetensors") or not project.find("reports/**/*.html")
    assert list((project.folder / ".snakemake/locks").iterdir()), "Snakemake's lock is stale"
    project.build()
    assert project.contents(*DETERMINISTIC) == built_once.contents(*DETERMINISTIC)
    assert not project.find("**/*.part"), "no half-written file is left behind"


def test_a_second_snakemake_says_that_the_first_is_at_work(project):
    first = subprocess.Popen(
        project.command("--cores", "1"),
        cwd=project.folder,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        deadline = time.monotonic() + 600
        while not project.find("sensitive/digits~*/train.safetensors"):
            assert first.poll() is None and time.monotonic() < deadline
            time.sleep(0.02)
        second = project.snakemake("--cores", "1")
        assert second.status != 0
        assert "Another Snakemake makes the same files" in second.text
        assert f"process {first.pid} on {socket.gethostname()}" in second.text
        assert "snakemake --unlock" in second.text and "Traceback" not in second.text
        assert project.snakemake("-n").status == 0, "looking is allowed"
        assert first.poll() is None
    finally:
        os.killpg(first.pid, signal.SIGKILL)
        first.wait()


def test_changed_private_data_under_a_journalled_release_is_refused(built):
    path = built.one("sensitive/digits~*/train.safetensors")
    arrays = load_file(path)
    arrays["images"] = 255 - arrays["images"]
    before = built.contents("runs/**/votes.safetensors")
    time.sleep(1.1)
    save_file(arrays, path)
    outcome = built.snakemake("--cores", "1", "--until", "vote", "--keep-going")
    assert outcome.status != 0 and "Traceback" not in outcome.text
    logs = "\n".join(p.read_text() for p in built.find("sensitive/digits~*/logs/vote/**/*.log"))
    assert "second release" in logs and "sensitive images" in logs
    # On the terminal only where to look: the log lies in the sensitive zone.
    assert "sensitive images" not in outcome.text and "see the log" in outcome.text
    journal = built.contents("sensitive/journal/**/*.safetensors")
    assert len(journal) == len(before)


def test_a_run_over_budget_is_not_released(built):
    ledger = built.one(f"{RUN}/iter2/ledger.json")
    content = read_json(ledger)
    content["event"]["scale"] /= 2
    time.sleep(1.1)
    write_json(ledger, content)
    built.one(f"{RUN}/release.safetensors").unlink()
    outcome = built.snakemake("--cores", "1", "--until", "release")
    assert outcome.status != 0 and "Traceback" not in outcome.text
    assert "more than the budget ε = 10" in outcome.text
    assert not built.find(f"{RUN}/release.safetensors") and not built.find(f"{RUN}/privacy.json")


@pytest.mark.parametrize(
    ("leak", "reason"),
    [
        (
            # Reads private images, writes them out.
            'input: "results/sensitive/{dataset}/train.safetensors"\n'
            '    output: "results/runs/{dataset}/copy.safetensors"\n'
            '    log: "results/sensitive/{dataset}/leak.log"',
            "neither a mechanism nor an evaluation",
        ),
        (
            # Lets a generator depend on metrics.
            'input: "results/evaluation/{dataset}/real/seed0/utility/x.json"\n'
            '    output: "results/runs/{dataset}/tuned.json"\n'
            '    log: "results/logs/{dataset}/leak.log"',
            "evaluation zone",
        ),
        (
            # Hides what it reads in a function.
            "input: lambda wildcards: 'results/sensitive/x/train.safetensors'\n"
            '    output: "results/runs/{dataset}/copy.safetensors"\n'
            '    log: "results/logs/{dataset}/leak.log"',
            "does not declare its zones",
        ),
        (
            # A wildcard that could become the sensitive zone.
            'input: "results/{zone}/{dataset}/train.safetensors"\n'
            '    output: "results/runs/{dataset}/{zone}.safetensors"\n'
            '    log: "results/logs/{dataset}/{zone}.log"',
            "literal",
        ),
        (
            # Private data in a log.
            'input: "results/sensitive/{dataset}/train.safetensors"\n'
            '    output: "results/sensitive/{dataset}/counts.json"\n'
            '    log: "results/logs/{dataset}/leak.log"',
            "log and benchmark",
        ),
    ],
)
def test_a_rule_that_leaks_stops_the_workflow_before_it_starts(project, leak, reason):
    (project.folder / "rules/data.smk").open("a").write(
        f'\n\nrule leak:\n    {leak}\n    shell: "true"\n'
    )
    outcome = project.snakemake("-n")
    assert outcome.status != 0
    assert "Privacy boundary: rule leak" in outcome.text and reason in outcome.text
    assert "Traceback" not in outcome.text


def test_a_mechanism_without_a_ledger_stops_the_workflow(project):
    rules = project.folder / "rules/pe.smk"
    text = rules.read_text()
    rules.write_text(text.replace("        ledger=", "        receipt=", 1))
    outcome = project.snakemake("-n")
    assert outcome.status != 0 and "must have an output named ledger" in outcome.text


def test_a_sensitive_zone_that_others_can_read_is_refused_at_run_time(built):
    (built.results / "sensitive").chmod(0o755)
    script = (
        "from workflow_scripts.privacy.zones import open_sensitive\n"
        "open_sensitive('results/sensitive/x', 'vote')\n"
    )
    done = subprocess.run(
        [*built.command()[:1], "-c", script], cwd=built.folder, capture_output=True, text=True
    )
    assert done.returncode != 0 and "mode 755; it must be 700" in done.stderr
    # Snakemake closes it again when it starts.
    built.one(f"{RUN}/release.safetensors").unlink()
    built.build()
    assert (built.results / "sensitive").stat().st_mode & 0o077 == 0


def test_a_budget_with_too_little_noise_draws_nothing(built):
    path = built.one("runs/digits~*/sim-pe~*/eps10/seed0/budget.json")
    budget = json.loads(path.read_text())
    path.write_text(json.dumps({**budget, "noise_multiplier": budget["noise_multiplier"] / 2}))
    for folder in built.find("sensitive/journal/digits~*/*/eps10/seed0"):
        shutil.rmtree(folder)
    outcome = built.snakemake(
        "--cores", "1", "--until", "vote", "--forcerun", "vote", "--keep-going"
    )
    assert outcome.status != 0
    logs = "\n".join(p.read_text() for p in built.find("sensitive/digits~*/logs/vote/**/*.log"))
    assert "more than the budget" in logs and "nothing is drawn" in logs
    assert not built.find("sensitive/journal/**/*.safetensors")


def test_candidates_that_are_not_those_of_the_votes_are_refused(built):
    """A remote model, asked again after its answers were deleted, draws other images."""
    path = built.one("public/initial/*/seed0/population/*.safetensors")
    arrays = load_file(path)
    arrays["images"] = arrays["images"][::-1].copy()
    time.sleep(1.1)
    save_file(arrays, path)
    outcome = built.snakemake("--cores", "1", "--until", "select")
    assert outcome.status != 0 and "Traceback" not in outcome.text
    assert "are not those that were voted on" in outcome.text
