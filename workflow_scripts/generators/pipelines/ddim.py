"""DDIM without fresh noise (arXiv 2010.02502, η = 0), on pixels or on latents."""

import numpy as np
import torch
from diffusers import DDIMScheduler, DiffusionPipeline

from workflow_scripts.generators.pipelines.generator import Denoising, Draws
from workflow_scripts.generators.pipelines.loading import PipelineProblem
from workflow_scripts.generators.pipelines.networks import ClassTransformer, ClassUnet
from workflow_scripts.generators.pipelines.spaces import Latents, Pixels


class DdimSampler:
    """A class-conditional or unconditional model, its space, and its schedule.

    A variation mixes the image and noise as the schedule has it at the first step that is run.

    Parameters
    ----------
    network : ClassUnet or ClassTransformer
    space : Pixels or Latents
    scheduler : DDIMScheduler
        Computes in float32, whatever the network's precision.
    """

    def __init__(
        self,
        network: ClassUnet | ClassTransformer,
        space: Pixels | Latents,
        scheduler: DDIMScheduler,
    ):
        self.network, self.space, self.scheduler = network, space, scheduler
        self.image, self.shape = space.image, space.shape
        self.conditions, self.guidance = network.conditions, network.guidance
        self.most_steps = scheduler.config.num_train_timesteps

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
        self.scheduler.set_timesteps(denoising.steps)
        timesteps = self.scheduler.timesteps[-denoising.run :]
        x = torch.from_numpy(draws.noise).to(device)
        if parents is not None:
            clean = self.space.encode(parents, device)
            x = self.scheduler.add_noise(clean, x, timesteps[0].expand(len(x)))
        classes = torch.from_numpy(conditions).to(device)
        for timestep in timesteps:
            predicted = self.network(x, timestep, classes, denoising.guidance)
            x = self.scheduler.step(predicted, timestep, x, eta=0.0).prev_sample
        return self.space.decode(x)


def pixel_sampler(pipeline: DiffusionPipeline) -> DdimSampler:
    """For pipelines of a `UNet2DModel` on pixels."""
    network = ClassUnet(pipeline.unet)
    return DdimSampler(
        network, Pixels(network.size, network.channels), ddim_scheduler(pipeline.scheduler)
    )


def latent_sampler(pipeline: DiffusionPipeline) -> DdimSampler:
    """For pipelines of a diffusion transformer on latents."""
    network = ClassTransformer(pipeline.transformer)
    space = Latents(pipeline.vae, network.size, network.channels)
    # Latents have no bounds to clip to.
    return DdimSampler(network, space, ddim_scheduler(pipeline.scheduler, clip_sample=False))


def ddim_scheduler(stored: object, **changes) -> DDIMScheduler:
    """DDIM with the noise, the prediction and the clipping of a stored scheduler."""
    betas = getattr(stored, "betas", None)
    if betas is None:
        raise PipelineProblem(
            f"scheduler: found {type(stored).__name__}; allowed: one with a schedule of β"
        )
    # The values themselves: some schedules are known to other schedulers only.
    betas = betas.double().tolist()
    return DDIMScheduler.from_config(
        stored.config, trained_betas=betas, rescale_betas_zero_snr=False, **changes
    )
