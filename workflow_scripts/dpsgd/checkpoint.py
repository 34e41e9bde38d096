"""Checkpoints of a training with DP-SGD: in the sensitive zone, whole, and known by a checksum.

The folder is no declared output, so that Snakemake never deletes it. `training.json` says what is
trained, from which inputs, and holds the noise key: a training that goes on draws the same batches
and the same noise, so that nothing is released twice.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from workflow_scripts.files import (
    FileProblem,
    digest,
    read_arrays,
    read_json,
    read_metadata,
    write_arrays,
    write_json,
)
from workflow_scripts.privacy.journal import JournalMismatch, changed_inputs
from workflow_scripts.privacy.noise import NoiseKey, NoiseSource

# The last ones are kept: one may be damaged.
KEPT = 2


@dataclass(frozen=True)
class Checkpoint:
    """The state of a training after some steps.

    Attributes
    ----------
    steps : int
        Executed, and so charged.
    non_finite : int
        Gradients that were no numbers, so far. SENSITIVE.
    arrays : dict of arrays
        Weights, their average and the optimiser's state.
    """

    steps: int
    non_finite: int
    arrays: dict[str, np.ndarray]


class Checkpoints:
    """The checkpoints of one training; the lock of its journal entry keeps others out.

    Parameters
    ----------
    folder : path
        In the sensitive zone.
    """

    def __init__(self, folder: str | Path):
        self.folder = Path(folder)

    def claim(self, identity: str, inputs: Mapping[str, str], source: NoiseSource) -> NoiseKey:
        """The training's key: drawn the first time, the same ever after.

        Raises
        ------
        JournalMismatch
            If a training of other inputs or settings was begun here.
        """
        path = self.folder / "training.json"
        if path.exists():
            begun = read_json(path)
            if changed := changed_inputs(begun["inputs"], inputs):
                raise JournalMismatch(
                    f"{path}: a training was begun here from other inputs (changed: {changed}). "
                    f"Undo the change, or remove {self.folder}: nothing was released from it yet"
                )
            return NoiseKey(begun["key"])
        key = NoiseKey.draw(source, identity)
        content = {"identity": identity, "inputs": dict(inputs), "key": key.secret}
        write_json(path, content)
        return key

    def save(self, checkpoint: Checkpoint) -> None:
        """Write a checkpoint, then remove the oldest ones."""
        path = self.folder / f"step{checkpoint.steps:08d}.safetensors"
        metadata = {
            "steps": checkpoint.steps,
            "non_finite": checkpoint.non_finite,
            "digest": _digest(checkpoint),
        }
        write_arrays(path, checkpoint.arrays, metadata)
        for old in self._files()[:-KEPT]:
            old.unlink()

    def load(self) -> Checkpoint | None:
        """The newest checkpoint that is undamaged; None if there is none.

        Raises
        ------
        FileProblem
            If there are checkpoints and all of them are damaged.
        """
        files = self._files()
        for path in reversed(files):
            try:
                metadata, arrays = read_metadata(path), read_arrays(path)
            except FileProblem:
                continue
            counts = metadata.get("steps"), metadata.get("non_finite")
            checkpoint = Checkpoint(*counts, arrays)
            if metadata.get("digest") == _digest(checkpoint):
                return checkpoint
        if files:
            raise FileProblem(
                f"{self.folder}: every checkpoint is damaged; nothing was released from them: "
                "remove the folder to begin again"
            )
        return None

    def clear(self) -> None:
        """Remove all checkpoints, once what they were for is in the journal."""
        for path in self._files():
            path.unlink(missing_ok=True)  # a second job may have cleared them, too

    def _files(self) -> list[Path]:
        return sorted(self.folder.glob("step*.safetensors"))


def _digest(checkpoint: Checkpoint) -> str:
    arrays = checkpoint.arrays
    named = (part for name in sorted(arrays) for part in (name, arrays[name]))
    return digest(str(checkpoint.steps), str(checkpoint.non_finite), *named)
