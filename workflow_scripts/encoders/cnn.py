"""A small convolutional network trained on public data, as an encoder."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch

from workflow_scripts.cnn import SmallCnn, apply, train_classifier
from workflow_scripts.files import read_arrays, read_metadata, write_arrays
from workflow_scripts.resuming import Checkpoint


def open_cnn(weights: str | Path) -> SmallCnn:
    """The network that `train_encoder` wrote, with its head."""
    network = SmallCnn(**read_metadata(weights))
    network.load_state_dict(
        {name: torch.from_numpy(values) for name, values in read_arrays(weights).items()}
    )
    return network


class CnnEncoder:
    """Embeds images by the layer below the classifier's head."""

    def __init__(self, weights: str | Path):
        self.features = open_cnn(weights).features

    def __call__(self, images: np.ndarray) -> np.ndarray:
        return apply(self.features, images)


def train_encoder(
    path: str,
    images: np.ndarray,
    labels: np.ndarray,
    classes: int,
    settings: Mapping,
    checkpoint: Checkpoint | None = None,
) -> float:
    """Train on a public data set, write the weights and return the training accuracy.

    Parameters
    ----------
    path : path
        Of the safetensors file to write.
    images : uint8 [N, H, W, C], labels : int64 [N]
    classes : int
    settings : mapping
        The catalogue entry of kind `cnn`.
    checkpoint : Checkpoint, optional
        What an interrupted training goes on from.
    """
    training = ("width", "dimension", "epochs", "batch_size", "learning_rate", "seed", "augment")
    chosen = {name: settings[name] for name in training}
    network = train_classifier(images, labels, classes, **chosen, checkpoint=checkpoint)
    architecture = {
        "channels": images.shape[-1],
        "width": settings["width"],
        "dimension": settings["dimension"],
        "classes": classes,
    }
    state = {name: values.cpu().numpy() for name, values in network.state_dict().items()}
    write_arrays(path, state, architecture)
    return float(np.mean(apply(network, images).argmax(1) == labels))
