"""Chance as an argument: random numbers that depend on a seed, a name and a position, and on nothing else."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from .arrays import Array, columns_of, namespace, per_task
from .kernels import fused_for
from .select import magnitude_bits
from .shapes import Float, UInt16

WORDS_A_STEP = 16
"""16-bit words that one step of the Philox counter yields (four 64-bit draws)."""

RESOLUTION = 1 << 16


@dataclass(frozen=True)
class Chance:
    """Random words for one tensor (or a slice of it) of each task.

    A word is a pure function of (seed, the task's key, the tensor's name, the entry's offset): the Philox-4x64
    generator keyed by a hash of the first three, its counter set by the last. So the order of tasks, the slices,
    shards, threads and machines change nothing.
    """

    seed: int = 0
    keys: Sequence[str] = ()
    tensor: str = ""
    start: int = 0

    def words(self, task: int, count: int) -> UInt16[np.ndarray, " count"]:
        """Return `count` uniform 16-bit words for the entries from `start` on.

        >>> whole = Chance(seed=7).words(0, 64)
        >>> bool((Chance(seed=7, start=32).words(0, 32) == whole[32:]).all())
        True
        """
        return _words(self.key(task), self.start, count)

    def key(self, task: int) -> npt.NDArray[np.uint64]:
        """Return the two numbers that choose a task's stream."""
        return _key(f"{self.seed}\0{self.keys[task] if self.keys else task}\0{self.tensor}")


def words(stream: str, start: int, count: int) -> UInt16[np.ndarray, " count"]:
    """Return the words `start` … `start + count` of the stream of that name."""
    return _words(_key(stream), start, count)


def draws(stream: str, start: int, count: int) -> npt.NDArray[np.uint64]:
    """Return the 64-bit draws `start` … `start + count` of the stream of that name; `start` is a multiple of 4.

    >>> bool((draws("a", 4, 3) == draws("a", 0, 7)[4:]).all())
    True
    """
    return _draws(_key(stream), start // 4, -(-count // 4) * 4)[:count]


def _key(stream: str) -> npt.NDArray[np.uint64]:
    return np.frombuffer(hashlib.sha256(stream.encode()).digest()[:16], dtype="<u8")


def _words(key: npt.NDArray[np.uint64], start: int, count: int) -> UInt16[np.ndarray, " count"]:
    first, skip = divmod(start, WORDS_A_STEP)
    steps = -(-(skip + count) // WORDS_A_STEP)
    drawn = _draws(key, first, 4 * steps)
    return drawn.astype("<u8", copy=False).view("<u2")[skip : skip + count]


def _draws(key: npt.NDArray[np.uint64], step: int, count: int) -> npt.NDArray[np.uint64]:
    """Return as many draws (a multiple of 4) of a stream from that step of its counter on."""
    if fused := fused_for():
        drawn: npt.NDArray[np.uint64] = fused.draw(key, step, count)
        return drawn
    return np.random.Philox(key=key, counter=step).random_raw(count)


def keep_chance(density: float) -> int:
    """Return in how many of 65,536 cases an entry is kept: at least one, and all of them only for density 1.

    >>> keep_chance(0.5), keep_chance(1.0), keep_chance(1e-9)
    (32768, 65536, 1)
    """
    most = RESOLUTION if density >= 1 else RESOLUTION - 1
    return max(1, min(most, round(density * RESOLUTION)))


def drop(
    stack: Float[Array, " task *shape"],
    density: float | Sequence[float],
    chance: Chance,
    *,
    rescale: bool = True,
) -> Float[Array, " task *shape"]:
    """Keep each entry with probability p and divide the kept ones by p, so that the mean is unchanged.

        out = x / p  with probability p, else 0;   p = round(65536 density) / 65536

    `density` is one number, or one a task. Dividing by the p that was drawn with (not by `density`) makes E[out] = x
    exactly.
    """
    tasks, count = stack.shape[0], int(np.prod(stack.shape[1:]))
    densities = density if isinstance(density, Sequence) else [density] * tasks
    kept_of = np.array([keep_chance(d) for d in densities], np.int32)
    p = kept_of / RESOLUTION if rescale else np.ones(tasks)
    drawn = np.empty((tasks, count), np.uint16)
    for t in range(tasks):
        drawn[t] = chance.words(t, count)
    xp = namespace(stack)
    kept = xp.asarray(drawn.astype(np.int32) < kept_of[:, None]).reshape(stack.shape)
    return xp.where(kept, stack / per_task(p, stack), xp.zeros_like(stack))


def cases_by_rank(
    stack: Float[Array, " task *shape"], density: Sequence[float], reach: Sequence[float]
) -> npt.NDArray[np.int32]:
    """Return in how many of 65,536 cases each entry is kept, by the rank of its magnitude within its row.

        r = rank of |x| within its row, from 0; equal magnitudes share the mean of their ranks
        p = density + reach (2 r - (n - 1)) / (n - 1)        from density - reach to density + reach

    Rows are what shares a first index; a tensor of one axis or none is one row. A row of one entry, and one whose
    entries are all equal, has p = density. A density of 1 keeps all.

    >>> cases_by_rank(np.array([[3.0, -1.0, 2.0, 2.0, 0.5]]), [0.5], [0.25]) / RESOLUTION
    array([[0.75  , 0.375 , 0.5625, 0.5625, 0.25  ]])
    """
    columns = columns_of(stack.shape[1:])
    cases = np.empty((stack.shape[0], int(np.prod(stack.shape[1:]))), np.int32)
    for t, (d, r) in enumerate(zip(density, reach, strict=True)):
        rows = np.ascontiguousarray(np.asarray(stack[t]).reshape(-1, max(1, columns)))
        off = _twice_the_rank(magnitude_bits(rows)) - (columns - 1)
        p = d + (0.0 if d >= 1 else r) / max(columns - 1, 1) * off
        most = np.where(p >= 1, RESOLUTION, RESOLUTION - 1)
        cases[t] = np.maximum(1, np.minimum(np.rint(RESOLUTION * p), most)).reshape(-1)
    return cases.reshape(stack.shape)


def _twice_the_rank(sizes: npt.NDArray[np.unsignedinteger]) -> npt.NDArray[np.int64]:
    """Return the first and the last rank that equal numbers have in their row, added up."""
    order = np.argsort(sizes, axis=1)
    ascending = np.take_along_axis(sizes, order, axis=1)
    changes = ascending[:, 1:] != ascending[:, :-1]
    edge, at = np.ones((len(sizes), 1), np.bool_), np.arange(sizes.shape[1])
    first = np.maximum.accumulate(np.where(np.hstack([edge, changes]), at, 0), axis=1)
    backwards = np.where(np.hstack([changes, edge]), at, sizes.shape[1])[:, ::-1]
    last = np.minimum.accumulate(backwards, axis=1)[:, ::-1]
    ranks = np.empty_like(order)
    np.put_along_axis(ranks, order, first + last, axis=1)
    return ranks


def drop_by_rank(
    stack: Float[Array, " task *shape"],
    density: Sequence[float],
    reach: Sequence[float],
    chance: Chance,
    p: npt.NDArray[np.float64] | None = None,
) -> Float[Array, " task *shape"]:
    """Keep each entry with the probability that `cases_by_rank` gives it, and divide by that, or by a `p` a task."""
    tasks, count = stack.shape[0], int(np.prod(stack.shape[1:]))
    cases = cases_by_rank(stack, density, reach)
    drawn = np.stack([chance.words(t, count) for t in range(tasks)]).reshape(cases.shape)
    xp = namespace(stack)
    kept = xp.asarray(drawn < cases)
    divisor = xp.asarray(cases / RESOLUTION, dtype=stack.dtype) if p is None else per_task(p, stack)
    return xp.where(kept, stack / divisor, xp.zeros_like(stack))
