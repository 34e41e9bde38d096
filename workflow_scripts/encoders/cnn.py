"""A small convolutional network trained on public data, as an encoder."""

from collections.abc import Mapping

import numpy as np
from safetensors import safe_open
from safetensors.torch import load_file, save

from workflow_scripts.cnn import SmallCnn, apply, train_classifier
from workflow_scripts.files import write_bytes

ARCHITECTURE = ("channels", "width", "dimension", "classes")


class CnnEncoder:
    """Embeds images by the layer below the classifier's head."""

    def __init__(self, weights: str):
        with safe_open(weights, framework="numpy") as stored:
            architecture = {name: int(stored.metadata()[name]) for name in ARCHITECTURE}
        network = SmallCnn(**architecture)
        network.load_state_dict(load_file(weights))
        self.features = network.features

    def __call__(self, images: np.ndarray) -> np.ndarray:
        return apply(self.features, images)


def train_encoder(
    path: str, images: np.ndarray, labels: np.ndarray, classes: int, settings: Mapping
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
    """
    training = ("width", "dimension", "epochs", "batch_size", "learning_rate", "seed")
    network = train_classifier(images, labels, classes, **{k: settings[k] for k in training})
    architecture = {
        "channels": images.shape[-1],
        "width": settings["width"],
        "dimension": settings["dimension"],
        "classes": classes,
    }
    metadata = {name: str(value) for name, value in architecture.items()}
    state = {name: value.cpu().contiguous() for name, value in network.state_dict().items()}
    write_bytes(path, save(state, metadata=metadata))
    return float(np.mean(apply(network, images).argmax(1) == labels))
