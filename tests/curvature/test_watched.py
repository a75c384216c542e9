"""Modules of every kind: their gradients by example are those of autograd, in batches where that can be."""

from collections.abc import Callable

import pytest
import torch
from torch import nn
from torch.nn import functional

from taskvec.curvature.per_example import PerExample
from taskvec.curvature.probe import Found, Trial, probed

COUNT = 5


class Vectors(nn.Module):
    """A first token, positions, and scales, as vision transformers have them."""

    def __init__(self) -> None:
        super().__init__()
        self.token, self.positions = nn.Parameter(torch.randn(1, 1, 6)), nn.Parameter(torch.randn(1, 4, 6))
        self.name, self.scale = nn.Parameter(torch.randn(6)), nn.Parameter(torch.randn(6))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        tokens = torch.cat([self.token.expand(len(x), -1, -1), x], 1) + self.positions
        tokens = tokens + self.name.expand(len(x), 1, -1)
        return functional.gelu(tokens * self.scale)


class Tied(nn.Module):
    """A table that is also the output layer."""

    def __init__(self) -> None:
        super().__init__()
        self.table, self.out = nn.Embedding(9, 6), nn.Linear(6, 9, bias=False)
        self.out.weight = self.table.weight

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.out(self.table(x).tanh())


class Flat(nn.Module):
    """Tokens of all examples in one long list, as experts see them."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Linear(6, 6)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.inner(x.flatten(0, 1)).tanh().unflatten(0, x.shape[:2])


class Turned(nn.Module):
    """Positions come first and examples second, so the first axis is of the wrong thing."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Linear(6, 6)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.inner(x.transpose(0, 1)).tanh().transpose(0, 1)


class Positions(nn.Module):
    """Rows of a table that are the same for all examples."""

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Embedding(7, 6)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return (x + self.table(torch.arange(x.shape[1]).unsqueeze(0))).tanh()


class Attention(nn.Module):
    """Weights that no module of a known kind holds."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.MultiheadAttention(6, 2, batch_first=True)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.inner(x, x, x)[0]


class Unlike(nn.Module):
    """A vector that meets channels, so that a copy for each example does not fit."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.randn(3))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return (x * self.scale[:, None, None]).tanh()


class Renamed(nn.Module):
    """A layer that is called by the name of its argument, and twice."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Linear(6, 6)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.inner(input=self.inner(input=x).tanh())


def normal(*shape: int) -> torch.Tensor:
    return torch.randn(COUNT, *shape)


def words() -> torch.Tensor:
    return torch.randint(9, (COUNT, 4))


def batch_norm() -> nn.Module:
    module = nn.BatchNorm2d(3)
    module.running_mean, module.running_var = torch.rand(3), torch.rand(3) + 0.5
    return module


IN_BATCHES = {
    "linear": (lambda: nn.Linear(6, 4), lambda: normal(3, 6)),
    "linear without positions": (lambda: nn.Linear(6, 4), lambda: normal(6)),
    "several axes": (lambda: nn.Linear(6, 4, bias=False), lambda: normal(2, 3, 6)),
    "layer norm": (lambda: nn.LayerNorm(6), lambda: normal(3, 6)),
    "layer norm of two axes": (lambda: nn.LayerNorm((3, 6)), lambda: normal(2, 3, 6)),
    "group norm": (lambda: nn.GroupNorm(2, 4), lambda: normal(4, 3, 3)),
    "batch norm": (batch_norm, lambda: normal(3, 4, 4)),
    "table": (lambda: nn.Embedding(9, 6), words),
    "table with padding": (lambda: nn.Embedding(9, 6, padding_idx=2), words),
    "convolution": (lambda: nn.Conv2d(3, 4, 2, stride=2), lambda: normal(3, 4, 4)),
    "padded convolution": (lambda: nn.Conv2d(3, 4, 3, padding=1, dilation=2), lambda: normal(3, 6, 5)),
    "convolution in groups": (lambda: nn.Conv2d(4, 6, 3, groups=2), lambda: normal(4, 5, 5)),
    "vectors": (Vectors, lambda: normal(3, 6)),
    "positions": (Positions, lambda: normal(3, 6)),
    "twice": (Renamed, lambda: normal(3, 6)),
}
ONE_BY_ONE = {
    "tied": (Tied, words),
    "flat": (Flat, lambda: normal(3, 6)),
    "turned": (Turned, lambda: normal(3, 6)),
    "turned by chance square": (Turned, lambda: normal(3, 6)[:3]),
    "attention of torch": (Attention, lambda: normal(3, 6)),
    "channels": (Unlike, lambda: normal(3, 4, 4)),
    "convolution in a circle": (
        lambda: nn.Conv2d(3, 4, 3, padding=1, padding_mode="circular"),
        lambda: normal(3, 5, 5),
    ),
}
Case = tuple[Callable[[], nn.Module], Callable[[], torch.Tensor]]


def made(case: Case) -> tuple[nn.Module, torch.Tensor]:
    torch.manual_seed(0)
    module, x = case[0]().double().eval().requires_grad_(False), case[1]()
    return module, x.double() if x.is_floating_point() else x


def found_of(module: nn.Module, x: torch.Tensor) -> Found:
    return probed(module, lambda count: Trial(lambda: module(x[:count]).flatten(1), count), len(x))


def true_squares(module: nn.Module, x: torch.Tensor, cotangent: torch.Tensor) -> dict[str, torch.Tensor]:
    parameters = dict(module.requires_grad_(True).named_parameters())
    sums = {name: torch.zeros_like(p) for name, p in parameters.items()}
    for one, sent in zip(x, cotangent, strict=True):
        slopes = torch.autograd.grad(module(one[None]).flatten(), list(parameters.values()), sent)
        for name, slope in zip(parameters, slopes, strict=True):
            sums[name] += slope**2
    module.requires_grad_(False)
    return sums


@pytest.mark.parametrize("name", [*IN_BATCHES, *ONE_BY_ONE])
def test_squares(name: str) -> None:
    module, x = made({**IN_BATCHES, **ONE_BY_ONE}[name])
    found = found_of(module, x)
    assert found.alone == (name in ONE_BY_ONE)
    cotangent = torch.randn_like(module(x).flatten(1))
    sums = {name: torch.zeros_like(p) for name, p in module.named_parameters()}

    def take(name: str, part: PerExample) -> None:
        part.add_squares(sums[name], torch.arange(size), 1.0)

    size = 1 if found.alone else len(x)
    with found.watched.open():
        for start in range(0, len(x), size):
            rows = slice(start, start + size)
            out = found.watched.forward(lambda rows=rows: module(x[rows]).flatten(1), size)
            found.watched.backward(out, cotangent[rows], take)
    torch.testing.assert_close(sums, true_squares(module, x, cotangent))


def test_what_no_gradient_reaches_is_told() -> None:
    torch.manual_seed(0)
    module = nn.ModuleDict({"used": nn.Linear(6, 4), "unused": nn.Linear(6, 4)}).double().requires_grad_(False)
    x = normal(3, 6).double()
    found = probed(module, lambda count: Trial(lambda: module["used"](x[:count]).flatten(1), count), COUNT)
    assert found.reached == {"used.weight", "used.bias"}


def test_large_batches_are_cut_into_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    from taskvec.curvature import per_example

    module, x = made(IN_BATCHES["linear"])
    parts: dict[str, PerExample] = {}
    watched = found_of(module, x).watched
    with watched.open():
        out = watched.forward(lambda: module(x).flatten(1), len(x))
        watched.backward(out, torch.ones_like(out), parts.__setitem__)
    found = []
    for held in (1 << 16, 48, 1):  # all at once, two at a time, one by one
        monkeypatch.setitem(per_example.HELD, "cpu", held)
        parts["weight"].add_squares(into := torch.zeros(4, 6, dtype=x.dtype), torch.arange(COUNT), 1.0)
        found.append(into)
    torch.testing.assert_close(found[1], found[0])
    torch.testing.assert_close(found[2], found[0])
