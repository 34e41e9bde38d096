"""Exact search for many rows at once in long streams of numbers.

Every row is known by an anchor, the eight bytes of it that vary most. A stream is read once: each
window of eight bytes is looked up in a small table of hashes and then among the anchors. A hit has
to agree at a second anchor before the whole row is compared. So the time does not grow with the
number of rows, and the memory by forty bytes a row; the rows themselves may stay on disk.
"""

import math
from collections.abc import Iterator

import numpy as np

WINDOW = 8  # bytes of an anchor
# A row whose items could be arranged in fewer than 2^64 ways is too common to be known by.
BITS = 64
TABLE = 20  # bits of the hashes: a table of 1 MiB, which fits a cache
MULTIPLIER = np.uint64(0x9E3779B97F4A7C15)
BLOCK = 2**20  # items of a stream, or of rows, that are worked on at a time


def variety(rows: np.ndarray) -> np.ndarray:
    """float64 [N]: n times the empirical entropy, in bits, of the n items of each row [N, n]."""
    n = rows.shape[1]
    # A stable sort of small integers is a radix sort, ten times faster.
    ordered = np.sort(rows.view(f"u{rows.itemsize}"), axis=1, kind="stable")
    begins = np.ones(ordered.shape, dtype=bool)
    begins[:, 1:] = ordered[:, 1:] != ordered[:, :-1]
    starts = np.flatnonzero(begins)
    equal = np.diff(np.append(starts, ordered.size))
    repeated = np.bincount(starts // n, equal * np.log2(equal), minlength=len(rows))
    return n * math.log2(n) - repeated


class Anchors:
    """Rows that can be found in streams.

    Parameters
    ----------
    rows : array [N, …, L]
        Each row is lines of L items. A row is found where its lines follow each other, or lie one
        below the other in a picture.
    item : dtype
        Of the streams, uint8 or float16; rows are converted to it.
    """

    def __init__(self, rows: np.ndarray, item: type = np.uint8):
        self.size = math.prod(rows.shape[1:])
        self.item = np.dtype(item)
        self.width = WINDOW // self.item.itemsize
        if rows.ndim > 2 and rows.shape[-1] < self.width:
            rows = rows.reshape(len(rows), self.size)  # lines too short for an anchor
        self.rows, self.line = rows, rows.shape[-1]
        self.lines = self.size // self.line
        found = list(self._chosen()) if self.line >= self.width else []
        owners, keys, places, seconds, others = (
            np.concatenate(parts) for parts in zip(*found, strict=True)
        ) if found else [np.empty(0, np.uint64)] * 5  # fmt: skip
        order = np.argsort(keys)
        self.owners, self.keys, self.places = owners[order], keys[order], places[order]
        self.seconds, self.others = seconds[order], others[order]
        self.table = np.zeros(2**TABLE, dtype=bool)
        self.table[_hashed(self.keys)] = True

    def _chosen(self) -> Iterator[tuple[np.ndarray, ...]]:
        """Row number, first anchor and its place, second anchor and its place, by blocks."""
        step = max(1, BLOCK // self.size)
        for start in range(0, len(self.rows), step):
            items = self._items(np.arange(start, min(start + step, len(self.rows))))
            various = np.flatnonzero(variety(items.reshape(len(items), self.size)) >= BITS)
            items = items[various]
            differ = np.zeros(items.shape, dtype=np.int32)
            differ[..., 1:] = np.cumsum(items[..., 1:] != items[..., :-1], axis=-1)
            changes = differ[..., self.width - 1 :] - differ[..., : self.line - self.width + 1]
            columns = changes.shape[-1]
            changes = changes.reshape(len(items), self.lines * columns)
            places = []
            for _ in range(2):
                best = np.argmax(changes, axis=1)
                line, column = best // columns, best % columns
                places += [line * self.line + column]
                # The second anchor does not overlap the first, where there is room.
                at = np.arange(changes.shape[1])
                near = np.abs(at % columns - column[:, None]) < self.width
                changes[near & (at // columns == line[:, None])] = -1
            rows = self.size * np.arange(len(items))
            first, second = (self._windows(items.ravel(), rows + place) for place in places)
            yield various + start, first, places[0], second, places[1]

    def _items(self, numbers: np.ndarray) -> np.ndarray:
        """Rows by number, as streams hold them: [n, lines, L]."""
        rows = np.asarray(self.rows[numbers]).reshape(len(numbers), self.lines, self.line)
        return as_items(rows, self.item)

    def _windows(self, stream: np.ndarray, places: np.ndarray) -> np.ndarray:
        """The eight bytes of a stream at each place, as uint64."""
        return stream[places[:, None] + np.arange(self.width)].view(np.uint64)[:, 0]

    def find(self, stream: np.ndarray, width: int | None = None) -> np.ndarray:
        """The numbers of the rows that a stream [n] of items holds, each once.

        `width` is that of the picture of which the stream is the lines.
        """
        found = [np.empty(0, dtype=np.int64)]
        for start in range(0, len(stream) - self.width + 1 if len(self.keys) else 0, BLOCK):
            at, keys = self._hits(stream[start : start + BLOCK + self.width - 1])
            left = np.searchsorted(self.keys, keys)
            known = self.keys[np.minimum(left, len(self.keys) - 1)] == keys
            at, left = at[known], left[known]
            number = np.searchsorted(self.keys, keys[known], "right") - left
            # Anchors that many rows share would make too many pairs for one go.
            parts = np.cumsum(number) // BLOCK
            for part in np.unique(parts):
                mine = np.flatnonzero(parts == part)
                ends = np.cumsum(number[mine])
                within = np.arange(ends[-1]) - np.repeat(ends - number[mine], number[mine])
                anchors = np.repeat(left[mine], number[mine]) + within
                places = np.repeat(at[mine] + start, number[mine])
                found.append(self._verified(stream, anchors, places, width or self.line))
        return np.unique(np.concatenate(found))

    def _hits(self, piece: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Places in a piece of a stream that may begin an anchor, and the eight bytes there."""
        places, keys = [], []
        for shift in range(min(self.width, len(piece) - self.width + 1)):
            whole = (len(piece) - shift) // self.width * self.width
            windows = np.ascontiguousarray(piece[shift : shift + whole]).view(np.uint64)
            hit = np.flatnonzero(self.table[_hashed(windows)])
            places.append(hit * self.width + shift)
            keys.append(windows[hit])
        return np.concatenate(places), np.concatenate(keys)

    def _verified(
        self, stream: np.ndarray, anchors: np.ndarray, places: np.ndarray, width: int
    ) -> np.ndarray:
        """The numbers of the rows that are there, of anchors that are."""

        def offset(place: np.ndarray) -> np.ndarray:
            return place // self.line * width + place % self.line

        origin = places - offset(self.places[anchors])
        last = offset(np.array(self.size - 1))
        inside = (origin >= 0) & (origin + last < len(stream))
        anchors, origin = anchors[inside], origin[inside]
        second = self._windows(stream, origin + offset(self.others[anchors]))
        agree = second == self.seconds[anchors]
        owners, origin = self.owners[anchors[agree]], origin[agree]
        found, step = [np.empty(0, dtype=np.int64)], max(1, BLOCK // self.size)
        for start in range(0, len(owners), step):
            mine = owners[start : start + step]
            at = origin[start : start + step, None] + offset(np.arange(self.size))
            same = _alike(stream[at], self._items(mine).reshape(len(mine), self.size))
            found.append(mine[same.all(axis=1)])
        return np.concatenate(found)


def as_items(numbers: np.ndarray, item: np.dtype) -> np.ndarray:
    """Numbers as streams hold them: what is no float16 becomes infinite."""
    with np.errstate(over="ignore", invalid="ignore"):
        return numbers.astype(item, copy=False)


def _alike(found: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """Equal, for bytes; for float16, but for the rounding of numbers that were printed."""
    if found.dtype == np.uint8:
        return found == wanted
    found, wanted = found.astype(np.float32), wanted.astype(np.float32)
    return np.abs(found - wanted) <= 1e-6 + 2**-9 * np.abs(wanted)


def _hashed(keys: np.ndarray) -> np.ndarray:
    # As signed numbers: NumPy looks up unsigned ones at half the speed.
    return ((keys * MULTIPLIER) >> np.uint64(64 - TABLE)).view(np.int64)
