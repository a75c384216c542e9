"""How task vectors meet in a slice: inner products, signs, the largest entries, what rounding takes from them."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from types import ModuleType

import numpy as np
import numpy.typing as npt

from . import floats
from .arrays import Array
from .gram import BLOCK, gram_parts, sum_lanes
from .kernels import fused_for
from .shapes import Float, Float64, Int64
from .slices import FUSED_CODES, Slice

Seen = npt.NDArray[np.bool_]
"""Which blocks of a slice are looked at entry by entry."""


@dataclass(frozen=True)
class Meeting:
    """What a slice adds to the sums of its tensor. What is said of each block may be added up without rounding.

    finite: whether no input holds NaN or Inf. grams: K_ij = ⟨τ_i, τ_j⟩ of each block. base: |θ|² of each block.
    largest: (task,) max |τ_t|.
    And of the blocks that were looked at (zeros for the others): nonzero, opposite, kept, kept_opposite: how many
    entries are not 0 in both tasks, and of opposite sign; are among the largest of both, and of opposite sign. lost,
    gone, changed: for each task's vector Δ, and last for their mean: Σ (round(θ + Δ) - (θ + Δ))² of each block; how
    many entries Δ ≠ 0 are stored as the base is; how many are not 0. mean: |mean of the vectors|² of each block.
    """

    finite: bool
    sampled: int
    grams: Float64[np.ndarray, "block task task"]
    base: Float64[np.ndarray, " block"]
    largest: Float[np.ndarray, " task"]
    nonzero: Int64[np.ndarray, "task task"]
    opposite: Int64[np.ndarray, "task task"]
    kept: Int64[np.ndarray, "task task"]
    kept_opposite: Int64[np.ndarray, "task task"]
    lost: Float64[np.ndarray, "block task+1"]
    mean: Float64[np.ndarray, " block"]
    gone: Int64[np.ndarray, " task+1"]
    changed: Int64[np.ndarray, " task+1"]


def measure(part: Slice, seen: Seen, least: Float[np.ndarray, " task"], code: str) -> Meeting:
    """Return what a slice adds to the sums of its tensor.

    Args:
        part: a slice with a base, which begins at a multiple of `BLOCK`.
        seen: for each block of `BLOCK` entries, whether it is looked at entry by entry.
        least: from which magnitude an entry is among the largest of its task; zeros never are.
        code: the type of the output, to which θ + Δ is rounded.
    """
    if part.base is None:
        raise ValueError("task vectors meet on a base, and the slice has none")
    if fused := _fused_for(part, code):
        given = np.ascontiguousarray(least, np.float32)
        finite, grams, sums, largest, meetings, stays = fused.measure(part.inputs, part.base, BLOCK, seen, given, code)
        nonzero, opposite, kept, kept_opposite = _both_halves(meetings)
        return Meeting(
            finite=finite,
            sampled=_sampled(part.count, seen),
            grams=grams,
            base=sums[:, 0],
            largest=largest,
            nonzero=nonzero,
            opposite=opposite,
            kept=kept,
            kept_opposite=kept_opposite,
            lost=sums[:, 1:-1],
            mean=sums[:, -1],
            gone=stays[0],
            changed=stays[1],
        )
    return _joined([_of_block(block, bool(look), least, code) for block, look in zip(_blocks(part), seen, strict=True)])


def _fused_for(part: Slice, code: str) -> ModuleType | None:
    stored = [*part.inputs, part.base]
    if any(s is None or s.raw.size != part.count for s in stored):  # kernels do not check bounds
        raise ValueError("the inputs of a slice have as many entries each as its base")
    plain = part.dtype != np.float32 or code not in FUSED_CODES
    usual = all(s.code in FUSED_CODES and s.raw.flags.c_contiguous for s in stored if s is not None)
    return fused_for() if usual and not plain else None


def _both_halves(counts: Int64[np.ndarray, "4 task task"]) -> Int64[np.ndarray, "4 task task"]:
    """Fill the upper halves of symmetric matrices from the lower ones."""
    both: Int64[np.ndarray, "4 task task"] = counts + np.tril(counts, -1).swapaxes(1, 2)
    return both


def _sampled(count: int, seen: Seen) -> int:
    """Return how many entries the blocks have that were looked at."""
    last = count - (len(seen) - 1) * BLOCK
    return int(seen[:-1].sum()) * BLOCK + bool(seen[-1]) * last


def _blocks(part: Slice) -> Iterator[Slice]:
    """Cut a slice into its blocks, with room of their own."""
    for at in range(0, max(1, part.count), BLOCK):
        cut = slice(at, at + BLOCK)
        inputs = [replace(s, raw=s.raw[cut]) for s in part.inputs]
        base = replace(part.base, raw=part.base.raw[cut]) if part.base else None
        yield Slice(inputs, base, part.dtype)


def _of_block(part: Slice, looked_at: bool, least: Float[np.ndarray, " task"], code: str) -> Meeting:
    """Measure a single block by plain array operations."""
    finite, rows, base = part.gather()
    tasks, count = rows.shape
    grams = np.stack(gram_parts(rows))
    energy = sum_lanes(base[None].astype(np.float64) ** 2)
    largest = np.abs(rows).max(axis=1, initial=0)
    if not looked_at:
        none, nothing = np.zeros((tasks, tasks), np.int64), np.zeros(tasks + 1, np.int64)
        lost = np.zeros((1, tasks + 1))
        return Meeting(finite, 0, grams, energy, largest, none, none, none, none, lost, np.zeros(1), nothing, nothing)
    mean = _mean(rows)
    rounded = [_round_off(base, x, code) for x in (*rows, mean)]
    lost, gone, changed = np.array([[r[0] for r in rounded]]), *(np.array([r[k] for r in rounded]) for k in (1, 2))
    kept = (np.abs(rows) >= least[:, None]) & (rows != 0)
    both = (*_pairs(rows, rows != 0), *_pairs(rows, kept))
    energy_of_mean = sum_lanes(mean[None].astype(np.float64) ** 2)
    return Meeting(finite, count, grams, energy, largest, *both, lost, energy_of_mean, gone, changed)


def _mean(rows: Float[np.ndarray, "task n"]) -> Float[np.ndarray, " n"]:
    """Add one row after the other, and multiply by 1 / T: what the fused kernel does too."""
    total: Float[np.ndarray, " n"] = rows[0].copy()
    for row in rows[1:]:
        total += row
    total *= rows.dtype.type(1) / rows.dtype.type(len(rows))
    return total


def _pairs(rows: Float[np.ndarray, "task n"], marked: Array) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Return how many entries are marked in both rows, and how many of them are of opposite sign."""
    plus, minus = (np.where(marked & side, np.float64(1), np.float64(0)) for side in (rows > 0, rows < 0))
    apart = plus @ minus.T
    every = plus + minus
    return (every @ every.T).astype(np.int64), (apart + apart.T).astype(np.int64)


def _round_off(base: Float[np.ndarray, " n"], x: Float[np.ndarray, " n"], code: str) -> tuple[float, int, int]:
    """Return the squared error of storing base + x, the entries of x not 0 that this leaves as they were, and all."""
    total = base + x
    stored, before = floats.narrow(total, code), floats.narrow(base, code)
    bits = np.dtype(f"u{stored.dtype.itemsize}")
    same, some = stored.view(bits) == before.view(bits), x != 0
    return floats.lost(total, stored, code), int((same & some).sum()), int(some.sum())


def _joined(parts: list[Meeting]) -> Meeting:
    """Put what is said of blocks side by side, and add up the counts."""
    beside = {name: np.concatenate([getattr(p, name) for p in parts]) for name in ("grams", "base", "lost", "mean")}
    names = ("nonzero", "opposite", "kept", "kept_opposite", "gone", "changed")
    added = {name: sum(getattr(p, name) for p in parts) for name in names}
    largest = np.maximum.reduce([p.largest for p in parts])
    finite, sampled = all(p.finite for p in parts), sum(p.sampled for p in parts)
    return Meeting(finite=finite, sampled=sampled, largest=largest, **beside, **added)
