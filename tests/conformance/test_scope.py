"""Slices: an `entry` method fed parts gives the bytes of the whole, and the stream finds the same statistics."""

from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
import pytest

from taskvec.merge import METHODS
from taskvec.merge.magprune import Norms
from taskvec.merge.statistics import Magnitudes, Question, Statistic
from taskvec.ops.chance import Chance
from taskvec.ops.gram import BLOCK
from taskvec.ops.slices import Slice

from .cases import CASES, Case, Floats, every, searched

N = 2 * BLOCK + 4099
EDGES = (0, BLOCK, 2 * BLOCK, N)
COLUMNS = 37

BY_ENTRY = [case for case in CASES if case.method.needs.scope == "entry"]
BY_ROW = [case for case in CASES if case.method.needs.scope == "row"]
SEARCHING = [case for case in CASES if case.method.needs.searches(case.filled)]
SHORT, SHORT_EDGES = 5003, (0, 1, 2048, 3001, 5003)


def long_stack(case: Case, rng: np.random.Generator, n: int = N) -> Floats:
    """Some n entries a task, as rows for methods of rows."""
    return case.stack(rng, *((n // COLUMNS, COLUMNS) if case in BY_ROW else (n,)), dtype=np.float32)


def cuts(case: Case, edges: tuple[int, ...]) -> tuple[int, ...]:
    """Edges, moved to between rows for methods of rows."""
    return tuple(e // COLUMNS * COLUMNS for e in edges) if case in BY_ROW else edges


def part(case: Case, stack: Floats, start: int, stop: int, statistics: dict[str, Floats]) -> Floats:
    """A slice's share of the result, the statistics of the whole given."""
    given: dict[str, Any] = {**statistics, "start": start}
    if case.chance:
        given["chance"] = type(case.chance)(case.chance.seed, case.chance.keys, case.chance.tensor, start)
    return case.merge(np.ascontiguousarray(stack[:, start:stop]), **given)


@pytest.mark.parametrize("case", BY_ENTRY, ids=str)
def test_slices_give_the_bytes_of_the_whole(dtype: np.dtype, case: Case, rng: np.random.Generator) -> None:
    long = case in SEARCHING  # a search is shown blocks
    stack = case.stack(rng, N if long else SHORT, dtype=dtype)
    whole = case.merge(stack)
    assert np.any(whole)
    found = searched(case, stack, edges=EDGES, order=(2, 0, 1), sample=stack[:, ::9]) if long else {}
    edges = (0, 1, 2048, BLOCK, 30_001, N) if long else SHORT_EDGES
    parts = [part(case, stack, a, b, found) for a, b in pairwise(edges)]
    assert np.concatenate(parts).tobytes() == whole.tobytes()


@pytest.mark.parametrize("case", BY_ROW, ids=str)
def test_slices_of_whole_rows_give_the_bytes_of_the_whole(
    dtype: np.dtype, case: Case, rng: np.random.Generator
) -> None:
    stack = case.stack(rng, 90, 7, 11, dtype=dtype)
    whole = case.merge(stack)
    assert np.any(whole)
    found: dict[str, Floats] = {}
    for name, statistic in case.method.needs.statistics.items():
        search = statistic.search(Question(case.tasks, stack[0].size, stack.dtype, case.filled, lambda: stack[:, :0]))
        while not search.settled:
            for start, stop in ((40, 90), (0, 1), (1, 40)):
                chance = replace(case.chance or Chance(), start=77 * start)
                search.add(77 * start, search.look(Slice.of(stack[:, start:stop], chance))[1])
            search.end_pass()
        found[name] = search.value
        assert np.array_equal(found[name], in_memory(case, statistic, stack)), name
    for edges in ((0, 90), (0, 1, 2, 40, 90)):
        parts = [
            case.merge(
                np.ascontiguousarray(stack[:, a:b]).reshape(len(stack), b - a, 77),
                **found,
                **({"chance": replace(case.chance, start=77 * a)} if case.chance else {}),
                **({"place": (77 * a, 77)} if case.method.needs.place else {}),
            )
            for a, b in pairwise(edges)
        ]
        assert np.concatenate(parts).tobytes() == whole.tobytes()


def in_memory(case: Case, statistic: Statistic, stack: Floats) -> Floats:
    """A statistic of whole tensors."""
    if isinstance(statistic, Norms):
        return statistic.whole(stack, case.filled, case.chance)
    if isinstance(statistic, Magnitudes) and statistic.drop:
        stack = statistic.drop(case.filled)(stack, case.chance)
    return statistic.whole(stack, case.filled)


def _of_their_own(cases: list[Case]) -> list[Case]:
    """The first of those that search for the same numbers: most settings are nothing to a search."""
    first: dict[tuple[str, bytes], Case] = {}
    for case in cases:
        stack = case.stack(np.random.default_rng(0), 20, 30)
        numbers = [in_memory(case, s, stack).tobytes() for s in case.method.needs.statistics.values()]
        first.setdefault((case.method.name, b"".join(numbers)), case)
    return list(first.values())


SEARCHES = _of_their_own(SEARCHING)
HINTS = [
    ("some", 1 << 12),
    ("none", 4),
    ("none", 1 << 20),
    ("some", 4),
    ("all", 1 << 8),
    ("too large", 4),
    ("too small", 1 << 20),
    ("constant", 1 << 8),
]
"""What a search for ranks may be told, and how many bins it may have. To sums they are all the same."""


def _hints(case: Case) -> list[tuple[str, int]]:
    return HINTS if any(s.count for s in case.method.needs.statistics.values()) else HINTS[:1]


@pytest.mark.parametrize(
    ("case", "hint", "max_bins"), [(case, *hint) for case in SEARCHES for hint in _hints(case)], ids=str
)
def test_the_stream_finds_what_memory_finds(case: Case, hint: str, max_bins: int, rng: np.random.Generator) -> None:
    stack = long_stack(case, rng)
    rows = stack.reshape(len(stack), -1)
    sample = {
        "none": rows[:, :0],
        "some": rows[:, ::9],
        "all": rows,
        "too large": 1000 * rows[:, :500],
        "too small": 1e-30 * rows[:, :500],
        "constant": np.full_like(rows[:, :500], 0.7),
    }[hint]
    sample = np.ascontiguousarray(sample)
    found = searched(case, stack, edges=cuts(case, EDGES), order=(2, 0, 1), sample=sample, max_bins=max_bins)
    for name, statistic in case.method.needs.statistics.items():
        assert np.array_equal(found[name], in_memory(case, statistic, stack)), name


@pytest.mark.parametrize("case", [c for c in SEARCHES if c in BY_ENTRY], ids=str)
def test_statistics_over_several_tensors_are_those_of_one_long_one(case: Case, rng: np.random.Generator) -> None:
    stack = long_stack(case, rng, 3 * BLOCK)
    sample = stack.reshape(len(stack), -1)[:, :100].copy()
    found = searched(case, stack, edges=cuts(case, (0, BLOCK, 3 * BLOCK)), order=(1, 0), sample=sample)
    for name, statistic in case.method.needs.statistics.items():
        assert np.array_equal(found[name], in_memory(case, statistic, stack))


@pytest.mark.parametrize("case", SEARCHING, ids=str)
def test_given_statistics_are_used_as_they_are(case: Case, rng: np.random.Generator) -> None:
    case = case.where_all_matters()
    stack, other = case.stack(rng, 500), case.stack(rng, 500)[:, ::-1] ** 3
    stack[1:, :40], other[1:, :450] = 0, 0  # what one task changed alone, and much more of it
    others = searched(case, np.ascontiguousarray(other), edges=(0, 500), order=(0,), sample=other[:, :0].copy())
    equal = np.ones(case.tasks)  # no task outweighs the others, whatever the statistics
    assert case.merge(stack, equal, **others).tobytes() != case.merge(stack, equal).tobytes()


@every()
def test_scope_and_space_are_words_that_the_planner_knows(case: Case) -> None:
    assert case.method.needs.scope in ("entry", "row", "tensor")
    assert case.method.needs.space in ("weight", "delta", "either")
    assert METHODS[case.method.name] is case.method
