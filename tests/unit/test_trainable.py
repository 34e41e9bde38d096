"""Which weights are trained: all, or attention and what conditions the network."""

import pytest
from diffusers import UNet2DModel
from torch import nn

from workflow_scripts.dpsgd.trainable import trainable_names
from workflow_scripts.edm.network import SongUnet
from workflow_scripts.problems import Problem


def song(classes: int | None = 5) -> nn.Module:
    return SongUnet(8, 3, 8, (1, 2), 1, (4,), classes)


def diffusers_unet() -> nn.Module:
    return UNet2DModel(
        sample_size=8,
        layers_per_block=1,
        block_out_channels=(8, 16),
        down_block_types=("DownBlock2D", "AttnDownBlock2D"),
        up_block_types=("AttnUpBlock2D", "UpBlock2D"),
        norm_num_groups=4,
        num_class_embeds=5,
    )


@pytest.mark.parametrize("make", [song, diffusers_unet])
def test_all_are_all_in_order(make):
    network = make()
    assert trainable_names(network, "all") == [name for name, _ in network.named_parameters()]


@pytest.mark.parametrize(
    ("make", "prefixes"),
    [
        (song, ("noise_embedding.", "class_embedding.")),
        (diffusers_unet, ("time_embedding.", "class_embedding.")),
    ],
)
def test_attention_and_the_conditions(make, prefixes):
    network = make()
    names = trainable_names(network, "attention")
    expected = [
        name
        for name, _ in network.named_parameters()
        if name.startswith(prefixes) or ".attention" in name
    ]
    assert names == expected and 0 < len(names) < len(list(network.parameters()))
    assert set(prefixes) <= {name.split(".")[0] + "." for name in names}
    parts = ("to_q", "to_k", "to_v", "to_out.0", "group_norm")
    assert all(sum(f".{part}.weight" in name for name in names) >= 3 for part in parts)
    convolutions = [n for n, module in network.named_modules() if isinstance(module, nn.Conv2d)]
    assert not set(convolutions) & {name.rpartition(".")[0] for name in names}


def test_a_network_without_classes_has_no_embedding_of_them():
    names = trainable_names(song(None), "attention")
    assert not any("class" in name for name in names) and "noise_embedding.linear_1.bias" in names


def test_a_network_without_attention_and_unknown_sets_are_refused():
    network = nn.Sequential(nn.Embedding(2, 2), nn.Linear(2, 2))
    with pytest.raises(Problem, match="the network has none"):
        trainable_names(network, "attention")
    assert len(trainable_names(network, "all")) == 3
    with pytest.raises(ValueError, match="'last'"):
        trainable_names(network, "last")
