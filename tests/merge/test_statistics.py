"""What a first pass finds."""

from typing import Any

import numpy as np
import pytest

from taskvec.merge.statistics import Gram, Magnitudes, MagnitudeSearch, Question, Stages, Sums
from taskvec.ops.blend import Drop
from taskvec.ops.chance import Chance
from taskvec.ops.gram import BLOCK, gram
from taskvec.ops.select import KthLargest
from taskvec.ops.slices import Slice

KEPT = Magnitudes(lambda settings, task, total: (settings["first"], total // (2 + task)), count=2)


def look(search: Any, rows: np.ndarray, chance: Chance | None = None) -> Any:
    """Show a search some rows."""
    finite, seen = search.look(Slice.of(np.ascontiguousarray(rows), chance))
    assert finite
    return seen


def test_magnitudes_are_found_in_one_pass_though_every_task_has_its_own_scale(
    kernels: str, rng: np.random.Generator
) -> None:
    rows = (rng.standard_normal((3, 50_000)) * np.array([[1.0], [1e-6], [1e4]])).astype(np.float32)
    settings = {"first": 10_000}
    search = KEPT.search(Question(3, 50_000, rows.dtype, settings, lambda: rows[:, ::10].copy()))
    assert not search.settled
    search.add(0, look(search, rows))
    search.end_pass()
    assert search.settled
    assert search.value.shape == (3, 2)
    by_size = np.sort(np.abs(rows), axis=1)[:, ::-1]
    for t in range(3):
        assert search.value[t].tolist() == [by_size[t, 9_999], by_size[t, 50_000 // (2 + t) - 1]]
    assert np.array_equal(KEPT.whole(rows, settings), search.value)


def test_ranks_outside_need_no_pass() -> None:
    nothing = Magnitudes(lambda settings, task, total: (0, total + 1), count=2)
    search = nothing.search(Question(2, 10, np.dtype("f4"), {}, lambda: np.zeros((2, 0), np.float32)))
    assert search.settled
    assert search.value.tolist() == [[np.inf, 0.0]] * 2


def test_what_is_ranked_may_be_what_is_left_after_dropping(kernels: str, rng: np.random.Generator) -> None:
    drop, rows = Drop(0.5), rng.standard_normal((2, 1000)).astype(np.float32)
    search = Magnitudes(lambda settings, task, total: (100,), drop=lambda settings: drop).search(
        Question(2, 1000, rows.dtype, {}, lambda: rows)
    )
    chance = Chance(seed=9)
    while not search.settled:
        search.add(0, look(search, rows, chance))
        search.end_pass()
    assert np.array_equal(search.value, KEPT.whole(drop(rows, chance), {"first": 100})[:, :1])


def test_a_gram_search_is_settled_after_one_pass_in_any_order(kernels: str, rng: np.random.Generator) -> None:
    rows = rng.standard_normal((2, 3 * BLOCK)).astype(np.float32)
    search = Gram().search(Question(2, 3 * BLOCK, rows.dtype, {}, lambda: rows[:, :0]))
    for at in (BLOCK, 0, 2 * BLOCK):
        search.add(at, look(search, rows[:, at : at + BLOCK]))
    assert not search.settled
    search.end_pass()
    assert search.settled
    assert search.value.tobytes() == gram(rows).tobytes()


def test_the_gram_of_a_large_model_takes_no_more_memory_than_that_of_a_small_one(
    kernels: str, rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows, found = rng.standard_normal((2, 40 * BLOCK)).astype(np.float32), []
    for most in (1 << 12, 8):
        monkeypatch.setattr("taskvec.merge.statistics.MOST_PARTS", most)
        search = Gram().search(Question(2, rows.shape[1], rows.dtype, {}, lambda: rows[:, :0]))
        for at in range(0, rows.shape[1], BLOCK):
            search.add(at, look(search, rows[:, at : at + BLOCK]))
            assert len(search.parts) <= most + 1
        search.end_pass()
        found.append(search.value.tobytes())
    assert found == [gram(rows).tobytes()] * 2


def test_a_method_can_be_tried_with_an_example() -> None:
    assert KEPT.example(3).shape == (3, 2)
    assert Gram().example(3).tolist() == np.eye(3).tolist()
    assert Gram(over=lambda settings: "row").example(2).shape == (1, 2, 2)


def test_as_many_ranks_as_announced() -> None:
    two = Magnitudes(lambda settings, task, total: (1, 2))
    with pytest.raises(ValueError, match="1 ranks were announced, 2 are asked for"):
        two.search(Question(1, 10, np.dtype("f4"), {}, lambda: np.zeros((1, 0), np.float32)))


COUNTED = Sums(lambda rows, settings: [np.count_nonzero(rows > settings["above"], axis=1) * 1.0], lambda t: (t,))


def test_sums_are_settled_after_one_pass_in_any_order(kernels: str, rng: np.random.Generator) -> None:
    rows = rng.standard_normal((2, 3 * BLOCK)).astype(np.float32)
    search = COUNTED.search(Question(2, 3 * BLOCK, rows.dtype, {"above": 0.5}, lambda: rows[:, :0]))
    for at in (2 * BLOCK, 0, BLOCK):
        search.add(at, look(search, rows[:, at : at + BLOCK]))
    assert not search.settled
    search.end_pass()
    assert search.settled
    assert search.value.tolist() == (rows > 0.5).sum(1).tolist()
    assert COUNTED.whole(rows.reshape(2, 3, -1), {"above": 0.5}).tolist() == search.value.tolist()


def test_magnitudes_of_what_is_made_of_the_rows(kernels: str, rng: np.random.Generator) -> None:
    rows = rng.standard_normal((2, 900)).astype(np.float32)
    seen = []

    def difference(x: np.ndarray, part: Slice) -> np.ndarray:
        seen.append(part.columns)
        return x[:1] - x[1:]

    search = MagnitudeSearch([[KthLargest(7, 900, rows.dtype)]], derive=difference)
    while not search.settled:
        for at in (0, 300):
            part = Slice.of(np.ascontiguousarray(rows[:, at : at + 300 + at]), columns=30)
            finite, found = search.look(part)
            assert finite
            search.add(at, found)
        search.end_pass()
    assert set(seen) == {30}
    assert search.value.tolist() == [[np.sort(np.abs(rows[0] - rows[1]))[-7]]]


def test_a_stage_begins_with_what_those_before_it_found() -> None:
    """The count of positive entries is the rank of the magnitude that is looked for next; 0 needs no pass."""
    rows = np.array([[3.0, -1.0, 2.0, -4.0]], np.float32)

    def stages(above: float) -> Stages:
        def begin(found: list[np.ndarray]) -> Any:
            if not found:
                return COUNTED.search(Question(1, 4, rows.dtype, {"above": above}, lambda: rows))
            return MagnitudeSearch([[KthLargest(int(found[0][0]), 4, rows.dtype)]])

        return Stages(2, begin, lambda found: np.append(*found))

    for above, expected in ((0.0, [2.0, 3.0]), (9.0, [0.0, np.inf])):
        search = stages(above)
        passes = 0
        while not search.settled:
            search.add(0, look(search, rows))
            search.end_pass()
            passes += 1
        assert search.value.tolist() == expected
        assert (passes == 1) == (above == 9.0)
