"""Text-to-image pipelines of the Stable Diffusion family, asked with a prompt for each class.

They run as they are, with the scheduler that is stored with them; a variation is the pipeline's
image-to-image form, made of the same parts.
"""

import inspect
from collections.abc import Mapping, Sequence

import numpy as np
import torch
from diffusers import AutoPipelineForImage2Image, DiffusionPipeline

from workflow_scripts.cnn import as_tensor
from workflow_scripts.generators.pipelines.generator import Denoising, Draws
from workflow_scripts.generators.pipelines.loading import PipelineProblem
from workflow_scripts.generators.pipelines.spaces import as_bytes


def prompts_of(classes: Sequence[str], settings: Mapping) -> list[str]:
    """The prompt of every class, from `prompt`, where {class} is its name, or from `prompts`."""
    if settings["prompt"] is not None:
        return [settings["prompt"].replace("{class}", name) for name in classes]
    missing = [name for name in classes if name not in settings["prompts"]]
    if missing:
        raise PipelineProblem(
            f"prompts: found none for {missing}; allowed: one for each class, or prompt"
        )
    return [settings["prompts"][name] for name in classes]


class TextSampler:
    """RANDOM by a text-to-image pipeline, VARIATION by its image-to-image form.

    Parameters
    ----------
    pipeline : DiffusionPipeline
        Without a safety checker.
    prompts : sequence of str
        What the conditions ask for.
    """

    def __init__(self, pipeline: DiffusionPipeline, prompts: Sequence[str]):
        self.create = pipeline
        self.edit = AutoPipelineForImage2Image.from_pipe(pipeline)
        for form in (self.create, self.edit):
            form.set_progress_bar_config(disable=True)
            # Stable Diffusion XL marks its images if a certain package is installed.
            form.watermark = None
        # An image at a time: the decoder needs far more memory for an image than the network does.
        pipeline.vae.enable_slicing()
        self.prompts, self.conditions = list(prompts), len(prompts)
        unet = pipeline.unet.config
        self.shape = (unet.in_channels, unet.sample_size, unet.sample_size)
        self.image = (unet.sample_size * pipeline.vae_scale_factor, pipeline.vae.config.in_channels)
        self.guidance = inspect.signature(pipeline.__call__).parameters["guidance_scale"].default
        self.most_steps = pipeline.scheduler.config.num_train_timesteps
        self.dtype = pipeline.unet.dtype

    @torch.inference_mode()
    def sample(
        self,
        draws: Draws,
        conditions: np.ndarray,
        parents: np.ndarray | None,
        denoising: Denoising,
    ) -> np.ndarray:
        """Images uint8 [N, H, W, C]: see `Sampler`."""
        # Stable Diffusion XL widens its decoder and may have been stopped before undoing it.
        if self.create.vae.dtype != self.dtype:
            self.create.vae.to(self.dtype)
        asked = {
            "prompt": [self.prompts[condition] for condition in conditions],
            "num_inference_steps": denoising.steps,
            "guidance_scale": denoising.guidance,
            "generator": draws.generators(),
            "output_type": "pt",
        }
        if parents is None:
            size, _ = self.image
            noise = torch.from_numpy(draws.noise).to(self.create.unet.device, self.dtype)
            images = self.create(latents=noise, height=size, width=size, **asked).images
        else:
            # The form rounds down; half a step keeps it from losing one to rounding errors.
            strength = min(1.0, (denoising.run + 0.5) / denoising.steps)
            pixels = as_tensor(parents, torch.device("cpu")).add(1).div(2)
            images = self.edit(image=pixels, strength=strength, **asked).images
        return as_bytes(images.float().mul(2).sub(1))
