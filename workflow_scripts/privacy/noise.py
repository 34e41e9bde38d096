"""Where privacy noise comes from.

`os`: the operating system's entropy, never stored; exact samplers of OpenDP for counts.
`seeded`: from the release's identity, for tests and for reproducing a paper; whoever knows the
configuration knows the noise, so such a release protects nobody and says so.
"""

import hashlib
import json
import math
import secrets
from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np

from workflow_scripts.randomness import rng_of

NoiseSource = Literal["os", "seeded"]

# A discrete Gaussian lies within so many scales of 0, but for a chance of 10⁻³⁰.
REACH = 12


class Noise(Protocol):
    """The noise of one release."""

    def discrete_gaussian(self, counts: np.ndarray, scale: float) -> np.ndarray:
        """Counts int64 of any shape with noise of P(x) ∝ exp(−x² / 2 scale²) on each."""

    def largest(self, scores: np.ndarray, scale: float) -> int:
        """The index of the largest of int64 [n] scores, each with exponential noise of a scale."""


def noise_of(source: NoiseSource, *identity: str | int | float) -> Noise:
    """The noise of one release.

    `identity` must name the release and its ε: the same draw scaled by two σ would reveal the
    counts.
    """
    if source == "os":
        return SystemNoise()
    if source == "seeded":
        return SeededNoise(*identity)
    raise ValueError(f"noise source: found {source!r}; allowed: os, seeded")


class SystemNoise:
    """Exact samplers of OpenDP, which take their bits from the operating system."""

    def discrete_gaussian(self, counts: np.ndarray, scale: float) -> np.ndarray:
        from opendp.measurements import make_gaussian
        from opendp.metrics import l2_distance

        release = make_gaussian(_whole_numbers(), l2_distance(T="f64"), scale)
        return np.array(release(counts.ravel().tolist()), dtype=np.int64).reshape(counts.shape)

    def largest(self, scores: np.ndarray, scale: float) -> int:
        from opendp.measurements import make_noisy_max
        from opendp.measures import max_divergence
        from opendp.metrics import linf_distance

        metric = linf_distance("i64", monotonic=True)
        release = make_noisy_max(_whole_numbers(), metric, max_divergence(), scale)
        return int(release(scores.tolist()))


def _whole_numbers():
    """OpenDP's domain of vectors of int64."""
    # What opendp.prelude would import besides takes two seconds.
    from opendp.domains import atom_domain, vector_domain
    from opendp.mod import enable_features

    enable_features("contrib")
    return vector_domain(atom_domain(T="i64"))


class SeededNoise:
    """The same distributions, to within double precision, from a public seed."""

    def __init__(self, *identity: str | int | float):
        self._rng = rng_of("privacy noise", *identity)

    def discrete_gaussian(self, counts: np.ndarray, scale: float) -> np.ndarray:
        below = np.cumsum(probabilities(scale))
        drawn = np.searchsorted(below, self._rng.random(counts.shape) * below[-1], side="right")
        return counts + drawn - len(below) // 2

    def largest(self, scores: np.ndarray, scale: float) -> int:
        return int(np.argmax(scores + self._rng.exponential(scale, len(scores))))


def probabilities(scale: float) -> np.ndarray:
    """Of the outcomes −n … n of a discrete Gaussian, with n far in its tails."""
    reach = math.ceil(REACH * scale) + 1
    weights = np.exp(-((np.arange(-reach, reach + 1) / scale) ** 2) / 2)
    return weights / weights.sum()


@dataclass(frozen=True)
class NoiseKey:
    """A secret of 256 bits from which a mechanism of many steps draws all that must stay secret.

    Every use has a stream of its own, the same whenever it is asked for: a step that is run again
    after an interruption releases nothing new, and no two steps share noise.

    Attributes
    ----------
    secret : str
        64 hex digits. SENSITIVE: who knows them can subtract the noise.
    """

    secret: str

    @classmethod
    def draw(cls, source: NoiseSource, *identity: str | int | float) -> "NoiseKey":
        """A new key, of the system's entropy; `identity` names the release as in `noise_of`."""
        if source == "os":
            return cls(secrets.token_hex(32))
        if source == "seeded":
            return cls(rng_of("privacy noise", *identity).bytes(32).hex())
        raise ValueError(f"noise source: found {source!r}; allowed: os, seeded")

    def rng(self, *use: str | int) -> np.random.Generator:
        """The generator of a use (a purpose, a step)."""
        words = hashlib.sha256(json.dumps([self.secret, *use]).encode()).digest()
        entropy = np.frombuffer(words, dtype=np.uint32).tolist()
        return np.random.Generator(np.random.Philox(np.random.SeedSequence(entropy)))
