"""Chance as an argument: random numbers that depend on a seed, a name and a position, and on nothing else."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from .arrays import Array, namespace, per_task
from .kernels import fused_for
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


def _key(stream: str) -> npt.NDArray[np.uint64]:
    return np.frombuffer(hashlib.sha256(stream.encode()).digest()[:16], dtype="<u8")


def _words(key: npt.NDArray[np.uint64], start: int, count: int) -> UInt16[np.ndarray, " count"]:
    first, skip = divmod(start, WORDS_A_STEP)
    steps = -(-(skip + count) // WORDS_A_STEP)
    draws: npt.NDArray[np.uint64]
    if fused := fused_for():
        draws = fused.draw(key, first, 4 * steps)
    else:
        draws = np.random.Philox(key=key, counter=first).random_raw(4 * steps)
    return draws.astype("<u8", copy=False).view("<u2")[skip : skip + count]


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
