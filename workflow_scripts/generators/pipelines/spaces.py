"""What a model denoises: pixels, or the latents of an autoencoder."""

import numpy as np
import torch

from workflow_scripts.cnn import as_tensor
from workflow_scripts.generators.pipelines.loading import PipelineProblem


class Pixels:
    """Images in [−1, 1].

    Parameters
    ----------
    size, channels : int
        Of the images.
    """

    def __init__(self, size: int, channels: int):
        self.shape = (channels, size, size)
        self.image = (size, channels)

    def encode(self, images: np.ndarray, device: torch.device) -> torch.Tensor:
        """uint8 [N, H, W, C] → float32 [N, *shape]."""
        return as_tensor(images, device)

    def decode(self, x: torch.Tensor) -> np.ndarray:
        """float32 [N, *shape] → uint8 [N, H, W, C]."""
        return as_bytes(x)


class Latents:
    """Latents of an autoencoder, scaled to about unit variance (arXiv 2112.10752, section 3).

    Parameters
    ----------
    vae : AutoencoderKL
    size, channels : int
        Of the latents.
    """

    def __init__(self, vae: torch.nn.Module, size: int, channels: int):
        # An image at a time: it needs far more memory for an image than the network does.
        vae.enable_slicing()
        self.vae = vae
        self.scale = vae.config.scaling_factor
        self.shape = (channels, size, size)
        reduction = 2 ** (len(vae.config.block_out_channels) - 1)
        self.image = (size * reduction, vae.config.out_channels)

    def encode(self, images: np.ndarray, device: torch.device) -> torch.Tensor:
        """uint8 [N, H, W, C] → float32 [N, *shape]: the mode of the posterior, nothing drawn."""
        pixels = as_tensor(images, device).to(self.vae.dtype)
        return self.vae.encode(pixels).latent_dist.mode().float() * self.scale

    def decode(self, x: torch.Tensor) -> np.ndarray:
        """float32 [N, *shape] → uint8 [N, H, W, C]."""
        return as_bytes(self.vae.decode((x / self.scale).to(self.vae.dtype)).sample.float())


def as_bytes(x: torch.Tensor) -> np.ndarray:
    """float32 [N, C, H, W] in [−1, 1], clipped → uint8 [N, H, W, C].

    Raises
    ------
    PipelineProblem
        If there is something else than numbers: half precision overflowed.
    """
    if not x.isfinite().all():
        raise PipelineProblem(
            "precision: the model's numbers overflowed; allowed: a wider one, bfloat16 or float32"
        )
    pixels = x.add(1).mul(127.5).round().clamp(0, 255).to(torch.uint8)
    return pixels.permute(0, 2, 3, 1).contiguous().cpu().numpy()
