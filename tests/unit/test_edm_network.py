"""The U-Net: the published sizes, and what per-image gradients need of it."""

import numpy as np
import pytest
import torch
from torch import nn

from workflow_scripts.edm.network import SongUnet

# Published parameter counts: (size, channels, nf, multipliers, attention, classes) → count.
# 32 pixels: PrivImage's CIFAR-10 and CelebA; 64: its CelebA; the last four are DPImageBench's.
COUNTS = [
    (32, 3, 32, (1, 2, 2), (16,), 10, 1_754_499),
    (32, 3, 32, (1, 2, 4), (16,), 10, 3_954_563),
    (32, 3, 32, (1, 4, 4), (16,), 10, 6_077_123),
    (32, 3, 96, (1, 2, 2), (16,), 10, 15_708_291),
    (32, 3, 128, (1, 2, 2), (16,), 10, 27_907_587),
    (32, 3, 192, (1, 2, 2, 2), (16,), 10, 88_578_819),
    (32, 3, 32, (1, 2, 2), (8, 16), None, 1_804_451),
    (32, 3, 32, (1, 2, 4), (8, 16), None, 4_153_123),
    (32, 3, 32, (1, 4, 4), (8, 16), None, 6_275_683),
    (32, 3, 96, (1, 2, 2), (8, 16), None, 16_153_059),
    (32, 3, 128, (1, 2, 2), (8, 16), None, 28_697_219),
    (64, 3, 32, (1, 1, 2, 2), (8, 16), None, 1_999_907),
    (64, 3, 32, (1, 1, 2, 4), (8, 16), None, 4_348_579),
    (64, 3, 32, (1, 1, 4, 4), (8, 16), None, 6_471_139),
    (64, 3, 96, (1, 1, 2, 2), (8, 16), None, 17_900_643),
    (64, 3, 128, (1, 1, 2, 2), (8, 16), None, 31_801_475),
    (32, 3, 32, (2, 4), (16,), 1000, 3_867_299),
    (32, 3, 32, (2, 4), (16,), 10, 3_835_619),
    (28, 1, 32, (2, 2), (14,), 1000, 1_516_897),
    (28, 1, 32, (2, 2), (14,), 10, 1_485_217),
]


def parameters_of(network: nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


def small(**changes) -> SongUnet:
    shape = {"sample_size": 8, "in_channels": 1, "channels": 8, "multipliers": (1, 2)}
    rest = {"blocks": 1, "attention": (4,), "num_class_embeds": 3}
    network = SongUnet(**(shape | rest | changes))
    # A new network's residual branches are nothing.
    torch.manual_seed(0)
    for parameter in network.parameters():
        nn.init.normal_(parameter, std=0.2)
    return network.eval()


@pytest.mark.parametrize(
    ("size", "channels", "nf", "multipliers", "attention", "classes", "count"), COUNTS
)
def test_the_published_networks_have_their_parameters(
    size, channels, nf, multipliers, attention, classes, count
):
    with torch.device("meta"):
        # The published ones were trained with label dropout: one embedding more than classes.
        network = SongUnet(
            size, channels, nf, multipliers, 2, attention, classes, classes is not None
        )
    assert parameters_of(network) == count


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"sample_size": 28, "multipliers": (2, 2), "attention": (14,)},
        {"multipliers": (1, 2, 4), "attention": ()},
        # 240 channels where level and skip meet: not a multiple of 32 groups.
        {"channels": 40, "multipliers": (1, 3), "in_channels": 3},
    ],
)
def test_the_output_has_the_shape_of_the_input(changes):
    network = small(**changes)
    x = torch.randn(2, network.config.in_channels, *[network.config.sample_size] * 2)
    assert network(x, 0.3, torch.tensor([0, 2])).sample.shape == x.shape


def test_levels_and_classes_matter_and_may_differ_by_row():
    network, x = small(), torch.randn(1, 1, 8, 8).repeat(3, 1, 1, 1)
    with torch.no_grad():
        rows = network(x, torch.tensor([0.1, 0.1, -1.0]), torch.tensor([0, 1, 0])).sample
        alone = network(x[:1], 0.1, torch.tensor([0])).sample
    assert torch.allclose(rows[:1], alone, atol=1e-5)
    assert (rows[0] - rows[1]).abs().max() > 1e-3 and (rows[0] - rows[2]).abs().max() > 1e-3


def test_a_network_without_classes_ignores_labels():
    network, x = small(num_class_embeds=None), torch.randn(2, 1, 8, 8)
    with torch.no_grad():
        outputs = [network(x, 0.0, labels).sample for labels in (None, torch.tensor([0, 1]))]
    assert torch.equal(*outputs)


def test_a_new_network_returns_nothing():
    network = SongUnet(8, 1, 8, (1, 2), 1, (4,), 3)
    assert not network(torch.randn(2, 1, 8, 8), 0.0, torch.tensor([0, 1])).sample.any()


def test_attention_is_where_it_was_asked_for():
    network = small(multipliers=(1, 2), blocks=2, attention=(4,))
    going_down = [block.attention is not None for block in network.down]
    going_up = [block.attention is not None for block in network.up]
    # Two blocks and a halving; two blocks. Three blocks and a doubling; three blocks.
    assert going_down == [False, False, False, True, True]
    assert going_up == [False, False, True, False, False, False, False]
    assert [block.attention is not None for block in network.middle] == [True, False]


def test_every_parameter_is_of_a_known_layer_that_is_used_once():
    network, used = small(null_class=True), []
    own = {name: module for name, module in network.named_modules() if list(module.parameters())}
    leaves = {name: module for name, module in own.items() if not list(module.children())}
    for name, module in leaves.items():
        assert isinstance(module, (nn.Conv2d, nn.Linear, nn.GroupNorm, nn.Embedding)), name
        module.register_forward_hook(lambda *_, name=name: used.append(name))
    network(torch.randn(2, 1, 8, 8), 0.0, torch.tensor([0, 3]))
    assert sorted(used) == sorted(leaves)
    assert sum(map(parameters_of, leaves.values())) == parameters_of(network)


def test_rows_do_not_see_each_other():
    network = small()
    x = torch.randn(3, 1, 8, 8, requires_grad=True)
    network(x, 0.0, torch.tensor([0, 1, 2])).sample[1].sum().backward()
    reached = x.grad.abs().amax(dim=(1, 2, 3)).numpy() > 0
    assert np.array_equal(reached, [False, True, False])
