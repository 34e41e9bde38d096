"""From the noisy counts of the query to the public images that are trained on.

Post-processing of a release: nothing here costs privacy. C sensitive classes choose among P public
ones.
"""

import math
from collections.abc import Sequence

import numpy as np
from scipy.special import ndtri

from workflow_scripts.problems import Problem


class SelectionProblem(Problem):
    """More public classes are wanted than there are."""


def classes_per_label(ratio: float, public: int, sensitive: int) -> int:
    """How many public classes each sensitive one gets: ⌊P·ratio/C⌋, at least one.

    Parameters
    ----------
    ratio : float
        The part of the public classes that is used, 0.01 to 0.5 in PrivImage's experiments.
    public, sensitive : int
        P and C.
    """
    # 100 × 0.29 is a little less than 29 in floating point.
    return max(1, math.floor(public * ratio / sensitive + 1e-9))


def select_classes(noisy: np.ndarray, per_class: int) -> np.ndarray:
    """The public classes of each sensitive one; none is chosen twice.

    Sensitive classes choose in order, each its largest counts among the public classes that are
    left, as PrivImage's code does since November 2024.

    Parameters
    ----------
    noisy : float64 [C, P]
        What `release_query` returns.
    per_class : int

    Returns
    -------
    int64 [C, per_class]
        Columns, the largest count of each row first.
    """
    rows, columns = noisy.shape
    if not (per_class >= 1 and rows * per_class <= columns):
        raise SelectionProblem(
            f"found {per_class} public classes for each of {rows} sensitive ones; allowed: 1 to "
            f"{columns // rows}, as there are {columns} and none is used twice"
        )
    chosen = np.empty((rows, per_class), dtype=np.int64)
    left = np.ones(columns, dtype=bool)
    for counts, places in zip(noisy, chosen, strict=True):
        ranked = np.argsort(-counts, kind="stable")
        places[:] = ranked[left[ranked]][:per_class]
        left[places] = False
    return chosen


def signal_to_noise(
    noisy: np.ndarray, chosen: np.ndarray, k: int, noise_multiplier: float
) -> tuple[np.ndarray, np.ndarray]:
    """How far the chosen counts stand out, in standard deviations of the noise.

    Parameters
    ----------
    noisy : float64 [C, P]
    chosen : int64 [C, n]
    k : int
    noise_multiplier : float
        σ; the noise has the standard deviation σ√k.

    Returns
    -------
    snr : float64 [C, n]
        The chosen counts.
    margin : float64 [C, n]
        How far they are above the largest count of their row that was not chosen for it: negative
        where that class had gone to an earlier row, infinite if the row chose all.
    """
    scaled = noisy / (noise_multiplier * math.sqrt(k))
    snr = np.take_along_axis(scaled, chosen, axis=1)
    np.put_along_axis(scaled, chosen, -np.inf, axis=1)
    return snr, snr - scaled.max(axis=1, keepdims=True)


def largest_of_noise(counts: int) -> float:
    """About where the largest of so many pure noises is expected, in standard deviations.

    Blom's approximation (1958), Φ⁻¹((n − ⅜)/(n + ¼)): within 2 % for n ≥ 10. A class that was
    chosen with a smaller signal-to-noise ratio may have been chosen by the noise.
    """
    return float(ndtri((counts - 0.375) / (counts + 0.25)))


def selection_summary(
    noisy: np.ndarray,
    chosen: np.ndarray,
    sensitive_names: Sequence[str],
    public_names: Sequence[str],
    k: int,
    noise_multiplier: float,
) -> dict:
    """What was chosen, by name, and how far it stands out; of types that JSON has.

    Returns
    -------
    dict
        `k`; `noise_multiplier`; `noise_std` σ√k, in counts; `noise_maximum`, about the largest
        count of a row that noise alone would be expected to leave; `sensitive_classes` and
        `public_classes`, the names in the order of the counts; `chosen`: sensitive class → list of
        `class`, `count`, and `snr` and `margin` as `signal_to_noise` says (no margin is None).
    """
    noise_std = noise_multiplier * math.sqrt(k)
    snr, margin = signal_to_noise(noisy, chosen, k, noise_multiplier)
    return {
        "k": k,
        "noise_multiplier": noise_multiplier,
        "noise_std": noise_std,
        "noise_maximum": noise_std * largest_of_noise(noisy.shape[1]),
        "sensitive_classes": list(sensitive_names),
        "public_classes": list(public_names),
        "chosen": {
            name: [
                {
                    "class": public_names[column],
                    "count": float(noisy[row, column]),
                    "snr": float(snr[row, i]),
                    "margin": float(margin[row, i]) if math.isfinite(margin[row, i]) else None,
                }
                for i, column in enumerate(chosen[row].tolist())
            ]
            for row, name in enumerate(sensitive_names)
        },
    }


def relabelled_rows(public_labels: np.ndarray, chosen: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The public images of the chosen classes, labelled by the sensitive class that chose them.

    Parameters
    ----------
    public_labels : int64 [N]
    chosen : int64 [C, n]
        Without repetition.

    Returns
    -------
    (int64 [M], int64 [M])
        Rows of the public data set, ascending, and their new labels, 0 to C − 1.
    """
    chooser = np.full(max(public_labels.max(initial=0), chosen.max()) + 1, -1)
    chooser[chosen] = np.arange(len(chosen))[:, None]
    labels = chooser[public_labels]
    rows = np.flatnonzero(labels >= 0)
    return rows, labels[rows]
