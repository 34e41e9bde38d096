"""NumPy archives with arrays `images` and `labels`."""

import zipfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from workflow_scripts.data.form import Form
from workflow_scripts.data.labelled import DatasetProblem, LabelledImages, indices_of


def read_npz(path: str | Path, classes: Sequence[str], form: Form) -> LabelledImages:
    """Read uint8 `images` [N, H, W] or [N, H, W, C] and `labels` [N], indices or class names."""
    try:
        # No pickled objects: loading a file must not run its code. Opened as the archive that it
        # must be, because np.load also takes a single array for one.
        with zipfile.ZipFile(path) as archive, np.load(archive.fp, allow_pickle=False) as arrays:
            images, labels = arrays["images"], arrays["labels"]
    except FileNotFoundError:
        raise DatasetProblem(f"{path}: no such file") from None
    except Exception as error:  # which one a damaged archive raises depends on where it is damaged
        raise DatasetProblem(
            f"{path}: needs arrays `images` and `labels` in an .npz archive ({error})"
        ) from None
    if images.ndim == 0 or labels.ndim != 1:
        # One-hot rows of 0 and 1 would pass as indices.
        raise DatasetProblem(
            f"{path}: images have shape {images.shape}, labels {labels.shape}; allowed: "
            "(N, H, W) or (N, H, W, C), and (N,)"
        )
    if labels.dtype.kind in "US":
        labels = indices_of(labels.astype(str).tolist(), classes, str(path))
    elif labels.dtype.kind not in "iu":
        raise DatasetProblem(f"{path}: labels are {labels.dtype}; allowed: integers or names")
    if len(images) != len(labels):
        raise DatasetProblem(f"{path}: found {len(images)} images and {len(labels)} labels")
    return LabelledImages(form.fit(images, str(path)), labels.astype(np.int64))
