"""Exact nearest neighbours among embeddings that may be larger than memory.

The embeddings are read block after block. Matrix products in float32 find distances fast, but
rounded, and how they are rounded depends on how the rows were cut. So they only rule out: a row is
dropped if d others are nearer by more than rounding can explain. What is left, hardly more than d
rows, is compared by Σ(q − y)² in float64, pair by pair. The answer is that of brute force in
float64, whatever the blocks and the number of threads.
"""

import numpy as np

# Rows of the embeddings and queries that meet in one matrix product of at most 32 MB.
BLOCK = 8192
QUERIES = 1024
# Numbers of a block of embeddings, or of the differences of some pairs, in memory at once.
BLOCK_NUMBERS = 2**24
PAIR_NUMBERS = 2**18


def nearest_rows(
    embeddings: np.ndarray,
    rows: np.ndarray,
    d: int,
    among: np.ndarray,
    block: int = BLOCK,
    queries: int = QUERIES,
) -> np.ndarray:
    """The `d` nearest of the embeddings at `among` to each of those at `rows`.

    Parameters
    ----------
    embeddings : float32 [M, D]
        Finite; may be mapped from a file, which is read once for every `queries` rows.
    rows : int64 [n]
        Each of them stands in `among`.
    d : int
        At most the length of `among`.
    among : int64 [m]
        Rows to choose from, ascending.
    block, queries : int
        What is held at once; they do not change the answer.

    Returns
    -------
    int64 [n, d]
        The row itself first, then by Euclidean distance; the lowest row of equally near ones.
        Memory beside the answer: at most about 4·block·(queries + D) + 60·queries·(2d + 256) bytes
        and 4 MB.
    """
    if d == 1 or not len(rows):
        return rows.reshape(-1, 1).repeat(d, axis=1)
    found = [
        _search(embeddings, rows[start : start + queries], d, among, block)
        for start in range(0, len(rows), queries)
    ]
    return np.concatenate(found)


def _search(
    embeddings: np.ndarray, own: np.ndarray, d: int, among: np.ndarray, block: int
) -> np.ndarray:
    queries = embeddings[own]
    norms, largest = _squared_norms(queries), 0.0
    # Of each query: the rows that may be among the d nearest, their scores, and the d-th score.
    rows = [np.empty(0, np.int64)] * len(own)
    scores = [np.empty(0, np.float32)] * len(own)
    farthest = np.full(len(own), np.inf)
    block = max(1, min(block, BLOCK_NUMBERS // embeddings.shape[1]))
    for start in range(0, len(among), block):
        here = among[start : start + block]
        part = _take(embeddings, here)
        squares = _squared_norms(part)
        largest = max(largest, squares.max())
        error = _rounding(norms, largest, embeddings.shape[1])
        # ‖q − y‖² − ‖q‖², in place.
        score = queries @ part.T
        score *= -2
        score += squares.astype(np.float32)
        limits = _limit(farthest, error)
        for i in range(len(own)):
            kept = np.flatnonzero(score[i] <= limits[i])
            rows[i] = np.concatenate([rows[i], here[kept]])
            scores[i] = np.concatenate([scores[i], score[i, kept]])
            if len(rows[i]) > d:
                farthest[i] = np.partition(scores[i], d - 1)[d - 1]
                kept = scores[i] <= _limit(farthest[i], error[i])
                rows[i], scores[i] = rows[i][kept], scores[i][kept]
            if len(rows[i]) > 2 * d + 256:
                # Copies of one image: they are told apart now, or all of them would be kept.
                one = slice(i, i + 1)
                kept = np.isin(rows[i], _closest(embeddings, queries[one], own[one], rows[one], d))
                rows[i], scores[i] = rows[i][kept], scores[i][kept]
    return _closest(embeddings, queries, own, rows, d)


def _closest(
    embeddings: np.ndarray, queries: np.ndarray, own: np.ndarray, rows: list[np.ndarray], d: int
) -> np.ndarray:
    """int64 [n, d]: of each query's `rows`, at least d of them, the nearest in float64."""
    counts = [len(candidates) for candidates in rows]
    query = np.repeat(np.arange(len(own)), counts)
    row = np.concatenate(rows)
    distance = np.empty(len(row))
    # In the order of the file, which is then read once and forwards.
    order = np.argsort(row, kind="stable")
    step = max(1, PAIR_NUMBERS // embeddings.shape[1])
    for start in range(0, len(order), step):
        pairs = order[start : start + step]
        difference = embeddings[row[pairs]].astype(np.float64)
        difference -= queries[query[pairs]]
        distance[pairs] = np.square(difference, out=difference).sum(axis=1)
    distance[row == own[query]] = -1
    ranked = row[np.lexsort((row, distance, query))]
    first = np.cumsum([0, *counts[:-1]])
    return ranked[first[:, None] + np.arange(d)]


def _take(embeddings: np.ndarray, rows: np.ndarray) -> np.ndarray:
    first, last = rows[0], rows[-1]
    # Adjacent rows are used where they lie.
    return embeddings[first : last + 1] if last - first == len(rows) - 1 else embeddings[rows]


def _squared_norms(vectors: np.ndarray) -> np.ndarray:
    return np.einsum("ij,ij->i", vectors, vectors, dtype=np.float64)


def _limit(farthest: np.ndarray, error: np.ndarray) -> np.ndarray:
    """float32 scores above which a row is farther than d others, whose scores are at most that."""
    return np.nextafter(np.float32(farthest + 2 * error), np.float32(np.inf))


def _rounding(norms: np.ndarray, largest: float, dimension: int) -> np.ndarray:
    """How far a score may be from ‖q − y‖² − ‖q‖², for rows y with ‖y‖² ≤ `largest`.

    A float32 product of D terms, in any order, errs by at most γ_D‖q‖‖y‖, γ_D ≈ D·2⁻²⁴ (Higham,
    Accuracy and Stability of Numerical Algorithms, section 3.1), and 4‖q‖‖y‖ ≤ (‖q‖ + ‖y‖)². That
    is half of what is returned; the rest covers the sum's own rounding, and the last term products
    too small for float32.
    """
    reach = (np.sqrt(norms) + np.sqrt(largest)) ** 2
    return (dimension + 4) * (2.0**-24 * reach + np.finfo(np.float32).tiny)
