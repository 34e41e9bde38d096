"""Fidelity: distances between generated and real images in an encoder's space.

The Fréchet distance is called FID only when the encoder is Inception; here every metric carries
the name of the encoder that it was measured with. All of them depend on the two sample sizes,
which are therefore part of the result.
"""

import numpy as np

# The kernel distance's k(x, y) = (x·y / D + 1)³ (Bińkowski et al., arXiv 1801.01401).
KERNEL_DEGREE = 3
# Rows of the distance matrix held at a time.
BLOCK = 1024


def fidelity(generated: np.ndarray, reference: np.ndarray, neighbours: int) -> dict[str, float]:
    """All fidelity metrics of embeddings float [N, D] against embeddings float [M, D]."""
    generated = generated.astype(np.float64)
    reference = reference.astype(np.float64)
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
    difference = x.mean(0) - y.mean(0)
    # For D = 1 the covariance is a number.
    s1, s2 = (np.atleast_2d(np.cov(sample, rowvar=False)) for sample in (x, y))
    values, vectors = np.linalg.eigh(s1)
    root = (vectors * np.sqrt(values.clip(0))) @ vectors.T
    cross = np.linalg.eigvalsh(root @ s2 @ root).clip(0)
    return float(difference @ difference + np.trace(s1) + np.trace(s2) - 2 * np.sqrt(cross).sum())


def kernel_distance(x: np.ndarray, y: np.ndarray) -> float:
    """Unbiased squared maximum mean discrepancy with a cubic kernel, over all pairs."""

    def total(a: np.ndarray, b: np.ndarray) -> float:
        return sum(((block @ b.T / a.shape[1] + 1) ** KERNEL_DEGREE).sum() for block in _blocks(a))

    def within(a: np.ndarray) -> float:
        with_themselves = (((a**2).sum(1) / a.shape[1] + 1) ** KERNEL_DEGREE).sum()
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
        [
            # Column 0 is the point's distance to itself.
            np.partition(_squared_distances(block, manifold), neighbours, axis=1)[:, neighbours]
            for block in _blocks(manifold)
        ]
    )
    covered = [
        (_squared_distances(block, manifold) <= radii).any(axis=1) for block in _blocks(points)
    ]
    return float(np.concatenate(covered).mean())


def _blocks(x: np.ndarray) -> list[np.ndarray]:
    return [x[start : start + BLOCK] for start in range(0, len(x), BLOCK)]


def _squared_distances(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    squares = (a**2).sum(1)[:, None] + (b**2).sum(1) - 2 * a @ b.T
    return squares.clip(0)
