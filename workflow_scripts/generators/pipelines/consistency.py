"""Consistency models (arXiv 2303.01469): noise of any level becomes an image in one step.

Noise is added, not mixed: x = image + σ z. The levels are those of training, σ₀ = σ_max > … >
σ_min, evenly spaced in σ^(1/ρ) (arXiv 2206.00364, eq. 5).
"""

import math

import numpy as np
import torch
from diffusers import CMStochasticIterativeScheduler, DiffusionPipeline
from diffusers.utils.torch_utils import randn_tensor

from workflow_scripts.generators.pipelines.generator import Denoising, Draws
from workflow_scripts.generators.pipelines.loading import PipelineProblem
from workflow_scripts.generators.pipelines.networks import ClassUnet
from workflow_scripts.generators.pipelines.spaces import Pixels


class ConsistencySampler:
    """Algorithm 1 of the paper: denoise in one step, add noise of the next level, and again.

    A variation starts at the level of training that lies at `strength` between σ_min and σ_max on
    that even spacing, and then takes the sampling steps below it. 1 starts at σ_max, as RANDOM
    does.
    """

    def __init__(self, network: ClassUnet, scheduler: CMStochasticIterativeScheduler):
        self.network, self.config = network, scheduler.config
        self.space = Pixels(network.size, network.channels)
        self.image, self.shape = self.space.image, self.space.shape
        self.conditions, self.guidance = network.conditions, network.guidance
        self.most_steps = self.config.num_train_timesteps

    @torch.inference_mode()
    def sample(
        self,
        draws: Draws,
        conditions: np.ndarray,
        parents: np.ndarray | None,
        denoising: Denoising,
    ) -> np.ndarray:
        """Images uint8 [N, H, W, C]: see `Sampler`."""
        device = self.network.device
        classes, later = torch.from_numpy(conditions).to(device), draws.generators()
        noise = torch.from_numpy(draws.noise).to(device)
        first, *following = self._levels(denoising)
        if parents is None:
            x = first * noise
        else:
            x = self._renoise(self.space.encode(parents, device), noise, first)
        x = self._denoise(x, first, classes)
        for sigma in following:
            noise = randn_tensor(noise.shape, generator=later, device=device)
            x = self._denoise(self._renoise(x, noise, sigma), sigma, classes)
        return self.space.decode(x)

    def _renoise(self, image: torch.Tensor, noise: torch.Tensor, sigma: float) -> torch.Tensor:
        # An image counts as having noise of σ_min already.
        return image + (sigma**2 - self.config.sigma_min**2) ** 0.5 * noise

    def _levels(self, denoising: Denoising) -> list[float]:
        """σ of every step."""
        config, last = self.config, self.config.num_train_timesteps - 1
        # As places in the levels of training: 0 is σ_max, `last` is σ_min.
        places = np.arange(denoising.steps) * (config.num_train_timesteps // denoising.steps)
        first = last - max(1, round(denoising.strength * last))
        places = np.array([first, *places[places > first]])
        low, high = config.sigma_min ** (1 / config.rho), config.sigma_max ** (1 / config.rho)
        return ((high + places / last * (low - high)) ** config.rho).tolist()

    def _denoise(self, x: torch.Tensor, sigma: float, classes: torch.Tensor) -> torch.Tensor:
        """The consistency function f(x, σ) = c_skip x + c_out F(c_in x, σ) (appendix C)."""
        data, least = self.config.sigma_data, self.config.sigma_min
        scale = (sigma**2 + data**2) ** 0.5
        skip = data**2 / ((sigma - least) ** 2 + data**2)
        out = (sigma - least) * data / scale
        time = torch.tensor(250 * math.log(sigma))
        denoised = skip * x + out * self.network(x / scale, time, classes, None)
        return denoised.clamp(-1, 1) if self.config.clip_denoised else denoised


def consistency_sampler(pipeline: DiffusionPipeline) -> ConsistencySampler:
    """For pipelines of a `UNet2DModel` that was trained or distilled for consistency."""
    scheduler = pipeline.scheduler
    if not isinstance(scheduler, CMStochasticIterativeScheduler):
        raise PipelineProblem(
            f"scheduler: found {type(scheduler).__name__}; allowed: CMStochasticIterativeScheduler"
        )
    return ConsistencySampler(ClassUnet(pipeline.unet), scheduler)
