"""The public classifier of the semantic query: images uint8 [N, H, W, C] → logits [N, classes]."""

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np

from workflow_scripts.encoders import EncoderProblem
from workflow_scripts.files import FileProblem
from workflow_scripts.resizing import fit

Classifier = Callable[[np.ndarray], np.ndarray]


def open_classifier(
    settings: Mapping, weights: str | Path, classes: int, image: Mapping[str, int]
) -> Classifier:
    """A network that was trained to tell the public classes apart.

    Parameters
    ----------
    settings : mapping
        An encoder's catalogue entry of kind `cnn`, whose head is used as well, or `torchscript`,
        whose outputs are taken for logits.
    weights : path
    classes : int
        The number of public classes.
    image : mapping
        `size` and `channels` of the public images. Images of another shape are brought to it:
        they come to the network as the public images do.

    Returns
    -------
    callable
        Logits float32 [N, classes] of images uint8 [N, H, W, 1 or 3].

    Raises
    ------
    EncoderProblem
        If the entry is of another kind.
    FileProblem
        If the weights cannot be read or tell another number of classes apart.
    """
    network = _open_network(settings, weights)

    def classify(images: np.ndarray) -> np.ndarray:
        return network(fit(images, **image))

    # No image shows the width as well, before any private one is looked at.
    found = classify(np.zeros((0, image["size"], image["size"], image["channels"]), np.uint8))
    if found.shape[1] != classes:
        raise FileProblem(
            f"{weights}: a classifier with {found.shape[1]} outputs; allowed: {classes}, one for "
            "each public class"
        )
    return classify


def _open_network(settings: Mapping, weights: str | Path) -> Classifier:
    match settings["kind"]:
        case "cnn":
            from workflow_scripts.cnn import apply
            from workflow_scripts.encoders.cnn import open_cnn

            network = open_cnn(weights)
            return lambda images: apply(network, images)
        case "torchscript":
            from workflow_scripts.encoders.torchscript import open_torchscript

            return open_torchscript(settings, weights)
    raise EncoderProblem(
        f"kind: found {settings['kind']!r}, which does not classify; allowed: cnn, torchscript"
    )
