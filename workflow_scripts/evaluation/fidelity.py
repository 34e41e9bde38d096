"""Fidelity: distances between generated and real images in an encoder's space.

The Fréchet distance is called FID only when the encoder is Inception; here every metric carries
the name of the encoder that it was measured with. All of them depend on the two sample sizes,
which are therefore part of the result. Embeddings stay float32; sums are float64 and computed in
blocks, so that besides the embeddings of N and M points only D² and `BLOCK` × max(N, M) numbers are
held.
"""

from collections.abc import Iterator

import numpy as np

# The kernel distance's k(x, y) = (x·y / D + 1)³ (Bińkowski et al., arXiv 1801.01401).
KERNEL_DEGREE = 3
# Rows of the distance matrix held at a time.
BLOCK = 1024


def fidelity(generated: np.ndarray, reference: np.ndarray, neighbours: int) -> dict[str, float]:
    """All fidelity metrics of embeddings float [N, D] against embeddings float [M, D]."""
    precision, recall = precision_recall(generated, reference, neighbours)
    return {
        "frechet": frechet_distance(generated, reference),
        "kernel": kernel_distance(generated, reference),
        "precision": precision,
        "recall": recall,
        "generated": len(generated),
        "reference": len(reference),
    }


def frechet_distance(x: np.ndarray, y: np.ndarray) -> float:
    """|μ₁ − μ₂|² + tr(S₁ + S₂ − 2 (S₁S₂)^½) of two samples' Gaussians (arXiv 1706.08500).

    The trace of the root is the sum of the roots of the eigenvalues of S₁^½ S₂ S₁^½, which is
    symmetric: no complex matrix root is needed.
    """
    (m1, s1), (m2, s2) = map(_gaussian, (x, y))
    difference = m1 - m2
    values, vectors = np.linalg.eigh(s1)
    root = (vectors * np.sqrt(values.clip(0))) @ vectors.T
    cross = np.linalg.eigvalsh(root @ s2 @ root).clip(0)
    return float(difference @ difference + np.trace(s1) + np.trace(s2) - 2 * np.sqrt(cross).sum())


def _gaussian(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and covariance."""
    mean = x.mean(0, dtype=np.float64)
    scatter = sum((block - mean).T @ (block - mean) for block in _blocks(x))
    return mean, scatter / (len(x) - 1)


def kernel_distance(x: np.ndarray, y: np.ndarray) -> float:
    """Unbiased squared maximum mean discrepancy with a cubic kernel, over all pairs."""

    def total(a: np.ndarray, b: np.ndarray) -> float:
        return sum(
            ((one @ other.T / a.shape[1] + 1) ** KERNEL_DEGREE).sum()
            for one in _blocks(a)
            for other in _blocks(b)
        )

    def within(a: np.ndarray) -> float:
        squares = np.concatenate([(block**2).sum(1) for block in _blocks(a)])
        with_themselves = ((squares / a.shape[1] + 1) ** KERNEL_DEGREE).sum()
        return (total(a, a) - with_themselves) / (len(a) * (len(a) - 1))

    return float(within(x) + within(y) - 2 * total(x, y) / (len(x) * len(y)))


def precision_recall(
    generated: np.ndarray, reference: np.ndarray, neighbours: int
) -> tuple[float, float]:
    """Improved precision and recall (Kynkäänniemi et al., arXiv 1904.06991).

    Precision is the share of generated points inside the reference's manifold, the union of balls
    around its points that reach their k-th nearest other point; recall is the same the other way
    round.
    """
    return (
        _share_covered(generated, reference, neighbours),
        _share_covered(reference, generated, neighbours),
    )


def _share_covered(points: np.ndarray, manifold: np.ndarray, neighbours: int) -> float:
    if len(manifold) <= neighbours:
        raise ValueError(f"{len(manifold)} points have no {neighbours} nearest neighbours")
    radii = np.concatenate(
        [_kth_nearest(block, manifold, neighbours) for block in _blocks(manifold)]
    )
    covered = [
        (_squared_distances(block, manifold) <= radii).any(axis=1) for block in _blocks(points)
    ]
    return float(np.concatenate(covered).mean())


def _kth_nearest(points: np.ndarray, manifold: np.ndarray, neighbours: int) -> np.ndarray:
    """Squared distance of each point of a block, itself of the manifold, to its k-th other."""
    distances = _squared_distances(points, manifold)
    distances.partition(neighbours, axis=1)
    # Column 0 is the point's distance to itself. A copy: a view would hold the whole block.
    return distances[:, neighbours].copy()


def _blocks(x: np.ndarray) -> Iterator[np.ndarray]:
    """float64 [≤ BLOCK, D]"""
    for start in range(0, len(x), BLOCK):
        yield x[start : start + BLOCK].astype(np.float64)


def _squared_distances(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """float64 [len(a), len(b)], where `a` is a block."""
    squares, distances = (a**2).sum(1)[:, None], np.empty((len(a), len(b)))
    for i, other in enumerate(_blocks(b)):
        part = squares + (other**2).sum(1) - 2 * a @ other.T
        distances[:, i * BLOCK : i * BLOCK + len(other)] = part.clip(0)
    return distances
