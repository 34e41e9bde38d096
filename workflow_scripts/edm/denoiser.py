"""Denoisers D(x; σ, class), their preconditioning and their loss (arXiv 2206.00364).

Noise is added, not mixed: x = image + σ z. A network of another parametrisation is rescaled to
that, so that one loss and the same samplers serve every model.
"""

from collections.abc import Mapping
from typing import NamedTuple, Protocol

import numpy as np
import torch
from diffusers import DDIMScheduler
from torch import nn

from workflow_scripts.edm.network import SongUnet

# Of images in [−1, 1] whose values are spread evenly.
SIGMA_DATA = (1 / 3) ** 0.5
# ln σ of training is normal (table 1 of the paper).
LEVELS_MEAN, LEVELS_STD = -1.2, 1.2
# Between which noise levels the paper's samplers run.
SIGMA_MIN, SIGMA_MAX = 0.002, 80.0


class Scales(NamedTuple):
    """D(x; σ) = skip · x + out · F(into · x; noise), with the network F (eq. 7).

    Attributes
    ----------
    skip, out, into, noise : float tensors of the shape of σ
    """

    skip: torch.Tensor
    out: torch.Tensor
    into: torch.Tensor
    noise: torch.Tensor


class Preconditioning(Protocol):
    """How a network is scaled.

    Attributes
    ----------
    sigma_data : float
        Standard deviation of the images, for the weight of the loss.
    lowest, highest : float
        The noise levels that samplers run between.
    clips : bool
        Whether samplers keep denoised images within [−1, 1].
    """

    sigma_data: float
    lowest: float
    highest: float
    clips: bool

    def scales(self, sigma: torch.Tensor) -> Scales: ...


class EdmPreconditioning:
    """Inputs and targets of the network have unit variance at every noise level (table 1)."""

    clips = False

    def __init__(
        self,
        sigma_data: float = SIGMA_DATA,
        lowest: float = SIGMA_MIN,
        highest: float = SIGMA_MAX,
    ):
        self.sigma_data, self.lowest, self.highest = sigma_data, lowest, highest

    def scales(self, sigma: torch.Tensor) -> Scales:
        data = self.sigma_data
        total = (sigma**2 + data**2).sqrt()
        return Scales(data**2 / total**2, sigma * data / total, 1 / total, sigma.log() / 4)


class NoisePrediction:
    """A network that predicts the noise in √ᾱ image + √(1 − ᾱ) z (arXiv 2006.11239).

    Divided by √ᾱ that is image + σ z with σ = √((1 − ᾱ)/ᾱ). The network is told the time step of
    that noise level, between two of its own if need be (evenly in ln σ).

    Parameters
    ----------
    scheduler : DDIMScheduler
        That of the training.
    """

    sigma_data = SIGMA_DATA

    def __init__(self, scheduler: DDIMScheduler):
        alphas = scheduler.alphas_cumprod.double()
        self.scheduler, self.clips = scheduler, scheduler.config.clip_sample
        self.sigmas = ((1 - alphas) / alphas).sqrt()
        self.lowest = max(SIGMA_MIN, self.sigmas[0].item())
        self.highest = min(SIGMA_MAX, self.sigmas[-1].item())

    def scales(self, sigma: torch.Tensor) -> Scales:
        return Scales(torch.ones_like(sigma), -sigma, (1 + sigma**2).rsqrt(), self._timestep(sigma))

    def _timestep(self, sigma: torch.Tensor) -> torch.Tensor:
        logs = self.sigmas.to(sigma.device).log()
        wanted = sigma.double().log().clamp(logs[0], logs[-1])
        after = torch.searchsorted(logs, wanted).clamp(min=1)
        share = (wanted - logs[after - 1]) / (logs[after] - logs[after - 1])
        return (after - 1 + share).to(sigma.dtype)


class Denoiser(nn.Module):
    """A network that denoises images, of one class each if it knows classes.

    Parameters
    ----------
    network : SongUnet or UNet2DModel
        What it returns beyond the image's channels, learned variances, is left out.
    preconditioning : Preconditioning

    Attributes
    ----------
    shape : tuple of int
        Of an image: (C, H, W).
    classes : int or None
        How many classes the network knows; None if it is unconditional.
    null : int or None
        The class that stands for none, if there is one.
    """

    def __init__(self, network: nn.Module, preconditioning: Preconditioning):
        super().__init__()
        self.network, self.preconditioning = network, preconditioning
        config = network.config
        self.shape = (config.in_channels, config.sample_size, config.sample_size)
        self.classes = config.num_class_embeds
        self.null = self.classes if config.get("null_class") else None

    @property
    def device(self) -> torch.device:
        return self.network.device

    def forward(
        self, x: torch.Tensor, sigma: torch.Tensor | float, labels: torch.Tensor | None = None
    ) -> torch.Tensor:
        """The expected image float [N, C, H, W] behind x, of that shape.

        Parameters
        ----------
        sigma : float [N], or one number for all
            The standard deviation of the noise in x.
        labels : int64 [N] or None
            None only for a network without classes, which ignores them.
        """
        sigma = torch.as_tensor(sigma, dtype=x.dtype, device=x.device).expand(len(x))
        scales = self.preconditioning.scales(sigma)
        skip, out, into = (scale[:, None, None, None] for scale in scales[:3])
        conditions = labels if self.classes is not None else None
        inputs = (into * x).to(self.network.dtype)
        output = self.network(inputs, scales.noise, class_labels=conditions).sample
        return skip * x + out * output[:, : x.shape[1]].to(x.dtype)


def new_denoiser(
    network: Mapping, image: tuple[int, int], classes: int | None, seed: int, *, null_class: bool
) -> Denoiser:
    """An untrained denoiser; equal arguments give equal weights.

    Parameters
    ----------
    network : mapping
        `channels`, `multipliers`, `blocks` and `attention`: see `SongUnet`.
    image : (int, int)
        Size and channels.
    classes : int or None
        None for an unconditional one.
    null_class : bool
        Whether a class stands for none of them, for label dropout.
    """
    size, channels = image
    torch.manual_seed(seed)
    unet = SongUnet(
        sample_size=size,
        in_channels=channels,
        **network,
        num_class_embeds=classes,
        null_class=null_class,
    )
    return Denoiser(unet, EdmPreconditioning())


def denoising_losses(
    denoiser: Denoiser,
    images: torch.Tensor,
    labels: torch.Tensor | None,
    sigma: torch.Tensor,
    noise: torch.Tensor,
) -> torch.Tensor:
    """The weighted squared error of each row, the mean over its numbers: float [N].

    The weight (σ² + σ_d²)/(σ σ_d)² makes that of the network's own output equal at every level for
    the preconditioning of EDM (eq. 8).

    Parameters
    ----------
    images : float [N, C, H, W] in [−1, 1]
    labels : int64 [N] or None
    sigma : float [N]
    noise : float [N, C, H, W]
        Standard normal numbers.
    """
    data = denoiser.preconditioning.sigma_data
    weight = (sigma**2 + data**2) / (sigma * data) ** 2
    denoised = denoiser(images + sigma[:, None, None, None] * noise, sigma, labels)
    return weight * (denoised - images).square().mean(dim=(1, 2, 3))


def draw_levels(rng: np.random.Generator, n: int) -> np.ndarray:
    """Noise levels σ of training: float32 [n], ln σ ~ N(−1.2, 1.2²)."""
    return np.exp(rng.normal(LEVELS_MEAN, LEVELS_STD, n)).astype(np.float32)


def with_classes(denoiser: Denoiser, classes: int, seed: int) -> Denoiser:
    """A denoiser of other classes with the same weights otherwise.

    Embeddings of the new classes are drawn as those of a new network are: apart from the start,
    or a short training would not tell them apart. The null class stays.

    Parameters
    ----------
    classes : int
    """
    old = denoiser.network
    torch.manual_seed(seed)
    new = type(old).from_config(old.config, num_class_embeds=classes)
    new.load_state_dict(
        {name: value for name, value in old.state_dict().items() if "class_embedding" not in name},
        strict=False,
    )
    if denoiser.null is not None:
        with torch.no_grad():
            new.class_embedding.weight[classes] = old.class_embedding.weight[denoiser.null]
    return Denoiser(new.to(denoiser.device), denoiser.preconditioning)
