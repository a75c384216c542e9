"""One layer of an extraction: the difference taken apart into factors, and what the stored factors lack."""

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from ...ops.spectral import svd
from .folder import Kept, Spool
from .pair import F32, Layer, Pair

BLOCK = 1 << 20
"""Entries of a difference that are compared with the factors at a time."""

One = TypeVar("One")
Result = TypeVar("Result")


@dataclass
class Decomposed:
    """A layer's singular values and, in a spool, their vectors as rows; nothing of a layer that did not change."""

    layer: Layer
    norm: float
    values: npt.NDArray[np.float64] = field(default_factory=lambda: np.zeros(0))
    right: Kept | None = None
    left: Kept | None = None
    rank: int = 0

    def best(self) -> float:
        """Return the smallest error that any factors of the rank have."""
        rest = self.norm**2 - float((self.values[: self.rank] ** 2).sum())
        return float(np.sqrt(max(rest, 0.0))) / self.norm


def decompose(
    pair: Pair, layer: Layer, spool: Spool, top: int | None, wanted: Callable[[npt.NDArray[np.float64]], int]
) -> Decomposed:
    """Take a layer's difference apart, and keep as many vectors as are wanted.

    Args:
        pair: the models.
        layer: the layer.
        spool: where vectors are kept.
        top: how many singular values are looked at; all when None.
        wanted: values → how many may be needed.
    """
    stored, norm = _difference(pair, layer)
    if norm == 0:
        return Decomposed(layer, 0.0)
    u, s, v = svd(stored.T if layer.swapped else stored, top)
    values = s.astype(np.float64) * norm
    keep = wanted(values)
    return Decomposed(layer, norm, values, spool.put(v[:, :keep].T), spool.put(u[:, :keep].T))


def _difference(pair: Pair, layer: Layer) -> tuple[F32, float]:
    """Return a layer's difference divided by its norm, so that no square of a tiny one vanishes, and the norm."""
    stored = np.empty(layer.shape, np.float32)
    total = 0.0
    for row, end in _blocks(layer):
        stored[row:end] = pair.rows(layer, row, end)
        total += _squares(stored[row:end])
    pair.forget(layer.name)
    norm = float(np.sqrt(total))
    stored /= np.float32(norm or 1.0)
    return stored, norm


def factors(one: Decomposed, spool: Spool, distribute: bool) -> tuple[F32, F32]:
    """Return A (rank, in) and B (out, rank): the root of each value goes to both, or all of it to A."""
    assert one.right is not None
    assert one.left is not None
    values = one.values[: one.rank].astype(np.float32)
    to_b = np.sqrt(values) if distribute else np.ones_like(values)
    a = spool.get(one.right, one.rank) * (np.sqrt(values) if distribute else values)[:, None]
    return a, np.ascontiguousarray((spool.get(one.left, one.rank) * to_b[:, None]).T)


def error_of(pair: Pair, layer: Layer, a: F32, b: F32, norm: float) -> float:
    """Return ‖Δ − B A‖ / ‖Δ‖, entry by entry, from the models themselves."""
    left, right = (a.T, b.T) if layer.swapped else (b, a)
    wide = right.astype(np.float64)
    total = 0.0
    for row, end in _blocks(layer):
        total += _squares(pair.rows(layer, row, end) - left[row:end].astype(np.float64) @ wide)
    pair.forget(layer.name)
    return float(np.sqrt(total)) / norm


def norm_of(pair: Pair, name: str) -> float:
    """Return how far a tensor has moved."""
    count = pair.base.tensors[name].count
    spans = ((at, min(at + BLOCK, count)) for at in range(0, count, BLOCK))
    total = sum(_squares(pair.entries(name, *span)) for span in spans)
    pair.forget(name)
    return float(np.sqrt(total))


def in_parallel(work: Callable[[One], Result], todo: Iterable[One], workers: int) -> Iterator[tuple[One, Result]]:
    """Yield each thing and what came of it, as they end; at most `workers` are in memory at a time."""
    left = iter(todo)
    running: dict[Future[Result], One] = {}
    with ThreadPoolExecutor(workers) as pool:
        try:
            while True:
                for one in left:
                    running[pool.submit(work, one)] = one
                    if len(running) == workers:
                        break
                if not running:
                    return
                done, _ = wait(running, return_when=FIRST_COMPLETED)
                for future in done:
                    yield running.pop(future), future.result()
        finally:
            for future in running:
                future.cancel()


def _squares(x: npt.NDArray[np.floating]) -> float:
    flat = x.reshape(-1).astype(np.float64, copy=False)
    return float(flat @ flat)


def _blocks(layer: Layer) -> Iterator[tuple[int, int]]:
    """Yield ranges of rows of about `BLOCK` entries."""
    step = max(1, BLOCK // layer.shape[1])
    return ((row, min(row + step, layer.shape[0])) for row in range(0, layer.shape[0], step))
