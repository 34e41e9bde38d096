"""DP_NN_HISTOGRAM of Private Evolution: the step that spends privacy.

Every sensitive image votes for its k nearest candidates, of its own class or of all. One record
adds k votes of weight 1, so the L2 sensitivity of the concatenated histogram is √k under zero-out,
however many classes there are (Lin et al., arXiv 2305.15560, algorithm 2). Integer counts are
released, with discrete Gaussian noise; `select` divides them by √k, as the paper's reference
library does.
"""

from collections.abc import Iterator
from typing import Literal

import numpy as np

from workflow_scripts.privacy.discrete_gaussian import DiscreteGaussianMechanism
from workflow_scripts.privacy.events import DiscreteGaussianEvent
from workflow_scripts.privacy.noise import Noise
from workflow_scripts.progress import Progress
from workflow_scripts.shards import Shards

Metric = Literal["l2", "cosine", "inner-product"]


class ExactIndex:
    """Exact nearest neighbours by faiss, on a GPU if faiss has one.

    Holds 4·N·D bytes for N candidates, and while it grows up to twice that; queries come in blocks.

    Parameters
    ----------
    dimension : int
        D
    metric : {'l2', 'cosine', 'inner-product'}
        The least distance, or the largest similarity.
    """

    def __init__(self, dimension: int, metric: Metric = "l2"):
        import faiss

        # One thread: the sums, and so the ties, must not depend on the number of cores.
        faiss.omp_set_num_threads(1)
        self.metric = metric
        self.index = (faiss.IndexFlatL2 if metric == "l2" else faiss.IndexFlatIP)(dimension)
        # The CPU's package has no function to count GPUs.
        if getattr(faiss, "get_num_gpus", int)():
            self.index = faiss.index_cpu_to_gpu(faiss.StandardGpuResources(), 0, self.index)

    def add(self, vectors: np.ndarray) -> None:
        """Candidates float32 [n, D], numbered in the order in which they come."""
        self.index.add(self._prepared(vectors))

    def nearest(self, queries: np.ndarray, neighbours: int = 1) -> np.ndarray:
        """int64 [M, k]: the nearest candidates of each query float32 [M, D], nearest first."""
        return self.index.search(self._prepared(queries), neighbours)[1]

    def _prepared(self, vectors: np.ndarray) -> np.ndarray:
        vectors = np.ascontiguousarray(vectors, dtype=np.float32)
        if self.metric == "cosine":
            norms = np.linalg.norm(vectors, axis=1, keepdims=True)
            vectors = vectors / np.where(norms > 0, norms, 1)
        return vectors


def count_votes(
    private: Shards,
    candidates: Shards,
    neighbours: int = 1,
    metric: Metric = "l2",
    joint: bool = False,
) -> np.ndarray:
    """Clean votes per candidate. SENSITIVE: for `release_votes` alone, never to be stored.

    Parameters
    ----------
    private : Shards
        `embeddings` float32 [M, D] and `labels` int64 [M] of the sensitive images.
    candidates : Shards
        `embeddings` float32 [N, D], the mean embedding of each candidate's variations, and
        `labels` int64 [N].
    neighbours : int
        k; fewer where a class has fewer candidates.
    metric : {'l2', 'cosine', 'inner-product'}
    joint : bool
        Whether everyone votes among all candidates, whatever their class.

    Returns
    -------
    int64 [N]
    """
    dimensions = [shards.files[0]["embeddings"].shape[1] for shards in (private, candidates)]
    if dimensions[0] != dimensions[1]:
        raise ValueError(
            f"sensitive embeddings have {dimensions[0]} dimensions, candidates {dimensions[1]}"
        )
    votes = np.zeros(len(candidates), dtype=np.int64)
    progress = Progress(len(private), "images")
    for rows, voters in _electorates(private["labels"], candidates["labels"], joint):
        index = ExactIndex(dimensions[0], metric)
        for block in candidates.blocks(rows, "embeddings"):
            index.add(block["embeddings"])
        for block in private.blocks(voters, "embeddings") if len(voters) else ():
            chosen = index.nearest(block["embeddings"], min(neighbours, len(rows)))
            votes[rows] += np.bincount(chosen.ravel(), minlength=len(rows))
            progress.add(len(chosen))
    return votes


def _electorates(
    private: np.ndarray, candidates: np.ndarray, joint: bool
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Rows of the candidates and of those who vote among them."""
    if joint:
        yield np.arange(len(candidates)), np.arange(len(private))
        return
    for label in np.unique(candidates):
        yield np.flatnonzero(candidates == label), np.flatnonzero(private == label)


def release_votes(
    private: Shards,
    candidates: Shards,
    mechanism: DiscreteGaussianMechanism,
    noise: Noise,
    metric: Metric = "l2",
    joint: bool = False,
) -> tuple[np.ndarray, DiscreteGaussianEvent]:
    """The noisy vote histogram and its privacy event: the mechanism of one iteration.

    Noise of scale σ√k falls on every count of every class, empty ones too. Arguments are those of
    `count_votes`; k is the number of counts that a record changes, by the mechanism.

    Returns
    -------
    (int64 [N], DiscreteGaussianEvent)
    """
    votes = count_votes(private, candidates, mechanism.counts, metric, joint)
    return mechanism.release(votes, noise)
