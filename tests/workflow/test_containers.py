"""`--sdm apptainer` and `--sdm conda`, with stand-ins that write down what they are asked.

A stand-in for Apptainer runs the command on this machine; one for conda makes an environment that
holds this Python. So what is tested is what Snakemake asks them for, and that jobs run that way.
"""

import json
import os
import shutil
import sys
from pathlib import Path

import pytest
import yaml

from tests.workflow.conftest import ROOT, Project

IMAGE = "containers/dp-image-synthesis.sif"

APPTAINER = f"""#!{sys.executable}
import json, os, sys
arguments = sys.argv[1:]
if arguments == ["--version"]:
    print("apptainer version 1.3.0")
    sys.exit()
with open(os.environ["ASKED"], "a") as file:
    file.write(json.dumps(arguments) + "\\n")
start = next(i for i, a in enumerate(arguments) if a.endswith("sh") and arguments[i + 1] == "-c")
os.execvp(arguments[start], arguments[start:])
"""

CONDA = f"""#!{sys.executable}
import json, os, sys
from pathlib import Path
arguments = sys.argv[1:]
with open(os.environ["ASKED"], "a") as file:
    file.write(json.dumps(arguments) + "\\n")
if arguments[:1] == ["info"]:
    print(json.dumps({{"conda_prefix": os.environ["BASE"], "platform": "linux-64"}}))
elif arguments == ["--version"]:
    print("conda 24.9.2")
elif arguments[:1] == ["config"]:
    print(json.dumps({{"get": {{"channel_priority": "strict"}}}}))
elif arguments[:2] == ["env", "create"]:
    prefix = Path(arguments[arguments.index("--prefix") + 1])
    (prefix / "bin").mkdir(parents=True)
    wrapper = prefix / "bin/python"
    lines = ["#!/bin/sh", "export STAND_IN_ENVIRONMENT=1", 'exec {sys.executable} "$@"', ""]
    wrapper.write_text(chr(10).join(lines))
    wrapper.chmod(0o755)
"""

ACTIVATE = 'export CONDA_PREFIX="$1"; export PATH="$1/bin:$PATH"\n'


@pytest.fixture
def stand_ins(tmp_path) -> dict[str, str]:
    """An environment in which `apptainer` and `conda` are stand-ins."""
    folder = tmp_path / "conda/bin"
    folder.mkdir(parents=True)
    for name, text in {"apptainer": APPTAINER, "conda": CONDA, "activate": ACTIVATE}.items():
        (folder / name).write_text(text)
        (folder / name).chmod(0o755)
    return {
        "PATH": os.pathsep.join(
            [str(folder), str(Path(sys.executable).parent), os.environ["PATH"]]
        ),
        "ASKED": str(tmp_path / "asked.jsonl"),
        "BASE": str(tmp_path / "conda"),
    }


def asked(environment: dict[str, str]) -> list[list[str]]:
    return [json.loads(line) for line in Path(environment["ASKED"]).read_text().splitlines()]


TARGET = "results/reports/small/runs.csv"


@pytest.fixture
def nearly(built: Project) -> Project:
    """The finished small experiment without one table, which one job makes."""
    (built.folder / TARGET).unlink()
    return built


def test_apptainer_runs_a_job_in_the_image_with_the_users_arguments(nearly, stand_ins):
    (nearly.folder / "containers").mkdir(exist_ok=True)
    (nearly.folder / IMAGE).touch()
    outcome = nearly.snakemake(
        *("--cores", "1", "--sdm", "apptainer", "--apptainer-args=--nv --bind /data"),
        TARGET,
        **stand_ins,
    )
    assert outcome.status == 0, outcome.text[-4000:]
    assert (nearly.folder / TARGET).is_file()
    (call,) = asked(stand_ins)
    assert IMAGE in call and "exec" in call
    assert call[call.index("--home") + 1] == str(nearly.folder), "the project is there"
    assert "--nv" in call and call[call.index("--nv") + 1 :][:2] == ["--bind", "/data"]


def test_a_missing_image_is_said_before_the_first_job(nearly, stand_ins):
    outcome = nearly.snakemake("--cores", "1", TARGET, "--sdm", "apptainer", **stand_ins)
    assert outcome.status != 0 and "Traceback" not in outcome.text
    assert f"{IMAGE}: no such file" in outcome.text and "apptainer build" in outcome.text
    assert not (nearly.folder / TARGET).exists()


def test_conda_makes_the_environment_of_the_pins_and_a_job_runs_in_it(nearly, stand_ins):
    step = nearly.folder / "workflow_scripts/steps/collect_runs.py"
    check = "import os\nassert os.environ['STAND_IN_ENVIRONMENT']\n"
    step.write_text(
        step.read_text().replace("\nfrom workflow_scripts", f"\n{check}from workflow_scripts", 1)
    )
    outcome = nearly.snakemake("--cores", "1", TARGET, "--sdm", "conda", **stand_ins)
    assert outcome.status == 0, outcome.text[-4000:]
    (create,) = (call for call in asked(stand_ins) if call[:2] == ["env", "create"])
    made_from = yaml.safe_load(Path(create[create.index("--file") + 1]).read_text())
    assert made_from == yaml.safe_load((ROOT / "environment.yml").read_text())


def test_without_either_nothing_is_asked_and_nothing_runs_again(built, stand_ins):
    outcome = built.snakemake("--cores", "1", **stand_ins)
    assert outcome.status == 0 and "Nothing to be done" in outcome.text
    assert not Path(stand_ins["ASKED"]).exists()
    shutil.rmtree(built.results / "reports/small/figures")
    assert "vote" not in built.planned()
