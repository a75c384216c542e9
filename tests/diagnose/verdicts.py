"""Verdicts made in memory, of task vectors and curvature drawn by chance."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from taskvec.diagnose.examining import examined_entries, examined_matrix, examined_tensor
from taskvec.diagnose.mergeability import Examined, Mergeability
from taskvec.diagnose.report import Report
from taskvec.ops.metric import Diagonal

from .reports import SHAPE, report

KINDS = ("q", "v", "mlp")


def tensor(
    deltas: np.ndarray, curvature: np.ndarray, *, layer: int | None = 0, kind: str = "q", rank: int = 2
) -> Examined:
    """Look at one tensor; a matrix in its subspace, a vector entry by entry."""
    name = f"layers.{layer}.{kind}"
    if deltas.ndim == 2:
        found = examined_tensor(name, deltas.shape[1:], [examined_entries(deltas, curvature)])
    else:
        found = examined_matrix(name, deltas, [Diagonal(values) for values in curvature], rank)
    return replace(found, stack="layers" if layer is not None else "", layer=layer, kind=kind)


def verdict(
    rng: np.random.Generator,
    names: Sequence[str] = ("anna", "bert", "carl"),
    *,
    layers: int = 3,
    kinds: Sequence[str] = KINDS,
    uneven: float = 1.0,
    common: float = 0.0,
    zeros: Sequence[int] = (),
    outside: bool = True,
) -> Mergeability:
    """Draw task vectors that share a part, and curvature that differs by a factor of about exp(uneven)."""

    def drawn(shape: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
        deltas = rng.normal(size=(len(names), *shape)) + common * rng.normal(size=shape)
        deltas[list(zeros)] = 0
        return 0.02 * deltas, np.exp(uneven * rng.normal(size=deltas.shape))

    tensors = [tensor(*drawn(SHAPE), layer=n, kind=kind) for n in range(layers) for kind in kinds]
    tensors += [tensor(*drawn((SHAPE[1],)), layer=n, kind="norm") for n in range(layers)]
    if outside:
        tensors.append(tensor(*drawn((40,)), layer=None, kind="embedding"))
    return Mergeability(tuple(names), "empirical_fisher", 2, tuple(tensors), examples=(256,) * len(names))


def judged(rng: np.random.Generator, of: Mergeability, **how: object) -> Report:
    """A report on models of the same names, with a verdict."""
    return replace(report(rng, names=of.models, **how), mergeability=of)  # type: ignore[arg-type]
