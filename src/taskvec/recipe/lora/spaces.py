"""What a method is shown of a matrix's changes, and how its answer becomes factors again."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ...ops.floats import widen
from ...ops.joint import core_space, knots_space, product_norm, refactored
from ...ops.spectral import Spectrum, svd
from ..planned import Plan
from .sites import F64, AdapterPlan, Site, refuse_nonfinite

Rows = npt.NDArray[np.floating]


@dataclass(frozen=True)
class Product:
    """A merged change as left @ right, in float64."""

    left: F64
    right: F64

    @property
    def is_thin(self) -> bool:
        """Whether its factors are no larger than they must be for some product of their shape."""
        return bool(0 < self.left.shape[1] <= min(self.left.shape[0], self.right.shape[1]))

    @property
    def norm(self) -> float:
        """Its Frobenius norm."""
        return product_norm(self.left, self.right)

    def spectrum(self, top: int | None) -> Spectrum:
        """Return its singular values and vectors; `top` are enough."""
        del top  # the small problem gives all of them
        return refactored(self.left, self.right)

    def far_from(self, b: Rows, a: Rows) -> float:
        """Return how far b @ a is from it."""
        return product_norm(np.hstack([self.left, -b]), np.vstack([self.right, a]))


@dataclass(frozen=True)
class Dense:
    """A merged change as a matrix."""

    matrix: Rows

    @property
    def norm(self) -> float:
        """Its Frobenius norm."""
        return float(np.linalg.norm(self.matrix.astype(np.float64)))

    def spectrum(self, top: int | None) -> Spectrum:
        """Return its singular values and vectors, or the largest `top`."""
        return svd(self.matrix, top)

    def far_from(self, b: Rows, a: Rows) -> float:
        """Return how far b @ a is from it."""
        return float(np.linalg.norm(self.matrix - b.astype(np.float64) @ a.astype(np.float64)))


Merged = Product | Dense


@dataclass(frozen=True)
class Shown:
    """What a method is shown, a matrix a task; `back` turns its answer into a change of the base."""

    stack: Rows
    back: Callable[[Rows], Merged]


def shown(made: AdapterPlan, site: Site) -> Shown:
    """Return a matrix's changes in the space of a plan."""
    if made.adapter.space == "dense" or not site.factored:
        return _dense(made.plan, site)
    bs, as_ = zip(*(site.factors(task) for task in range(len(site.tasks))), strict=True)
    if not all(np.isfinite(factor).all() for factor in (*bs, *as_)):
        refuse_nonfinite(made.plan, site)
    if made.adapter.space == "core":
        core = core_space(bs, as_)
        return Shown(core.cores, lambda merged: Product(core.left @ np.asarray(merged, np.float64), core.right.T))
    found = knots_space(bs, as_)
    return Shown(found.blocks, lambda merged: Product(found.basis, np.asarray(merged, np.float64)))


def _dense(plan: Plan, site: Site) -> Shown:
    unit = site.unit
    stack = np.empty((len(unit.sources), *unit.shape), unit.numpy)
    for row, (model, tensor) in zip(stack, plan.sources(unit), strict=True):
        row[...] = np.asarray(widen(model.checkpoint.files.raw(tensor), tensor.dtype, unit.numpy)).reshape(unit.shape)

    def back(merged: Rows) -> Merged:
        matrix = merged.T if site.swapped else merged
        return Dense(np.ascontiguousarray(matrix).reshape(site.sides))

    return Shown(stack, back)


def joined(site: Site, coefficients: Rows) -> Product:
    """Return Σ c_t B_t A_t as [c_1 B_1 … c_T B_T] [A_1; …; A_T]; what weighs 0 takes no part."""
    parts = [(c, *site.factors(task)) for task, c in enumerate(coefficients) if c]
    rows, columns = site.sides
    left = [np.zeros((rows, 0)), *(c * b for c, b, _ in parts)]
    right = [np.zeros((0, columns)), *(a for _, _, a in parts)]
    return Product(np.hstack(left), np.vstack(right))
