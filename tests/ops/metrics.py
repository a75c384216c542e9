"""Metrics of every kind, each beside the same as a matrix on all entries."""

from collections.abc import Callable

import numpy as np

from taskvec.ops import metric as m

Array = np.ndarray
Pair = tuple[m.Metric, Array]


def spread(rng: np.random.Generator, *shape: int) -> Array:
    """Numbers above 0 over some orders of magnitude, like squared gradients."""
    return np.exp(2 * rng.standard_normal(shape))


def psd(rng: np.random.Generator, size: int, rank: int | None = None) -> Array:
    """A symmetric, positive semi-definite matrix."""
    x = rng.standard_normal((size, size if rank is None else rank))
    return x @ x.T / size


def orthogonal(rng: np.random.Generator, size: int) -> Array:
    """An orthogonal matrix."""
    return np.linalg.qr(rng.standard_normal((size, size)))[0]


def flat(rng: np.random.Generator, rows: int, columns: int) -> Pair:
    """A multiple of the identity."""
    return m.Flat(1.7), 1.7 * np.eye(rows * columns)


def diagonal(rng: np.random.Generator, rows: int, columns: int) -> Pair:
    """A number an entry."""
    values = spread(rng, rows, columns)
    return m.Diagonal(values), np.diag(values.ravel())


def sparse(rng: np.random.Generator, rows: int, columns: int) -> Pair:
    """A diagonal with many zeros, among them a whole row."""
    values = spread(rng, rows, columns) * (rng.random((rows, columns)) < 0.5)
    values[0] = 0
    return m.Diagonal(values), np.diag(values.ravel())


def kronecker(rng: np.random.Generator, rows: int, columns: int) -> Pair:
    """K-FAC."""
    outer, inner = psd(rng, rows), psd(rng, columns)
    return m.Kronecker(outer, inner), np.kron(outer, inner)


def low_rank(rng: np.random.Generator, rows: int, columns: int) -> Pair:
    """K-FAC of fewer examples than the sides are long."""
    outer, inner = psd(rng, rows, 2), psd(rng, columns, 2)
    return m.Kronecker(outer, inner), np.kron(outer, inner)


def gram(rng: np.random.Generator, rows: int, columns: int) -> Pair:
    """Inputs alone."""
    inner = psd(rng, columns)
    return m.Kronecker(None, inner), np.kron(np.eye(rows), inner)


def turned_gram(rng: np.random.Generator, rows: int, columns: int) -> Pair:
    """Inputs alone, of a layer stored (in, out)."""
    outer = psd(rng, rows)
    return m.Kronecker(outer, None), np.kron(outer, np.eye(columns))


def rotated(rng: np.random.Generator, rows: int, columns: int) -> Pair:
    """EK-FAC."""
    outer, inner, values = orthogonal(rng, rows), orthogonal(rng, columns), spread(rng, rows, columns)
    vectors = np.kron(outer, inner)
    return m.Rotated(outer, inner, values), vectors @ np.diag(values.ravel()) @ vectors.T


def products(rng: np.random.Generator, rows: int, columns: int) -> Pair:
    """A matrix of which only products are given."""
    matrix = psd(rng, rows * columns)
    return m.Products(lambda x: (matrix @ x.ravel()).reshape(x.shape)), matrix


def summed(rng: np.random.Generator, rows: int, columns: int) -> Pair:
    """Of several kinds."""
    parts = [make(rng, rows, columns) for make in (kronecker, diagonal, rotated)]
    return m.Sum(tuple(metric for metric, _ in parts)), sum(matrix for _, matrix in parts)


MAKERS: dict[str, Callable[[np.random.Generator, int, int], Pair]] = {
    f.__name__: f  # type: ignore[attr-defined]
    for f in (flat, diagonal, sparse, kronecker, low_rank, gram, turned_gram, rotated, products, summed)
}
