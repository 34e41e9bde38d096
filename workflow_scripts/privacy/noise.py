"""Where privacy noise comes from.

`os`: a fresh 256-bit seed from the operating system's entropy for every release, never stored.
`seeded`: from the release's identity, for tests and for reproducing a paper; whoever knows the
configuration knows the noise, so such a release protects nobody and says so.
"""

import hashlib
import json
import secrets
from dataclasses import dataclass
from typing import Literal

import numpy as np

from workflow_scripts.randomness import rng_of

NoiseSource = Literal["os", "seeded"]


def noise_rng(source: NoiseSource, *identity: str | int | float) -> np.random.Generator:
    """The generator of one release's noise.

    `identity` must name the release and its ε: the same draw scaled by two σ would reveal the
    counts.
    """
    if source == "os":
        return np.random.Generator(np.random.Philox(np.random.SeedSequence(secrets.randbits(256))))
    if source == "seeded":
        return rng_of("privacy noise", *identity)
    raise ValueError(f"noise source: found {source!r}; allowed: os, seeded")


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
        """A new key; `identity` names the release and its ε, as in `noise_rng`."""
        if source == "os":
            return cls(secrets.token_hex(32))
        return cls(noise_rng(source, *identity).bytes(32).hex())

    def rng(self, *use: str | int) -> np.random.Generator:
        """The generator of a use (a purpose, a step)."""
        words = hashlib.sha256(json.dumps([self.secret, *use]).encode()).digest()
        entropy = np.frombuffer(words, dtype=np.uint32).tolist()
        return np.random.Generator(np.random.Philox(np.random.SeedSequence(entropy)))
