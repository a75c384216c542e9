"""What is known of all changes before anything is written: what each rank, or each threshold, leaves out."""

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from ..ops.bits import bytes_for
from ..ops.int8 import from_int8, to_int8
from ..ops.largest import Magnitudes
from ..ops.spectral import Spectrum
from ..ops.thin import factors_of
from ..store.dtypes import NAMES
from ..store.pack.names import BLOCK
from ..store.tensors import Tensor
from .job import Job
from .models import F32, spans
from .stored import cost_of_a_rank, lost_in_eight_bits, rounded, spectrum_of

HEADER = 4000
"""Bytes of a header, at most, beside what it says of each tensor and task."""

F64 = npt.NDArray[np.float64]


@dataclass
class Matrix:
    """What each column of a matrix's factors gains, in squares of the change, and its cost in bytes."""

    name: str
    gains: F64
    cost: float
    rounding: float


@dataclass
class Measured:
    """What is known of one task: |τ|², and of what is packed the spectra or the magnitudes.

    lost: Σ of squares, the most that rounding to eight bits costs. counts: entries of each packed tensor.
    """

    norm: float = 0.0
    matrices: list[Matrix] = field(default_factory=list)
    magnitudes: Magnitudes = field(default_factory=Magnitudes.none)
    counts: list[int] = field(default_factory=list)
    lost: float = 0.0
    fixed: int = 0

    def sparse_bytes(self, kept: int, width: int) -> int:
        """Return the most that so many kept entries take, whichever tensors they lie in."""
        bits = sum(map(bytes_for, self.counts))
        gaps = kept + sum(self.counts) // 254
        blocks = sum(-(-n // BLOCK) + 1 for n in self.counts)
        return kept * width + min(bits, gaps) + 20 * blocks


def measure(job: Job) -> list[Measured]:
    """Read everything once."""
    found = [Measured() for _ in job.tasks]
    done = 0
    job.progress.begin("measuring", job.entries, "entries")
    try:
        for info in job.tensors:
            for task, own in enumerate(found):
                if job.changed(task, info):
                    _one(job, task, info, own)
                done += info.count
                job.progress.advance(done, info.name)
    finally:
        job.progress.end()
    return found


def _one(job: Job, task: int, info: Tensor, own: Measured) -> None:
    """Measure one task's change of one tensor."""
    own.fixed += _described(job, info)
    kept_whole, by_size = job.whole(info), job.method.size == "density"
    for span in spans(info):
        part = job.tasks[task].delta(info.name, *span)
        own.norm += float(np.square(part, dtype=np.float64).sum())
        if by_size and not kept_whole:
            own.magnitudes.add(part)
    if kept_whole:
        own.fixed += info.count * info.itemsize
        return
    delta = job.tasks[task].delta(info.name)
    if job.method.size == "rank":
        own.matrices.append(_matrix(delta, info, job.settings["factors"]))
        return
    own.counts.append(info.count)
    if job.settings["values"] == "int8":
        own.lost += lost_in_eight_bits(delta, job.settings["steps"])


def _described(job: Job, info: Tensor) -> int:
    """Return the bytes, at most, that the header takes to describe a change of a tensor: its parts, twice each."""
    packed = 5 if job.method.size == "density" else 4 if job.settings["factors"] == "int8" else 2
    return (1 if job.whole(info) else packed) * (2 * len(info.name) + 160) + len(info.name) + 100


def _matrix(delta: F32, info: Tensor, factors: str) -> Matrix:
    spectrum = spectrum_of(delta, info.shape)
    squares = spectrum.s.astype(np.float64) ** 2
    rounding = np.minimum(_rounding(spectrum, factors), squares)
    gains = np.minimum.accumulate(squares - rounding)
    return Matrix(info.name, gains, cost_of_a_rank(info.shape, factors), float(squares.sum() - gains.sum()))


def _rounding(spectrum: Spectrum, factors: str) -> F64:
    """Return, column by column, |l̂ r̂ᵀ - l rᵀ|² of the factors as they are stored.

    = |l̂|² |r̂|² - 2 (l̂·l)(r̂·r) + |l|² |r|²        the columns' errors are nearly orthogonal, so they add up
    """
    left, right = factors_of(spectrum, len(spectrum.s))
    exact = [np.ascontiguousarray(left.T, np.float32), np.ascontiguousarray(right, np.float32)]
    if factors == "int8":
        stored = [from_int8(*to_int8(x)) for x in exact]
    else:
        stored = [rounded(x, NAMES[factors])[1] for x in exact]
    pairs = [(x.astype(np.float64), y.astype(np.float64)) for x, y in zip(exact, stored, strict=True)]
    own, new, both = (np.prod([(a * b).sum(axis=1) for a, b in each], axis=0) for each in (
        [(x, x) for x, _ in pairs], [(y, y) for _, y in pairs], pairs,
    ))  # fmt: skip
    apart: F64 = np.maximum(new - 2 * both + own, 0.0)
    return apart
