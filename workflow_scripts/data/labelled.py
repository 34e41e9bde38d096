"""Labelled images in one form, and what is done to them before they are stored.

Everything that a configuration declares (image shape, classes, training size) is compared with
what is there; a difference is an error that names it.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from workflow_scripts.problems import Problem
from workflow_scripts.randomness import rng_of


class DatasetProblem(Problem):
    """A data set that is not what its entry declares; the message names what differs."""


@dataclass(frozen=True)
class LabelledImages:
    """Images uint8 [N, H, W, C] and labels int64 [N], indices into the class list."""

    images: np.ndarray
    labels: np.ndarray

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, rows: np.ndarray) -> "LabelledImages":
        return LabelledImages(self.images[rows], self.labels[rows])


def split_stratified(
    data: LabelledImages, test_fraction: float, seed: int
) -> tuple[LabelledImages, LabelledImages]:
    """(train, test), each class in proportion, by a public seed; original order is kept."""
    from sklearn.model_selection import train_test_split

    try:
        train, test = train_test_split(
            np.arange(len(data)), test_size=test_fraction, stratify=data.labels, random_state=seed
        )
    except ValueError as error:
        raise DatasetProblem(f"the stratified split is impossible: {error}") from None
    return data.take(np.sort(train)), data.take(np.sort(test))


def hold_out(data: LabelledImages, size: int, seed: int) -> LabelledImages:
    """What remains after `size` images, drawn uniformly by a public seed, are set aside.

    Which ones depends on the number of images and the seed, on nothing in them. Original order is
    kept.

    Raises
    ------
    DatasetProblem
        If nothing would remain.
    """
    n = len(data)
    if size >= n:
        raise DatasetProblem(f"hold_out.size: found {size}; allowed: less than the {n} images")
    held = rng_of("hold-out", seed).choice(n, size, replace=False)
    return data.take(np.delete(np.arange(n), held))


def check_declared(data: LabelledImages, size: int, channels: int, classes: Sequence[str]) -> None:
    """Compare image shape and labels with what the catalogue declares."""
    expected = (size, size, channels)
    if data.images.shape[1:] != expected or data.images.dtype != np.uint8:
        raise DatasetProblem(
            f"image: found {data.images.dtype} {data.images.shape[1:]}, declared uint8 {expected}"
        )
    if len(data.images) != len(data.labels):
        raise DatasetProblem(f"found {len(data.images)} images and {len(data.labels)} labels")
    outside = np.unique(data.labels[(data.labels < 0) | (data.labels >= len(classes))])
    if outside.size:
        raise DatasetProblem(
            f"classes: found undeclared labels {outside.tolist()}; declared: 0 to "
            f"{len(classes) - 1} ({', '.join(classes)})"
        )


def indices_of(names: Sequence[str], classes: Sequence[str], where: str) -> np.ndarray:
    """Class names [N] as int64 indices into the declared class list."""
    undeclared = sorted(set(names) - set(classes))
    if undeclared:
        raise DatasetProblem(
            f"{where}: found undeclared classes {undeclared}; declared: {', '.join(classes)}"
        )
    index = {name: i for i, name in enumerate(classes)}
    return np.array([index[name] for name in names], dtype=np.int64)


def check_names(names: Sequence[str], classes: Sequence[str], where: str) -> None:
    """Compare the class names that a file states, in its order, with the declared ones."""
    for i, (name, declared) in enumerate(zip(names, classes, strict=False)):
        if name != declared:
            raise DatasetProblem(f"{where}: class {i} is {name!r}, declared as {declared!r}")
    if len(names) != len(classes):
        raise DatasetProblem(f"{where}: found {len(names)} classes, declared {len(classes)}")
