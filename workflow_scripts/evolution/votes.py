"""DP_NN_HISTOGRAM of Private Evolution: the step that spends privacy.

Every sensitive image votes for the nearest candidate of its own class. One record moves one bin of
the concatenated histogram by one, so its L2 sensitivity is 1 under zero-out, however many classes
there are (Lin et al., arXiv 2305.15560, algorithm 2).
"""

import numpy as np

from workflow_scripts.privacy.gaussian import GaussianEvent, GaussianMechanism

VOTE_SENSITIVITY = 1.0


def nearest(candidates: np.ndarray, queries: np.ndarray) -> np.ndarray:
    """Row of the nearest candidate, in Euclidean distance, for every query.

    Parameters
    ----------
    candidates : float32 [N, D]
    queries : float32 [M, D]

    Returns
    -------
    int64 [M]
        Exact search, in blocks that faiss bounds; the first of equally near candidates.
    """
    import faiss

    # One thread: the sums, and so the ties, must not depend on the number of cores.
    faiss.omp_set_num_threads(1)
    index = faiss.IndexFlatL2(candidates.shape[1])
    index.add(np.ascontiguousarray(candidates, dtype=np.float32))
    _, rows = index.search(np.ascontiguousarray(queries, dtype=np.float32), 1)
    return rows[:, 0]


def count_votes(
    embeddings: np.ndarray,
    labels: np.ndarray,
    lookahead: np.ndarray,
    candidate_labels: np.ndarray,
) -> np.ndarray:
    """Clean votes per candidate. SENSITIVE: for `release_votes` alone, never to be stored.

    Parameters
    ----------
    embeddings : float32 [M, D], labels : int64 [M]
        Of the sensitive images.
    lookahead : float32 [N, D], candidate_labels : int64 [N]
        Mean embedding of each candidate's variations, and its class.

    Returns
    -------
    int64 [N]
    """
    if embeddings.shape[1] != lookahead.shape[1]:
        raise ValueError(
            f"sensitive embeddings have {embeddings.shape[1]} dimensions, "
            f"candidates {lookahead.shape[1]}"
        )
    votes = np.zeros(len(lookahead), dtype=np.int64)
    for label in np.unique(candidate_labels):
        rows = np.flatnonzero(candidate_labels == label)
        voters = embeddings[labels == label]
        if len(voters):
            chosen = nearest(lookahead[rows], voters)
            votes[rows] = np.bincount(chosen, minlength=len(rows))
    return votes


def release_votes(
    embeddings: np.ndarray,
    labels: np.ndarray,
    lookahead: np.ndarray,
    candidate_labels: np.ndarray,
    noise_multiplier: float,
    rng: np.random.Generator,
) -> tuple[np.ndarray, GaussianEvent]:
    """The noisy vote histogram and its privacy event: the mechanism of one iteration.

    Noise falls on every bin of every class, empty ones too. Arguments are those of `count_votes`,
    then σ for sensitivity 1 and the generator of the noise.

    Returns
    -------
    (float64 [N], GaussianEvent)
    """
    votes = count_votes(embeddings, labels, lookahead, candidate_labels)
    return GaussianMechanism(noise_multiplier, VOTE_SENSITIVITY).release(votes, rng)
