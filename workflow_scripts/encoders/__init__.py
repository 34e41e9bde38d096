"""Encoders: images uint8 [N, H, W, C] → embeddings float32 [N, D].

An encoder is opened from its catalogue entry and, where it has one, its file of weights. Images may
have any size and 1 or 3 channels; D shows when it runs, also for N = 0.
"""

import math
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np

from workflow_scripts.problems import Problem

Encoder = Callable[[np.ndarray], np.ndarray]


class EncoderProblem(Problem):
    """An encoder's settings do not fit its network; the message names the key."""


def open_encoder(settings: Mapping, weights: str | Path | None = None) -> Encoder:
    """The encoder of a catalogue entry.

    Modules are imported where they are needed: torch takes seconds, in every job.

    Parameters
    ----------
    settings : mapping
        The entry's settings.
    weights : path, optional
        What `train_encoder` wrote or `fetch_encoder` fetched, for the kinds that have weights.

    Raises
    ------
    FileProblem
        If the weights are missing, have another hash than the settings name, or belong to another
        model.
    EncoderProblem
        If the settings name a model that there is not.
    """
    match settings["kind"]:
        case "pixels":
            return encode_pixels
        case "cnn":
            from workflow_scripts.encoders.cnn import CnnEncoder

            return CnnEncoder(weights)
        case "inception":
            from workflow_scripts.encoders.inception import open_inception

            return open_inception(settings, weights)
        case "clip":
            from workflow_scripts.encoders.clip import open_clip_tower

            return open_clip_tower(settings, weights)
        case "dinov2":
            from workflow_scripts.encoders.dino import open_dino

            return open_dino(settings, weights)
        case "torchscript":
            from workflow_scripts.encoders.torchscript import open_torchscript

            return open_torchscript(settings, weights)
    raise ValueError(f"encoder kind: found {settings['kind']!r}")


def encode_pixels(images: np.ndarray) -> np.ndarray:
    """The pixels themselves, in [0, 1]."""
    # Spelled out: an empty shard has no size from which -1 could be told.
    return images.reshape(len(images), math.prod(images.shape[1:])).astype(np.float32) / 255
