"""Which weights DP-SGD trains: noise grows with their number, so fewer may serve better."""

from diffusers.models.attention_processor import Attention
from diffusers.models.embeddings import TimestepEmbedding
from torch import nn

from workflow_scripts.problems import Problem

# What DP-LDM trains (arXiv 2305.15759, section 4): attention with its normalisation, and what
# conditions the network. Here that is the embedding of noise level and class.
ATTENTION = (Attention, TimestepEmbedding, nn.Embedding)


def trainable_names(network: nn.Module, train: str) -> list[str]:
    """Parameters that are trained, in the network's order.

    Parameters
    ----------
    network : Module
        `SongUnet`, or a U-Net of diffusers.
    train : "all" or "attention"
    """
    # What a network itself keeps constant, such as random frequencies, stays so.
    names = [name for name, value in network.named_parameters() if value.requires_grad]
    if train == "all":
        return names
    if train != "attention":
        raise ValueError(f"train is {train!r}; there are 'all' and 'attention'")
    modules = dict(network.named_modules())
    if not any(isinstance(module, Attention) for module in modules.values()):
        raise Problem("train: attention, but the network has none; train: all would do")
    chosen = {
        f"{owner}.{name}"
        for owner, module in modules.items()
        if isinstance(module, ATTENTION)
        for name, _ in module.named_parameters()
    }
    return [name for name in names if name in chosen]
