"""A population: the synthetic images of one iteration, with what their generator remembers.

`Population` holds a block of one in memory; `StoredPopulation` is a whole one on disk, of which
only the rows that are asked for are read.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np

from workflow_scripts.files import write_rows
from workflow_scripts.shards import Shards

STATE = "state."


@dataclass(frozen=True)
class Population:
    """Images, labels and per-sample generator state, in one order.

    Attributes
    ----------
    images : uint8 [N, H, W, C]
    labels : int64 [N]
        Index into the sensitive data set's class list.
    state : dict of arrays, each of length N
        What VARIATION needs to know of a sample: a simulator's parameters, a diffusion model's
        condition.
    """

    images: np.ndarray
    labels: np.ndarray
    state: dict[str, np.ndarray] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, rows: np.ndarray | slice) -> "Population":
        """The samples at `rows`, in that order; a row may appear several times."""
        state = {name: values[rows] for name, values in self.state.items()}
        return Population(self.images[rows], self.labels[rows], state)

    @property
    def brightness(self) -> np.ndarray:
        """float32 [N]: the mean grey value of each image, in [0, 255]."""
        return self.images.mean(axis=(1, 2, 3), dtype=np.float32)

    @property
    def arrays(self) -> dict[str, np.ndarray]:
        """As stored: `images`, `labels` and `state.*`."""
        state = {STATE + name: values for name, values in self.state.items()}
        return {"images": self.images, "labels": self.labels, **state}


def population_of(arrays: Mapping[str, np.ndarray]) -> Population:
    """The population of stored arrays."""
    state = {
        name.removeprefix(STATE): values
        for name, values in arrays.items()
        if name.startswith(STATE)
    }
    return Population(arrays["images"], arrays["labels"], state)


def concatenate(parts: Sequence[Population]) -> Population:
    """One population from several with the same kind of state."""
    return population_of(
        {name: np.concatenate([part.arrays[name] for part in parts]) for name in parts[0].arrays}
    )


def save_population(path: str | Path, blocks: Iterable[Population], rows: int) -> None:
    """Write a population of `rows` samples, block by block, as safetensors."""
    write_rows(path, (block.arrays for block in blocks), rows)


class StoredPopulation:
    """A population in files, one for each shard, in the order given."""

    def __init__(self, *paths: str | Path):
        self.shards = Shards(*paths)

    @classmethod
    def within(cls, folder: str, files: Iterable[str]) -> "StoredPopulation":
        """The population, of several in a list of files, whose shards lie in `folder`."""
        return cls(*dict.fromkeys(file for file in files if str(Path(file).parent) == folder))

    def __len__(self) -> int:
        return len(self.shards)

    @cached_property
    def labels(self) -> np.ndarray:
        """int64 [N]"""
        return self.shards["labels"]

    def take(self, rows: np.ndarray | slice) -> Population:
        """The samples at `rows`, in that order, read into memory."""
        return population_of(self.shards.take(rows))

    def blocks(self, rows: np.ndarray | None = None) -> Iterator[Population]:
        """The samples at `rows` (all of them by default), some thousand at a time."""
        return map(population_of, self.shards.blocks(rows))
