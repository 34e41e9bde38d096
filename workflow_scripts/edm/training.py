"""Training of a denoiser without privacy: on public data, or on what has been released."""

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from diffusers.training_utils import EMAModel

from workflow_scripts.cnn import as_tensor
from workflow_scripts.device import choose_device
from workflow_scripts.edm.denoiser import Denoiser, denoising_losses, draw_levels, new_denoiser
from workflow_scripts.randomness import rng_of
from workflow_scripts.resuming import Checkpoint, train_in_steps


def train_denoiser(
    network: Mapping,
    images: np.ndarray,
    labels: np.ndarray,
    classes: Sequence[str],
    training: Mapping,
    seed: int,
    start: Denoiser | None = None,
    checkpoint: Checkpoint | None = None,
) -> Denoiser:
    """Train a denoiser by Adam and return it with averaged weights.

    The average over n steps decays by min(`ema`, (1 + n)/(10 + n)). Equal arguments give equal
    weights.

    Memory: the images as bytes, or nothing of them if they are memory-mapped; one batch as float32.

    Parameters
    ----------
    network : mapping
        `channels`, `multipliers`, `blocks` and `attention`: see `SongUnet`. Not read with `start`.
    images : uint8 [N, H, W, C], labels : int64 [N]
    classes : sequence of str
        The names of the labels.
    training : mapping
        `batch_size`, `training_steps`, `learning_rate`, `ema`, `label_dropout` (a label's chance
        to be replaced by the null class, if there is one) and `flip` (whether images are mirrored
        half of the time).
    start : Denoiser, optional
        To be trained further, in place; without it, a new one.
    checkpoint : Checkpoint, optional
        What an interrupted training goes on from.
    """
    device = choose_device()
    if start is None:
        null_class = training["label_dropout"] > 0
        image = (images.shape[1], images.shape[3])
        start = new_denoiser(network, image, len(classes), seed, null_class=null_class)
    denoiser = start.to(device).train()
    rng, torch_rng = rng_of("edm training", seed), torch.Generator().manual_seed(seed)
    optimiser = torch.optim.Adam(denoiser.parameters(), lr=training["learning_rate"])
    average = EMAModel(denoiser.parameters(), decay=training["ema"])

    def step() -> torch.Tensor:
        rows = rng.integers(len(labels), size=training["batch_size"])
        known = labels[rows]
        if denoiser.null is not None:
            known = np.where(
                rng.random(len(rows)) < training["label_dropout"], denoiser.null, known
            )
        x = as_tensor(images[rows], device)
        if training["flip"]:
            mirrored = torch.from_numpy(rng.random(len(rows)) < 0.5).to(device)
            x = torch.where(mirrored[:, None, None, None], x.flip(3), x)
        sigma = torch.from_numpy(draw_levels(rng, len(rows))).to(device)
        noise = torch.randn(x.shape, generator=torch_rng).to(device)
        y = torch.from_numpy(known).to(device)
        loss = denoising_losses(denoiser, x, y, sigma, noise).mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        average.step(denoiser.parameters())
        return loss.detach()

    parts = {
        "denoiser": denoiser,
        "optimiser": optimiser,
        "average": average,
        "rng": rng,
        "torch rng": torch_rng,
    }
    train_in_steps(step, training["training_steps"], training["batch_size"], parts, checkpoint)
    average.copy_to(denoiser.parameters())
    return denoiser.eval()
