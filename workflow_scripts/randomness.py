"""Public randomness: every draw is named by what it is for.

All randomness that is not privacy noise comes from a generator keyed by the identity of its use
(the content key of a stage, the run's seed, the step, the iteration, the block). Equal settings
therefore give equal bytes, on any number of shards and in any order of jobs, and no two uses share
a stream.
"""

import hashlib
import json

import numpy as np


def rng_of(*identity: str | int | float) -> np.random.Generator:
    """The random generator of a use, keyed by all 256 bits of SHA-256 over its identity."""
    canonical = json.dumps(identity).encode()
    words = np.frombuffer(hashlib.sha256(canonical).digest(), dtype=np.uint32)
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence(words.tolist())))


def seed_of(*identity: str | int | float) -> int:
    """A seed of 63 bits for a use, for what takes seeds instead of generators."""
    return int(rng_of(*identity).integers(2**63))
