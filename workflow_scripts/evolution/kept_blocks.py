"""Blocks that are kept as they are made, so that an interrupted shard goes on after them.

Every block has its own random streams and none depends on another. So each is put into a file of
its own, in a folder beside the shard's, until the job has written all its outputs: whatever ends
the job, the next one makes only the blocks that are missing. The folder is no declared output, so
Snakemake does not delete it with those of a failed job.
"""

import shutil
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

import numpy as np

from workflow_scripts.evolution.blocks import Block
from workflow_scripts.files import (
    FileProblem,
    digest,
    read_arrays,
    read_metadata,
    write_arrays,
    write_rows,
)
from workflow_scripts.interruption import Interruption
from workflow_scripts.progress import Progress

# Seconds. A block that took less is made again faster than it is kept.
WORTH_KEEPING = 0.1


class KeptBlocks:
    """The blocks of one output of a job.

    Parameters
    ----------
    output : path
        Of the shard.
    key : str
        Of everything that the job depends on: blocks of another key are made anew. Where torch
        computes them, its version and the kind of device are added.
    interruption : Interruption
        Asked after every block.
    """

    def __init__(self, output: str | Path, key: str, interruption: Interruption):
        self.output = Path(output)
        self.folder = self.output.with_name(f"{self.output.name}.blocks")
        self.key, self.interruption = digest(key, *_numerics()), interruption

    def write(
        self,
        blocks: Sequence[Block],
        rows: int,
        make: Callable[[Block], Mapping[str, np.ndarray]],
    ) -> None:
        """Write the output, block by block, which are made where they are not kept.

        Parameters
        ----------
        blocks : sequence of Block
            The shard's. A shard without any still says which arrays there are.
        rows : int
            Of all of them.
        make : callable
            The arrays of a block, of one length.

        Raises
        ------
        Interrupted
            After a block that is not the last, if that was requested.
        """
        write_rows(self.output, self._each(blocks, rows, make), rows)

    def _each(
        self,
        blocks: Sequence[Block],
        rows: int,
        make: Callable[[Block], Mapping[str, np.ndarray]],
    ) -> Iterator[Mapping[str, np.ndarray]]:
        blocks = blocks or [Block(0, 0, 0)]
        progress, done = None, 0
        for number, block in enumerate(blocks, 1):
            arrays = self._kept(block)
            if arrays is None:
                progress = progress or self._begin(rows, done)
                began = time.monotonic()
                arrays = make(block)
                if time.monotonic() - began >= WORTH_KEEPING:
                    write_arrays(self._path(block), arrays, {"key": self._key_of(arrays)})
            yield arrays
            made = len(next(iter(arrays.values())))
            done += made
            if progress:
                progress.add(made)
            if self.interruption.requested and number < len(blocks):
                raise self.interruption.after(f"block {number} of {len(blocks)}")

    @staticmethod
    def _begin(rows: int, done: int) -> Progress:
        if done:
            print(f"goes on after {done} of {rows} images", flush=True)
        return Progress(rows, "images", done)

    def remove(self) -> None:
        """Once all outputs of the job are there; also what another number of shards has left."""
        shutil.rmtree(self.folder, ignore_errors=True)
        for folder in self.folder.parent.glob("*-of-*.blocks"):
            if _number(folder) != _number(self.folder):
                shutil.rmtree(folder, ignore_errors=True)

    def _path(self, block: Block) -> Path:
        return self.folder / f"{block.index}.safetensors"

    def _kept(self, block: Block) -> dict[str, np.ndarray] | None:
        path = self._path(block)
        if path.exists():
            with suppress(FileProblem):
                arrays = read_arrays(path)
                if read_metadata(path).get("key") == self._key_of(arrays):
                    return arrays
            print(f"{path}: damaged, or of other settings or inputs: made anew", flush=True)
        return None

    def _key_of(self, arrays: Mapping[str, np.ndarray]) -> str:
        """The job's key and the content."""
        return digest(self.key, *(part for item in sorted(arrays.items()) for part in item))


def _number(folder: Path) -> str:
    """Of shards: that of `1-of-2.safetensors.blocks`."""
    return folder.name.partition("-of-")[2]


def _numerics() -> tuple[str, ...]:
    if "torch" not in sys.modules:
        return ()
    from workflow_scripts.device import numerics  # jobs that need no torch do not import it

    return numerics()
