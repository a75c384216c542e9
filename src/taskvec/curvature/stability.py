"""How much an estimate depends on which examples it saw: the one half of them against the other."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import sqrt
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

COUNTS = (64, 256, 1024, 4096)
"""Numbers of examples that the error is said for."""


@dataclass(frozen=True)
class Halves:
    """Inner products of what the two halves h_0 and h_1 say: |h_0|², |h_1|², ⟨h_0, h_1⟩.

    Those of a Kronecker product are the products of its factors', and those of several tensors add up.
    """

    first: float
    second: float
    both: float

    @classmethod
    def of(cls, first: "torch.Tensor", second: "torch.Tensor") -> "Halves":
        """Return the inner products of two halves."""
        a, b = first.double().flatten(), second.double().flatten()
        return cls(float(a @ a), float(b @ b), float(a @ b))

    def __mul__(self, other: "Halves") -> "Halves":
        return Halves(self.first * other.first, self.second * other.second, self.both * other.both)

    def __add__(self, other: "Halves") -> "Halves":
        return Halves(self.first + other.first, self.second + other.second, self.both + other.both)

    def times(self, factor: float) -> "Halves":
        """Return the same for halves whose squares count so many times."""
        return Halves(factor * self.first, factor * self.second, factor * self.both)

    @property
    def cosine(self) -> float | None:
        """The cosine between the halves; None where one is 0."""
        norms = sqrt(self.first * self.second)
        return self.both / norms if norms else None

    def error(self, counts: Sequence[int]) -> float | None:
        """Return how far the mean over all is expected to be from what infinitely many examples would say.

            |h_0 − h_1| · √(n_0 n_1) / n / |mean|

        For independent examples the square of the first part is an unbiased estimate of the mean's squared error.
        None where the mean is 0.
        """
        n = sum(counts)
        (p, q) = (counts[0] / n, counts[1] / n)
        apart = max(self.first + self.second - 2 * self.both, 0.0)
        size = p * p * self.first + q * q * self.second + 2 * p * q * self.both
        return sqrt(apart * p * q / size) if size > 0 else None


def said(halves: Mapping[str, Halves], counts: Sequence[int], examples: int) -> dict[str, Any] | None:
    """Return what statistics say of their stability, in plain data; None where there are no two halves.

    error, cosine: of all tensors together. expected: number of examples → the error that so many would leave, by its
    fall with the square root of their number. tensors: name → [error, cosine].
    """
    if not halves or min(counts, default=0) < 1:
        return None
    whole = Halves(0.0, 0.0, 0.0)
    for one in halves.values():
        whole = whole + one
    error = whole.error(counts)
    expected = {} if error is None else {str(count): error * sqrt(examples / count) for count in COUNTS}
    tensors = {name: [one.error(counts), one.cosine] for name, one in halves.items()}
    return {"examples": examples, "error": error, "cosine": whole.cosine, "expected": expected, "tensors": tensors}
