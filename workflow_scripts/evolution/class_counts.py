"""The number of private images of each class, released with noise.

For data sets whose class fractions are not public. One record moves one count by one: L2
sensitivity 1 under zero-out.
"""

import numpy as np

from workflow_scripts.privacy.discrete_gaussian import DiscreteGaussianMechanism
from workflow_scripts.privacy.events import DiscreteGaussianEvent
from workflow_scripts.privacy.noise import Noise
from workflow_scripts.proportions import divide


def release_class_counts(
    labels: np.ndarray, classes: int, mechanism: DiscreteGaussianMechanism, noise: Noise
) -> tuple[np.ndarray, DiscreteGaussianEvent]:
    """Noisy counts int64 [classes] of labels int64 [N], and what they cost."""
    counts = np.bincount(labels, minlength=classes).astype(np.int64)
    return mechanism.release(counts, noise)


def sizes_of(noisy_counts: np.ndarray, total: int) -> tuple[int, ...]:
    """`total` samples in proportion to noisy counts, at least one of each class.

    Negative counts are taken for 0; if none is positive, all classes get the same.
    """
    weights = np.maximum(noisy_counts, 0.0)
    if not weights.sum() > 0:
        weights = np.ones_like(weights)
    rest = divide(total - len(weights), weights.tolist())
    return tuple(1 + more for more in rest)
