"""Metrics in the coordinates of a subspace: how far apart they are, and the ends of their spectrum, as exactly as is
affordable.

A metric in p coordinates is a (p, p) matrix. It is written out where p is small or the metric is cheap to write out;
else it is known by products with a few vectors.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from .arrays import Array, namespace
from .atoms import Atoms
from .metric import Diagonal, Flat, Metric, Sum
from .shapes import Float
from .solving import DENSE, cheap, inner, on_coordinates

PROBES = 2
"""Random vectors that stand for a metric that is not written out."""

STEPS = 40
"""Products by which the ends of a spectrum are found."""


class Ends(NamedTuple):
    """The least and the largest eigenvalue.

    Where they are not exact, the least is at most `least`, and the largest no less than `largest`.
    """

    least: float
    largest: float
    exact: bool


class Projected:
    """What is told of metrics H_t and of their mean H̄ in the coordinates of a basis, or in the whole space."""

    def __init__(self, mean: Metric, like: Float[Array, "*shape"], basis: Atoms | None = None) -> None:
        """Decide how: by the mean, because all must be told in one way. `like` has the shape of the coordinates."""
        self._mean, self._like, self._basis = mean, like, basis
        self._entries = basis is None and _entrywise(mean)
        self._written = basis is not None and written_out(mean, basis)
        self._probes: list[Array] = []
        self.mean = self.form(mean)

    @property
    def exact(self) -> bool:
        """Whether distances are exact; else they are means over a few random vectors."""
        return self._entries or self._written

    def form(self, metric: Metric) -> Array:
        """Return numbers that are linear in the metric, whose sum of squares is |SᵀHS|_F²: exactly, or on average.

            entries      the diagonal of a diagonal metric
            written out  SᵀHS
            by probes    SᵀHS z / √m for m vectors z of random signs:  E zᵀA²z = tr A²

        Shape: that of a tensor, (p, p) or (m, *shape of the coordinates).
        """
        if self._entries:
            return _values(metric, self._like)
        if self._written and self._basis is not None:
            return metric.on_atoms(self._basis.u, self._basis.v)
        xp = namespace(self._like)
        products = [on_coordinates(metric, z, self._basis) for z in self._signs()]
        return xp.stack(products) / len(products) ** 0.5

    def ends(self) -> Ends:
        """Return the least and the largest eigenvalue of SᵀH̄S.

        Edge: by `STEPS` steps of Lanczos' method where it is not written out. Its values are those of the form at some
              vectors, so a negative one proves negative curvature, and none found does not prove that there is none.
        """
        xp = namespace(self._like)
        if self._entries:
            return Ends(float(xp.min(self.mean)), float(xp.max(self.mean)), True)
        if self._written:
            values = xp.linalg.eigvalsh((self.mean + self.mean.T) / 2)
            return Ends(float(values[0]), float(values[-1]), True)
        return lanczos(lambda d: on_coordinates(self._mean, d, self._basis), self._drawn(), STEPS)

    def _signs(self) -> list[Array]:
        """Return the probes: the same for all metrics, so that differences are of the same vectors."""
        xp = namespace(self._like)
        if not self._probes:
            signs = np.random.default_rng(0).integers(0, 2, (PROBES, *self._like.shape)) * 2.0 - 1.0
            self._probes = [xp.asarray(z, dtype=self._like.dtype, device=self._like.device) for z in signs]
        return self._probes

    def _drawn(self) -> Array:
        drawn = np.random.default_rng(1).standard_normal(tuple(self._like.shape))
        return namespace(self._like).asarray(drawn, dtype=self._like.dtype, device=self._like.device)


def lanczos(product: Callable[[Array], Array], start: Float[Array, "*shape"], steps: int) -> Ends:
    """Return estimates of the least and the largest eigenvalue of a symmetric form, from inside.

        q_1 = start / |start|,   β_j q_{j+1} = A q_j - α_j q_j - β_{j-1} q_{j-1},   eigenvalues of tridiag(β, α, β)

    Vectors are not made orthogonal again: that yields copies of eigenvalues already found, which do not move the ends.

    Source: Golub and Van Loan 2013, Matrix Computations, §10.1.

    >>> d = np.array([1.0, 2.0, 5.0])
    >>> ends = lanczos(lambda x: d * x, np.ones(3), 3)
    >>> round(ends.least, 9), round(ends.largest, 9)
    (1.0, 5.0)
    """
    xp = namespace(start)
    size = inner(start, start) ** 0.5
    if not size:
        return Ends(0.0, 0.0, False)
    q, before, beta = start / size, xp.zeros_like(start), 0.0
    along: list[float] = []
    beside: list[float] = []
    for _ in range(min(steps, int(np.prod(start.shape)))):
        bent = product(q)
        along.append(inner(q, bent))
        left = bent - along[-1] * q - beta * before
        beta = inner(left, left) ** 0.5
        beside.append(beta)
        if beta <= 1e-7 * max(map(abs, along)):
            break
        before, q = q, left / beta
    values = np.linalg.eigvalsh(np.diag(along) + np.diag(beside[:-1], 1) + np.diag(beside[:-1], -1))
    return Ends(float(values[0]), float(values[-1]), False)


def _entrywise(metric: Metric) -> bool:
    if isinstance(metric, Sum):
        return all(map(_entrywise, metric.parts))
    return isinstance(metric, Flat | Diagonal)


def _values(metric: Metric, like: Array) -> Array:
    """Return the diagonal of a metric that is nothing else."""
    return metric.apply(namespace(like).ones_like(like))


def written_out(metric: Metric, basis: Atoms) -> bool:
    """Whether a metric is written out as a (p, p) matrix on atoms."""
    return cheap(metric) or basis.count <= DENSE
