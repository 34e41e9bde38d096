"""Audits of Private Evolution's votes, through `release_votes` as the rule `vote` calls it."""

import numpy as np

from workflow_scripts.audits.counts import Canaries, Counting, noise_and_worlds, sensitivity
from workflow_scripts.audits.findings import Finding
from workflow_scripts.evolution import votes
from workflow_scripts.privacy.noise import NoiseSource
from workflow_scripts.randomness import rng_of
from workflow_scripts.shards import Shards

CANARIES = 8000
CLASSES = 10
NEIGHBOURS = 200
# Between groups of candidates; within one they lie at a distance of about 1.
SPACING = 10


class InMemory(Shards):
    """Arrays as if they lay in one file."""

    def __init__(self, arrays: dict[str, np.ndarray]):
        self.files = [arrays]
        self.starts = np.array([0, len(arrays["labels"])])


def audit(source: NoiseSource, canaries: int = CANARIES) -> list[Finding]:
    """Votes for one and for three neighbours, each in its class and among all.

    Parameters
    ----------
    source : {'os', 'seeded'}
    canaries : int
        A multiple of 2 `CLASSES`.
    """
    findings = []
    for joint in (False, True):
        for k in (1, 3):
            findings += sensitivity(neighbours(k, joint))
            # Everyone compares all candidates then: half as many cost as much.
            number = canaries // 2 if joint else canaries
            findings += noise_and_worlds(far_apart(k, joint, number), source)
    return findings


def _name(k: int, joint: bool) -> str:
    return f"votes, k = {k}, {'joint' if joint else 'per class'}"


def neighbours(k: int, joint: bool) -> Counting:
    """Records and candidates anywhere, so that a record competes with others for candidates."""
    rng = rng_of("audit", "votes", k, joint)
    records = {
        "embeddings": rng.normal(size=(NEIGHBOURS, 8)).astype(np.float32),
        "labels": rng.integers(0, 3, NEIGHBOURS),
    }
    candidates = {
        "embeddings": rng.normal(size=(45, 8)).astype(np.float32),
        "labels": np.arange(45) % 3,
    }
    return Counting(_name(k, joint), k, NEIGHBOURS, _release(records, candidates, joint))


def far_apart(k: int, joint: bool, canaries: int) -> Canaries:
    """A group of k candidates for each canary, which lies in the middle of its own group."""
    # Coordinates stay small: faiss computes distances by products of float32.
    side = round(np.ceil(np.cbrt(canaries)))
    places = np.stack(np.unravel_index(np.arange(canaries), (side,) * 3), axis=1) * SPACING
    around = np.eye(3)[np.arange(k) % 3]
    labels = np.arange(canaries) // (canaries // CLASSES)
    records = {"embeddings": places.astype(np.float32), "labels": labels}
    candidates = {
        "embeddings": (places[:, None] + around).reshape(-1, 3).astype(np.float32),
        "labels": labels.repeat(k),
    }
    cells = np.arange(canaries * k).reshape(canaries, k)
    release = _release(records, candidates, joint)
    return Canaries(_name(k, joint), k, canaries, release, cells, CLASSES)


def _release(records: dict, candidates: dict, joint: bool):
    among = InMemory(candidates)

    def release(included, mechanism, noise):
        private = InMemory({name: array[included] for name, array in records.items()})
        return votes.release_votes(private, among, mechanism, noise, joint=joint)

    return release
