"""A population: the synthetic images of one iteration, with what their generator remembers."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from workflow_scripts.files import read_arrays, write_arrays

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


def concatenate(parts: Sequence[Population]) -> Population:
    """One population from several with the same kind of state."""
    return Population(
        np.concatenate([part.images for part in parts]),
        np.concatenate([part.labels for part in parts]),
        {name: np.concatenate([part.state[name] for part in parts]) for name in parts[0].state},
    )


def save_population(path: str | Path, population: Population) -> None:
    """Write a population as safetensors: `images`, `labels` and `state.*`."""
    state = {STATE + name: values for name, values in population.state.items()}
    write_arrays(path, {"images": population.images, "labels": population.labels, **state})


def load_population(*paths: str | Path) -> Population:
    """Read a population from its shards, in the order given."""
    parts = []
    for path in paths:
        arrays = read_arrays(path)
        images, labels = arrays.pop("images"), arrays.pop("labels")
        state = {name.removeprefix(STATE): values for name, values in arrays.items()}
        parts.append(Population(images, labels, state))
    return concatenate(parts)
