"""Gradients per sample: those of autograd, layer by layer, and bounded whatever a sample does."""

import pytest
import torch
from diffusers import UNet2DModel
from torch import nn
from torch.func import functional_call, grad, vmap
from torch.nn import functional as F

from workflow_scripts.dpsgd import per_sample
from workflow_scripts.dpsgd.adapters import add_adapters
from workflow_scripts.dpsgd.per_sample import PerSampleGradients
from workflow_scripts.dpsgd.trainable import trainable_names
from workflow_scripts.edm.network import SongUnet

WAYS = (
    per_sample.convolution_by_sample,
    per_sample.convolution_by_groups,
    per_sample.convolution_by_product,
)


def song(size: int, channels: int, classes: int | None) -> nn.Module:
    multipliers = (2, 2) if size == 28 else (1, 2)
    return SongUnet(size, channels, 8, multipliers, 1, (size // 2,), classes)


def diffusers_unet(size: int, channels: int, classes: int | None) -> nn.Module:
    return UNet2DModel(
        sample_size=size,
        in_channels=channels,
        out_channels=channels,
        layers_per_block=1,
        block_out_channels=(8, 16),
        down_block_types=("ResnetDownsampleBlock2D", "AttnDownBlock2D"),
        up_block_types=("AttnUpBlock2D", "ResnetUpsampleBlock2D"),
        attention_head_dim=8,
        norm_num_groups=4,
        num_class_embeds=classes,
    )


def shaken(network: nn.Module) -> nn.Module:
    """With weights that are all different from zero, so that no gradient is."""
    torch.manual_seed(0)
    with torch.no_grad():
        for value in network.parameters():
            value.add_(torch.randn_like(value), alpha=0.1)
    return network


class Task:
    """B samples of K views for a network, and a loss for every row."""

    def __init__(self, network, size, channels, classes, samples, views, dtype=torch.float64):
        generator = torch.Generator().manual_seed(1)
        rows = samples * views
        self.network, self.views = network, views
        self.x = torch.randn(rows, channels, size, size, generator=generator).to(dtype)
        self.t = torch.randn(rows, generator=generator).to(dtype)
        self.labels = None
        if classes is not None:
            self.labels = torch.randint(classes, (samples,), generator=generator)
            self.labels = self.labels.repeat_interleave(views)

    def losses(self) -> torch.Tensor:
        error = self.network(self.x, self.t, class_labels=self.labels).sample - self.x
        return error.square().mean((1, 2, 3))


def ones(norms: torch.Tensor) -> torch.Tensor:
    return torch.ones_like(norms)


def to_norm(bound: float):
    return lambda norms: (bound / norms).clamp(max=1)


def only(sample: int):
    """Factors that leave one sample's gradient."""
    return lambda norms: torch.eye(len(norms), dtype=norms.dtype)[sample]


def sums_of(task, names=None, clip=ones):
    gradients = PerSampleGradients(task.network, names)
    with gradients.recording():
        losses = task.losses()
    return gradients.clipped_sum(losses, task.views, clip)


def expected_sums(task, names=None) -> dict[str, torch.Tensor]:
    named = dict(task.network.named_parameters())
    names = list(named if names is None else names)
    values = torch.autograd.grad(
        task.losses().sum() / task.views, [named[name] for name in names], allow_unused=True
    )
    return {
        name: torch.zeros_like(named[name]) if value is None else value
        for name, value in zip(names, values, strict=True)
    }


def norm(values) -> float:
    return torch.stack([value.double().norm() for value in values.values()]).norm().item()


def assert_equal(found, expected, relative=1e-8):
    assert list(found) == list(expected)
    # Some gradients are zero but for rounding: a bias that is added to all keys changes nothing.
    rounding = 50 * torch.finfo(next(iter(found.values())).dtype).eps * norm(expected)
    for name, value in expected.items():
        assert found[name].shape == value.shape, name
        difference = (found[name] - value).norm()
        assert difference <= relative * value.norm() + rounding, name


@pytest.fixture(autouse=True, scope="module")
def one_thread():
    """As everywhere in the project: the order of sums depends on their number."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(params=[None, *WAYS], ids=lambda way: way.__name__ if way else "chosen")
def way(request, monkeypatch):
    """Every way to the weights of convolutions, also where another would be chosen."""
    if request.param is not None:
        monkeypatch.setattr(per_sample, "choose_convolution", lambda *_: request.param)


SHIPPED = [
    (make, size, channels, classes)
    for make in (song, diffusers_unet)
    for size, channels, classes in ((8, 3, 5), (28, 1, None), (32, 3, 5))
]


@pytest.mark.parametrize("views", [1, 3])
@pytest.mark.parametrize(("make", "size", "channels", "classes"), SHIPPED)
def test_sums_are_the_gradients_of_the_batch(make, size, channels, classes, views):
    network = shaken(make(size, channels, classes)).double()
    task = Task(network, size, channels, classes, 2, views)
    expected = expected_sums(task)
    assert min(value.norm() for name, value in expected.items() if "to_k.bias" not in name) > 0
    found, bad = sums_of(task)
    assert_equal(found, expected)
    assert not bad.any() and bad.shape == (2,)


@pytest.mark.parametrize("views", [1, 3])
@pytest.mark.parametrize("make", [song, diffusers_unet])
def test_every_way_is_right_in_every_layout(make, views, way):
    network = shaken(make(8, 3, 5)).double()
    task = Task(network, 8, 3, 5, 3, views)
    expected = expected_sums(task)
    assert_equal(sums_of(task)[0], expected)
    task.x = task.x.to(memory_format=torch.channels_last)
    assert_equal(sums_of(task)[0], expected)
    network.to(memory_format=torch.channels_last)
    assert_equal(sums_of(task)[0], expected)
    task.x = task.x.transpose(2, 3).contiguous().transpose(2, 3)
    assert_equal(sums_of(task)[0], expected)


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("views", [1, 3])
def test_the_kernels_of_float32_are_right_too(views, layout, way):
    """Which are others than those of float64: at the width of a network that is trained."""
    network = shaken(SongUnet(28, 1, 32, (2, 2), 1, (14,), 5)).double()
    exact = expected_sums(Task(network, 28, 1, 5, 2, views))
    task = Task(network.float().to(memory_format=layout), 28, 1, 5, 2, views, torch.float32)
    task.x = task.x.to(memory_format=layout)
    found, _ = sums_of(task)
    assert all(total.dtype == torch.float32 for total in found.values())
    assert_equal(found, exact, 1e-4)


@pytest.mark.filterwarnings("ignore:There is a performance drop")
@pytest.mark.parametrize("views", [1, 3])
@pytest.mark.parametrize("make", [song, diffusers_unet])
def test_each_gradient_is_that_of_its_sample(make, views):
    network = shaken(make(8, 3, 5)).double()
    task = Task(network, 8, 3, 5, 3, views)
    parameters = {name: value.detach() for name, value in network.named_parameters()}

    def loss(values, x, t, labels):
        error = functional_call(network, values, (x, t), {"class_labels": labels}).sample - x
        return error.square().mean()

    by_sample = [rows.unflatten(0, (3, views)) for rows in (task.x, task.t, task.labels)]
    expected = vmap(grad(loss), (None, 0, 0, 0))(parameters, *by_sample)
    for sample in range(3):
        one = {name: value[sample] for name, value in expected.items()}
        assert_equal(sums_of(task, clip=only(sample))[0], one)
    seen = []
    sums_of(task, clip=lambda norms: seen.append(norms) or norms)
    norms = torch.stack([value.flatten(1).norm(dim=1) for value in expected.values()]).norm(dim=0)
    assert torch.allclose(seen[0], norms, rtol=1e-10)


class Layers(nn.Module):
    """Layers as the shipped networks do not have them, between layouts that are not contiguous."""

    def __init__(self, bias: bool):
        super().__init__()
        self.first = nn.Conv2d(2, 4, 3, stride=2, padding=1, bias=bias)
        self.wide = nn.Conv2d(4, 6, (5, 3), stride=(1, 2), padding=(0, 2), bias=bias)
        self.point = nn.Conv2d(6, 3, 1, stride=2, bias=bias)
        self.norm = nn.GroupNorm(3, 3)
        self.tokens = nn.Linear(3, 4, bias=bias)
        self.row = nn.Linear(4, 1, bias=bias)
        self.words = nn.Embedding(7, 4)

    def forward(self, x, words):
        x = F.relu(self.first(x).transpose(2, 3), inplace=False)
        x = F.silu(self.wide(x).flip(2), inplace=True)
        x = self.norm(self.point(x[..., 1:].expand(-1, -1, -1, -1)).transpose(2, 3))
        x = self.tokens(x.flatten(2).transpose(1, 2)).mean(1)
        return self.row(torch.tanh(x * self.words(words).sum(1))).squeeze(1)


class LayersTask:
    def __init__(self, network: nn.Module, samples: int, views: int):
        generator = torch.Generator().manual_seed(2)
        rows = samples * views
        self.network, self.views = network, views
        self.x = torch.randn(rows, 2, 21, 18, generator=generator, dtype=torch.float64)
        self.words = torch.randint(7, (rows, 5), generator=generator)

    def losses(self):
        return self.network(self.x, self.words).square()


@pytest.mark.parametrize("views", [1, 4])
@pytest.mark.parametrize("bias", [True, False])
def test_strides_kernels_and_several_words(bias, views, way):
    task = LayersTask(shaken(Layers(bias)).double(), 3, views)
    assert_equal(sums_of(task)[0], expected_sums(task))


@pytest.mark.parametrize("views", [1, 3])
@pytest.mark.parametrize("make", [song, diffusers_unet])
def test_subsets_and_adapters(make, views):
    network = shaken(make(8, 3, 5)).double()
    task = Task(network, 8, 3, 5, 2, views)
    names = trainable_names(network, "attention")
    assert_equal(sums_of(task, names)[0], expected_sums(task, names))
    biases = [name for name, _ in network.named_parameters() if name.endswith(".bias")]
    assert_equal(sums_of(task, biases)[0], expected_sums(task, biases))
    names = add_adapters(network, 2, seed=0)
    shaken(network)
    assert_equal(sums_of(task, names)[0], expected_sums(task, names))


def test_what_requires_gradients_is_the_default():
    network = shaken(song(8, 3, None)).double()
    task = Task(network, 8, 3, None, 2, 1)
    network.requires_grad_(False)
    network.conv_out.requires_grad_(True)
    found, _ = sums_of(task)
    assert list(found) == ["conv_out.weight", "conv_out.bias"]
    assert_equal(found, expected_sums(task, list(found)))


def test_a_frozen_beginning_is_not_passed_backwards():
    network = shaken(song(8, 3, None)).double()
    task = Task(network, 8, 3, None, 2, 1)
    seen = {}
    for name, layer in network.named_modules():
        layer.register_forward_hook(
            lambda _, inputs, output, name=name: seen.update({name: (inputs, output)})
        )
    gradients = PerSampleGradients(network, ["conv_out.bias", "up.3.residual.conv2.weight"])
    with gradients.recording():
        losses = task.losses()
    trained = seen["up.3.residual.conv2"]
    assert not trained[0][0].requires_grad and trained[1].requires_grad
    assert not seen["up.2"][1].requires_grad and not seen["noise_embedding"][1].requires_grad
    gradients.clipped_sum(losses, 1, ones)
    assert trained[1].grad is None


# What a sample can do


def test_no_sample_moves_the_sum_by_more_than_the_bound():
    network = shaken(song(8, 1, 5))
    task = Task(network, 8, 1, 5, 4, 2, torch.float32)
    bound, plain = 0.5, task.losses
    norms = []
    sums_of(task, clip=lambda values: norms.append(values) or values)
    scale = torch.ones(8)
    scale[4:6] = 1e6 * bound / norms[0][2]
    task.losses = lambda: plain() * scale
    sums_of(task, clip=lambda values: norms.append(values) or values)
    assert norms[1][2] == pytest.approx(1e6 * bound, rel=1e-4)
    with_canary, bad = sums_of(task, clip=to_norm(bound))
    without, _ = sums_of(task, clip=lambda v: to_norm(bound)(v) * torch.tensor([1, 1, 0, 1]))
    assert not bad.any()
    moved = norm({name: with_canary[name].double() - without[name] for name in without})
    # Differences of float32 sums: besides the canary, the rounding of the others.
    assert 0.999 * bound < moved <= bound * (1 + 1e-5)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf"), 1e30])
def test_a_sample_without_a_finite_gradient_is_left_out(value, way):
    network, views = shaken(song(8, 3, 5)), 2
    task = Task(network, 8, 3, 5, 3, views, torch.float32)
    expected, _ = sums_of(task, clip=lambda norms: torch.tensor([0.5, 0, 2]))
    task.x[views, 0, 2, 3] = value
    found, bad = sums_of(task, clip=lambda norms: torch.tensor([0.5, 1, 2]))
    assert bad.tolist() == [False, True, False]
    assert all(total.isfinite().all() for total in found.values())
    assert_equal(found, expected, 1e-5)


def test_all_samples_may_be_left_out():
    task = Task(shaken(song(8, 1, None)), 8, 1, None, 2, 1, torch.float32)
    task.x[:] = float("nan")
    # Whatever factor they would be given.
    found, bad = sums_of(task, clip=lambda norms: 1 / norms)
    assert bad.all() and norm(found) == 0


def test_the_bound_holds_in_mixed_precision():
    network = shaken(song(8, 3, 5))
    task = Task(network, 8, 3, 5, 3, 2, torch.float32)
    exact = expected_sums(task)
    plain = task.losses
    task.losses = lambda: torch.autocast("cpu", torch.bfloat16)(plain)()
    found, bad = sums_of(task)
    assert not bad.any()
    assert all(total.dtype == torch.float32 for total in found.values())
    assert all(
        value.requires_grad and value.dtype == torch.float32 for value in network.parameters()
    )
    # bfloat16 has 8 bits: 2⁻⁸ for every operation of a pass through some twenty layers.
    error = norm({name: found[name] - exact[name] for name in exact})
    assert error < 0.03 * norm(exact)
    for sample in range(3):
        one, _ = sums_of(task, clip=lambda v, i=sample: to_norm(1e-3)(v) * only(i)(v))
        assert norm(one) == pytest.approx(1e-3, rel=1e-5)


# Repeated and wrong use


def test_passes_do_not_leave_anything_behind():
    network = shaken(song(8, 3, None)).double()
    task = Task(network, 8, 3, None, 2, 1)
    gradients = PerSampleGradients(network)
    results = []
    for _ in range(2):
        with gradients.recording():
            losses = task.losses()
            assert not any(value.requires_grad for value in network.parameters())
        # Neither forgotten passes nor others outside matter.
        assert all(value.requires_grad for value in network.parameters())
        with gradients.recording():
            losses = task.losses()
        task.losses().sum().backward()
        results.append(gradients.clipped_sum(losses, 1, ones)[0])
        assert_equal(results[-1], {n: p.grad for n, p in network.named_parameters()})
        network.zero_grad()
    assert all(torch.equal(results[0][name], results[1][name]) for name in results[0])
    assert not any(layer._forward_hooks for layer in network.modules())
    with pytest.raises(ZeroDivisionError), gradients.recording():
        task.losses()
        raise ZeroDivisionError
    assert not any(layer._forward_hooks for layer in network.modules())
    assert all(value.requires_grad for value in network.parameters())


def test_a_layer_that_is_not_used_has_a_gradient_of_zero():
    network = Layers(True).double()
    network.unused = nn.Conv2d(1, 1, 3)
    task = LayersTask(network, 2, 1)
    found, _ = sums_of(task)
    assert found["unused.weight"].shape == (1, 1, 3, 3) and not found["unused.weight"].any()
    assert_equal(found, expected_sums(task))
    # Nor does anything depend on weights if only those are trained.
    found, bad = sums_of(task, ["unused.bias"])
    assert list(found) == ["unused.bias"] and not found["unused.bias"].any() and len(bad) == 2


class Own(nn.Linear):
    def forward(self, x):
        return 2 * super().forward(x)


@pytest.mark.parametrize(
    ("layer", "message"),
    [
        (nn.BatchNorm2d(2), "layer 0 is BatchNorm2d"),
        (nn.LayerNorm(2), "0.weight belongs to a LayerNorm"),
        (nn.ConvTranspose2d(2, 2, 3), "0.weight belongs to a ConvTranspose2d"),
        (Own(2, 2), "0.weight belongs to a Own"),
        (nn.Conv2d(2, 2, 3, groups=2), "layer 0 has options"),
        (nn.Conv2d(2, 2, 3, dilation=2), "layer 0 has options"),
        (nn.Conv2d(2, 2, 3, padding="same"), "layer 0 has options"),
        (nn.Conv2d(2, 2, 3, padding_mode="circular"), "layer 0 has options"),
        (nn.Embedding(2, 2, padding_idx=0), "layer 0 has options"),
        (nn.Embedding(2, 2, max_norm=1), "layer 0 has options"),
        (nn.utils.parametrizations.weight_norm(nn.Linear(2, 2)), "belongs to a Parametrized"),
    ],
)
def test_layers_of_other_kinds_are_refused(layer, message):
    with pytest.raises(TypeError, match=message):
        PerSampleGradients(nn.Sequential(layer))


def test_batch_norm_is_refused_even_if_frozen_and_others_are_not():
    network = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2), nn.LayerNorm(2))
    with pytest.raises(TypeError, match="BatchNorm1d"):
        PerSampleGradients(network, ["0.weight"])
    del network[1]
    PerSampleGradients(network, ["0.weight"])


def test_shared_weights_and_unknown_names_are_refused():
    network = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2), nn.Linear(2, 2))
    network[2].weight = network[0].weight
    for name in ("0.weight", "2.weight"):
        with pytest.raises(TypeError, match=r"0.weight and 2.weight"):
            PerSampleGradients(network, [name])
    PerSampleGradients(network, ["1.weight", "2.bias"])
    with pytest.raises(TypeError, match=r"3\.weight"):
        PerSampleGradients(network, ["3.weight"])


def test_passes_that_would_give_wrong_gradients_are_refused():
    layer = nn.Linear(2, 2)
    network = nn.Sequential(layer, nn.Tanh(), layer)
    gradients = PerSampleGradients(layer)
    with pytest.raises(TypeError, match="twice"), gradients.recording():
        network(torch.ones(1, 2))
    with gradients.recording():
        x = torch.ones(3, 2)
        losses = layer(x).sum(1)
        x += 1
    with pytest.raises(TypeError, match="in place"):
        gradients.clipped_sum(losses, 1, ones)
    with gradients.recording():
        losses = layer(torch.ones(1, 2)).sum(1) * torch.ones(3)
    with pytest.raises(TypeError, match="1 rows of input for 3 losses"):
        gradients.clipped_sum(losses, 1, ones)
    with pytest.raises(ValueError, match="2 views"):
        gradients.clipped_sum(losses, 2, ones)


@pytest.mark.parametrize(
    ("side", "views", "kernel", "expected"),
    [
        (28, 1, 3, per_sample.convolution_by_sample),
        (8, 1, 3, per_sample.convolution_by_groups),
        (8, 9, 3, per_sample.convolution_by_sample),
        (28, 1, 1, per_sample.convolution_by_product),
    ],
)
def test_the_way_follows_the_pixels_of_a_sample(side, views, kernel, expected):
    layer = nn.Conv2d(2, 2, kernel)
    assert per_sample.choose_convolution(layer, torch.ones(1, 2, side, side), views) is expected
