"""Inner products of signals with known task vectors, and of these with each other: one pass, a slice at a time."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from ..errors import MismatchError, NumbersError, RecipeError
from ..ops.shapes import Float64
from ..progress import Progress, Silent
from ..store import TaskVector
from ..store.layers import layer_of
from .known import Known
from .signals import Signal

Metric = Literal["euclidean", "tensors", "fisher"]

SLICE = 1 << 18
"""Entries read at a time, of every vector."""

REST = "outside of layers"


@dataclass(frozen=True)
class Products:
    """What a fit needs of vectors and signals, for each group of tensors; groups add up.

    tasks: the known vectors. groups: layers, in the model's order, and what is outside of them.
    gram: (group, task, task) ⟨τ_i, τ_j⟩ in the metric; products: (group, signal, task) ⟨s, τ_i⟩; energy: (group,
    signal) ⟨s, s⟩, of the tensors that some known vector changes. entries: how many numbers these hold, a group each.
    plain: (task, task) Euclidean inner products of all tensors, also of those that the signals lack: what
    a merge is scaled by, and the norms that are told. lengths: (group, task, task) the same of each group alone.
    """

    tasks: tuple[str, ...]
    groups: tuple[str, ...]
    gram: Float64[np.ndarray, "group task task"]
    products: Float64[np.ndarray, "group signal task"]
    energy: Float64[np.ndarray, "group signal"]
    entries: npt.NDArray[np.int64]
    plain: Float64[np.ndarray, "task task"]
    lengths: Float64[np.ndarray, "group task task"]

    def among(self, tasks: Sequence[str]) -> "Products":
        """Return the same as if only some of the tasks were known."""
        places = [self.tasks.index(name) for name in tasks]
        pairs = np.ix_(range(len(self.groups)), places, places)
        plain = self.plain[np.ix_(places, places)]
        return replace(
            self, tasks=tuple(tasks), gram=self.gram[pairs], products=self.products[:, :, places], plain=plain,
            lengths=self.lengths[pairs],
        )  # fmt: skip

    def of_signals(self, places: Sequence[int]) -> "Products":
        """Return the same for some of the signals."""
        at = list(places)
        return replace(self, products=self.products[:, at], energy=self.energy[:, at])


def products_of(
    known: Known,
    signals: Sequence[Signal],
    metric: Metric = "euclidean",
    weights: Mapping[str, Any] | None = None,
    progress: Progress | None = None,
) -> Products:
    """Read every known vector once, and return its inner products.

        euclidean  ⟨a, b⟩ = Σ a b
        tensors    ⟨a, b⟩ = Σ over tensors p of ⟨a_p, b_p⟩ / m_p²,  m_p² = mean over tasks of |τ_p|²;  a gradient's
                   tensors are first given the norm m_p each: directions count, a tensor's loudness does not
                   (a checkpoint's keep their own)
        fisher     ⟨a, b⟩ = Σ F a b,  F the diagonal Fisher information on the same examples (`weights`)

    Tensors that no known vector changes (frozen ones) are left out of everything: nothing known could explain them.

    Memory: a slice of every vector and signal beside the signals.

    Raises:
        RecipeError: the metric `fisher` without weights.
        MismatchError: a signal that has none of the tensors that the known vectors change, or one of another shape.
        NumbersError: NaN or Inf in a vector.
    """
    if metric == "fisher" and weights is None:
        raise RecipeError("the metric 'fisher' needs the Fisher information. Give 'weights'.")
    progress, names = progress or Silent(), _names(known, signals)
    groups = tuple(dict.fromkeys(map(group_of, names)))
    unseen = [n for n in next(iter(known.vectors.values())).shapes if n not in set(names)]
    sums = _Sums(groups, len(known.vectors), len(signals))
    sized = np.array([signal.kind == "checkpoint" for signal in signals])
    progress.begin("inner products", len(names) + len(unseen), "tensors")
    try:
        for done, name in enumerate(names, start=1):
            given = weights.get(name) if metric == "fisher" and weights is not None else None
            found = _tensor(known, signals, name, given, metric == "fisher")
            sums.add(group_of(name), found, metric, sized)
            progress.advance(done)
        for done, name in enumerate(unseen, start=len(names) + 1):
            sums.add_unseen(group_of(name), _tensor(known, (), name, None, False).plain)
            progress.advance(done)
    finally:
        progress.end()
    _check_some(known, signals, sums)
    return Products(known.names, groups, sums.gram, sums.products, sums.energy, sums.entries, sums.plain, sums.lengths)


def group_of(name: str) -> str:
    """Return the group of a tensor.

    >>> group_of("encoder.layer.3.output.dense.weight"), group_of("embeddings.word_embeddings.weight")
    ('encoder.layer.3', 'outside of layers')
    """
    place = layer_of(name)
    return f"{place[0]}.{place[1]}".lstrip(".") if place else REST


def _names(known: Known, signals: Sequence[Signal]) -> list[str]:
    """Return the tensors that every signal has; the vectors may have more, such as a language model's head."""
    first: TaskVector = next(iter(known.vectors.values()))
    names = [n for n in first.shapes if all(n in s.tensors for s in signals)]
    if not names:
        raise MismatchError(f"the signal has none of the tensors of '{known.names[0]}', e.g. '{min(first.shapes)}'.")
    for name in names:
        for signal in signals:
            if tuple(signal.tensors[name].shape) != tuple(first.shapes[name]):
                shape = tuple(signal.tensors[name].shape)
                raise MismatchError(
                    f"'{name}' is {shape} in the signal and {first.shapes[name]} in '{known.names[0]}'."
                )
    return names


def _check_some(known: Known, signals: Sequence[Signal], sums: "_Sums") -> None:
    """Refuse what has no direction: known models that are the base, a checkpoint that is, or a signal of nothing."""
    if not sums.plain.any():
        which = "every known model is" if len(known.names) > 1 else f"'{known.names[0]}', the only known model, is"
        raise MismatchError(f"{which} equal to the base {known.base}, so there is no task vector to locate among.")
    if sums.energy.any():
        return
    if signals and signals[0].kind == "checkpoint":
        raise MismatchError(
            f"the checkpoint {signals[0].facts['checkpoint']} is equal to the base {known.base} in every tensor that a "
            f"known model changes, so it lies nowhere. Give a model that was fine-tuned on the new task."
        )
    raise MismatchError("the examples' signal is zero in every tensor that a known model changes.")


@dataclass(frozen=True)
class _OfTensor:
    """All inner products of one tensor's vectors and signals, (task + signal, task + signal); plain, and weighted."""

    entries: int
    plain: Float64[np.ndarray, "n n"]
    weighted: Float64[np.ndarray, "n n"]


class _Sums:
    """What is added up over tensors."""

    def __init__(self, groups: Sequence[str], tasks: int, signals: int) -> None:
        self.place = {group: i for i, group in enumerate(groups)}
        self.tasks = tasks
        self.gram = np.zeros((len(groups), tasks, tasks))
        self.products = np.zeros((len(groups), signals, tasks))
        self.energy = np.zeros((len(groups), signals))
        self.entries = np.zeros(len(groups), np.int64)
        self.plain = np.zeros((tasks, tasks))
        self.lengths = np.zeros((len(groups), tasks, tasks))

    def add(self, group: str, found: _OfTensor, metric: Metric, sized: npt.NDArray[np.bool_]) -> None:
        """Add a tensor's; one that no task changes adds nothing. `sized`: the signals whose lengths mean something."""
        at, t = self.place[group], self.tasks
        if not found.plain[:t, :t].any():
            return
        every = found.weighted if metric == "fisher" else found.plain
        gram, products, energy = every[:t, :t], every[t:, :t], np.diagonal(every)[t:]
        if metric == "tensors":
            typical = np.trace(gram) / t
            lengths = np.sqrt(np.where(sized | (energy == 0), typical, energy))
            gram, energy = gram / typical, energy / lengths**2
            products = products / lengths[:, None] / np.sqrt(typical)
        self.gram[at] += gram
        self.products[at] += products
        self.energy[at] += energy
        self.entries[at] += found.entries
        self.plain += found.plain[:t, :t]
        self.lengths[at] += found.plain[:t, :t]

    def add_unseen(self, group: str, plain: Float64[np.ndarray, "task task"]) -> None:
        """Add a tensor's that the signals lack: to the lengths, of its group where the signals have other tensors."""
        self.plain += plain
        if group in self.place:
            self.lengths[self.place[group]] += plain


def _tensor(known: Known, signals: Sequence[Signal], name: str, weights: Any, weighted: bool) -> _OfTensor:
    vectors = list(known.vectors.values())
    entries, rows = int(np.prod(vectors[0].shapes[name])), len(vectors) + len(signals)
    plain, other = np.zeros((rows, rows)), np.zeros((rows, rows))
    readers = [v.entries for v in vectors] + [_reader(s.tensors) for s in signals]
    flat = None if weights is None else weights.reshape(-1).double().cpu().numpy()
    for start in range(0, entries, SLICE):
        stop = min(start + SLICE, entries)
        stack = np.stack([read(name, start, stop) for read in readers]).astype(np.float64)
        plain += stack @ stack.T
        if weighted and flat is not None:
            other += (stack * flat[start:stop]) @ stack.T
    if not np.isfinite(plain).all():
        odd = int(np.flatnonzero(~np.isfinite(np.diagonal(plain)))[0])
        whose = f"of '{known.names[odd]}'" if odd < len(vectors) else "of the signal"
        raise NumbersError(f"the tensor '{name}' {whose} holds NaN or Inf.")
    return _OfTensor(entries, plain, other)


def _reader(tensors: Mapping[str, Any]) -> Callable[[str, int, int], npt.NDArray[np.float32]]:
    if isinstance(tensors, TaskVector):
        return tensors.entries
    return lambda name, start, stop: tensors[name].reshape(-1)[start:stop].float().cpu().numpy()
