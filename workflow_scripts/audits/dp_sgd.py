"""Audits of DP-SGD, through `Training` as `finetune` runs it.

The model is a table of one number for each label, and every record has a label of its own: its
gradient is on one coordinate alone, always of one sign and far larger than the clipping norm (the
Dirac canaries of Nasr et al., USENIX Security 2023). So what a record does to a step is known, and
the best guess who is in the data is a likelihood ratio.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from types import SimpleNamespace

import numpy as np
import torch
from diffusers.configuration_utils import FrozenDict
from scipy.special import ndtri
from torch import nn

from workflow_scripts.audits.counts import DELTA
from workflow_scripts.audits.findings import FALSE_ALARM, Finding
from workflow_scripts.audits.statistics import dispersion, noise_scale, shared_noise, two_worlds
from workflow_scripts.dpsgd.checkpoint import Checkpoints
from workflow_scripts.dpsgd.mechanism import DpSgd
from workflow_scripts.dpsgd.training import Training
from workflow_scripts.edm.denoiser import Denoiser, EdmPreconditioning
from workflow_scripts.privacy import accountant
from workflow_scripts.privacy.noise import NoiseKey, NoiseSource
from workflow_scripts.randomness import rng_of

CANARIES = 3000
CLIPPING_NORM = 0.01
# A sum of float32 may exceed the norm by its rounding.
ROUNDING = 1e-5
# Of the sampler.
PROBABILITY, RECORDS, STEPS = 0.25, 200, 2000
SETTINGS = {
    "learning_rate": 1e-3,
    "ema": 0.9,
    "noise_multiplicity": 1,
    "augmentation_multiplicity": 1,
    "augmentation": {"flip": False, "shift": 0},
    "label_dropout": 0.0,
    "precision": "float32",
    "physical_batch": "auto",
    "checkpoint_every": 2,
}


class Table(nn.Module):
    """A network whose output is the number of the label, whatever the image is.

    The numbers are so far off that the gradient of a record is about 200 times as large as a norm
    of 1, and positive.
    """

    def __init__(self, labels: int):
        super().__init__()
        self.config = FrozenDict(in_channels=1, sample_size=1, num_class_embeds=labels)
        self.numbers = nn.Embedding(labels, 1)
        nn.init.constant_(self.numbers.weight, 100.0)

    @property
    def device(self) -> torch.device:
        return self.numbers.weight.device

    @property
    def dtype(self) -> torch.dtype:
        return self.numbers.weight.dtype

    def forward(
        self, x: torch.Tensor, noise: torch.Tensor, class_labels: torch.Tensor
    ) -> SimpleNamespace:
        return SimpleNamespace(sample=self.numbers(class_labels)[:, :, None, None].expand_as(x))


@dataclass(frozen=True)
class Step:
    """What a step released, in units of the clipping norm.

    Attributes
    ----------
    number : int
    clean, noisy : float64 [M]
        The sum of the clipped gradients, before and after noise.
    """

    number: int
    clean: np.ndarray
    noisy: np.ndarray

    @property
    def noise(self) -> np.ndarray:
        return self.noisy - self.clean


class Killed(Exception):
    """An interruption after the noise of a step was drawn."""


def train(
    mechanism: DpSgd,
    included: np.ndarray,
    key: NoiseKey,
    folder: str | Path,
    views: int = 1,
    killed_in: int | None = None,
) -> tuple[list[Step], dict[str, np.ndarray]]:
    """A training on the records bool [M] that are there: its steps, and the weights at its end.

    If it is killed in a step, it goes on from its last checkpoint; a step that is run again is in
    the list again.
    """
    steps: list[Step] = []

    class Recording(DpSgd):
        def release(self, sums, key, step):
            released = super().release(sums, key, step)
            ((total,), (noisy,)) = sums.values(), released.values()
            divisor = self.sampling_probability * self.train_size / self.clipping_norm
            clean = total.double().cpu().numpy().ravel() / self.clipping_norm
            steps.append(Step(step, clean, noisy.double().cpu().numpy().ravel() * divisor))
            if step == killed_in and len(steps) == step + 1:
                raise Killed
            return released

    def begin() -> dict[str, np.ndarray]:
        denoiser = Denoiser(Table(len(included)), EdmPreconditioning())
        settings = {**SETTINGS, "noise_multiplicity": views}
        training = Training(denoiser, ["numbers.weight"], Recording(**vars(mechanism)), settings)
        labels = np.flatnonzero(included)
        images = np.full((len(labels), 1, 1, 1), 127, dtype=np.uint8)
        return training.run(images, labels, key, Checkpoints(folder)).weights

    try:
        return steps, begin()
    except Killed:
        return steps, begin()


def audit(source: NoiseSource, canaries: int = CANARIES) -> list[Finding]:
    """Full batches, Poisson samples, several views, an interruption, and the sampler on its own."""
    findings = []
    for probability, noise, steps in ((1.0, 2.0, 16), (0.25, 1.0, 40)):
        mechanism = DpSgd(probability, steps, noise, CLIPPING_NORM, canaries)
        findings += canaries_in_training(mechanism, source)
    return [*findings, several_views(source), *interruption(source), *sampler(source)]


def canaries_in_training(mechanism: DpSgd, source: NoiseSource) -> list[Finding]:
    """Every record is there by a fair coin: what it moves, the noise, and two worlds.

    With q < 1 the mechanism is no Gaussian one. The bound is then the ε of the Gaussian mechanism
    with the same errors; Poisson samples cost more at a small δ than such errors show (measured:
    5.7 of 11.3), so it is too low rather than too high.
    """
    q, sigma = mechanism.sampling_probability, mechanism.noise_multiplier
    name = f"DP-SGD, q = {q:g}"
    included = rng_of("audit", "coins", name).random(mechanism.train_size) < 0.5
    with TemporaryDirectory() as folder:
        key = NoiseKey.draw(source, "audit", name)
        steps, _ = train(mechanism, included, key, folder)
    noisy, noise = (
        np.array([getattr(step, part) for step in steps]) for part in ("noisy", "noise")
    )
    claimed = accountant.compose([mechanism.event(len(steps))], DELTA).epsilon
    # log of (1 − q) N(0, σ²) + q N(1, σ²) over N(0, σ²), of every number.
    with np.errstate(divide="ignore"):
        ratios = np.logaddexp(np.log1p(-q), np.log(q) + (2 * noisy - 1) / (2 * sigma**2))
    return [
        clipping(name, steps),
        _mean_shift(name, noisy.mean(axis=0), included, mechanism),
        noise_scale(name, noise.ravel() / sigma),
        *shared_noise(name, noise),
        two_worlds(name, ratios.sum(axis=0), included, claimed, DELTA),
    ]


def clipping(name: str, steps: Iterable[Step]) -> Finding:
    """How far a record moved a sum; every number of it is one record's."""
    largest = max(np.abs(step.clean).max() for step in steps)
    return Finding(name, "sensitivity: change by a record / C", float(largest), 1 + ROUNDING)


def _mean_shift(name: str, means: np.ndarray, included: np.ndarray, mechanism: DpSgd) -> Finding:
    """How far those who are in moved what was released, in the mean over steps and records.

    Parameters
    ----------
    means : float [M]
        Over the steps.
    """
    q, sigma = mechanism.sampling_probability, mechanism.noise_multiplier
    inside, outside = included.sum(), (~included).sum()
    variance = sigma**2 * (1 / inside + 1 / outside) + q * (1 - q) / inside
    width = -ndtri(FALSE_ALARM) * np.sqrt(variance / mechanism.steps) / q
    return Finding(
        name,
        "sensitivity: mean shift by a record / C",
        found=float((means[included].mean() - means[~included].mean()) / q),
        highest=float(1 + width),
        false_alarm=FALSE_ALARM,
    )


def several_views(source: NoiseSource, views: int = 8, records: int = 200) -> Finding:
    """The mean over a record's views is clipped, not each view."""
    name = f"DP-SGD, {views} views"
    with TemporaryDirectory() as folder:
        steps, _ = train(
            DpSgd(1.0, 2, 1.0, CLIPPING_NORM, records),
            np.ones(records, dtype=bool),
            NoiseKey.draw(source, "audit", name),
            folder,
            views,
        )
    return clipping(name, steps)


def interruption(source: NoiseSource, records: int = 400) -> list[Finding]:
    """A training that is killed ends like one that is not, and no two of its steps share noise."""
    name = "DP-SGD, interrupted"
    mechanism = DpSgd(0.5, 6, 1.0, CLIPPING_NORM, records)
    key, everyone = NoiseKey.draw(source, "audit", name), np.ones(records, dtype=bool)
    with TemporaryDirectory() as folder:
        _, whole = train(mechanism, everyone, key, Path(folder, "whole"))
        steps, resumed = train(mechanism, everyone, key, Path(folder, "killed"), killed_in=3)
    difference = max(float(np.abs(whole[part] - resumed[part]).max()) for part in whole)
    released: dict[int, Step] = {}
    again = [step for step in steps if released.setdefault(step.number, step) is not step]
    others = sum(not np.array_equal(step.noisy, released[step.number].noisy) for step in again)
    return [
        Finding(name, "weights: largest difference", difference, 0),
        Finding(name, "steps run again that release something else", others, 0),
        *shared_noise(name, np.array([step.noise for step in released.values()])),
    ]


def sampler(source: NoiseSource) -> list[Finding]:
    """Batches are Poisson samples: every record by itself, each time anew, with probability q."""
    name, q = "DP-SGD, sampler", PROBABILITY
    mechanism = DpSgd(q, STEPS, 1.0, CLIPPING_NORM, RECORDS)
    key = NoiseKey.draw(source, "audit", name)
    taken = np.zeros((STEPS, RECORDS), dtype=bool)
    for step in range(STEPS):
        taken[step, mechanism.sample(key, step, RECORDS)] = True
    variance = q * (1 - q)
    times = (taken.sum(axis=0) - STEPS * q) / np.sqrt(STEPS * variance)
    sizes = (taken.sum(axis=1) - RECORDS * q) / np.sqrt(RECORDS * variance)
    together = np.corrcoef(taken, rowvar=False)[np.triu_indices(RECORDS, 1)]
    # The correlation of two indicators has a heavier tail than the normal one, by a factor of 3.
    error = FALSE_ALARM / 3 / 2 / len(together)
    return [
        dispersion(name, "times that a record is taken: variance / claimed", times),
        dispersion(name, "size of a batch: variance / claimed", sizes),
        Finding(
            name,
            "largest correlation of two records",
            found=float(np.abs(together).max()),
            highest=float(-ndtri(error) / np.sqrt(STEPS)),
            false_alarm=FALSE_ALARM,
        ),
    ]
