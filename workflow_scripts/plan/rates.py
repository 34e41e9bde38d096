"""Seconds for a unit of work: recorded by Snakemake in this folder, or published by others."""

import csv
import json
import math
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from workflow_scripts.plan.work import EVALUATION, FAMILIES, GRADIENT, TRAINED, Work
from workflow_scripts.privacy.zones import zone_of

# What a step says that goes on from what an interrupted one has kept.
RESUMED = "goes on after"


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
class FinishedJob:
    """A job that has run in this folder.

    Attributes
    ----------
    rule : str
    work : Work
    benchmark, log : str
        Paths of what Snakemake and the step wrote.
    """

    rule: str
    work: Work
    benchmark: str
    log: str = ""


# The network that DPImageBench trains at 32 pixels, of 3.8 million parameters, and all of it.
_NETWORK = {
    "network": {"attention": [16], "blocks": 2, "channels": 32, "multipliers": [2, 4]},
    "size": 32,
}
# The 270M model of improved-diffusion for ImageNet at 64 pixels, by the folder it lies in.
_IMAGENET = "imagenet64-cond-270m"


@dataclass(frozen=True)
class _Published:
    """GPU-seconds for `amount` units of some rules' work with the model that was measured.

    Times of other networks, image sizes and batches do not follow from these: in the benchmark's
    logs the smaller network at 28 pixels was pre-trained for longer.
    """

    rules: tuple[str, ...]
    unit: str
    gpu_seconds: float
    amount: float
    source: str
    model: dict

    def fits(self, work: Work) -> bool:
        model = json.loads(work.model)
        generators = [json.loads(text) for text in model.get("generators", [])]
        folder = self.model.get("folder")
        if folder is not None:
            return {Path(str(g.get("folder"))).name for g in generators} == {folder}
        return all(model.get(key) == value for key, value in self.model.items())


# The table of costs in DPImageBench's README (github.com/2019ChenGong/DPImageBench at 565f8d7;
# arXiv 2503.14681): hours on four A6000 Ada for CIFAR-10, 45,000 records of 32 pixels.
_README = "in DPImageBench's README, on 4 × A6000 Ada"
PUBLISHED = (
    _Published(
        ("initialise", "look_ahead", "vary"),
        EVALUATION,
        # "Synthesis" of PE: T = 5, 60,000 images of the model that draws 64 pixels,
        # 60,000 × 100 + 60,000 × (1 + 8) × (98 + 96 + 94 + 92 + 90)
        12.0 * 4 * 3600,
        259_800_000,
        f"published: 12 h of PE {_README}",
        {"folder": _IMAGENET},
    ),
    _Published(
        ("train_generator", "pretrain_on_selection"),
        TRAINED,
        # "Pretrain" of PDP-Diffusion and of PrivImage: 160 epochs of ImageNet, batches of 1,024
        32.0 * 4 * 3600,
        160 * 1_281_167,
        f"published: 32 h of PDP-Diffusion {_README}",
        _NETWORK | {"batch_size": 1024},
    ),
    _Published(
        ("finetune",),
        GRADIENT,
        # "Fine-tune" of DPDM, PDP-Diffusion, DP-FETA and PrivImage: 150 epochs, 32 draws of noise
        20.5 * 4 * 3600,
        150 * 45_000 * 32,
        f"published: 20.5 h of DPDM {_README}",
        _NETWORK | {"train": "all"},
    ),
    _Published(
        ("sample",),
        EVALUATION,
        # "Synthesis" of the same: 60,000 images in 250 steps
        0.17 * 4 * 3600,
        60_000 * 250,
        f"published: 0.17 h of DPDM {_README}",
        _NETWORK,
    ),
)


def published(rule: str, work: Work) -> Rate | None:
    """The published rate for work of a rule; None if there is none for such a model."""
    family = FAMILIES.get(rule, rule)
    for figure in PUBLISHED:
        if family in figure.rules and work.unit == figure.unit and figure.fits(work):
            return Rate(figure.gpu_seconds / figure.amount, figure.source, on_gpu=True)
    return None


class Recorded:
    """Rates of jobs that have run in this folder.

    What a job that reads the sensitive zone took is computed from private data and lies in that
    zone; it is not looked at, because a forecast is printed.

    Parameters
    ----------
    jobs : iterable of FinishedJob
    on_gpu : bool
        Whether jobs that ask for a GPU had one.
    """

    def __init__(self, jobs: Iterable[FinishedJob], on_gpu: bool):
        self._on_gpu = on_gpu
        # (family, unit, model) → what embeds → seconds and amount of every job
        self._jobs: dict[tuple, dict[str, list[tuple[float, float]]]] = defaultdict(dict)
        for job in jobs:
            seconds = _seconds(job)
            if seconds is not None:
                embedding = self._jobs[_key(job.rule, job.work)]
                embedding.setdefault(job.work.embeds, []).append((seconds, job.work.amount))

    def rate(self, rule: str, work: Work) -> Rate | None:
        """The rate for work of a rule; None if no such job has run.

        Jobs that embed nothing, the last of a run's `vary`, are estimated by those that do as long
        as none of them has run: a little too long.
        """
        embedding = self._jobs.get(_key(rule, work), {})
        jobs = embedding.get(work.embeds)
        if jobs is None and not work.embeds:
            jobs = [job for some in embedding.values() for job in some]
        if not jobs:
            return None
        seconds, amounts = map(sum, zip(*jobs, strict=True))
        source = f"recorded: {len(jobs):,} jobs" if len(jobs) > 1 else "recorded: 1 job"
        return Rate(seconds / amounts, source, self._on_gpu)


def _key(rule: str, work: Work) -> tuple[str, str, str]:
    return FAMILIES.get(rule, rule), work.unit, work.model


def is_public(rule_file: str) -> bool:
    """Whether a log or a benchmark is of a rule that reads nothing sensitive."""
    return zone_of(rule_file) in ("logs", "benchmarks")


def _seconds(job: FinishedJob) -> float | None:
    """What a job took; None where nobody knows, or nobody may ask.

    A job that went on after an interruption did a part of its work in the time that is recorded.
    """
    if not is_public(job.benchmark) or _went_on(job.log):
        return None
    try:
        with open(job.benchmark, encoding="utf-8", newline="") as file:
            seconds = sum(float(row["s"]) for row in csv.DictReader(file, delimiter="\t"))
    except (OSError, KeyError, TypeError, ValueError, csv.Error):
        # Cut short, or not of Snakemake: as if it were not there.
        return None
    return seconds if 0 < seconds < math.inf else None


def _went_on(log: str) -> bool:
    path = Path(log)
    if not log or not is_public(log) or not path.is_file():
        return False
    return RESUMED in path.read_text(encoding="utf-8", errors="replace")


def has_gpu(devices: str | Path = "/dev") -> bool:
    """Whether this machine has a GPU of NVIDIA's, found without the seconds that torch takes."""
    return any(Path(devices).glob("nvidia[0-9]*"))
