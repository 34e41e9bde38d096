"""Where privacy noise comes from.

`os`: a fresh 256-bit seed from the operating system's entropy for every release, never stored.
`seeded`: from the release's identity, for tests and for reproducing a paper; whoever knows the
configuration knows the noise, so such a release protects nobody and says so.
"""

import secrets
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
