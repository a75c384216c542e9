"""What a search of a catalogue finds."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import overload

from .entry import Entry

DEVIATIONS = 1.959964
"""Standard deviations within which 95 % of estimates lie, if they are normal."""


@dataclass(frozen=True)
class Found:
    """An entry, and how it lies to what was searched for.

    cosine: exact, or estimated from sketches. error: 95 % of estimates lie within cosine ± error; 0 where it is exact.
    estimate: what the sketches said.
    """

    entry: Entry
    cosine: float
    error: float
    estimate: float

    @property
    def exact(self) -> bool:
        """Whether the cosine is exact."""
        return self.error == 0


@dataclass(frozen=True)
class Findings(Sequence[Found]):
    """What was found, the largest cosine first.

    compared: entries that were compared with the target. others: how many were not, by the reason. near: how many of
    those not listed may, by the error of their estimates, belong among the listed ones.
    """

    found: tuple[Found, ...]
    compared: int
    others: Mapping[str, int]
    near: int

    @overload
    def __getitem__(self, at: int) -> Found: ...
    @overload
    def __getitem__(self, at: slice) -> Sequence[Found]: ...
    def __getitem__(self, at: int | slice) -> Found | Sequence[Found]:
        return self.found[at]

    def __iter__(self) -> Iterator[Found]:
        return iter(self.found)

    def __len__(self) -> int:
        return len(self.found)
