"""Reading image data sets into one form: uint8 [N, H, W, C] and int64 [N].

Everything that a configuration declares (image shape, classes, training size) is compared with
what is there; a difference is an error that names it.
"""

import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from workflow_scripts.problems import Problem

IMAGE_SUFFIXES = {".png", ".jpg", ".jpeg", ".webp", ".bmp"}


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


def load_source(source: Mapping, path_key: str, classes: Sequence[str]) -> LabelledImages:
    """Read a source of the catalogue.

    Parameters
    ----------
    source : mapping
        The entry's `source`: `kind`, and `path` and `test_path` where it has files.
    path_key : {'path', 'test_path'}
        Which of its files.
    classes : sequence of str
        The declared class list.
    """
    match source["kind"]:
        case "sklearn-digits":
            return _sklearn_digits()
        case "npz":
            return _npz(Path(source[path_key]), classes)
        case "image-folder":
            return _image_folder(Path(source[path_key]), classes)
    raise DatasetProblem(f"source.kind: found {source['kind']!r}")


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


def _sklearn_digits() -> LabelledImages:
    from sklearn.datasets import load_digits

    images, labels = load_digits(return_X_y=True)
    # 16 grey levels above black; ×255/16 spreads them over uint8.
    scaled = np.round(images.reshape(-1, 8, 8, 1) * (255 / 16)).astype(np.uint8)
    return LabelledImages(scaled, labels.astype(np.int64))


def _npz(path: Path, classes: Sequence[str]) -> LabelledImages:
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
    if images.ndim == 3:
        images = images[..., np.newaxis]
    if labels.ndim != 1:
        # One-hot rows of 0 and 1 would pass as indices.
        raise DatasetProblem(f"{path}: labels have shape {labels.shape}; allowed: (N,)")
    if labels.dtype.kind in "US":
        labels = _named(labels.astype(str), classes, path)
    elif labels.dtype.kind not in "iu":
        raise DatasetProblem(f"{path}: labels are {labels.dtype}; allowed: integers or names")
    return LabelledImages(images, labels.astype(np.int64))


def _named(labels: np.ndarray, classes: Sequence[str], path: Path) -> np.ndarray:
    undeclared = sorted(set(labels.tolist()) - set(classes))
    if undeclared:
        raise DatasetProblem(
            f"{path}: found undeclared classes {undeclared}; declared: {', '.join(classes)}"
        )
    index = {name: i for i, name in enumerate(classes)}
    return np.array([index[name] for name in labels.tolist()], dtype=np.int64)


def _image_folder(path: Path, classes: Sequence[str]) -> LabelledImages:
    from PIL import Image, UnidentifiedImageError

    if not path.is_dir():
        raise DatasetProblem(f"{path}: no such folder")
    folders = sorted(p.name for p in path.iterdir() if p.is_dir())
    _named(np.array(folders, dtype=str), classes, path)
    images, labels = [], []
    for label, name in enumerate(classes):
        for file in sorted((path / name).glob("*")):
            if file.suffix.lower() not in IMAGE_SUFFIXES:
                continue
            try:
                with Image.open(file) as image:
                    if image.mode.startswith(("I", "F")):
                        # Conversion to 8 bits would cut off everything above 255.
                        raise DatasetProblem(f"{file}: found mode {image.mode}; allowed: 8 bits")
                    pixels = np.asarray(image.convert("L" if image.mode in ("1", "L") else "RGB"))
            except (UnidentifiedImageError, OSError) as error:
                raise DatasetProblem(f"{file}: not a readable image ({error})") from None
            images.append(pixels if pixels.ndim == 3 else pixels[..., np.newaxis])
            labels.append(label)
            if images[-1].shape != images[0].shape:
                raise DatasetProblem(
                    f"{file}: found {images[-1].shape}, other images are {images[0].shape}"
                )
    if not images:
        raise DatasetProblem(f"{path}: no images in the folders of the declared classes")
    return LabelledImages(np.stack(images), np.array(labels, dtype=np.int64))
