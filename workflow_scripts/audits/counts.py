"""Audits of a mechanism that releases integer counts.

Everything goes through the mechanism's own release, also what the counts are before noise: they
are what it releases when its noise is silent.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from workflow_scripts.audits.findings import Finding
from workflow_scripts.audits.statistics import noise_scale, shared_noise, two_worlds
from workflow_scripts.privacy import accountant
from workflow_scripts.privacy.discrete_gaussian import DiscreteGaussianMechanism
from workflow_scripts.privacy.events import DiscreteGaussianEvent
from workflow_scripts.privacy.noise import Noise, NoiseSource, noise_of, probabilities
from workflow_scripts.randomness import rng_of

# What is claimed: ε at δ for T releases.
CLAIMS = (1.0, 10.0)
DELTA = 1e-5
RELEASES = 6


class Silence:
    """Noise that is none, to see what a mechanism adds noise to."""

    def discrete_gaussian(self, counts: np.ndarray, scale: float) -> np.ndarray:
        return counts.copy()

    def largest(self, scores: np.ndarray, scale: float) -> int:
        return int(np.argmax(scores))


@dataclass(frozen=True)
class Counting:
    """A mechanism, and M records made for it.

    Attributes
    ----------
    name : str
    changed : int
        k: how many counts a record changes.
    records : int
        M.
    release : callable
        (bool [M] of the records that are there, mechanism, noise) → (counts, event).
    """

    name: str
    changed: int
    records: int
    release: Callable[
        [np.ndarray, DiscreteGaussianMechanism, Noise], tuple[np.ndarray, DiscreteGaussianEvent]
    ]

    def clean(self, included: np.ndarray) -> tuple[np.ndarray, DiscreteGaussianEvent]:
        """The counts float [n] before noise, and the event that the release states."""
        mechanism = DiscreteGaussianMechanism.of(1.0, self.changed)
        counts, event = self.release(included, mechanism, Silence())
        return counts.ravel().astype(float), event


@dataclass(frozen=True)
class Canaries(Counting):
    """Records each of which has counts of its own.

    Attributes
    ----------
    cells : int64 [M, k]
        Which, in the release as one vector.
    parts : int
        Into how many equal parts the vector is cut, such as classes: no two may share noise.
    """

    cells: np.ndarray
    parts: int


def sensitivity(counting: Counting) -> list[Finding]:
    """Record and replay: every record is left out once."""
    everyone = np.ones(counting.records, dtype=bool)
    counts, event = counting.clean(everyone)
    changes = []
    for out in range(counting.records):
        without = everyone.copy()
        without[out] = False
        changes.append(counts - counting.clean(without)[0])
    changes = np.array(changes)
    return [
        Finding(
            counting.name,
            "sensitivity: L2 change by a record",
            found=float(np.linalg.norm(changes, axis=1).max()),
            highest=event.sensitivity + 1e-6,
        ),
        Finding(
            counting.name,
            "sensitivity: change of a count",
            found=float(np.abs(changes).max()),
            highest=1,
        ),
        Finding(
            counting.name,
            "sensitivity: changes that are no integers",
            found=int(np.sum(changes != np.rint(changes))),
            highest=0,
        ),
    ]


def noise_and_worlds(
    canaries: Canaries, source: NoiseSource, claims: Sequence[float] = CLAIMS
) -> list[Finding]:
    """The noise of releases as they are calibrated, and how well they hide who is in the data.

    For each claimed ε T releases of one run, and one of another run.
    """
    name, k = canaries.name, canaries.changed
    included = rng_of("audit", "coins", name).random(canaries.records) < 0.5
    clean, _ = canaries.clean(included)
    findings, draws, fourth, broken = [], [], [], 0
    for claim in claims:
        release = {"type": DiscreteGaussianEvent.type, "counts": k}
        sigma, _ = accountant.calibrate(claim, DELTA, RELEASES, release)
        mechanism = DiscreteGaussianMechanism.of(sigma, k)
        runs = [("run 0", t) for t in range(RELEASES)] + [("run 1", 0)]
        noisy = []
        for run, t in runs:
            noise = noise_of(source, "audit", name, f"{claim:g}", run, t)
            counts, event = canaries.release(included, mechanism, noise)
            noisy.append(counts.ravel().astype(float))
        stated = event.noise_multiplier / sigma
        findings.append(
            Finding(name, "stated noise / calibrated", stated, 1 + 1e-9, 1 - 1e-9, claimed=claim)
        )
        broken += sum(int(np.sum(counts != np.rint(counts))) for counts in noisy)
        scores = np.sum(noisy[:RELEASES], axis=0)[canaries.cells].sum(axis=1)
        findings.append(two_worlds(name, scores, included, claim, DELTA))
        variance, kurtosis = _moments(sigma * np.sqrt(k))
        draws += [(counts - clean) / np.sqrt(variance) for counts in noisy]
        fourth.append(kurtosis)
    parts = np.concatenate([draw.reshape(canaries.parts, -1) for draw in draws])
    return [
        *findings,
        Finding(name, "noise: released numbers that are no integers", broken, 0),
        noise_scale(name, np.concatenate(draws), float(np.mean(fourth))),
        *shared_noise(name, parts),
    ]


def _moments(scale: float) -> tuple[float, float]:
    """Variance of a discrete Gaussian, and its fourth moment in units of it."""
    chances = probabilities(scale)
    reach = len(chances) // 2
    squares = np.arange(-reach, reach + 1, dtype=float) ** 2
    variance = float(chances @ squares)
    return variance, float(chances @ squares**2) / variance**2
