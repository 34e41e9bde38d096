"""`snakemake plan`: the bill of the small experiment before, after, and for one seed more."""

import fcntl
import re
from pathlib import Path

import pytest
import yaml

from tests.workflow.conftest import SMALL, Project


def plan_of(project: Project) -> str:
    """What is printed; no number of cores is needed."""
    outcome = project.snakemake("plan")
    assert outcome.status == 0, outcome.text[-4000:]
    assert "Traceback" not in outcome.text
    return outcome.text


def rules_of(text: str) -> dict[str, tuple[int, int, int]]:
    """Rule → its jobs, those done, those to do."""
    rows = re.findall(r"^(\w+) +(\d+) +(\d+) +(\d+) ", text, re.MULTILINE)
    return {name: tuple(map(int, numbers)) for name, *numbers in rows}


def bytes_to_add(text: str) -> float:
    number, unit = re.search(r"^disk: ([\d.]+) (\w+) of arrays", text, re.MULTILINE).groups()
    return float(number) * {"B": 1, "kB": 1e3, "MB": 1e6}[unit]


def files_of(folder: Path) -> dict[Path, int]:
    """All files but Snakemake's log of having been asked."""
    files = (path for path in folder.rglob("*") if path.is_file())
    parts = (".snakemake", "__pycache__")
    return {p: p.stat().st_mtime_ns for p in files if not {*parts} & {*p.parts}}


def test_before_anything_runs_all_is_to_do_and_nothing_is_written(project):
    before = files_of(project.folder)
    text = plan_of(project)
    assert files_of(project.folder) == before and not project.results.exists()
    planned = {name: jobs[2] for name, jobs in rules_of(text).items()}
    # A dry run counts the target itself as well, which makes no file.
    assert planned == {name: n for name, n in project.planned().items() if name != "all"}
    assert "3 runs" in text
    assert "generator calls to do: 420 images" in text
    # T = 3 at ε = 10, with the δ of 1,437 images
    assert re.search(r"^digits +sim-pe +10 +9.57e-05 +3 +0\.79\d+ ", text, re.MULTILINE)
    assert re.search(r"^vote +3 +0 +3 +– +– +no figure$", text, re.MULTILINE)


def test_the_predicted_size_is_that_of_the_arrays_that_are_written(project, built_once):
    predicted = bytes_to_add(plan_of(project))
    written = sum(path.stat().st_size for path in built_once.find("**/*.safetensors"))
    assert predicted == pytest.approx(written, rel=0.1)


def test_after_it_ran_nothing_is_to_do(built):
    text = plan_of(built)
    assert {jobs[2] for jobs in rules_of(text).values()} == {0}
    assert bytes_to_add(text) == 0 and "generator calls to do: 0 images" in text


def test_another_seed_is_estimated_from_what_the_first_took(built):
    built.write_experiment(SMALL | {"seeds": [0, 1]})
    text = plan_of(built)
    planned = {name: jobs[2] for name, jobs in rules_of(text).items() if jobs[2]}
    assert planned == {name: n for name, n in built.planned().items() if name != "all"}
    assert re.search(r"^vary +4 +2 +2 +[\d.e-]+ +core-hours +recorded: 2 jobs$", text, re.MULTILINE)
    assert "generator calls to do: 420 images" in text


def test_times_of_rules_that_read_private_data_are_not_printed(built):
    built.write_experiment(SMALL | {"seeds": [0, 1]})
    timings = built.find("sensitive/**/vote/**/*.tsv")
    assert timings, "they are recorded"
    for path in timings:
        header, _ = path.read_text().split("\n", 1)
        path.write_text(f"{header}\n" + "\t".join(["987654"] * len(header.split("\t"))) + "\n")
    text = plan_of(built)
    assert re.search(r"^vote +6 +3 +3 +– +– +no figure$", text, re.MULTILINE)
    for rule in ("evaluate_utility", "evaluate_fidelity", "evaluate_iterations"):
        assert re.search(rf"^{rule} .* – +– +no figure$", text, re.MULTILINE), rule


def test_it_goes_on_without_data_and_says_what_is_absent(project):
    absent = {"kind": "npz", "path": "data/none.npz"}
    catalogue = yaml.safe_load((project.folder / "config/datasets.yaml").read_text())
    digits = catalogue["sensitive"]["digits"] | {"source": absent}
    project.edit_catalogue("datasets", sensitive={"digits": digits})
    text = plan_of(project)
    assert "found 'data/none.npz'; there is no such file or folder" in text
    assert "prepare_sensitive" in rules_of(text)


def test_it_can_be_asked_while_another_snakemake_is_at_work(project):
    locks = project.folder / ".snakemake/locks"
    locks.mkdir(parents=True)
    (locks / "0.output.lock").write_text("results/reports/small/report.html\n")
    with open(project.folder / ".snakemake/alive.lock", "w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        second = project.snakemake("--cores", "1")
        assert second.status != 0 and "lock" in second.text.lower(), "nothing else would run"
        assert "37 to do" in plan_of(project)
    assert list(locks.iterdir()), "its lock is left alone"


def test_a_wrong_configuration_is_one_line(project):
    project.write_experiment(SMALL | {"methods": ["simpe"]})
    outcome = project.snakemake("plan")
    assert outcome.status != 0 and "Traceback" not in outcome.text
    assert "found 'simpe'" in outcome.text
