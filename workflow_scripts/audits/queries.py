"""Audits of the semantic query and of class counts, through the functions that the rules call."""

import numpy as np

from workflow_scripts.audits.counts import Canaries, Counting, noise_and_worlds, sensitivity
from workflow_scripts.audits.findings import Finding
from workflow_scripts.audits.votes import InMemory
from workflow_scripts.evolution import class_counts
from workflow_scripts.privacy.noise import NoiseSource
from workflow_scripts.randomness import rng_of
from workflow_scripts.semantic import query

# Canaries of a sensitive class, one for each group of k public classes.
GROUPS = 100
CLASSES = 80
PARTS = 10
NEIGHBOURS = 200


def audit(source: NoiseSource, classes: int = CLASSES) -> list[Finding]:
    """The query for one and for three public classes an image, and the class counts.

    Parameters
    ----------
    source : {'os', 'seeded'}
    classes : int
        Sensitive ones, a multiple of `PARTS`; there are `GROUPS` canaries in each.
    """
    findings = []
    for k in (1, 3):
        findings += sensitivity(query_of_neighbours(k))
        findings += noise_and_worlds(query_of_canaries(k, classes), source)
    findings += sensitivity(counts_of(np.arange(NEIGHBOURS) % 7))
    return findings + noise_and_worlds(counts_of(np.arange(classes * GROUPS)), source)


def query_of_neighbours(k: int) -> Counting:
    """Images anywhere: their logits are projections, in integers, so that they are theirs alone."""
    rng = rng_of("audit", "query", k)
    images = rng.integers(256, size=(NEIGHBOURS, 4, 4, 1), dtype=np.uint8)
    labels, weights = rng.integers(0, 5, NEIGHBOURS), rng.integers(-99, 100, size=(16, 12))

    def classifier(images: np.ndarray) -> np.ndarray:
        return images.reshape(len(images), -1).astype(np.int64) @ weights

    return Counting(
        f"query, k = {k}", k, NEIGHBOURS, _query({"images": images, "labels": labels}, classifier)
    )


def query_of_canaries(k: int, classes: int) -> Canaries:
    """Images whose only pixel says which group of k public classes they resemble."""
    records = classes * GROUPS
    groups, labels = np.arange(records) % GROUPS, np.arange(records) // GROUPS
    images = groups.astype(np.uint8).reshape(-1, 1, 1, 1)

    def classifier(images: np.ndarray) -> np.ndarray:
        return (np.arange(GROUPS * k) // k == images.reshape(-1, 1)).astype(np.float32)

    release = _query({"images": images, "labels": labels}, classifier)
    cells = np.arange(records * k).reshape(records, k)
    return Canaries(f"query, k = {k}", k, records, release, cells, PARTS)


def _query(records: dict, classifier):
    sensitive = int(records["labels"].max()) + 1
    public = classifier(records["images"][:1]).shape[1]

    def release(included, mechanism, noise):
        private = InMemory({name: array[included] for name, array in records.items()})
        return query.release_query(private, classifier, sensitive, public, mechanism, noise)

    return release


def counts_of(labels: np.ndarray) -> Canaries:
    """Records of these labels int64 [M]."""
    classes = int(labels.max()) + 1

    def release(included, mechanism, noise):
        return class_counts.release_class_counts(labels[included], classes, mechanism, noise)

    return Canaries("class counts", 1, len(labels), release, labels[:, None], 1)
