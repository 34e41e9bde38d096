"""Arrays that lie in several files, one for each shard, read by rows.

Nothing is read but the rows that are asked for: the files are mapped into memory.
"""

import hashlib
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from workflow_scripts.files import open_arrays

# Rows that are read at a time.
BLOCK = 4096


def shard_files(folder: str | Path, items: Sequence[str]) -> list[str]:
    """The shards in a folder: `items` (`i-of-n`), unless those of another number are all there.

    What was made in another number of shards is the same, row for row, and is not made again.
    """
    for number in sorted({len(items), *_numbers(folder)}, key=lambda n: n != len(items)):
        found = [f"{folder}/{i}-of-{number}.safetensors" for i in range(1, number + 1)]
        if all(map(os.path.exists, found)):
            return found
    return [f"{folder}/{item}.safetensors" for item in items]


def _numbers(folder: str | Path) -> set[int]:
    # Asked for every job of a plan, mostly of folders that are not there yet.
    if not os.path.isdir(folder):
        return set()
    names = (path.stem.partition("-of-") for path in Path(folder).glob("1-of-*.safetensors"))
    return {int(number) for _, _, number in names if number.isdigit()}


class Shards:
    """Arrays of equal names, row after row over the files in the order given.

    Parameters
    ----------
    paths : path
        safetensors files; within each, all arrays have one length.
    """

    def __init__(self, *paths: str | Path):
        self.files = [open_arrays(path) for path in paths]
        lengths = [len(next(iter(arrays.values()))) for arrays in self.files]
        self.starts = np.cumsum([0, *lengths])

    def __len__(self) -> int:
        return int(self.starts[-1])

    def __getitem__(self, name: str) -> np.ndarray:
        """One array, whole, read into memory."""
        return np.concatenate([arrays[name] for arrays in self.files])

    def take(self, rows: np.ndarray | slice, *names: str) -> dict[str, np.ndarray]:
        """The named arrays (all by default) at `rows`, in that order, read into memory."""
        rows = np.arange(len(self))[rows]
        owner = np.searchsorted(self.starts, rows, side="right") - 1
        first = self.files[0]  # an empty shard says what there is as well as any other
        found = {
            name: np.empty((len(rows), *first[name].shape[1:]), first[name].dtype)
            for name in names or first
        }
        for i in np.unique(owner):
            mine = owner == i
            for name, values in found.items():
                values[mine] = self.files[i][name][rows[mine] - self.starts[i]]
        return found

    def blocks(
        self, rows: np.ndarray | None = None, *names: str
    ) -> Iterator[dict[str, np.ndarray]]:
        """`take` for some thousand of `rows` (all by default) at a time; once if there are none."""
        rows = np.arange(len(self)) if rows is None else rows
        for start in range(0, max(len(rows), 1), BLOCK):
            yield self.take(rows[start : start + BLOCK], *names)

    def digest(self) -> str:
        """SHA-256, in hex, of all arrays (name, type, shape, values), however they are divided."""
        whole = hashlib.sha256()
        for name, array in sorted(self.files[0].items()):
            shape = (len(self), *array.shape[1:])
            whole.update(f"{name} {array.dtype.str} {shape}\n".encode())
            for block in self.blocks(None, name):
                whole.update(np.ascontiguousarray(block[name]).tobytes())
        return whole.hexdigest()
