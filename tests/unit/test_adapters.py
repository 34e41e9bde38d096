"""Adapters: they start as nothing, are trained alone, and end as part of an ordinary network."""

import numpy as np
import pytest
import torch
from diffusers import UNet2DModel
from torch import nn

from workflow_scripts.dpsgd.adapters import Adapter, add_adapters, merge_adapters
from workflow_scripts.edm.network import SongUnet
from workflow_scripts.problems import Problem


def song() -> nn.Module:
    return SongUnet(8, 3, 8, (1, 2), 1, (4,), 5)


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


@pytest.fixture(params=[song, diffusers_unet])
def network(request) -> nn.Module:
    torch.manual_seed(0)
    network = request.param().double().eval()
    with torch.no_grad():
        for value in network.parameters():
            value.add_(torch.randn_like(value), alpha=0.1)
    return network


@torch.no_grad()
def output(network: nn.Module) -> torch.Tensor:
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(3, 3, 8, 8, generator=generator, dtype=torch.float64)
    return network(x, torch.arange(3.0), class_labels=torch.arange(3)).sample


def state(network: nn.Module) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in network.state_dict().items()}


def train(network: nn.Module, names: list[str]) -> None:
    """Other weights, as training would leave them."""
    with torch.no_grad():
        for name in names:
            value = network.get_parameter(name)
            value.add_(torch.randn_like(value))


def test_the_start_is_the_network_itself(network):
    before = output(network)
    add_adapters(network, 3, seed=0)
    assert torch.equal(output(network), before)


@pytest.mark.parametrize("rank", [1, 3])
def test_every_projection_of_attention_has_one(network, rank):
    before = state(network)
    names = add_adapters(network, rank, seed=0)
    found = {name for name, module in network.named_modules() if isinstance(module, Adapter)}
    projections = {
        name.removesuffix(".weight")
        for name in before
        if any(f".{part}.weight" in name for part in ("to_q", "to_k", "to_v", "to_out.0"))
    }
    assert found == projections and len(found) >= 12
    assert set(names) == {f"{name}.{part}.weight" for name in found for part in ("down", "up")}
    assert names == [name for name, _ in network.named_parameters() if name in names]
    for name in found:
        adapter = network.get_submodule(name)
        assert adapter.down.weight.shape == (rank, adapter.base.in_features)
        assert adapter.up.weight.shape == (adapter.base.out_features, rank)
        assert adapter.down.weight.dtype == adapter.up.weight.dtype == torch.float64


def test_a_merged_network_is_an_ordinary_one_of_the_same_function(network):
    before, start = output(network), state(network)
    names = add_adapters(network, 2, 0.7, seed=0)
    train(network, names)
    trained = output(network)
    assert (trained - before).abs().max() > 1e-3
    merge_adapters(network)
    # Float64: rounding alone is left.
    assert torch.allclose(output(network), trained, rtol=0, atol=1e-12 * trained.abs().max())
    assert not any(isinstance(module, Adapter) for module in network.modules())
    merged = state(network)
    assert list(merged) == list(start)
    changed = {name for name in start if not torch.equal(start[name], merged[name])}
    assert changed == {
        name.replace(".down.weight", ".weight") for name in names if name.endswith(".down.weight")
    }
    merge_adapters(network)
    assert all(torch.equal(value, merged[name]) for name, value in state(network).items())


def test_the_scale_is_that_of_the_change(network):
    start = state(network)
    names = add_adapters(network, 2, 0.5, seed=0)
    train(network, names)
    adapters = {n: m for n, m in network.named_modules() if isinstance(m, Adapter)}
    changes = {n: (m.up.weight @ m.down.weight).detach() for n, m in adapters.items()}
    merge_adapters(network)
    for name, change in changes.items():
        difference = network.get_parameter(f"{name}.weight") - start[f"{name}.weight"]
        assert torch.allclose(difference, 0.5 * change)


def test_seeds_decide_the_start(network):
    torch.manual_seed(5)
    names = add_adapters(network, 4, seed=0)
    down = [name for name in names if name.endswith("down.weight")]
    first = [network.get_parameter(name).detach().clone() for name in down]
    assert not any(network.get_parameter(name).any() for name in set(names) - set(down))
    for seed in (0, 1):
        merge_adapters(network)
        add_adapters(network, 4, seed=seed)
        again = [network.get_parameter(name) for name in down]
        assert all(torch.equal(*pair) == (seed == 0) for pair in zip(first, again, strict=True))
    values = np.concatenate([value.numpy().ravel() for value in first])
    # Normal of deviation 1/4; five standard errors at a fixed seed.
    assert abs(values.std() - 0.25) < 5 * 0.25 / np.sqrt(2 * values.size)
    assert abs(values.mean()) < 5 * 0.25 / np.sqrt(values.size)


def test_a_network_without_attention_is_refused():
    with pytest.raises(Problem, match="the network has none"):
        add_adapters(nn.Sequential(nn.Linear(2, 2)), 1, seed=0)
