"""What a first pass finds."""

import numpy as np

from taskvec.merge.statistics import Gram, Magnitudes
from taskvec.ops.gram import BLOCK, gram

KEPT = Magnitudes(lambda settings, task, total: (settings["first"], total // (2 + task)))


def test_magnitudes_are_found_in_one_pass_though_every_task_has_its_own_scale(
    kernels: str, rng: np.random.Generator
) -> None:
    rows = (rng.standard_normal((3, 50_000)) * np.array([[1.0], [1e-6], [1e4]])).astype(np.float32)
    settings = {"first": 10_000}
    search = KEPT.search(3, 50_000, rows.dtype, settings, rows[:, ::10].copy())
    assert not search.settled
    search.add(0, search.look(rows))
    search.end_pass()
    assert search.settled
    assert search.value.shape == (3, 2)
    by_size = np.sort(np.abs(rows), axis=1)[:, ::-1]
    for t in range(3):
        assert search.value[t].tolist() == [by_size[t, 9_999], by_size[t, 50_000 // (2 + t) - 1]]
    assert np.array_equal(KEPT.whole(rows, settings), search.value)


def test_ranks_outside_need_no_pass() -> None:
    nothing = Magnitudes(lambda settings, task, total: (0, total + 1))
    search = nothing.search(2, 10, np.dtype("f4"), {}, np.zeros((2, 0), np.float32))
    assert search.settled
    assert search.value.tolist() == [[np.inf, 0.0]] * 2


def test_what_is_ranked_may_be_made_of_the_rows(rng: np.random.Generator) -> None:
    doubled = Magnitudes(lambda settings, task, total: (1,), of=lambda rows, settings, chance: rows * settings["by"])
    rows = rng.standard_normal((2, 5))
    assert np.array_equal(doubled.prepare(rows, {"by": 2.0}, None), 2 * rows)
    assert KEPT.prepare(rows, {}, None) is rows


def test_a_gram_search_is_settled_after_one_pass_in_any_order(kernels: str, rng: np.random.Generator) -> None:
    rows = rng.standard_normal((2, 3 * BLOCK)).astype(np.float32)
    search = Gram().search(2, 3 * BLOCK, rows.dtype, {}, rows[:, :0])
    for at in (BLOCK, 0, 2 * BLOCK):
        search.add(at, search.look(rows[:, at : at + BLOCK]))
    assert not search.settled
    search.end_pass()
    assert search.settled
    assert search.value.tobytes() == gram(rows).tobytes()
