"""Denoisers in the parametrisation of EDM as generators: `workflow_scripts.edm`."""

from collections.abc import Mapping

import numpy as np
import torch
from diffusers import DiffusionPipeline
from diffusers.utils.torch_utils import randn_tensor

from workflow_scripts.edm.denoiser import Denoiser, NoisePrediction
from workflow_scripts.edm.pipeline import EdmPipeline, solver_of
from workflow_scripts.edm.sampling import Solver, noise_levels
from workflow_scripts.generators.pipelines.ddim import ddim_scheduler
from workflow_scripts.generators.pipelines.generator import Denoising, Draws
from workflow_scripts.generators.pipelines.loading import PipelineProblem
from workflow_scripts.generators.pipelines.networks import ClassUnet
from workflow_scripts.generators.pipelines.spaces import Pixels

# Pipelines that have a denoiser.
DENOISERS = ("EdmPipeline", "DDPMPipeline", "DDIMPipeline")


class EdmSampler:
    """A denoiser and the way in which it is sampled.

    A variation adds noise of the level of the first step that is run.

    Parameters
    ----------
    denoiser : Denoiser
    solver : Solver
    """

    guidance = None
    # The levels are continuous; this many differ in nothing but rounding.
    most_steps = 10_000

    def __init__(self, denoiser: Denoiser, solver: Solver):
        self.denoiser, self.solver = denoiser.eval(), solver
        channels, size, _ = self.shape = denoiser.shape
        self.space = Pixels(size, channels)
        self.image = self.space.image
        self.conditions = denoiser.classes or 1

    @torch.inference_mode()
    def sample(
        self,
        draws: Draws,
        conditions: np.ndarray,
        parents: np.ndarray | None,
        denoising: Denoising,
    ) -> np.ndarray:
        """Images uint8 [N, H, W, C]: see `Sampler`."""
        device, preconditioning = self.denoiser.device, self.denoiser.preconditioning
        classes, later = torch.from_numpy(conditions).to(device), draws.generators()
        noise = torch.from_numpy(draws.noise).to(device)
        levels = noise_levels(denoising.steps, preconditioning.lowest, preconditioning.highest)
        levels = levels[-denoising.run - 1 :]
        x = levels[0] * noise
        if parents is not None:
            x = self.space.encode(parents, device) + x

        def denoise(x: torch.Tensor, sigma: float) -> torch.Tensor:
            denoised = self.denoiser(x, sigma, classes)
            return denoised.clamp(-1, 1) if preconditioning.clips else denoised

        def fresh() -> torch.Tensor:
            return randn_tensor(noise.shape, generator=later, device=device)

        return self.space.decode(self.solver.run(denoise, x, levels, denoising.steps, fresh))


def edm_sampler(pipeline: DiffusionPipeline, sampling: Mapping | None = None) -> EdmSampler:
    """For pipelines that have a denoiser.

    Parameters
    ----------
    sampling : mapping, optional
        By default what is stored with an `EdmPipeline`.
    """
    return EdmSampler(denoiser_of(pipeline), solver_of(sampling or pipeline.config.sampling))


def denoiser_of(pipeline: DiffusionPipeline) -> Denoiser:
    """The denoiser of a pipeline: its own, or a `UNet2DModel` that predicts noise."""
    if isinstance(pipeline, EdmPipeline):
        return pipeline.denoiser
    unet, scheduler = ClassUnet(pipeline.unet).unet, ddim_scheduler(pipeline.scheduler)
    predicted = scheduler.config.prediction_type
    if predicted != "epsilon":
        raise PipelineProblem(
            f"scheduler: prediction_type: found {predicted!r}; allowed: 'epsilon'"
        )
    return Denoiser(unet, NoisePrediction(scheduler))
