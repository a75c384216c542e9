"""DARE, drop and rescale: Yu et al. 2024, arXiv:2311.03099, §3."""

from collections.abc import Sequence

from .philox import word
from .task_arithmetic import task_arithmetic
from .ties import ties


def drop_and_rescale(
    tau: Sequence[float], density: float, seed: int, key: str, tensor: str, rescale: bool
) -> list[float]:
    """m ~ Bernoulli(p), τ̂ = m τ / p, where p is the density in steps of 1/65536."""
    kept_of = 65536 if density == 1 else max(1, min(65535, round(density * 65536)))
    p = kept_of / 65536 if rescale else 1.0
    return [x / p if word(f"{seed}\0{key}\0{tensor}", i) < kept_of else 0.0 for i, x in enumerate(tau)]


def dare_linear(
    deltas: Sequence[Sequence[float]],
    weights: Sequence[float],
    *,
    density: Sequence[float],
    seed: int,
    keys: Sequence[str],
    tensor: str,
    rescale: bool = True,
) -> list[float]:
    """DARE with task arithmetic."""
    rest = [
        drop_and_rescale(tau, d, seed, key, tensor, rescale) for tau, d, key in zip(deltas, density, keys, strict=True)
    ]
    return task_arithmetic(rest, weights)


def dare_ties(
    deltas: Sequence[Sequence[float]],
    weights: Sequence[float],
    *,
    density: Sequence[float],
    trim: Sequence[float],
    seed: int,
    keys: Sequence[str],
    tensor: str,
    rescale: bool = True,
    elect: str = "sum",
    combine: str = "mean",
    tied: str = "zero",
) -> list[float]:
    """DARE with TIES-Merging, whose trim of 1 trims nothing."""
    rest = [
        drop_and_rescale(tau, d, seed, key, tensor, rescale) for tau, d, key in zip(deltas, density, keys, strict=True)
    ]
    return ties(rest, weights, density=trim, elect=elect, combine=combine, tied=tied)
