"""Weights: a file is parsed only after its SHA-256 is the one that the configuration names.

Two formats are read: safetensors, which cannot run code, and TorchScript, which can, and is read
because its hash says whose code it is. Pickled files (.pt, .pth, .bin) are never loaded.
"""

import hashlib
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from safetensors import SafetensorError, safe_open

from workflow_scripts.files import FileProblem

if TYPE_CHECKING:
    import torch


def verified(path: str | Path, sha256: str) -> Path:
    """The path, if the file has the named hash; it is read through once, a block at a time.

    Raises
    ------
    FileProblem
        If the file is missing or another one; the message has both hashes.
    """
    path = Path(path)
    try:
        with open(path, "rb") as stored:
            found = hashlib.file_digest(stored, "sha256").hexdigest()
    except OSError as error:
        raise FileProblem(f"{path}: weights that cannot be read ({error.strerror})") from error
    if found != sha256:
        raise FileProblem(f"{path}: weights with SHA-256 {found}; expected {sha256}")
    return path


def read_tensors(path: str | Path, sha256: str, prefix: str = "") -> dict[str, "torch.Tensor"]:
    """The tensors of a verified safetensors file whose names begin with `prefix`, without it.

    Memory: the tensors that are returned.
    """
    path = verified(path, sha256)
    try:
        with safe_open(path, framework="pt") as stored:
            return {
                name.removeprefix(prefix): stored.get_tensor(name)
                for name in stored.keys()  # noqa: SIM118 — a reader, not a mapping
                if name.startswith(prefix)
            }
    except SafetensorError as error:
        raise FileProblem(
            f"{path}: not a readable safetensors file ({error}); pickled weights are never loaded"
        ) from error


def load_into(
    network: "torch.nn.Module", state: Mapping[str, "torch.Tensor"], path: str | Path, model: str
) -> None:
    """Put tensors into a network; every parameter must be there, of its shape, and no other.

    Raises
    ------
    FileProblem
        If the file belongs to another model.
    """
    wanted = {name: tuple(value.shape) for name, value in network.state_dict().items()}
    given = {name: tuple(value.shape) for name, value in state.items()}
    differing = sorted(
        name for name in {*wanted, *given} if wanted.get(name, "none") != given.get(name, "none")
    )
    if differing:
        name = differing[0]
        raise FileProblem(
            f"{path}: not the weights of {model}: {len(differing)} tensors differ, first {name}: "
            f"found {given.get(name, 'none')}; expected {wanted.get(name, 'none')}"
        )
    network.load_state_dict(state)


def load_script(path: str | Path, sha256: str, device: "torch.device") -> "torch.nn.Module":
    """The module of a verified TorchScript file, for inference on a device."""
    import torch

    path = verified(path, sha256)
    with warnings.catch_warnings():
        # torch advises its successor for new files; these are published as they are.
        warnings.simplefilter("ignore", FutureWarning)
        try:
            return torch.jit.load(path, map_location=device).eval()
        except RuntimeError as error:
            raise FileProblem(f"{path}: not a readable TorchScript file") from error


def run_script(script: "torch.nn.Module", x: "torch.Tensor") -> "torch.Tensor":
    """Its output, which would otherwise depend in the last bits on how often it ran before.

    TorchScript observes the first runs and compiles other kernels for the next.
    """
    import torch

    with torch.jit.optimized_execution(False):
        return script(x)
