"""How near a packed task vector is to the task's own, added up over tensors."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

F32 = npt.NDArray[np.float32]
AT_ONCE = 1 << 18


@dataclass
class Accuracy:
    """Sums over entries, in float64, of a task vector τ and what stands for it, τ̂.

    own, other, both: the sums of entries on which a factor is put that is found at the end (EMR's rescaler).
    """

    norm: float = 0.0
    kept: float = 0.0
    inner: float = 0.0
    wrong: float = 0.0
    own: float = 0.0
    other: float = 0.0
    both: float = 0.0

    def add(self, delta: F32, approximate: F32) -> None:
        """Add entries of both."""
        for x, y in _wide(delta, approximate):
            self.norm += float(x @ x)
            self.kept += float(y @ y)
            self.inner += float(x @ y)
            self.wrong += float((y - x) @ (y - x))

    def add_unscaled(self, delta: F32, approximate: F32) -> None:
        """Add entries of which the packed ones are not multiplied yet."""
        for x, y in _wide(delta, approximate):
            self.own += float(x @ x)
            self.other += float(y @ y)
            self.both += float(x @ y)

    def scaled(self, factor: float) -> "Accuracy":
        """Return the sums with the factor put on what waited for it."""
        wrong = self.own - 2 * factor * self.both + factor**2 * self.other
        return Accuracy(
            self.norm + self.own,
            self.kept + factor**2 * self.other,
            self.inner + factor * self.both,
            self.wrong + max(0.0, wrong),
        )

    @property
    def error(self) -> float:
        """|τ̂ - τ| / |τ|, in Frobenius norms over all tensors; 0 for a task vector of zeros."""
        return float((self.wrong / self.norm) ** 0.5) if self.norm else 0.0

    @property
    def cosine(self) -> float:
        """cos(τ̂, τ); 1 for a task vector of zeros, 0 where nothing of another is left."""
        if self.norm == 0:
            return 1.0
        return float(self.inner / (self.norm * self.kept) ** 0.5) if self.kept else 0.0


def _wide(delta: F32, approximate: F32) -> Iterator[tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]]:
    """Yield both in float64, piece by piece."""
    for at in range(0, delta.size, AT_ONCE):
        here = slice(at, at + AT_ONCE)
        yield delta[here].astype(np.float64), approximate[here].astype(np.float64)
