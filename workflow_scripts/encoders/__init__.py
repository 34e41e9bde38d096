"""Encoders: images uint8 [N, H, W, C] → embeddings float32 [N, D].

An encoder is opened from its catalogue entry and, where it was trained, its file of weights.
"""

import math
from collections.abc import Callable, Mapping

import numpy as np

Encoder = Callable[[np.ndarray], np.ndarray]


def open_encoder(settings: Mapping, weights: str | None = None) -> Encoder:
    """The encoder of a catalogue entry.

    Parameters
    ----------
    settings : mapping
        The entry's settings.
    weights : path, optional
        What `train_encoder` wrote, for the kinds that are trained.
    """
    match settings["kind"]:
        case "pixels":
            return encode_pixels
        case "cnn":
            # torch is imported only where a network runs: it costs seconds a job.
            from workflow_scripts.encoders.cnn import CnnEncoder

            return CnnEncoder(weights)
    raise ValueError(f"encoder kind: found {settings['kind']!r}")


def encode_pixels(images: np.ndarray) -> np.ndarray:
    """The pixels themselves, in [0, 1]."""
    # Spelled out: an empty shard has no size from which -1 could be told.
    return images.reshape(len(images), math.prod(images.shape[1:])).astype(np.float32) / 255
