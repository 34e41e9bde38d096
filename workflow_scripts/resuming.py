"""Trainings on data that are not private, which go on where they were interrupted.

A training keeps its state, every random generator's included, in one file beside its output: when a
scheduler asks the job to end, and every few minutes for what kills without asking. The file is no
declared output, so Snakemake does not delete it with those of a failed job. What goes on ends with
the same bytes as what was never interrupted. (`workflow_scripts.dpsgd.checkpoint` keeps trainings
on private data.)
"""

import json
import time
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import torch

from workflow_scripts.device import choose_device, numerics
from workflow_scripts.files import FileProblem, digest, read_arrays, read_metadata, write_arrays
from workflow_scripts.interruption import Interruption, interruptible
from workflow_scripts.progress import Progress

# Between two checkpoints.
SECONDS = 300.0


class Checkpoint:
    """The file that a training goes on from.

    Parameters
    ----------
    path : path
        In the folder of the output.
    key : str
        Of everything that the training depends on: a checkpoint of another key is not used. The
        kind of device and torch's version are added, as either may change the last bits.
    """

    def __init__(self, path: str | Path, key: str):
        self.path = Path(path)
        self.key = digest(key, *numerics())

    @classmethod
    def beside(cls, output: str | Path, key: str) -> "Checkpoint":
        """The checkpoint of the training that makes `output`."""
        output = Path(output)
        return cls(output.with_name(f"{output.name}.checkpoint"), key)

    def save(self, steps: int, parts: Mapping[str, Any]) -> None:
        """Keep the state of all parts after some steps."""
        arrays: dict[str, np.ndarray] = {}
        state = _taken_apart({name: _state(part) for name, part in parts.items()}, arrays)
        metadata = {"key": self.key, "steps": steps, "state": state}
        write_arrays(self.path, arrays, {**metadata, "digest": _digest(metadata, arrays)})

    def load(self, parts: Mapping[str, Any]) -> int:
        """Bring all parts to the state that is kept; the steps it is after, 0 if there is none."""
        if not self.path.exists():
            return 0
        try:
            metadata, arrays = read_metadata(self.path), read_arrays(self.path)
            whole = metadata.pop("digest", None) == _digest(metadata, arrays)
        except FileProblem:
            whole = False
        if not whole:
            print(f"{self.path}: damaged, not used: the training begins anew", flush=True)
            return 0
        if metadata["key"] != self.key:
            print(f"{self.path}: of other settings or inputs, not used", flush=True)
            return 0
        state = _put_together(metadata["state"], arrays)
        for name, part in parts.items():
            _restore(part, state[name])
        print(f"goes on after step {metadata['steps']}", flush=True)
        return metadata["steps"]

    def remove(self) -> None:
        """Once the output is there."""
        self.path.unlink(missing_ok=True)


def train_in_steps(
    step: Callable[[], torch.Tensor],
    steps: int,
    images: int,
    parts: Mapping[str, Any],
    checkpoint: Checkpoint | None = None,
) -> None:
    """Execute a training's steps, from its checkpoint on if there is one.

    Parameters
    ----------
    step : callable
        Executes one and returns its loss.
    steps : int
        In all.
    images : int
        In each, for the rate in the log.
    parts : mapping
        Everything that changes from step to step, by name: modules, optimisers and whatever else
        has `state_dict` and `load_state_dict`, and random generators of NumPy and torch.
    checkpoint : Checkpoint, optional
        None: what is interrupted begins anew.

    Raises
    ------
    Interrupted
        If a signal asked for it; the checkpoint has been written.
    """
    begun = checkpoint.load(parts) if checkpoint else 0
    progress = Progress(steps, "steps", begun, images)
    saved = time.monotonic()
    with interruptible() if checkpoint else nullcontext(Interruption()) as interruption:
        for done in range(begun + 1, steps + 1):
            loss = step()
            progress.add(1, lambda loss=loss: f"loss {loss.item():.4f}")
            if checkpoint is None or done == steps:
                continue
            asked = interruption.requested
            if asked or time.monotonic() - saved >= SECONDS:
                checkpoint.save(done, parts)
                saved = time.monotonic()
            if asked:
                raise interruption.after(f"step {done} of {steps}: checkpoint written")


def _state(part: Any) -> Any:
    match part:
        case torch.Generator():
            return part.get_state()
        case np.random.Generator():
            return part.bit_generator.state
    return part.state_dict()


def _restore(part: Any, state: Any) -> None:
    match part:
        case torch.Generator():
            part.set_state(state)
        case np.random.Generator():
            part.bit_generator.state = state
        case _:
            part.load_state_dict(state)


def _taken_apart(state: Any, arrays: dict[str, np.ndarray]) -> Any:
    """A state of nested dicts and lists as JSON has it, its tensors put into `arrays`."""
    match state:
        case torch.Tensor():
            name = str(len(arrays))
            arrays[name] = state.detach().cpu().numpy()
            return {"array": name, "device": state.device.type}
        case dict():
            # JSON's own keys are strings, those of an optimiser's state are numbers.
            return {"items": [[key, _taken_apart(value, arrays)] for key, value in state.items()]}
        case list() | tuple():
            return {"list": [_taken_apart(value, arrays) for value in state]}
    return {"value": state}


def _put_together(kept: Mapping, arrays: Mapping[str, np.ndarray]) -> Any:
    match kept:
        case {"array": name, "device": device}:
            tensor = torch.from_numpy(arrays[name])
            return tensor if device == "cpu" else tensor.to(choose_device())
        case {"items": items}:
            return {key: _put_together(value, arrays) for key, value in items}
        case {"list": values}:
            return [_put_together(value, arrays) for value in values]
    return kept["value"]


def _digest(metadata: Mapping, arrays: Mapping[str, np.ndarray]) -> str:
    named = (part for name in sorted(arrays) for part in (name, arrays[name]))
    return digest(json.dumps(metadata, sort_keys=True), *named)
