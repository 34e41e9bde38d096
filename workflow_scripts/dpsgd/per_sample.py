"""Sums of clipped gradients per sample, to which DP-SGD adds noise (arXiv 1607.00133).

One forward and one backward pass compute the gradients of all activations. Where the backward pass
comes by a trained layer, the layer's input and the gradient of its output give the gradient of its
weights for every sample. These are kept until all norms are known, and then summed in one product
for every weight.
"""

from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import nn
from torch.nn import functional as F

# Output pixels of a sample up to which one call for all samples is faster than one for each.
FEW_PIXELS = 512


class PerSampleGradients:
    """Gradients per sample of a network's trained parameters, by hooks on its layers.

    Layers must be called as modules, once in a pass: a weight that is used in another way has no
    gradient here.

    Parameters
    ----------
    network : Module
        No layer may mix samples, so BatchNorm is refused.
    names : collection of str, optional
        Of the trained parameters, as in `named_parameters`; by default all that require gradients.
        Each belongs to a layer of `KINDS`; all others are constants.
    """

    def __init__(self, network: nn.Module, names: Collection[str] | None = None):
        parameters = dict(network.named_parameters(remove_duplicate=False))
        if names is None:
            names = [name for name, value in parameters.items() if value.requires_grad]
        if unknown := sorted(set(names) - set(parameters)):
            raise TypeError(f"the network has no parameters {', '.join(unknown)}")
        self.network = network
        self.parameters = {name: parameters[name] for name in parameters if name in set(names)}
        self.layers = _layers_of(network, self.parameters)
        _refuse_shared(parameters, self.parameters)
        # With their versions: an input changed in place afterwards gives wrong gradients.
        self._inputs: dict[str, tuple[torch.Tensor, int]] = {}
        self._found: dict[str, _Gradients] = {}
        self._views = 0

    @contextmanager
    def recording(self) -> Iterator[None]:
        """A forward pass inside can be followed by `clipped_sum` of its losses.

        Parameters are constants for autograd meanwhile, so that the backward pass does not compute
        the gradients that are summed over the batch.
        """
        self._forget()
        required = [value for value in self.network.parameters() if value.requires_grad]
        handles = [
            layer.register_forward_hook(self._forward_hook(name))
            for name, layer in self.layers.items()
        ]
        try:
            for value in required:
                value.requires_grad_(False)
            yield
        except BaseException:
            self._forget()
            raise
        finally:
            for handle in handles:
                handle.remove()
            for value in required:
                value.requires_grad_(True)

    def clipped_sum(
        self,
        losses: torch.Tensor,
        views: int,
        clip: Callable[[torch.Tensor], torch.Tensor],
    ) -> tuple[dict[str, torch.Tensor], torch.Tensor]:
        """Σ factorᵢ·gᵢ, where gᵢ is the gradient of the mean of the losses of sample i's views.

        Memory: the gradients of B samples, beside the pass itself.

        Parameters
        ----------
        losses : float [B·views]
            Of the pass that was recorded; rows i·views to (i + 1)·views − 1 are of sample i.
        views : int
            Rows of each sample.
        clip : function of norms [B] to factors [B]
            Norms are over all trained parameters together, in at least float32; those that are not
            finite are given as 0.

        Returns
        -------
        dict of str to tensor
            By name, in the parameter's shape, in at least float32.
        bool [B]
            Samples whose gradient, or its norm, was not finite. They add nothing to the sums.
        """
        if views < 1 or losses.ndim != 1 or len(losses) % views:
            raise ValueError(f"losses of shape {tuple(losses.shape)} are not of {views} views each")
        for name, (x, _) in self._inputs.items():
            if len(x) != len(losses):
                raise TypeError(f"layer {name} has {len(x)} rows of input for {len(losses)} losses")
        self._views = views
        try:
            if losses.requires_grad:
                losses.backward(torch.full_like(losses, 1 / views))
            found = self._found
        finally:
            self._forget()
        dtype = _at_least_float32(losses.dtype)
        with torch.no_grad():
            return self._summed(found, losses.new_zeros(len(losses) // views, dtype=dtype), clip)

    def _summed(
        self,
        found: dict[str, "_Gradients"],
        squares: torch.Tensor,
        clip: Callable[[torch.Tensor], torch.Tensor],
    ) -> tuple[dict[str, torch.Tensor], torch.Tensor]:
        for gradients in found.values():
            squares = squares + gradients.squares()
        bad = ~squares.isfinite()
        factors = clip(squares.where(~bad, 0.0).sqrt()).where(~bad, 0.0)
        some = bool(bad.any())
        sums = {
            name: torch.zeros_like(value, dtype=_at_least_float32(value.dtype))
            for name, value in self.parameters.items()
        }
        for name in list(found):
            gradients = found.pop(name)
            if some:
                gradients.clear(bad)
            sums[name] = gradients.weighted(factors.to(sums[name].dtype)).view_as(sums[name])
        return sums, bad

    def _forget(self) -> None:
        self._inputs, self._found = {}, {}

    def _forward_hook(self, name: str) -> Callable:
        def recorded(layer: nn.Module, arguments: tuple, output: torch.Tensor) -> None:
            (x,) = arguments
            if name in self._inputs:
                raise TypeError(f"layer {name} is used twice in a pass")
            self._inputs[name] = x.detach(), x._version
            if output.requires_grad:
                output.register_hook(lambda grad: self._derive(name, layer, grad))
                return
            # Nothing before this layer is trained: autograd starts here.
            output.requires_grad_()

            def arrived(leaf: torch.Tensor) -> None:
                grad, leaf.grad = leaf.grad, None
                self._derive(name, layer, grad)

            output.register_post_accumulate_grad_hook(arrived)

        return recorded

    def _derive(self, name: str, layer: nn.Module, grad: torch.Tensor) -> None:
        x, version = self._inputs.pop(name)
        if x._version != version:
            raise TypeError(f"the input of layer {name} was changed in place")
        prefix = f"{name}." if name else ""
        trained = [part for part in ("weight", "bias") if prefix + part in self.parameters]
        with torch.no_grad():
            found = KINDS[type(layer)](layer, x, grad, self._views, trained)
        self._found.update({prefix + part: value for part, value in found.items()})


@dataclass
class _Dense:
    """Gradients [B, *shape] of one parameter."""

    values: torch.Tensor

    def squares(self) -> torch.Tensor:
        """‖gᵢ‖² [B]."""
        flat = self.values.flatten(1)
        return torch.linalg.vector_norm(flat, dim=1, dtype=_at_least_float32(flat.dtype)).square()

    def clear(self, bad: torch.Tensor) -> None:
        self.values[bad] = 0

    def weighted(self, factors: torch.Tensor) -> torch.Tensor:
        """Σ factorᵢ·gᵢ."""
        return factors @ self.values.flatten(1).to(factors.dtype)


@dataclass
class _Outer:
    """Gradients grad_i ⊗ x_i, of a Linear that sees each sample once; never computed one by one."""

    grad: torch.Tensor
    x: torch.Tensor

    def squares(self) -> torch.Tensor:
        dtype = _at_least_float32(self.grad.dtype)
        norms = [torch.linalg.vector_norm(part, dim=1, dtype=dtype) for part in (self.grad, self.x)]
        return (norms[0] * norms[1]).square()

    def clear(self, bad: torch.Tensor) -> None:
        self.grad, self.x = (part.masked_fill(bad[:, None], 0) for part in (self.grad, self.x))

    def weighted(self, factors: torch.Tensor) -> torch.Tensor:
        grad, x = (part.to(factors.dtype) for part in (self.grad, self.x))
        return (grad * factors[:, None]).T @ x


_Gradients = _Dense | _Outer


def _linear(
    layer: nn.Linear, x: torch.Tensor, grad: torch.Tensor, views: int, trained: Collection[str]
) -> dict[str, _Gradients]:
    samples = len(x) // views
    x = x.to(grad.dtype).reshape(samples, -1, layer.in_features)
    grad = grad.reshape(samples, -1, layer.out_features)
    found = {}
    if "weight" in trained:
        if x.shape[1] == 1:
            found["weight"] = _Outer(grad[:, 0], x[:, 0])
        else:
            found["weight"] = _Dense(grad.mT @ x)
    if "bias" in trained:
        found["bias"] = _Dense(grad.sum(1))
    return found


def _embedding(
    layer: nn.Embedding, x: torch.Tensor, grad: torch.Tensor, views: int, trained: Collection[str]
) -> dict[str, _Gradients]:
    samples = len(x) // views
    # A product, not index_add: its order of summation is fixed on every device.
    chosen = F.one_hot(x.reshape(samples, -1), layer.num_embeddings).to(grad.dtype)
    return {"weight": _Dense(chosen.mT @ grad.reshape(samples, -1, layer.embedding_dim))}


def _group_norm(
    layer: nn.GroupNorm, x: torch.Tensor, grad: torch.Tensor, views: int, trained: Collection[str]
) -> dict[str, _Gradients]:
    rows, channels, groups = *x.shape[:2], layer.num_groups
    x, grad = x.to(grad.dtype).reshape(rows, channels, -1), grad.reshape(rows, channels, -1)
    pixels = x.shape[2]
    # The rows as channels of one image, whose groups they are anyway: native code then sums over
    # pixels but not over rows.
    one, many = (1, rows * channels, pixels), (1, rows * channels, pixels, rows * groups)
    _, mean, rstd = torch.native_group_norm(x.reshape(one), None, None, *many, layer.eps)
    _, weight, bias = torch.ops.aten.native_group_norm_backward(
        grad.reshape(one), x.reshape(one), mean, rstd, None, *many, [False, True, True]
    )
    by_name = {"weight": weight, "bias": bias}
    return {
        part: _Dense(by_name[part].view(rows // views, views, channels).sum(1)) for part in trained
    }


def _convolution(
    layer: nn.Conv2d, x: torch.Tensor, grad: torch.Tensor, views: int, trained: Collection[str]
) -> dict[str, _Gradients]:
    samples, x = len(x) // views, x.to(grad.dtype)
    found = {}
    if "weight" in trained:
        weights = choose_convolution(layer, grad, views)
        found["weight"] = _Dense(weights(layer, x, grad, samples))
    if "bias" in trained:
        found["bias"] = _Dense(grad.sum((2, 3)).view(samples, views, -1).sum(1))
    return found


def choose_convolution(
    layer: nn.Conv2d, grad: torch.Tensor, views: int
) -> Callable[[nn.Conv2d, torch.Tensor, torch.Tensor, int], torch.Tensor]:
    """The fastest way to the gradients [B, *weight] of these weights."""
    # A GPU is kept busy by large products alone; a kernel of one pixel needs no copies for them.
    if grad.is_cuda or layer.kernel_size == (1, 1):
        return convolution_by_product
    if views * grad.shape[2] * grad.shape[3] <= FEW_PIXELS:
        return convolution_by_groups
    return convolution_by_sample


def convolution_by_sample(
    layer: nn.Conv2d, x: torch.Tensor, grad: torch.Tensor, samples: int
) -> torch.Tensor:
    """torch's gradient of the weights, for one sample after another."""
    values = grad.new_empty(samples, *layer.weight.shape)
    rows = zip(values, x.tensor_split(samples), grad.tensor_split(samples), strict=True)
    for value, x_of_one, grad_of_one in rows:
        value.copy_(_native(layer, x_of_one, grad_of_one, 1))
    return values


def convolution_by_groups(
    layer: nn.Conv2d, x: torch.Tensor, grad: torch.Tensor, samples: int
) -> torch.Tensor:
    """torch's gradient of the weights of one convolution that has a group for every sample."""

    def beside(rows: torch.Tensor) -> torch.Tensor:
        by_view = rows.unflatten(0, (samples, -1)).transpose(0, 1)
        return by_view.reshape(by_view.shape[0], -1, *rows.shape[2:])

    return _native(layer, beside(x), beside(grad), samples).view(samples, *layer.weight.shape)


def convolution_by_product(
    layer: nn.Conv2d, x: torch.Tensor, grad: torch.Tensor, samples: int
) -> torch.Tensor:
    """A product of all samples' gradients and the patches under the kernel, view by view."""
    x, grad = (rows.unflatten(0, (samples, -1)) for rows in (x, grad.flatten(2)))
    values = grad.new_zeros(samples, layer.out_channels, layer.weight[0].numel())
    for view in range(x.shape[1]):
        patches = F.unfold(
            x[:, view], layer.kernel_size, padding=layer.padding, stride=layer.stride
        )
        values.baddbmm_(grad[:, view], patches.mT)
    return values.view(samples, *layer.weight.shape)


def _native(layer: nn.Conv2d, x: torch.Tensor, grad: torch.Tensor, groups: int) -> torch.Tensor:
    # Nothing but the shape of the weights is used.
    weights = grad.new_empty(groups * layer.out_channels, *layer.weight.shape[1:])
    _, values, _ = torch.ops.aten.convolution_backward(
        grad, x, weights, None, layer.stride, layer.padding, layer.dilation,
        False, [0, 0], groups, [False, True, False],
    )  # fmt: skip
    return values


# Of exactly these classes: one derived from them may compute something else.
KINDS = {
    nn.Conv2d: _convolution,
    nn.Linear: _linear,
    nn.GroupNorm: _group_norm,
    nn.Embedding: _embedding,
}


def _provided_for(layer: nn.Module) -> bool:
    """Whether the layer's options are those for which its gradients are right."""
    match layer:
        case nn.Conv2d():
            plain = layer.padding_mode == "zeros" and not isinstance(layer.padding, str)
            return plain and layer.groups == 1 and layer.dilation == (1, 1)
        case nn.Embedding():
            changes = layer.padding_idx is not None or layer.max_norm is not None
            return not (changes or layer.scale_grad_by_freq or layer.sparse)
    return True


def _layers_of(network: nn.Module, parameters: Collection[str]) -> dict[str, nn.Module]:
    """The layers of these parameters by name; TypeError where gradients would be wrong."""
    for name, layer in network.named_modules():
        if isinstance(layer, nn.modules.batchnorm._BatchNorm):
            raise TypeError(f"layer {name} is {type(layer).__name__}, which mixes samples")
    layers = {}
    for parameter in parameters:
        name, _, part = parameter.rpartition(".")
        layer = network.get_submodule(name)
        if type(layer) not in KINDS or part not in ("weight", "bias"):
            kinds = ", ".join(kind.__name__ for kind in KINDS)
            raise TypeError(
                f"{parameter} belongs to a {type(layer).__name__}; layers that can be trained are "
                f"{kinds}"
            )
        if not _provided_for(layer):
            raise TypeError(f"layer {name} has options not provided for: {layer}")
        layers[name] = layer
    return layers


def _refuse_shared(parameters: dict[str, nn.Parameter], trained: Collection[str]) -> None:
    owners: dict[int, str] = {}
    for name, value in parameters.items():
        other = owners.setdefault(id(value), name)
        if other != name and {name, other} & set(trained):
            raise TypeError(f"{other} and {name} are one parameter of two layers")


def _at_least_float32(dtype: torch.dtype) -> torch.dtype:
    return torch.promote_types(dtype, torch.float32)
