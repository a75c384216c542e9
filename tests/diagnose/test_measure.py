"""Sums of a tensor do not depend on how it was cut, by whom, or in which order."""

from itertools import pairwise
from threading import Thread

import numpy as np
import pytest

from taskvec.diagnose import figures, measure
from taskvec.diagnose.measure import LOOKED_AT, Tally, least_of, looked_at
from taskvec.diagnose.report import Group
from taskvec.ops.chance import Chance
from taskvec.ops.gram import BLOCK
from taskvec.ops.slices import Slice, Stored

ENTRIES = 6 * BLOCK + 321


@pytest.fixture
def arrays(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    scale = 10.0 ** rng.integers(-4, 0, ENTRIES)
    return rng.standard_normal(ENTRIES).astype(np.float32), (scale * rng.standard_normal((3, ENTRIES))).astype("f4")


def cut(base: np.ndarray, tasks: np.ndarray, start: int, stop: int) -> Slice:
    stored = [Stored(x[start:stop], "F32", delta=True) for x in tasks]
    return Slice(stored, Stored(base[start:stop], "F32"), np.dtype("f4"), Chance(start=start))


def group(base: np.ndarray, tasks: np.ndarray, cuts: list[int], threads: int = 1) -> Group:
    tally = Tally(ENTRIES, least_of(tasks, 0.3), "BF16")
    edges = [0, *(c * BLOCK for c in cuts), ENTRIES]
    slices = [cut(base, tasks, a, b) for a, b in pairwise(edges)][::-1]
    workers = [
        Thread(target=lambda mine: [tally.look(s) for s in mine], args=(slices[k::threads],)) for k in range(threads)
    ]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert tally.whole
    return tally.group("model.layers.3.self_attn.q_proj.weight", (ENTRIES,), np.array([2, 0, 1]))


def same(one: Group, other: Group) -> None:
    for a, b in ((one.gram, other.gram), (one.largest, other.largest), (one.rounding.lost, other.rounding.lost)):
        assert a.tobytes() == b.tobytes()
    assert one.base == other.base
    assert one.counts.sampled == other.counts.sampled
    for name in ("nonzero", "opposite", "kept", "kept_opposite"):
        np.testing.assert_array_equal(getattr(one.counts, name), getattr(other.counts, name))


def test_any_slices_in_any_order_by_any_threads(
    kernels: str, arrays: tuple[np.ndarray, np.ndarray], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(measure, "LOOKED_AT", 3)
    monkeypatch.setattr(measure, "MOST_PARTS", 2)
    whole = group(*arrays, [])
    for cuts, threads in (([1, 2, 3, 4, 5, 6], 1), ([3], 2), ([2, 5], 3)):
        same(group(*arrays, cuts, threads), whole)


def test_sums_are_those_of_whole_arrays(kernels: str, arrays: tuple[np.ndarray, np.ndarray]) -> None:
    base, tasks = arrays
    found = group(base, tasks, [2, 4])
    wide = tasks[[2, 0, 1]].astype(float)
    np.testing.assert_allclose(found.gram, wide @ wide.T, rtol=1e-10)
    assert found.base == pytest.approx(float(base.astype(float) @ base), rel=1e-12)
    assert (found.stack, found.layer, found.kind, found.tensors) == ("model.layers", 3, "q", 1)
    np.testing.assert_allclose(np.diagonal(found.counts.kept) / ENTRIES, 0.3, atol=1e-3)
    mean = wide.mean(axis=0)
    np.testing.assert_allclose(found.rounding.energy, [*np.diagonal(wide @ wide.T), mean @ mean], rtol=1e-6)


def test_a_sample_of_blocks_is_near_to_all_of_them(
    arrays: tuple[np.ndarray, np.ndarray], monkeypatch: pytest.MonkeyPatch
) -> None:
    exact = figures.sign_conflict(group(*arrays, []))
    monkeypatch.setattr(measure, "LOOKED_AT", 2)
    near = figures.sign_conflict(group(*arrays, []))
    assert np.all(exact.error[~np.eye(3, dtype=bool)] == 0)
    off = np.abs(near.value - exact.value)[np.triu_indices(3, 1)]
    assert np.all(off < 4 * near.error[np.triu_indices(3, 1)])
    assert np.all(off > 0)


def test_a_finished_tensor_holds_a_single_sum(arrays: tuple[np.ndarray, np.ndarray]) -> None:
    base, tasks = arrays
    tally = Tally(ENTRIES, least_of(tasks, 0.3), "BF16")
    tally.look(cut(base, tasks, 0, 4 * BLOCK))
    assert (tally.whole, tally.parts) == (False, 4)
    tally.look(cut(base, tasks, 4 * BLOCK, ENTRIES))
    assert (tally.whole, tally.parts) == (True, 1)
    same(tally.group("h.3.mlp.weight", (ENTRIES,), np.array([2, 0, 1])), group(base, tasks, []))


@pytest.mark.parametrize("among", [1, 63, 64, 65, 1000, 65536])
def test_blocks_are_looked_at_at_even_distances(among: int) -> None:
    where = np.flatnonzero(looked_at(0, among, among))
    assert len(where) == min(among, LOOKED_AT)
    gaps = np.diff(where)
    assert len(gaps) == 0 or gaps.max() - gaps.min() <= 1
    pieces = [looked_at(at, min(7, among - at), among) for at in range(0, among, 7)]
    np.testing.assert_array_equal(np.flatnonzero(np.concatenate(pieces)), where)


def test_the_least_of_the_largest() -> None:
    rows = np.array([[1.0, -4, 3, 2], [0, 0, 0, 1]])
    assert least_of(rows, 0.5).tolist() == [3, 0]
    assert least_of(rows, 1e-9).tolist() == [4, 1]
    assert least_of(rows, 1.0).tolist() == [1, 0]
    assert least_of(np.zeros((2, 0)), 0.5).tolist() == [0, 0]
