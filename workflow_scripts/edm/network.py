"""The small U-Net of score-based models: NCSN++/DDPM++ (arXiv 2011.13456, appendix H).

Residual blocks of BigGAN, which also halve and double the resolution, a positional embedding of the
noise level, GroupNorm. No row of a batch sees another, so gradients per image are well defined; the
parametrised layers are Conv2d, Linear, GroupNorm and Embedding, each used once in a pass.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from diffusers import ConfigMixin, ModelMixin
from diffusers.configuration_utils import register_to_config
from diffusers.models.attention_processor import Attention, AttnProcessor2_0
from diffusers.models.embeddings import TimestepEmbedding, Timesteps
from diffusers.models.resnet import ResnetBlock2D
from diffusers.utils import BaseOutput
from torch import nn
from torch.nn import functional as F

EPS = 1e-6  # of GroupNorm


@dataclass
class SongUnetOutput(BaseOutput):
    """
    Attributes
    ----------
    sample : float [N, C, H, W]
    """

    sample: torch.Tensor


class SongUnet(ModelMixin, ConfigMixin):
    """A U-Net under noise levels and, perhaps, classes.

    Going down, every level has `blocks` residual blocks; going up one more, for each of them takes
    one of the stored activations, the halved ones among them. A level of a resolution in
    `attention` attends to itself after every block on the way down and once on the way up.

    Parameters
    ----------
    sample_size : int
        Pixels of a side; even as often as there are levels but one.
    in_channels : int
        Of the images; the output has as many.
    channels : int
        Of the first convolution; a multiple of 8.
    multipliers : sequence of int
        Channels of each level, from the full resolution down, in units of `channels`.
    blocks : int
        Residual blocks of each level.
    attention : sequence of int
        Resolutions, in pixels of a side.
    num_class_embeds : int or None
        Classes; None for a model without.
    null_class : bool
        Whether one more class, of number `num_class_embeds`, stands for none of them.
    """

    config_name = "config.json"

    @register_to_config
    def __init__(
        self,
        sample_size: int,
        in_channels: int,
        channels: int,
        multipliers: Sequence[int] = (1, 2, 2),
        blocks: int = 2,
        attention: Sequence[int] = (16,),
        num_class_embeds: int | None = None,
        null_class: bool = False,
    ):
        super().__init__()
        widths = [channels * multiplier for multiplier in multipliers]
        sizes = [sample_size // 2**level for level in range(len(widths))]
        last = len(widths) - 1
        embedded = 4 * channels
        self.noise_position = Timesteps(channels, flip_sin_to_cos=False, downscale_freq_shift=1)
        self.noise_embedding = TimestepEmbedding(channels, embedded)
        self.class_embedding = None
        if num_class_embeds is not None:
            self.class_embedding = nn.Embedding(num_class_embeds + null_class, channels)

        self.conv_in = nn.Conv2d(in_channels, channels, 3, padding=1)
        self.down, self.middle, self.up = nn.ModuleList(), nn.ModuleList(), nn.ModuleList()
        stored, width = [channels], channels
        for level, (out, size) in enumerate(zip(widths, sizes, strict=True)):
            for _ in range(blocks):
                self.down.append(Block(width, out, embedded, attend=size in attention))
                stored.append(width := out)
            if level < last:
                self.down.append(Block(width, width, embedded, down=True))
                stored.append(width)
        self.middle.append(Block(width, width, embedded, attend=True))
        self.middle.append(Block(width, width, embedded))
        for level, (out, size) in reversed(list(enumerate(zip(widths, sizes, strict=True)))):
            for block in range(blocks + 1):
                attend = block == blocks and size in attention
                self.up.append(Block(width + stored.pop(), out, embedded, attend=attend))
                width = out
            if level > 0:
                self.up.append(Block(width, width, embedded, up=True))
        self.norm_out = nn.GroupNorm(groups_of(width), width, eps=EPS)
        self.conv_out = nn.Conv2d(width, in_channels, 3, padding=1)
        self._initialise()

    def _initialise(self) -> None:
        for module in self.modules():
            if isinstance(module, (nn.Conv2d, nn.Linear)):
                nn.init.xavier_uniform_(module.weight)
                nn.init.zeros_(module.bias)
        # Every residual branch starts as nothing.
        last = [self.conv_out]
        for block in (*self.down, *self.middle, *self.up):
            last.append(block.residual.conv2)
            if block.attention is not None:
                last.append(block.attention.to_out[0])
        for layer in last:
            nn.init.zeros_(layer.weight)

    def forward(
        self,
        x: torch.Tensor,
        timestep: torch.Tensor | float,
        class_labels: torch.Tensor | None = None,
    ) -> SongUnetOutput:
        """The network's output, in the shape of x.

        Parameters
        ----------
        x : float [N, C, H, W]
        timestep : float [N], or one number for all
            A number that rises with the noise level: c_noise of the preconditioning.
        class_labels : int64 [N] or None
            None only for a model without classes.
        """
        times = torch.as_tensor(timestep, device=x.device).expand(len(x))
        embedded = self.noise_position(times).to(x.dtype)
        if self.class_embedding is not None:
            embedded = embedded + self.class_embedding(class_labels)
        embedded = self.noise_embedding(embedded)
        stored = [x := self.conv_in(x)]
        for block in self.down:
            stored.append(x := block(x, embedded))
        for block in self.middle:
            x = block(x, embedded)
        for block in self.up:
            if not block.doubles:
                x = torch.cat([x, stored.pop()], dim=1)
            x = block(x, embedded)
        return SongUnetOutput(self.conv_out(F.silu(self.norm_out(x))))


class Block(nn.Module):
    """A residual block and, perhaps, attention over its pixels.

    Sums are divided by √2, so that variances do not grow with the depth.

    Parameters
    ----------
    inputs, outputs : int
        Channels.
    embedded : int
        Length of the embedding of noise level and class.
    attend : bool
    down, up : bool
        Halve or double the resolution.
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        embedded: int,
        *,
        attend: bool = False,
        down: bool = False,
        up: bool = False,
    ):
        super().__init__()
        self.doubles = up
        self.residual = ResnetBlock2D(
            in_channels=inputs,
            out_channels=outputs,
            temb_channels=embedded,
            groups=groups_of(inputs),
            groups_out=groups_of(outputs),
            eps=EPS,
            output_scale_factor=2**0.5,
            use_in_shortcut=inputs != outputs or down or up,
            down=down,
            up=up,
        )
        self.attention = None
        if attend:
            self.attention = Attention(
                outputs,
                heads=1,
                dim_head=outputs,
                norm_num_groups=groups_of(outputs),
                eps=EPS,
                bias=True,
                residual_connection=True,
                rescale_output_factor=2**0.5,
                processor=AttnProcessor2_0(),
            )

    def forward(self, x: torch.Tensor, embedded: torch.Tensor) -> torch.Tensor:
        x = self.residual(x, embedded)
        return x if self.attention is None else self.attention(x)


def groups_of(channels: int) -> int:
    """Groups of GroupNorm: of four channels or more, and at most 32."""
    return next(groups for groups in range(min(channels // 4, 32), 0, -1) if channels % groups == 0)
