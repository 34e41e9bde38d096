"""A copy of the workflow in a folder of its own, with experiments that run in seconds."""

import os
import re
import shutil
import subprocess
import sys
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]
PARTS = ("Snakefile", "rules", "workflow_scripts", "config", "profiles", "environment.yml")

# Sim-PE and both brackets, small; three blocks, so that three shards have work.
SMALL = {
    "experiment": "small",
    "datasets": ["digits"],
    "methods": ["random", "real", "sim-pe"],
    "epsilons": [10],
    "seeds": [0],
    "noise_source": "seeded",
    "classifiers": ["logistic"],
    "fidelity_encoders": ["pixels"],
    "overrides": {
        "random": {"samples": 60},
        "sim-pe": {
            "samples": 60,
            "iterations": 3,
            "lookahead": 1,
            "variation": {
                "font": [0.5, 0.5, 0],
                "size": [4, 2, 1],
                "rotation": [9, 5, 3],
                "stroke": 1,
                "shift": 1,
            },
        },
    },
}


@dataclass(frozen=True)
class Outcome:
    """What a command printed and its exit status."""

    status: int
    text: str


class Project:
    """A folder that holds the workflow and its results."""

    def __init__(self, folder: Path):
        self.folder = folder

    @property
    def results(self) -> Path:
        return self.folder / "results"

    def write_experiment(self, experiment: dict, name: str = "experiment.yaml") -> str:
        (self.folder / name).write_text(yaml.safe_dump(experiment, sort_keys=False))
        return name

    def edit_catalogue(self, file: str, **changes: dict) -> None:
        """Update entries of a catalogue file: name → keys."""
        path = self.folder / "config" / f"{file}.yaml"
        content = yaml.safe_load(path.read_text())
        for name, entry in changes.items():
            content.setdefault(name, {}).update(entry)
        path.write_text(yaml.safe_dump(content, sort_keys=False))

    def command(self, *arguments: str, configfile: str | None = "experiment.yaml") -> list[str]:
        chosen = ["--configfile", configfile] if configfile else []
        return [sys.executable, "-m", "snakemake", *arguments, *chosen]

    def snakemake(
        self, *arguments: str, configfile: str | None = "experiment.yaml", **environment: str
    ) -> Outcome:
        done = subprocess.run(
            self.command(*arguments, configfile=configfile),
            cwd=self.folder,
            env={**os.environ, **environment},
            capture_output=True,
            text=True,
            timeout=1800,  # for machines that are busy; a run takes minutes at most
        )
        return Outcome(done.returncode, done.stdout + done.stderr)

    def build(self, *arguments: str, cores: int = 2, **options: str) -> None:
        outcome = self.snakemake("--cores", str(cores), *arguments, **options)
        assert outcome.status == 0, outcome.text[-4000:]

    def planned(self, *arguments: str) -> Counter:
        """The jobs of a dry run: rule → how many."""
        outcome = self.snakemake("-n", *arguments)
        assert outcome.status == 0, outcome.text[-4000:]
        if "Nothing to be done" in outcome.text:
            return Counter()
        table = outcome.text.split("Job stats:", 1)[1].split("total", 1)[0]
        return Counter({name: int(n) for name, n in re.findall(r"^(\w+) +(\d+)$", table, re.M)})

    def find(self, pattern: str) -> list[Path]:
        """Files below results, in order."""
        return sorted(self.results.glob(pattern))

    def one(self, pattern: str) -> Path:
        (found,) = self.find(pattern)
        return found

    def contents(self, *patterns: str) -> dict[str, bytes]:
        """Path → bytes of all files that match."""
        return {
            str(path.relative_to(self.results)): path.read_bytes()
            for pattern in patterns
            for path in self.find(pattern)
        }

    def copy(self, folder: Path) -> "Project":
        """The project elsewhere, results and Snakemake's memory included."""
        shutil.copytree(self.folder, folder, symlinks=True)
        return Project(folder)


# What must be the same bytes whenever the settings are the same.
DETERMINISTIC = (
    "runs/**/votes.safetensors",
    "runs/**/ledger.json",
    "runs/**/release.safetensors",
    "runs/**/privacy.json",
    "runs/**/budget.json",
)


def new_project(folder: Path) -> Project:
    folder.mkdir()
    for part in PARTS:
        source = ROOT / part
        if source.is_dir():
            shutil.copytree(source, folder / part, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy2(source, folder / part)
    project = Project(folder)
    project.edit_catalogue("generators", text={"block_size": 20})
    project.write_experiment(SMALL)
    return project


@pytest.fixture
def project(tmp_path: Path) -> Project:
    """A fresh copy of the workflow with the small experiment."""
    return new_project(tmp_path / "project")


@pytest.fixture(scope="session")
def torch_is_forbidden(tmp_path_factory) -> dict[str, str]:
    """An environment in which importing torch fails."""
    folder = tmp_path_factory.mktemp("forbidden")
    for module in ("torch", "torchvision", "diffusers"):
        (folder / f"{module}.py").write_text("raise ImportError('this step needs no network')\n")
    return {"PYTHONPATH": str(folder)}


@pytest.fixture(scope="session")
def built_once(tmp_path_factory, torch_is_forbidden) -> Project:
    """The small experiment, run once; not to be changed. Nothing of it may import torch."""
    project = new_project(tmp_path_factory.mktemp("built") / "project")
    project.build(**torch_is_forbidden)
    return project


@pytest.fixture
def built(built_once: Project, tmp_path: Path) -> Project:
    """A copy of the finished small experiment, free to be changed."""
    return built_once.copy(tmp_path / "project")
