"""`snakemake plan`: the bill of the small experiment before, after, and for one seed more."""

import fcntl
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tests.workflow.conftest import SMALL, Project
from workflow_scripts.plan.rates import has_gpu

pytestmark = pytest.mark.slow


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
    assert re.search(r"^vote +3 +0 +3 +– +– +no figure, private$", text, re.MULTILINE)
    # Twice 60 images and one of each for the lookahead, and the last without.
    assert re.search(r"^vary +2 +0 +2 +240 images +– +no figure$", text, re.MULTILINE)
    assert re.search(r"^vary_last +1 +0 +1 +60 images +– +no figure$", text, re.MULTILINE)
    assert re.search(
        r"^estimate: none; no figure for 37 jobs, \d+ of which read", text, re.MULTILINE
    )
    assert "of DP-SGD" not in text


def test_the_predicted_size_is_that_of_the_arrays_that_are_written(project, built_once):
    predicted = bytes_to_add(plan_of(project))
    written = sum(path.stat().st_size for path in built_once.find("**/*.safetensors"))
    assert predicted == pytest.approx(written, rel=0.02)


def test_after_it_ran_nothing_is_to_do(built):
    text = plan_of(built)
    assert {jobs[2] for jobs in rules_of(text).values()} == {0}
    assert bytes_to_add(text) == 0 and "generator calls to do: 0 images" in text


def test_another_seed_is_estimated_from_what_the_first_took(built):
    built.write_experiment(SMALL | {"seeds": [0, 1]})
    text = plan_of(built)
    planned = {name: jobs[2] for name, jobs in rules_of(text).items() if jobs[2]}
    assert planned == {name: n for name, n in built.planned().items() if name != "all"}
    vary = r"^vary +4 +2 +2 +\d+ images +[\d.e-]+ core-hours +recorded: 2 jobs$"
    assert re.search(vary, text, re.MULTILINE)
    # Nothing is known of the work of these but that they differ in the seed alone.
    assert re.search(r"^select +6 +3 +3 +– +[\d.e-]+ core-hours", text, re.MULTILINE)
    assert re.search(r"^estimate: at least [\d.e-]+ core-hours; no figure", text, re.MULTILINE)
    assert "generator calls to do: 420 images" in text


def test_times_of_rules_that_read_private_data_are_not_printed(built):
    built.write_experiment(SMALL | {"seeds": [0, 1]})
    timings = built.find("sensitive/**/vote/**/*.tsv")
    assert timings, "they are recorded"
    for path in timings:
        header, _ = path.read_text().split("\n", 1)
        path.write_text(f"{header}\n" + "\t".join(["987654"] * len(header.split("\t"))) + "\n")
    text = plan_of(built)
    assert re.search(r"^vote +6 +3 +3 +– +– +no figure, private$", text, re.MULTILINE)
    for rule in ("evaluate_utility", "evaluate_fidelity", "evaluate_iterations"):
        assert re.search(rf"^{rule} .* – +– +no figure, private$", text, re.MULTILINE), rule


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
        fcntl.flock(held, fcntl.LOCK_SH)
        second = project.snakemake("--cores", "1")
        assert second.status != 0 and "lock" in second.text.lower(), "nothing else would run"
        assert "37 to do" in plan_of(project)
    assert list(locks.iterdir()), "its lock is left alone"


def test_a_wrong_configuration_is_one_line(project):
    project.write_experiment(SMALL | {"methods": ["simpe"]})
    outcome = project.snakemake("plan")
    assert outcome.status != 0 and "Traceback" not in outcome.text
    assert "found 'simpe'" in outcome.text


def pilot_of(project: Project, **overrides) -> None:
    """Change the experiment: what has run so far was its pilot."""
    method = SMALL["overrides"]["sim-pe"] | overrides
    project.write_experiment(SMALL | {"overrides": SMALL["overrides"] | {"sim-pe": method}})


def vary_of(text: str) -> str:
    return re.search(r"^vary .*$", text, re.MULTILINE)[0]


def hours_of(row: str) -> float:
    return float(re.search(r"([\d.e-]+) core-hours", row)[1])


def test_a_pilot_of_fewer_images_is_a_measure(built):
    variation = {"font": 0.5, "size": 4, "rotation": 9, "stroke": 1, "shift": 1}
    larger = {"samples": 600, "iterations": 5, "lookahead": 2, "variation": variation}
    pilot_of(built, **larger)
    row = vary_of(plan_of(built))
    # 600 images and two of each for the lookahead, in 4 iterations
    assert re.fullmatch(r"vary +4 +0 +4 +7,200 images +\S+ core-hours +recorded: 2 jobs", row)
    # ten times as much takes ten times as long
    pilot_of(built, **larger | {"samples": 60})
    assert hours_of(row) == pytest.approx(10 * hours_of(vary_of(plan_of(built))), rel=0.02)


def test_a_pilot_in_another_number_of_shards_is_a_measure(project, torch_is_forbidden):
    project.build("--set-scatter", "shards=3", **torch_is_forbidden)
    whole = [float(p.read_text().split()[-10]) for p in project.find("benchmarks/**/vary.iter*")]
    pilot_of(project, samples=600)
    row = vary_of(plan_of(project))
    assert row.endswith("recorded: 6 jobs")
    assert hours_of(row) == pytest.approx(10 * sum(whole) / 3600, rel=0.02)


def test_other_models_and_forgotten_settings_are_no_measure(built):
    built.edit_catalogue("generators", text={"supersampling": 2})
    assert vary_of(plan_of(built)).endswith("no figure")
    built.edit_catalogue("generators", text={"supersampling": 4})
    pilot_of(built, samples=600)
    assert vary_of(plan_of(built)).endswith("recorded: 2 jobs")
    shutil.rmtree(built.folder / ".snakemake/metadata")
    assert vary_of(plan_of(built)).endswith("no figure")


def test_on_a_cluster_jobs_that_ask_for_a_gpu_had_one(project):
    project.write_experiment(SMALL | {"methods": ["pe"], "overrides": {}})
    (benchmark,) = re.findall(r"benchmark: (\S+/train_generator/\S+)", project.snakemake("-n").text)
    path = project.folder / benchmark
    path.parent.mkdir(parents=True)
    path.write_text("s\th:m:s\n3600\t1:00:00\n")
    row = r"^train_generator +1 +0 +1 +76,800 training images +1 {}-hours +recorded: 1 job$"
    on_cluster = project.snakemake("plan", "--executor", "slurm", "--jobs", "1").text
    assert re.search(row.format("GPU"), on_cluster, re.MULTILINE)
    if not has_gpu():
        assert re.search(row.format("core"), plan_of(project), re.MULTILINE)


def test_broken_files_are_passed_over_or_named_in_a_line(built):
    built.write_experiment(SMALL | {"seeds": [0, 1]})
    first, second = built.find("benchmarks/**/vary.iter*")
    first.write_text("")
    second.write_text("\0" * 50)
    assert vary_of(plan_of(built)).endswith("no figure")
    budget = built.one("runs/digits*/sim-pe*/eps10/seed0/budget.json")
    budget.write_text(budget.read_text()[:20])
    outcome = built.snakemake("plan")
    assert outcome.status == 1
    assert "budget.json: not valid JSON" in outcome.text
    assert "plan.smk" not in outcome.text and "Traceback" not in outcome.text


def test_a_target_that_no_rule_makes_is_named(project):
    outcome = project.snakemake("plan", "results/nothing.txt")
    assert outcome.status == 1
    assert "No rule to produce results/nothing.txt" in outcome.text
    assert "jobs:" not in outcome.text and "Traceback" not in outcome.text


def test_paths_are_those_of_the_folder_it_was_asked_in(project, tmp_path):
    other = tmp_path / "other"
    other.mkdir()
    shutil.move(project.folder / "experiment.yaml", other / "e.yaml")
    outcome = subprocess.run(
        [
            sys.executable, "-m", "snakemake", "-s", "project/Snakefile", "--directory", "other",
            "plan", "--configfile", "other/e.yaml",
        ],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=600,
    )  # fmt: skip
    assert outcome.returncode == 0, outcome.stderr
    assert "37 to do" in outcome.stdout
    assert not (tmp_path / ".snakemake").exists() and not (other / "results").exists()
