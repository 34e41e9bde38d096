"""Looks for private data in files that were made to be shown: what must never be found.

Every file of some folders is searched for

- the private images, as bytes, as numbers of any type in [0, 255], [0, 1] or [-1, 1], with channels
  first or last, and as pixels of a PNG picture into which they were pasted unscaled;
- the rows of private embeddings, as float32 bytes and as numbers of any type or in print;
- the clean counts of the classes, or their fractions, as numbers of any type or in print, in the
  order of the classes or by size, side by side or at equal distances (a column of a table);
- clean histograms of votes and of semantic queries;
- byte strings that were planted in the private data.

Packages are opened (`contents`), so an image in a figure in an HTML page is found. The search for
rows (`anchors`) reads a file once for any number of them, in pieces, so memory stays bounded. It is
exact: what was blurred, scaled, cropped or compressed with loss is not found, and no finding is no
proof. What is found, on the other hand, does not occur by chance: images and embeddings that could
be arranged in fewer than 2^64 ways (all background) are left out, and see `CleanCounts`.
"""

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from workflow_scripts.privacy.anchors import Anchors, as_items
from workflow_scripts.privacy.contents import arrays, contents, numbers, pictures
from workflow_scripts.problems import Problem

# Numbers that are looked at together; pieces overlap by what could lie across their border.
PIECE = 2**22
# (scale, offset) from numbers to grey levels.
GREY_LEVELS = ((1, 0), (255, 0), (127.5, 127.5))
COLUMNS = 64  # the widest table in whose columns counts are looked for
VOTES = range(1, 11)  # k: how many votes a record may have
HISTOGRAMS = ("vote", "count", "histogram")  # in the name of an array that may be one
NAMED = 5  # findings of a kind in a file that are spelt out


class LeakFound(Problem):
    """Private data in files that are no place for them; the message names all."""


@dataclass(frozen=True, order=True)
class Leak:
    """Private data in a file.

    Attributes
    ----------
    path : Path
    kind : str
        `image`, `embedding`, `class counts`, `histogram` or `planted bytes`.
    detail : str
        Which, by number; never what it looks like.
    """

    path: Path
    kind: str
    detail: str

    def __str__(self) -> str:
        return f"{self.path}: {self.kind}: {self.detail}"


@dataclass(frozen=True)
class CleanCounts:
    """What labels are known by: the number of images of each class.

    Not looked for are counts that are in proportion to what was declared public, and equal ones,
    which are what anyone would guess. Numbers of fewer than 40 bits in all (two classes of
    hundreds) occur by chance among others, so they are looked for only where an array or a list
    holds nothing else.

    A histogram is clean if its sums by class (or its sum, where all vote on all) are exactly k
    times the counts, for k = 1 … 10; if it was divided by √k, that is undone. It counts as found if
    noise would leave them so less than once in 2^16 times: noise of σ ≥ 1 in n bins leaves a sum as
    it was with a chance of at most 0.4/√n, and an empty bin non-negative with one of 0.7. The
    latter is evidence only in arrays that are named as histograms, as parameters of images (an
    index of a font) are non-negative by themselves. Less noise, σ < 1, may pass for none.

    Attributes
    ----------
    counts : int64 [C]
    public : bool
        Whether they are not secret.
    """

    counts: np.ndarray
    public: bool

    @property
    def reach(self) -> int:
        """How many numbers further on the last count may stand."""
        return COLUMNS * len(self.counts)

    def _patterns(self, dtype: np.dtype) -> Iterator[np.ndarray]:
        """What the counts and fractions look like among numbers of a type."""
        by_size = np.sort(self.counts)[::-1]
        for order in (self.counts, by_size) if (by_size != self.counts).any() else (by_size,):
            if dtype.kind != "f":
                yield order
                continue
            for total in (1, self.counts.sum()):
                pattern = as_items(order / total, dtype)
                if np.isfinite(pattern).all():
                    yield pattern

    def are_in(self, stream: np.ndarray) -> bool:
        """Whether numbers [n] hold the counts."""
        if self.public:
            return False
        patterns = self._patterns(stream.dtype)
        if len(stream) == len(self.counts):
            return any(_equal(stream, pattern).all() for pattern in patterns)
        if np.log2(1 + self.counts).sum() < 40:
            return False
        return any(_at_equal_distances(stream, pattern) for pattern in patterns)

    def made(self, name: str, values: np.ndarray, labels: Sequence[np.ndarray]) -> bool:
        """Whether an array is a clean histogram.

        Parameters
        ----------
        name : str
        values : array
            [n], or [C, P] with a row for each class.
        labels : sequence of int arrays [n]
            Classes that the bins may belong to.
        """
        is_named = any(word in name.lower() for word in HISTOGRAMS)
        groupings = []
        if values.ndim == 1:
            groupings = [(b, self.counts) for b in labels if b.max() < len(self.counts)]
            if is_named:
                groupings.append((np.zeros(len(values), np.int64), self.counts.sum(keepdims=True)))
        elif values.ndim == 2 and len(values) == len(self.counts):
            groupings = [(np.repeat(np.arange(len(values)), values.shape[1]), self.counts)]
        values = values.ravel()
        if not groupings or not (values >= 0).all() or (values == values[:1]).all():
            return False
        empty = np.count_nonzero(values == 0) / 2 if is_named else 0
        for groups, totals in groupings:
            present, bins = np.unique(groups, return_counts=True)
            if np.log2(2.5 * np.sqrt(bins)).sum() + empty < 16:
                continue
            for k in VOTES:
                for votes in (values, values * math.sqrt(k)):
                    whole = np.rint(votes)
                    sums = np.bincount(groups, whole)[present]
                    if (sums == k * totals[present]).all() and np.allclose(votes, whole, atol=1e-3):
                        return True
        return False


@dataclass(frozen=True)
class Secrets:
    """What is looked for; `Secrets.of` prepares it."""

    images: tuple[Anchors, ...]
    embeddings: tuple[tuple[Anchors, Anchors], ...]
    clean: CleanCounts
    planted: tuple[bytes, ...]

    @classmethod
    def of(
        cls,
        images: np.ndarray,
        labels: np.ndarray,
        embeddings: Sequence[np.ndarray] = (),
        planted: Sequence[bytes] = (),
        declared: Sequence[Sequence[float]] = (),
    ) -> "Secrets":
        """Prepare a data set to be looked for.

        Parameters
        ----------
        images : uint8 [N, H, W, C]
            May be mapped; so may the embeddings.
        labels : int64 [N]
        embeddings : sequence of float32 [n, D]
        planted : sequence of bytes
        declared : sequence of float [C]
            Weights of the classes that were declared public.
        """
        n, height, width, channels = images.shape
        layouts = [images.reshape(n, height, width * channels)]
        if channels > 1:
            layouts.append(images.transpose(0, 3, 1, 2))
        counts = np.bincount(labels)
        known = [np.ones(len(counts)), *map(np.asarray, declared)]
        public = any(
            len(weights) == len(counts)
            and np.allclose(weights / weights.sum(), counts / counts.sum(), rtol=1e-4, atol=0)
            for weights in known
        )
        return cls(
            tuple(map(Anchors, layouts)),
            tuple(
                (
                    Anchors(np.ascontiguousarray(rows, "<f4").view(np.uint8)),
                    Anchors(rows, np.float16),
                )
                for rows in embeddings
            ),
            CleanCounts(counts, public),
            tuple(planted),
        )

    def in_file(self, path: Path) -> Iterator[Leak]:
        """What a file holds of the secrets."""
        found: dict[tuple[str, str], set] = {}
        for name, data in contents(path):
            for kind, which, rows in self._in_content(name, data):
                found.setdefault((kind, which), set()).update(rows)
        for (kind, which), rows in sorted(found.items()):
            yield Leak(path, kind, which + _listed(sorted(rows)))

    def _in_content(self, name: str, data: np.ndarray) -> Iterator[tuple[str, str, Iterable]]:
        for i, planted in enumerate(self.planted):
            if _holds(data, planted):
                yield "planted bytes", f"string {i}", ()
        yield from self._images_in(data)
        for i, (as_bytes, _) in enumerate(self.embeddings):
            yield from _rows("embedding", f"embedding {i}, rows ", as_bytes.find(data))
        for picture in pictures(data):
            yield from self._images_in(picture.ravel(), picture.shape[1])
        found = arrays(name, data)
        yield from self._in_numbers(numbers(data))
        for array in found.values():
            yield from self._in_numbers(array.ravel())
        labels = [array.astype(np.int64) for key, array in found.items() if _are_labels(key, array)]
        for sizes in map(np.bincount, labels):
            if self.clean.are_in(sizes):
                yield "class counts", "of the training split, as numbers of labels", ()
        for key, array in found.items():
            beside = [label for label in labels if label.shape == array.shape]
            if not _are_labels(key, array) and self.clean.made(key, array, beside):
                yield "histogram", f"{key}: its sums are those of clean votes", ()

    def _in_numbers(self, values: np.ndarray) -> Iterator[tuple[str, str, Iterable]]:
        """What numbers [n], of any type, are or hold."""
        longest = [anchors.size for anchors in self.images]
        longest += [anchors.size for _, anchors in self.embeddings]
        overlap = max(self.clean.reach, *longest)
        for start in range(0, max(1, len(values) - overlap), PIECE):
            piece = values[start : start + PIECE + overlap]
            if self.clean.are_in(piece):
                yield "class counts", "of the training split", ()
            if piece.dtype.kind in "bu" and piece.dtype.itemsize == 1:
                continue  # bytes, which are searched as such
            for scale, offset in GREY_LEVELS if piece.dtype.kind == "f" else GREY_LEVELS[:1]:
                yield from self._images_in(_grey_levels(piece, scale, offset))
            if piece.dtype.kind == "f":
                halves = as_items(piece, np.float16)
                for i, (_, as_numbers) in enumerate(self.embeddings):
                    yield from _rows("embedding", f"embedding {i}, rows ", as_numbers.find(halves))

    def _images_in(self, stream: np.ndarray, width: int | None = None) -> Iterator[tuple]:
        for anchors in self.images:
            yield from _rows("image", "private images ", anchors.find(stream, width))


def scan(folders: Iterable[Path], secrets: Secrets) -> list[Leak]:
    """All private data in all files below some folders; folders that do not exist hold none."""
    files = [path for folder in folders for path in sorted(folder.rglob("*")) if path.is_file()]
    return [leak for path in files for leak in secrets.in_file(path)]


def _grey_levels(values: np.ndarray, scale: float, offset: float) -> np.ndarray:
    """uint8 [n]: numbers as the nearest grey levels."""
    with np.errstate(all="ignore"):
        levels = np.rint(values.astype(np.float32) * scale + offset)
    return np.clip(np.nan_to_num(levels), 0, 255).astype(np.uint8)


def _rows(kind: str, which: str, rows: np.ndarray) -> Iterator[tuple[str, str, Iterable]]:
    if len(rows):
        yield kind, which, rows.tolist()


def _listed(rows: Sequence[int]) -> str:
    shown = ", ".join(map(str, rows[:NAMED]))
    return shown + (f" and {len(rows) - NAMED} more" if len(rows) > NAMED else "")


def _holds(data: np.ndarray, wanted: bytes) -> bool:
    """Whether bytes uint8 [n] hold a string."""
    return any(
        wanted in data[start : start + PIECE + len(wanted) - 1].tobytes()
        for start in range(0, len(data), PIECE)
    )


def _are_labels(name: str, array: np.ndarray) -> bool:
    if name.rpartition(".")[2] not in ("label", "labels", "y") or array.ndim != 1 or not len(array):
        return False
    values = array.astype(np.float64)
    return bool(((values >= 0) & (values < 2**20) & (values == np.rint(values))).all())


def _equal(values: np.ndarray, wanted: np.ndarray | float) -> np.ndarray:
    """Whether numbers are those wanted, but for the rounding of their type."""
    if values.dtype.kind != "f":
        return values == wanted
    return np.abs(values - wanted) <= 1e-6 * wanted


def _at_equal_distances(stream: np.ndarray, pattern: np.ndarray) -> bool:
    """Whether a stream holds a pattern, one after the other or with as many numbers between."""
    # The largest is the rarest.
    pivot, last = int(np.argmax(pattern)), len(pattern) - 1
    wanted = pattern.tolist()
    at = np.flatnonzero(_equal(stream, wanted[pivot]))
    for step in range(1, COLUMNS + 1) if len(at) else ():
        start = at - step * pivot
        start = start[(start >= 0) & (start + step * last < len(stream))]
        for i, number in enumerate(wanted):
            start = start[_equal(stream[start + step * i], number)]
            if not len(start):
                break
        else:
            return True
    return False
