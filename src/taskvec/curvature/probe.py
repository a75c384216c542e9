"""Whether weights can be measured a batch at a time: found out on a few examples, by comparing with autograd."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from .layers import Layer, NotApart
from .per_example import PerExample
from .watched import Watched, spreadable

if TYPE_CHECKING:
    import torch

SEEN = 3
"""Examples that are looked at; more than one, so that they could be mixed up."""

TOLERANCE = {"float64": 1e-6, "float32": 1e-3}
"""How far gradients may be from those of autograd, relative to their norm; 0.05 in half precision."""


@dataclass(frozen=True)
class Trial:
    """A few examples: `run` gives what the module makes of them, a row each. mask: see `Watched.forward`."""

    run: Callable[[], "torch.Tensor"]
    count: int
    mask: "torch.Tensor | None" = None


@dataclass(frozen=True)
class Found:
    """How a module is to be watched.

    alone: a pass may take one example only. reached: the parameters that gradients reach.
    """

    watched: Watched
    alone: bool
    reached: frozenset[str]


def probed(module: Any, trial_of: Callable[[int], Trial], count: int) -> Found:
    """Find out how each example's gradients are told apart, and make sure that they are.

    Of a few examples in one batch only the first is sent back. Then no other example may have gradients, and those of
    the first must be what autograd finds. Where any weight fails this (a first axis that is not of examples, uses of
    different kinds, …), every pass takes one example, and what then still differs is left to autograd.

    Args:
        module: in evaluation mode.
        trial_of: makes a batch of so many examples, at most three.
        count: how many there are.
    """
    plain = Watched(module)
    clashing = plain.clashing()
    if count > 1:
        trial = trial_of(min(count, SEEN))
        cotangent, true = _by_autograd(plain, trial)
        copies = frozenset(n for n in true if n not in plain.known and spreadable(plain.parameters[n]))
        watched = Watched(module, spread=copies)
        if not clashing & true.keys() and not _differing(watched, trial, cotangent, true):
            return Found(watched, False, frozenset(true))
    trial = trial_of(1)
    cotangent, true = _by_autograd(plain, trial)
    single = (clashing | true.keys() - plain.known) & true.keys()
    wrong = _differing(Watched(module, single=single), trial, cotangent, true)
    return Found(Watched(module, single=single | wrong), True, frozenset(true))


def _by_autograd(watched: Watched, trial: Trial) -> tuple["torch.Tensor", dict[str, "torch.Tensor"]]:
    """Return a cotangent of the first example alone, and what autograd makes of it."""
    import torch

    with watched.open(learning=True):
        out = watched.forward(trial.run, trial.count)
        cotangent = torch.zeros_like(out)
        cotangent[0] = torch.randn(out.shape[1:], generator=torch.Generator().manual_seed(0)).to(out)
        torch.autograd.backward(out, cotangent)
        return cotangent, {name: p.grad for name, p in watched.parameters.items() if p.grad is not None}


def _differing(
    watched: Watched, trial: Trial, cotangent: "torch.Tensor", true: Mapping[str, "torch.Tensor"]
) -> frozenset[str]:
    """Return the parameters whose gradients are not those of autograd, or are mixed up between examples."""
    found: dict[str, torch.Tensor] = {}
    wrong: set[str] = set()

    def take(name: str, part: PerExample) -> None:
        found[name] = part.total()
        if part.beyond_first():
            wrong.add(name)

    with watched.open():
        watched.take_input = _nothing
        try:
            watched.backward(watched.forward(trial.run, trial.count, trial.mask), cotangent, take)
        except NotApart as mixed:
            wrong.update(mixed.args)
        except (RuntimeError, ValueError, IndexError):
            if trial.count == 1:
                raise
            return frozenset(true)  # a copy for each example does not fit
    largest = max((float(slope.norm()) for slope in true.values()), default=0.0)
    for name, slope in true.items():
        if name not in found or not _agree(found[name], slope, largest):
            wrong.add(name)
    return frozenset(wrong)


def _nothing(layer: Layer, x: "torch.Tensor", kept: "torch.Tensor | None") -> None:
    """Take what goes into a layer, so that its shape is checked."""


def _agree(found: "torch.Tensor", true: "torch.Tensor", largest: float) -> bool:
    """Tell whether gradients are equal up to rounding; of those that ought to be 0, nothing else is left."""
    tolerance = TOLERANCE.get(str(true.dtype).removeprefix("torch."), 0.05)
    return float((found - true).norm()) <= tolerance * (float(true.norm()) + 0.01 * largest)
