"""Adapters of low rank beside the projections of attention (LoRA, arXiv 2106.09685).

DP-SGD trains them alone (DP-LoRA, arXiv 2406.01355), and afterwards they become part of the
projections, so that a model with adapters is stored like any other.
"""

import torch
from diffusers.models.attention_processor import Attention
from torch import nn

from workflow_scripts.problems import Problem


class Adapter(nn.Module):
    """A Linear and, beside it, scale · up(down(x)) of low rank.

    Parameters
    ----------
    base : Linear
    rank : int
    scale : float
    rng : Generator
        Of torch, on the CPU.
    """

    def __init__(self, base: nn.Linear, rank: int, scale: float, rng: torch.Generator):
        super().__init__()
        self.base, self.scale = base, scale
        like = {"bias": False, "device": base.weight.device, "dtype": base.weight.dtype}
        self.down = nn.utils.skip_init(nn.Linear, base.in_features, rank, **like)
        self.up = nn.utils.skip_init(nn.Linear, rank, base.out_features, **like)
        # The change starts at zero, but not its gradient.
        start = torch.randn(self.down.weight.shape, generator=rng) / rank
        with torch.no_grad():
            self.down.weight.copy_(start)
            self.up.weight.zero_()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.base(x) + self.scale * self.up(self.down(x))

    @torch.no_grad()
    def merged(self) -> nn.Linear:
        """The Linear of the same function: `base`, changed."""
        self.base.weight += self.scale * self.up.weight @ self.down.weight
        return self.base


def add_adapters(network: nn.Module, rank: int, scale: float = 1.0, *, seed: int) -> list[str]:
    """Put an `Adapter` in the place of every projection of attention; the function stays the same.

    Parameters
    ----------
    network : Module
        Changed. `SongUnet`, or a U-Net of diffusers.
    rank : int
    scale : float
        Of the adapters' output: α/rank in LoRA.
    seed : int
        Of the projections down, whose weights are normal with deviation 1/rank.

    Returns
    -------
    list of str
        The adapters' parameters, in the network's order: those to be trained.
    """
    rng = torch.Generator().manual_seed(seed)
    for attention in [module for module in network.modules() if isinstance(module, Attention)]:
        for name in ("to_q", "to_k", "to_v"):
            setattr(attention, name, Adapter(getattr(attention, name), rank, scale, rng))
        attention.to_out[0] = Adapter(attention.to_out[0], rank, scale, rng)
    names = [
        f"{owner}.{part}.weight"
        for owner, module in network.named_modules()
        if isinstance(module, Adapter)
        for part in ("down", "up")
    ]
    if not names:
        raise Problem("adapters are for attention, and the network has none")
    return names


def merge_adapters(network: nn.Module) -> None:
    """Make every adapter part of its projection; the function stays the same.

    Parameters
    ----------
    network : Module
        Changed: it has the layers that it had before `add_adapters`.
    """
    for name, module in list(network.named_modules()):
        if isinstance(module, Adapter):
            owner, _, part = name.rpartition(".")
            setattr(network.get_submodule(owner), part, module.merged())
