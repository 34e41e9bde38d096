"""Inception-v3 as FID uses it: the pool features, 2048 numbers.

The network is the TorchScript translation of Google's frozen graph of 2015 that StyleGAN2-ADA
published and clean-fid (arXiv 2104.11222) takes. Images are resized as clean-fid does, so that
embeddings are those of its `InceptionV3W` behind `build_resizer("clean")`, within rounding.
"""

from collections.abc import Mapping
from pathlib import Path

from workflow_scripts.device import choose_device
from workflow_scripts.encoders.network import NetworkEncoder
from workflow_scripts.encoders.weights import load_script, run_script
from workflow_scripts.files import FileProblem

SIZE = 299
# The graph wants [−1, 1); the published file scales so.
MEAN = STD = 128.0


def open_inception(settings: Mapping, weights: str | Path) -> NetworkEncoder:
    """The encoder of a catalogue entry of kind `inception`.

    Memory: the network's 95 MB and, for B images, 2.1 MB · B and the activations.
    """
    device = choose_device()
    script = load_script(weights, settings["weights"]["sha256"], device)
    if not hasattr(script, "layers"):
        raise FileProblem(f"{weights}: not Inception as clean-fid has it: no submodule 'layers'")
    return NetworkEncoder(
        lambda x: run_script(script.layers, x),
        SIZE,
        MEAN,
        STD,
        settings["batch_size"],
        device,
        rounded=False,
    )
