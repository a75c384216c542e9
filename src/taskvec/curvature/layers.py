"""Layers whose gradients are told apart by example, from what goes in and what comes back."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from .per_example import Outer, PerExample, Plain, Rows, wide

if TYPE_CHECKING:
    import torch

Kind = Literal["linear", "convolution", "norm", "channels", "table"]


class NotApart(Exception):
    """The examples of a batch cannot be told apart here: the first axis is not theirs."""


@dataclass(frozen=True)
class Layer:
    """A module of a known kind.

    parameters: what each of its parameters is called (`weight`, `bias`) → its name in the whole module.
    turned: its weight is stored (in, out), as in GPT-2.
    """

    module: Any
    kind: Kind
    parameters: Mapping[str, str]
    turned: bool = False

    @property
    def weight(self) -> str:
        """The name of its weight in the whole module."""
        return self.parameters["weight"]

    def apart(self, x: "torch.Tensor", g: "torch.Tensor", count: int) -> dict[str, PerExample]:
        """Return the gradients of its parameters, told apart by example.

        Args:
            x: what went in.
            g: the gradients of what came out.
            count: how many examples the batch has; of one example everything is.

        Raises:
            NotApart: the first axes of x and g are not of that length.
        """
        return PARTS[self.kind](self, x, g, count)

    def rows(self, x: "torch.Tensor", count: int) -> "torch.Tensor":
        """Return what goes into a linear layer, or comes back to it: (example, position, width)."""
        return _by_example(x, count).reshape(count, -1, x.shape[-1])


def layers_of(module: Any) -> Iterator[Layer]:
    """Yield the layers of a module that are of a known kind; a parameter may be of several."""
    names = {id(parameter): name for name, parameter in module.named_parameters()}
    for inner in module.modules():
        kind = _kind(inner)
        own = {role: names[id(p)] for role, p in inner.named_parameters(recurse=False) if id(p) in names}
        if kind and "weight" in own and set(own) <= {"weight", "bias"}:
            yield Layer(inner, kind, own, _is_turned(inner))


def _kind(module: Any) -> Kind | None:
    from torch import nn

    if type(module) is nn.Linear or _is_turned(module):
        return "linear"
    if type(module) is nn.Conv2d and module.padding_mode == "zeros" and not isinstance(module.padding, str):
        return "convolution"
    if type(module) is nn.LayerNorm:
        return "norm"
    fixed = type(module) is nn.BatchNorm2d and module.running_mean is not None
    if type(module) is nn.GroupNorm or fixed:
        return "channels"
    plain = type(module) is nn.Embedding and module.max_norm is None and not module.scale_grad_by_freq
    return "table" if plain else None


def _is_turned(module: Any) -> bool:
    return type(module).__name__ == "Conv1D" and hasattr(module, "nf")


def _by_example(x: "torch.Tensor", count: int) -> "torch.Tensor":
    """Return a tensor whose first axis is of examples."""
    if count == 1:
        return x.reshape(1, -1, x.shape[-1])
    if x.dim() < 2 or x.shape[0] != count:
        raise NotApart
    return x


def _linear(layer: Layer, x: "torch.Tensor", g: "torch.Tensor", count: int) -> dict[str, PerExample]:
    into, back = layer.rows(x, count).unsqueeze(1), layer.rows(g, count).unsqueeze(1)
    left, right = (into, back) if layer.turned else (back, into)
    return {
        layer.weight: Outer(left, right, tuple(layer.module.weight.shape)),
        **_bias(layer, wide(back).sum((1, 2))),
    }


def _convolution(layer: Layer, x: "torch.Tensor", g: "torch.Tensor", count: int) -> dict[str, PerExample]:
    """See `Layer.apart`: a convolution is a linear layer over patches, in each group of channels."""
    import torch

    one = layer.module
    if x.dim() != 4 or len(x) != count:
        raise NotApart
    patches = torch.nn.functional.unfold(x, one.kernel_size, one.dilation, one.padding, one.stride)
    right = patches.reshape(count, one.groups, -1, patches.shape[-1]).mT
    left = g.reshape(count, one.groups, -1, patches.shape[-1]).mT
    return {
        layer.weight: Outer(left, right, tuple(one.weight.shape)),
        **_bias(layer, wide(g).flatten(2).sum(2)),
    }


def _norm(layer: Layer, x: "torch.Tensor", g: "torch.Tensor", count: int) -> dict[str, PerExample]:
    import torch

    one = layer.module
    if count > 1 and (len(x) != count or x.dim() <= len(one.normalized_shape)):
        raise NotApart
    shape = (count, -1, *one.normalized_shape)
    straight = torch.nn.functional.layer_norm(x, one.normalized_shape, eps=one.eps)
    g = wide(g)
    return {
        layer.weight: Plain((g * straight).reshape(shape).sum(1)),
        **_bias(layer, g.reshape(shape).sum(1)),
    }


def _channels(layer: Layer, x: "torch.Tensor", g: "torch.Tensor", count: int) -> dict[str, PerExample]:
    """See `Layer.apart`: norms with a number for each channel, the second axis; batch norm by its running figures."""
    import torch

    one, functional = layer.module, torch.nn.functional
    if len(x) != count:
        raise NotApart
    if hasattr(one, "num_groups"):
        straight = functional.group_norm(x, one.num_groups, eps=one.eps)
    else:
        straight = functional.batch_norm(x, one.running_mean, one.running_var, eps=one.eps)
    g = wide(g).flatten(2)
    return {layer.weight: Plain((g * straight.flatten(2)).sum(2)), **_bias(layer, g.sum(2))}


def _table(layer: Layer, x: "torch.Tensor", g: "torch.Tensor", count: int) -> dict[str, PerExample]:
    one = layer.module
    if count > 1 and len(x) != count:
        raise NotApart
    gradients = g.reshape(count, -1, g.shape[-1])
    return {layer.weight: Rows(x.reshape(count, -1), gradients, one.num_embeddings, one.padding_idx)}


def _bias(layer: Layer, gradients: "torch.Tensor") -> dict[str, PerExample]:
    return {layer.parameters["bias"]: Plain(gradients)} if "bias" in layer.parameters else {}


PARTS = {"linear": _linear, "convolution": _convolution, "norm": _norm, "channels": _channels, "table": _table}
