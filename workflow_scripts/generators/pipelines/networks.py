"""The networks of class-conditional pipelines, called in one way."""

import torch
from diffusers import DiTTransformer2DModel, UNet2DModel

from workflow_scripts.generators.pipelines.loading import PipelineProblem


class ClassUnet:
    """A `UNet2DModel`: its prediction under a class, or under none.

    Models with learned variances (arXiv 2102.09672) predict twice as many channels; the second
    half is the variances, which DDIM does not use.
    """

    guidance = None

    def __init__(self, unet: UNet2DModel):
        _expect(UNet2DModel, unet, "unet")
        config = unet.config
        if config.out_channels not in (config.in_channels, 2 * config.in_channels):
            raise PipelineProblem(
                f"unet: found {config.in_channels} channels in, {config.out_channels} out; "
                "allowed: as many out as in, or twice as many"
            )
        if not isinstance(config.sample_size, int):
            raise PipelineProblem(
                f"unet: sample_size: found {config.sample_size}; allowed: a number, for squares"
            )
        self.conditional = config.num_class_embeds is not None
        if unet.class_embedding is not None and not self.conditional:
            raise PipelineProblem(
                f"unet: class_embed_type: found {config.class_embed_type!r}; allowed: classes by "
                "number (num_class_embeds)"
            )
        self.unet = unet
        self.conditions = config.num_class_embeds or 1
        self.size, self.channels = config.sample_size, config.in_channels
        self.device, self.dtype = unet.device, unet.dtype

    def __call__(
        self,
        x: torch.Tensor,
        timestep: torch.Tensor,
        conditions: torch.Tensor,
        guidance: float | None,
    ) -> torch.Tensor:
        """The prediction float32 [N, C, H, W] for x of that shape at one time step."""
        labels = conditions if self.conditional else None
        output = self.unet(x.to(self.dtype), timestep, class_labels=labels).sample
        return output[:, : self.channels].float()


class ClassTransformer:
    """A diffusion transformer (arXiv 2212.09748) with classifier-free guidance.

    The class after the last is the null class, which training put in place of some labels.
    """

    guidance = 4.0  # that of the paper's figures and of diffusers

    def __init__(self, transformer: DiTTransformer2DModel):
        _expect(DiTTransformer2DModel, transformer, "transformer")
        config = transformer.config
        self.transformer = transformer
        self.conditions = self.null = config.num_embeds_ada_norm
        self.size, self.channels = config.sample_size, config.in_channels
        self.device, self.dtype = transformer.device, transformer.dtype

    def __call__(
        self,
        x: torch.Tensor,
        timestep: torch.Tensor,
        conditions: torch.Tensor,
        guidance: float | None,
    ) -> torch.Tensor:
        """The prediction float32 [N, C, H, W] for x of that shape at one time step.

        ε = ε(∅) + w (ε(class) − ε(∅)) with weight w above 1 (arXiv 2207.12598, eq. 6 with
        w = 1 + their w); otherwise ε(class).
        """
        if guidance <= 1:
            return self._predict(x, timestep, conditions)
        both = torch.cat([conditions, torch.full_like(conditions, self.null)])
        conditional, unconditional = self._predict(torch.cat([x, x]), timestep, both).chunk(2)
        return unconditional + guidance * (conditional - unconditional)

    def _predict(
        self, x: torch.Tensor, timestep: torch.Tensor, conditions: torch.Tensor
    ) -> torch.Tensor:
        times = timestep.to(self.device).expand(len(x))
        output = self.transformer(x.to(self.dtype), timestep=times, class_labels=conditions).sample
        return output[:, : self.channels].float()


def _expect(kind: type, network: torch.nn.Module, part: str) -> None:
    if not isinstance(network, kind):
        raise PipelineProblem(f"{part}: found a {type(network).__name__}; allowed: {kind.__name__}")
