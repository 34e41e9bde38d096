"""Any network, as a TorchScript file of known hash."""

from collections.abc import Mapping
from pathlib import Path

import torch

from workflow_scripts.device import choose_device
from workflow_scripts.encoders.network import NetworkEncoder
from workflow_scripts.encoders.weights import load_script, run_script
from workflow_scripts.files import FileProblem


def open_torchscript(settings: Mapping, weights: str | Path) -> NetworkEncoder:
    """The encoder of a catalogue entry of kind `torchscript`.

    Images are resized as clean-fid does, brought to the entry's channels and, linearly, from
    [0, 255] to its range; the output is flattened to [N, D].

    Memory: the network's and, for B images, 8 · B · C · size² bytes and the activations.
    """
    device = choose_device()
    script = load_script(weights, settings["weights"]["sha256"], device)

    def network(x: torch.Tensor) -> torch.Tensor:
        embedded = run_script(script, x)
        if not isinstance(embedded, torch.Tensor) or embedded.shape[:1] != x.shape[:1]:
            found = list(embedded.shape) if isinstance(embedded, torch.Tensor) else type(embedded)
            raise FileProblem(
                f"{weights}: {len(x)} images give {found}; expected a tensor [{len(x)}, …]"
            )
        return embedded

    low, high = settings["range"]
    return NetworkEncoder(
        network,
        settings["size"],
        -255 * low / (high - low),
        255 / (high - low),
        settings["batch_size"],
        device,
        rounded=False,
        channels=settings["channels"],
    )
