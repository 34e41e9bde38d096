"""Seconds for a unit of work: recorded by Snakemake in this folder, or published by others."""

import csv
import json
import re
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from glob import glob
from pathlib import Path

from workflow_scripts.plan.work import (
    EVALUATION,
    FAMILIES,
    GRADIENT,
    TRAINED,
    Work,
)
from workflow_scripts.privacy.zones import zone_of


@dataclass(frozen=True)
class Rate:
    """What a unit of work takes.

    Attributes
    ----------
    seconds : float
        For a unit of work, of one GPU where `source` was measured on GPUs.
    source : str
    on_gpu : bool
        Whether the seconds are a GPU's.
    """

    seconds: float
    source: str
    on_gpu: bool


@dataclass(frozen=True)
class _Published:
    """GPU-seconds for `amount` units of some rules' work, with models that `fits` knows."""

    rules: tuple[str, ...]
    unit: str
    gpu_seconds: float
    amount: float
    source: str

    def fits(self, work: Work) -> bool:
        settings = json.loads(work.model)
        generator = settings.get("generator") or {}
        if self.unit == EVALUATION and "sample" not in self.rules:
            # Of the 270M model at 64 pixels alone; others are larger, or tiny.
            return "imagenet64-cond-270m" in str(generator.get("folder"))
        network = settings.get("network") or generator.get("network")
        if network is None:
            # A sampler says nothing of its network; its images are what is published.
            return generator.get("kind") == "edm" and generator["sampling"]["steps"] == 250
        # Networks of 1.5 to 3.8 million parameters, all of which are trained.
        return network["channels"] == 32 and settings.get("train", "all") == "all"


# README of DPImageBench (arXiv 2503.14681), "cost", CIFAR-10, hours on four A6000 Ada.
_BENCHMARK = "DPImageBench on CIFAR-10, 4 × A6000 Ada"
PUBLISHED = (
    _Published(
        ("initialise", "look_ahead", "vary"),
        EVALUATION,
        # T = 5, 60,000 images: 60,000 × 100 + 60,000 × (1 + 8) × (98 + 96 + 94 + 92 + 90)
        12.0 * 4 * 3600,
        259_800_000,
        f"published: PE, {_BENCHMARK}, 12 h",
    ),
    _Published(
        ("train_generator", "pretrain_on_selection"),
        TRAINED,
        32.0 * 4 * 3600,
        160 * 1_281_167,
        f"published: PDP-Diffusion, {_BENCHMARK}, 32 h",
    ),
    _Published(
        ("finetune",),
        GRADIENT,
        20.5 * 4 * 3600,
        150 * 45_000 * 32,
        f"published: DPDM, {_BENCHMARK}, 20.5 h",
    ),
    _Published(
        ("sample",),
        EVALUATION,
        0.17 * 4 * 3600,
        60_000 * 250,
        f"published: DPDM, {_BENCHMARK}, 0.17 h",
    ),
)


def published(rule: str, work: Work) -> Rate | None:
    """The published rate for work of a rule; None if there is none for such a model."""
    family = FAMILIES.get(rule, rule)
    for figure in PUBLISHED:
        if family in figure.rules and work.unit == figure.unit and figure.fits(work):
            return Rate(figure.gpu_seconds / figure.amount, figure.source, on_gpu=True)
    return None


def recorded(
    jobs: Iterable[tuple[str, Work, str]], on_gpu: bool
) -> dict[tuple[str, str, str], Rate]:
    """Rates of jobs that have run in this folder: (family, unit, model) → seconds for a unit.

    What a job that reads the sensitive zone took is computed from private data and lies in that
    zone; it is not looked at, because a forecast is printed.

    Parameters
    ----------
    jobs : iterable
        Rule, work and benchmark file of every job, run or not. Jobs that differ in ε or seed alone
        are the same work, so those of other experiments count as well.
    on_gpu : bool
        Whether jobs that ask for a GPU had one.
    """
    files: dict[tuple[str, str, str], dict[str, float]] = defaultdict(dict)
    seen = set()
    for rule, work, benchmark in jobs:
        pattern = re.sub(r"/seed[0-9]+", "/seed*", re.sub(r"/eps[^/]+", "/eps*", benchmark))
        if pattern in seen or zone_of(benchmark) != "benchmarks":
            continue
        seen.add(pattern)
        key = (FAMILIES.get(rule, rule), work.unit, work.model)
        files[key] |= dict.fromkeys(glob(pattern), work.amount)
    rates = {}
    for key, amounts in files.items():
        if amounts:
            seconds = sum(map(_seconds, amounts))
            source = f"recorded: {len(amounts)} jobs" if len(amounts) > 1 else "recorded: 1 job"
            rates[key] = Rate(seconds / sum(amounts.values()), source, on_gpu)
    return rates


def _seconds(path: str) -> float:
    """The seconds of a benchmark file of Snakemake's."""
    with open(path, encoding="utf-8", newline="") as file:
        return sum(float(row["s"]) for row in csv.DictReader(file, delimiter="\t"))


def has_gpu(devices: str | Path = "/dev") -> bool:
    """Whether this machine has a GPU of NVIDIA's, found without the seconds that torch takes."""
    return any(Path(devices).glob("nvidia[0-9]*"))
