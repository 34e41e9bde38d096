"""What encoders by a network have in common: resize, normalise, compute, in batches."""

from collections.abc import Callable, Sequence

import numpy as np
import torch

from workflow_scripts.resizing import resize_batch, to_channels


class NetworkEncoder:
    """Embeds images of any size by a network that wants one size.

    Memory on the device: the network with its activations, and twice a batch of resized images.

    Parameters
    ----------
    network : callable
        float32 [N, channels, size, size], normalised, → tensor [N, …], on the device.
    size : int
        Height and width in pixels.
    mean, std : float, or one for each channel
        In grey levels: the network sees (x − mean) / std of x in [0, 255].
    batch_size : int
    device : torch.device
    rounded : bool
        Whether the network was trained on images resized in 8 bits: see `resize_batch`.
    channels : {1, 3}
        Grey images are repeated, colour images turned grey, if the network wants it.
    """

    def __init__(
        self,
        network: Callable[[torch.Tensor], torch.Tensor],
        size: int,
        mean: float | Sequence[float],
        std: float | Sequence[float],
        batch_size: int,
        device: torch.device,
        *,
        rounded: bool,
        channels: int = 3,
    ):
        self.network = network
        self.size = size
        self.mean = torch.tensor(mean, device=device).view(-1, 1, 1)
        self.std = torch.tensor(std, device=device).view(-1, 1, 1)
        self.batch_size = batch_size
        self.device = device
        self.rounded = rounded
        self.channels = channels

    @torch.inference_mode()
    def __call__(self, images: np.ndarray) -> np.ndarray:
        """Embeddings float32 [N, D] of images uint8 [N, H, W, C]."""
        if not len(images):
            # As long as that of any image.
            return self(np.zeros((1, *images.shape[1:]), np.uint8))[:0]
        # The fewest channels are resized.
        channels = min(images.shape[3], self.channels)
        rows = min(len(images), self.batch_size)
        resized = torch.empty((rows, channels, self.size, self.size), device=self.device)
        parts = []
        for start in range(0, len(images), self.batch_size):
            batch = to_channels(images[start : start + self.batch_size], channels)
            x = resize_batch(batch, self.size, self.device, rounded=self.rounded, out=resized)
            x = x.expand(-1, self.channels, -1, -1).sub(self.mean).div_(self.std)
            parts.append(self.network(x).flatten(1).float().cpu().numpy())
        return np.concatenate(parts)
