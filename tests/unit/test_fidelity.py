"""Fidelity: closed forms, other libraries and double loops say what the metrics must be."""

import numpy as np
import pytest
from cleanfid import fid
from hypothesis import given, settings
from hypothesis import strategies as st

from workflow_scripts.evaluation import fidelity as module
from workflow_scripts.evaluation.fidelity import (
    fidelity,
    frechet_distance,
    kernel_distance,
    precision_recall,
)

# It calls SciPy's matrix root in a way that newer releases no longer know.
clean_fid_warns = pytest.mark.filterwarnings("ignore:The `disp` argument:DeprecationWarning")


def sample(n: int, d: int, seed: int, scale: float = 1.0, shift: float = 0.0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return rng.normal(size=(n, d)) @ rng.normal(size=(d, d)) * scale / np.sqrt(d) + shift


def with_moments(n: int, mean: np.ndarray, covariance: np.ndarray, seed: int) -> np.ndarray:
    """A sample whose mean and covariance (over n − 1) are exactly the given ones."""
    z = np.random.default_rng(seed).normal(size=(n, len(mean)))
    z -= z.mean(0)
    white = z @ np.linalg.inv(np.linalg.cholesky(z.T @ z / (n - 1))).T
    return mean + white @ np.linalg.cholesky(covariance).T


# Fréchet distance


@settings(max_examples=30, deadline=None)
@given(
    st.lists(
        st.tuples(st.floats(-5, 5), st.floats(0.01, 9), st.floats(0.01, 9)), min_size=2, max_size=6
    )
)
def test_frechet_of_independent_gaussians(dimensions):
    """For diagonal covariances: |Δμ|² + Σ (√a − √b)²."""
    shift, a, b = map(np.array, zip(*dimensions, strict=True))
    x = with_moments(40, np.zeros(len(a)), np.diag(a), seed=0)
    y = with_moments(30, shift, np.diag(b), seed=1)
    expected = (shift**2).sum() + ((np.sqrt(a) - np.sqrt(b)) ** 2).sum()
    assert frechet_distance(x, y) == pytest.approx(expected, rel=1e-6, abs=1e-6)


def test_frechet_of_two_gaussians_in_the_plane():
    """In two dimensions tr (S₁S₂)^½ = √(tr S₁S₂ + 2 √det S₁S₂), commuting or not."""
    s1, s2 = np.array([[2.0, 0.7], [0.7, 1.0]]), np.array([[0.5, -0.3], [-0.3, 3.0]])
    assert not np.allclose(s1 @ s2, s2 @ s1)
    x = with_moments(50, np.array([1.0, 2.0]), s1, seed=0)
    y = with_moments(20, np.array([-1.0, 2.5]), s2, seed=1)
    root = np.sqrt(np.trace(s1 @ s2) + 2 * np.sqrt(np.linalg.det(s1 @ s2)))
    expected = 4.25 + np.trace(s1) + np.trace(s2) - 2 * root
    assert frechet_distance(x, y) == pytest.approx(expected, rel=1e-9)
    assert frechet_distance(y, x) == pytest.approx(expected, rel=1e-9)


def test_frechet_in_one_dimension():
    x, y = np.array([[0.0], [2.0], [4.0]]), np.array([[10.0], [11.0], [12.0]])
    assert frechet_distance(x, y) == pytest.approx((2 - 11) ** 2 + (2 - 1) ** 2)


@clean_fid_warns
@pytest.mark.parametrize(("n", "m", "d"), [(300, 200, 24), (500, 700, 64)])
def test_frechet_agrees_with_clean_fid(n, m, d):
    x, y = sample(n, d, 0), sample(m, d, 1, scale=1.3, shift=0.1)
    moments = [part for z in (x, y) for part in (z.mean(0), np.cov(z, rowvar=False))]
    assert frechet_distance(x, y) == pytest.approx(fid.frechet_distance(*moments), rel=1e-6)


@clean_fid_warns
@pytest.mark.parametrize(("n", "m", "d"), [(20, 20, 64), (15, 200, 40)])
def test_frechet_with_fewer_points_than_dimensions(n, m, d):
    """tr (S₁S₂)^½ is the nuclear norm of XYᵀ / √((n−1)(m−1)), X and Y centred: no root needed."""
    x, y = sample(n, d, 0), sample(m, d, 1, shift=0.2)
    a, b = ((z - z.mean(0)) / np.sqrt(len(z) - 1) for z in (x, y))
    root = np.linalg.svd(a @ b.T, compute_uv=False).sum()
    shift = x.mean(0) - y.mean(0)
    expected = shift @ shift + (a**2).sum() + (b**2).sum() - 2 * root
    assert frechet_distance(x, y) == pytest.approx(expected, rel=1e-6)
    moments = [part for z in (x, y) for part in (z.mean(0), np.cov(z, rowvar=False))]
    assert frechet_distance(x, y) == pytest.approx(fid.frechet_distance(*moments), rel=1e-6)


def test_frechet_of_constant_points_is_their_squared_distance():
    """Here the matrix root of clean-fid is off by half a per cent."""
    x, y = np.full((10, 5), 2.0), np.full((12, 5), -1.0)
    assert frechet_distance(x, y) == pytest.approx(45)


def test_frechet_of_a_sample_and_itself_is_zero():
    assert frechet_distance(sample(100, 8, 0), sample(100, 8, 0)) == pytest.approx(0, abs=1e-9)


# Kernel distance


def by_double_loop(x: np.ndarray, y: np.ndarray) -> float:
    def kernel(a, b):
        return (sum(p * q for p, q in zip(a, b, strict=True)) / len(a) + 1) ** 3

    def mean(values):
        values = list(values)
        return sum(values) / len(values)

    pairs = (
        mean(kernel(a, b) for i, a in enumerate(z) for j, b in enumerate(z) if i != j)
        for z in (x, y)
    )
    return sum(pairs) - 2 * mean(kernel(a, b) for a in x for b in y)


@settings(max_examples=25, deadline=None)
@given(n=st.integers(2, 9), m=st.integers(2, 9), d=st.integers(1, 4), seed=st.integers(0, 999))
def test_kernel_distance_is_the_mean_over_all_pairs(n, m, d, seed):
    x, y = sample(n, d, seed), sample(m, d, seed + 1, shift=0.5)
    assert kernel_distance(x, y) == pytest.approx(by_double_loop(x, y), rel=1e-9, abs=1e-9)


def test_kernel_distance_agrees_with_clean_fid():
    x, y = sample(150, 16, 0), sample(150, 16, 1, shift=0.3)
    # One subset that holds every point.
    expected = fid.kernel_distance(x, y, num_subsets=1, max_subset_size=150)
    assert kernel_distance(x, y) == pytest.approx(expected, rel=1e-9)


def test_kernel_distance_of_one_distribution_is_zero_on_average():
    rng = np.random.default_rng(0)
    values = np.array(
        [
            kernel_distance(rng.normal(size=(12, 3)) + 0.5, rng.normal(size=(20, 3)) + 0.5)
            for _ in range(1500)
        ]
    )
    error = values.std(ddof=1) / np.sqrt(len(values))
    # False alarm 7e-6, one fixed seed. An estimate that counts each point with itself is above 1
    # here: (E k(x, x) − E k(x, x′)) (1/12 + 1/20).
    assert abs(values.mean()) < 4.5 * error < 0.2
    assert 0.2 < np.mean(values < 0) < 0.8


# Precision and recall


def by_loops(points: np.ndarray, manifold: np.ndarray, k: int) -> float:
    """The share of points within a ball around a manifold point, up to its k-th neighbour."""

    def distance(a, b):
        return sum((p - q) ** 2 for p, q in zip(a, b, strict=True))

    radii = [
        sorted(distance(a, b) for j, b in enumerate(manifold) if j != i)[k - 1]
        for i, a in enumerate(manifold)
    ]
    inside = [
        any(distance(p, m) <= r for m, r in zip(manifold, radii, strict=True)) for p in points
    ]
    return sum(inside) / len(inside)


@settings(max_examples=40, deadline=None)
@given(
    n=st.integers(6, 20),
    m=st.integers(6, 20),
    d=st.integers(1, 3),
    k=st.integers(1, 5),
    ties=st.booleans(),
    seed=st.integers(0, 999),
)
def test_precision_and_recall_against_loops(n, m, d, k, ties, seed):
    x, y = sample(n, d, seed), sample(m, d, seed + 1, shift=0.5)
    if ties:  # whole numbers: many equal distances and duplicates, exact arithmetic
        x, y = np.round(2 * x), np.round(2 * y)
    assert precision_recall(x, y, k) == pytest.approx((by_loops(x, y, k), by_loops(y, x, k)))
    assert precision_recall(y, x, k) == precision_recall(x, y, k)[::-1]


def test_mode_collapse_has_precision_and_no_recall():
    rng = np.random.default_rng(0)
    modes = np.repeat([[0.0, 0.0], [10.0, 0.0], [0.0, 10.0], [10.0, 10.0]], 100, axis=0)
    real = modes + rng.normal(size=(400, 2))
    collapsed = rng.normal(size=(400, 2)) * 0.5
    precision, recall = precision_recall(collapsed, real, 3)
    assert precision > 0.95 and recall < 0.25
    everywhere = rng.uniform(-4, 14, size=(400, 2))
    precision, recall = precision_recall(everywhere, real, 3)
    assert precision < 0.7 and recall > 0.9
    assert precision_recall(real, real, 3) == (1, 1)
    assert precision_recall(real + 1000, real, 3) == (0, 0)


def test_copies_of_a_few_points_are_not_taken_for_variety():
    """Resampling repeats images: ten copies of 30 points cover these 30 and no others."""
    real = np.random.default_rng(0).normal(size=(300, 64)).astype(np.float32).astype(float) + 1
    assert precision_recall(np.repeat(real[:30], 10, axis=0), real, 3) == (1, 0.1)


@pytest.mark.parametrize("block", [1, 7, 60, 61, 100_000])
def test_the_block_size_does_not_change_results(block, monkeypatch):
    x, y = sample(61, 5, 0), sample(45, 5, 1, shift=0.4)
    expected = by_loops(x, y, 3), by_loops(y, x, 3)
    assert min(expected) > 0.1 and max(expected) < 0.95
    monkeypatch.setattr(module, "BLOCK", block)
    assert precision_recall(x, y, 3) == pytest.approx(expected)


def test_too_few_points_for_the_neighbours_are_named():
    with pytest.raises(ValueError, match=r"4 points.*4 nearest"):
        precision_recall(sample(20, 2, 0), sample(4, 2, 1), 4)
    precision_recall(sample(20, 2, 0), sample(5, 2, 1), 4)


# All of them


def test_all_metrics_together_and_in_any_order_of_rows():
    x, y = sample(80, 6, 0).astype(np.float32), sample(60, 6, 1, shift=0.3).astype(np.float32)
    found = fidelity(x, y, 3)
    x64, y64 = x.astype(float), y.astype(float)
    precision, recall = precision_recall(x64, y64, 3)
    assert found == {
        "frechet": pytest.approx(frechet_distance(x64, y64), rel=1e-9),
        "kernel": pytest.approx(by_double_loop(x64, y64), rel=1e-9),
        "precision": precision,
        "recall": recall,
        "generated": 80,
        "reference": 60,
    }
    assert precision != recall
    rng = np.random.default_rng(0)
    shuffled = fidelity(rng.permutation(x), rng.permutation(y), 3)
    assert shuffled == pytest.approx(found, rel=1e-9)


def test_a_far_origin_costs_no_digits():
    """Single precision would lose them: the covariance is 10⁻⁸ of the squared mean."""
    x, y = sample(200, 4, 0), sample(200, 4, 1, shift=0.5)
    near = fidelity(x, y, 3)
    far = fidelity(x + 1e4, y + 1e4, 3)
    assert far["frechet"] == pytest.approx(near["frechet"], rel=1e-6)
    assert (far["precision"], far["recall"]) == (near["precision"], near["recall"])
