"""The form in which a denoiser of ours is stored and given away: a pipeline of diffusers."""

from collections.abc import Mapping, Sequence

import torch
from diffusers import DiffusionPipeline, EDMEulerScheduler, ImagePipelineOutput
from diffusers.utils.torch_utils import randn_tensor

from workflow_scripts.edm.denoiser import Denoiser, EdmPreconditioning
from workflow_scripts.edm.network import SongUnet
from workflow_scripts.edm.sampling import Solver, noise_levels

# If nothing else is said: that of PrivImage (arXiv 2311.12850).
SAMPLING = {"sampler": "ddim", "steps": 50}


class EdmPipeline(DiffusionPipeline):
    """Images of the classes of a `SongUnet`.

    Parameters
    ----------
    unet : SongUnet
    scheduler : EDMEulerScheduler
        Holds σ_data and the noise levels; the steps are those of `workflow_scripts.edm.sampling`.
    sampling : mapping, optional
        `sampler`, `steps` and what else a `Solver` takes.
    """

    def __init__(self, unet: SongUnet, scheduler: EDMEulerScheduler, sampling: Mapping = SAMPLING):
        super().__init__()
        self.register_modules(unet=unet, scheduler=scheduler)
        self.register_to_config(sampling=dict(sampling))

    @property
    def denoiser(self) -> Denoiser:
        config = self.scheduler.config
        return Denoiser(
            self.unet, EdmPreconditioning(config.sigma_data, config.sigma_min, config.sigma_max)
        )

    @torch.inference_mode()
    def __call__(
        self,
        class_labels: int | Sequence[int] = 0,
        num_inference_steps: int | None = None,
        generator: torch.Generator | Sequence[torch.Generator] | None = None,
        output_type: str = "pil",
        return_dict: bool = True,
    ) -> ImagePipelineOutput | tuple:
        """An image for each label.

        Parameters
        ----------
        class_labels : int or sequence of int
            The numbers of the classes, in the order of `classes.json`; of a model without classes
            only their count matters.
        num_inference_steps : int, optional
            By default that of the stored sampling settings.
        generator : torch.Generator or sequence of them, optional
            One for all images, or one for each.
        output_type : str
            `pil`, or `pt` for float32 [N, C, H, W] in [0, 1].
        """
        labels = torch.as_tensor(class_labels, device=self.unet.device).reshape(-1)
        denoiser, config = self.denoiser, self.scheduler.config
        steps = num_inference_steps or self.config.sampling["steps"]
        levels = noise_levels(steps, config.sigma_min, config.sigma_max, config.rho)
        shape = (len(labels), *denoiser.shape)

        def fresh() -> torch.Tensor:
            return randn_tensor(shape, generator=generator, device=labels.device)

        x = solver_of(self.config.sampling).run(
            lambda x, sigma: denoiser(x, sigma, labels), levels[0] * fresh(), levels, steps, fresh
        )
        images = x.div(2).add(0.5).clamp(0, 1)
        if output_type == "pil":
            images = self.numpy_to_pil(images.permute(0, 2, 3, 1).cpu().numpy())
        return ImagePipelineOutput(images=images) if return_dict else (images,)


def pipeline_of(denoiser: Denoiser, sampling: Mapping) -> EdmPipeline:
    """The pipeline of a `SongUnet`'s denoiser."""
    precondition = denoiser.preconditioning
    scheduler = EDMEulerScheduler(
        sigma_min=precondition.lowest,
        sigma_max=precondition.highest,
        sigma_data=precondition.sigma_data,
    )
    return EdmPipeline(denoiser.network, scheduler, sampling)


def solver_of(sampling: Mapping) -> Solver:
    """The sampler of settings, which say the number of steps as well."""
    given = {key: value for key, value in sampling.items() if key != "steps" and value is not None}
    return Solver(**given)
