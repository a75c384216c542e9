"""DELLA: Deep et al. 2024, arXiv:2406.11617, §3; MagPrune, then a sum, or a vote and a mean."""

from collections.abc import Sequence
from fractions import Fraction

from .philox import word
from .task_arithmetic import task_arithmetic
from .ties import ties


def ranks(row: Sequence[float]) -> list[Fraction]:
    """How many of a row are smaller, counting those of equal magnitude half, itself left out."""
    sizes = [abs(x) for x in row]
    return [
        Fraction(2 * sum(other < size for other in sizes) + sum(other == size for other in sizes) - 1, 2)
        for size in sizes
    ]


def cases(row: Sequence[float], density: float, epsilon: float) -> list[int]:
    """Step 1: p_i is linear in the rank, from density - ε to density + ε, in steps of 1/65536 and never 0."""
    n = len(row)
    out = []
    for rank in ranks(row):
        share = (2 * rank - (n - 1)) / (n - 1) if n > 1 else Fraction(0)
        p = density + (epsilon if density < 1 else 0.0) * float(share)
        out.append(65536 if p >= 1 else max(1, min(65535, round(65536 * p))))
    return out


def mag_prune(
    tau: Sequence[float], columns: int, density: float, epsilon: float, seed: int, key: str, tensor: str, rescale: str
) -> list[float]:
    """m_i ~ Bernoulli(p_i), τ̂ = m τ / p; or one factor that gives the tensor its L1 norm back."""
    out = []
    for start in range(0, len(tau), max(columns, 1)):
        row = tau[start : start + columns]
        for i, (x, kept_of) in enumerate(zip(row, cases(row, density, epsilon), strict=True)):
            p = kept_of / 65536 if rescale == "own" else 1.0
            out.append(x / p if word(f"{seed}\0{key}\0{tensor}", start + i) < kept_of else 0.0)
    before, after = sum(abs(x) for x in tau), sum(abs(x) for x in out)
    return [x * before / after for x in out] if rescale == "mergekit" and after else out


def della_linear(
    deltas: Sequence[Sequence[float]],
    weights: Sequence[float],
    *,
    columns: int,
    density: Sequence[float],
    epsilon: Sequence[float],
    seed: int,
    keys: Sequence[str],
    tensor: str,
    rescale: str = "own",
) -> list[float]:
    """MagPrune with task arithmetic."""
    rest = [
        mag_prune(tau, columns, d, e, seed, key, tensor, rescale)
        for tau, d, e, key in zip(deltas, density, epsilon, keys, strict=True)
    ]
    return task_arithmetic(rest, weights)


def della(
    deltas: Sequence[Sequence[float]],
    weights: Sequence[float],
    *,
    columns: int,
    density: Sequence[float],
    epsilon: Sequence[float],
    seed: int,
    keys: Sequence[str],
    tensor: str,
    rescale: str = "own",
    elect: str = "sum",
    combine: str = "mean",
    tied: str = "zero",
) -> list[float]:
    """MagPrune, then steps 2 and 3 (elect, fuse): those of TIES-Merging without its trim."""
    rest = [
        mag_prune(tau, columns, d, e, seed, key, tensor, rescale)
        for tau, d, e, key in zip(deltas, density, epsilon, keys, strict=True)
    ]
    return ties(rest, weights, density=[1.0] * len(rest), elect=elect, combine=combine, tied=tied)
