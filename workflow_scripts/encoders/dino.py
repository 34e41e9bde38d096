"""DINOv2 (arXiv 2304.07193): the normalised class token, as timm builds the network.

Images are resized in 8 bits by PIL's bicubic filter to 224 × 224 and normalised by ImageNet's mean
and standard deviation. The published weights have position embeddings for 518 × 518 pixels, which
timm resamples to this size.
"""

from collections.abc import Mapping
from pathlib import Path

import timm
from timm.data import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD

from workflow_scripts.device import choose_device
from workflow_scripts.encoders import EncoderProblem
from workflow_scripts.encoders.network import NetworkEncoder
from workflow_scripts.encoders.weights import load_into, read_tensors

SIZE = 224


def open_dino(settings: Mapping, weights: str | Path) -> NetworkEncoder:
    """The encoder of a catalogue entry of kind `dinov2`; the weights are a safetensors file.

    Memory: the network twice while it is loaded and, for B images, 1.2 MB · B and the activations.
    """
    name = settings["model"]
    models = timm.list_models("*dinov2*")
    if name not in models:
        raise EncoderProblem(f"model: found {name!r}; allowed: {', '.join(models)}")
    state = read_tensors(weights, settings["weights"]["sha256"])
    state.pop("mask_token", None)  # of training only
    device = choose_device()
    network = timm.create_model(name, pretrained=False, num_classes=0)
    load_into(network, state, weights, name)
    network.set_input_size(SIZE)
    return NetworkEncoder(
        network.to(device).eval(),
        SIZE,
        [255 * value for value in IMAGENET_DEFAULT_MEAN],
        [255 * value for value in IMAGENET_DEFAULT_STD],
        settings["batch_size"],
        device,
        rounded=True,
    )
