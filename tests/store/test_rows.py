"""Rows gathered from other tensors: the same bits however they are sliced, and those that were asked for."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from taskvec.errors import MismatchError
from taskvec.ops.floats import narrow, widen
from taskvec.store.checkpoint import Checkpoint
from taskvec.store.computed.rows import MEAN, ZERO, Picks, Rows
from taskvec.store.tensors import Files, Tensor, TensorInfo
from taskvec.testing import write_model

SIZES = (7, 4, 9)


class Doubled(Tensor):
    """A computed tensor: twice another one."""

    scratch = 4.0

    def __init__(self, of: TensorInfo) -> None:
        self.of, self.name, self.dtype, self.shape = of, of.name, of.dtype, of.shape

    @property
    def on_disk(self) -> tuple[TensorInfo, ...]:
        return (self.of,)

    def read(self, files: Files, start: int, stop: int) -> np.ndarray:
        return 2 * files.raw(self.of, start, stop)


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three tensors of each float type, two axes and one."""
    rng, folder = np.random.default_rng(5), tmp_path_factory.mktemp("rows")
    for code in ("F32", "BF16", "F16", "F64"):
        tensors = {f"{i}{axes}": rng.standard_normal((n, 3) if axes == 2 else n).astype(np.float32)
                   for i, n in enumerate(SIZES) for axes in (1, 2)}  # fmt: skip
        write_model(folder / code, tensors, dtype=code)
    return folder


def tensors(stored: Path, codes: list[str], axes: int) -> list[Tensor]:
    return [Checkpoint(stored / code).tensors[f"{i}{axes}"] for i, code in enumerate(codes)]


@st.composite
def picked(draw: st.DrawFn) -> Picks:
    count = draw(st.integers(1, 12))
    source = np.array(draw(st.lists(st.integers(-2, 2), min_size=count, max_size=count)), np.int32)
    row = np.array([draw(st.integers(0, SIZES[s] - 1)) if s >= 0 else 0 for s in source], np.int64)
    if draw(st.booleans()):  # one tensor's rows from the third on, in their order
        source, row = np.full(4, 2, np.int32), np.arange(3, 7)
    mean_at = np.flatnonzero(source == MEAN)
    mean_rows = np.array([[draw(st.integers(-1, n - 1)) for _ in mean_at] for n in SIZES], np.int64).reshape(3, -1)
    mean_rows[0, (mean_rows < 0).all(axis=0)] = 0
    return Picks(source, row, mean_at, mean_rows, len(source) + draw(st.integers(0, 2)))


def by_hand(parts: list[Tensor], picks: Picks, files: Files, code: str) -> np.ndarray:
    """The same, row by row."""
    kind = np.float64 if code == "F64" else np.float32
    whole = [widen(files.raw(t), t.dtype, kind).reshape(t.shape[0], -1) for t in parts]
    out, means = [], iter(picks.mean_rows.T)
    for source, row in zip(picks.source, picks.row, strict=True):
        if source == MEAN:
            found = [whole[i][r] for i, r in enumerate(next(means)) if r >= 0]
            out.append(widen(narrow(sum(found[1:], found[0]) / kind(len(found)), code), code, kind))
        else:
            out.append(np.zeros(whole[0].shape[1], kind) if source == ZERO else whole[source][row])
    mean = narrow(np.sum(out, axis=0, dtype=np.float64) / len(out), code)
    return np.concatenate([narrow(np.concatenate(out), code), *[mean] * (picks.size - picks.count)])


@pytest.mark.parametrize("axes", [1, 2])
@pytest.mark.parametrize(
    "codes", [["F32"] * 3, ["BF16"] * 3, ["F16"] * 3, ["BF16", "F32", "F16"], ["F16", "F64", "F32"]]
)
@given(picks=picked(), data=st.data())
def test_rows_are_those_asked_for_and_slices_equal_the_whole(stored, codes, axes, picks, data):
    parts, files = tensors(stored, codes, axes), Files()
    rolled = Rows("embed", parts, picks)
    used = {codes[i] for i in range(3) if (picks.source == i).any() or (picks.mean_rows[i] >= 0).any()}
    expected = used.pop() if len(used) == 1 else codes[0] if not used else "F64" if "F64" in used else "F32"
    assert rolled.dtype == expected
    assert rolled.shape == (picks.size, *parts[0].shape[1:])
    whole = np.array(files.raw(rolled))
    np.testing.assert_array_equal(whole, by_hand(parts, picks, files, expected))
    start = data.draw(st.integers(0, rolled.count))
    stop = data.draw(st.integers(start, rolled.count))
    np.testing.assert_array_equal(files.raw(Rows("embed", parts, picks), start, stop), whole[start:stop])
    files.load(rolled, start, stop)
    for part, begin, end in rolled.ranges(start, stop):
        assert part in parts
        assert 0 <= begin < end <= part.count


def plain(source: list[int], row: list[int], size: int | None = None) -> Picks:
    none = np.empty((3, 0), np.int64)
    return Picks(np.array(source, np.int32), np.array(row), np.empty(0, np.int64), none, size or len(source))


def test_a_run_of_rows_is_a_view(stored):
    parts, files = tensors(stored, ["F32"] * 3, 2), Files()
    rolled = Rows("embed", parts, plain([2, 2, 2, 0], [4, 5, 6, 0]))
    run = files.raw(rolled, 1, 8)
    assert not run.flags.owndata
    assert not run.flags.writeable
    np.testing.assert_array_equal(run, files.raw(parts[2], 13, 20))
    assert rolled.ranges(1, 8) == [(parts[2], 13, 20)]
    assert [part for part, *_ in rolled.ranges(1, 12)] == [parts[0], parts[2]]


def test_only_what_is_used_is_on_disk_and_in_the_formula(stored):
    parts = tensors(stored, ["F32"] * 3, 2)
    rolled = Rows("embed", parts, plain([2, 2, ZERO], [4, 1, 0]))
    assert list(rolled.on_disk) == [parts[2]]
    assert rolled.formula != Rows("embed", parts, plain([2, 2, ZERO], [4, 2, 0])).formula
    assert rolled.formula != Rows("embed", parts, plain([2, 2, ZERO], [4, 1, 0], 4)).formula
    assert rolled.formula == Rows("embed", tensors(stored, ["F32"] * 3, 2), plain([2, 2, ZERO], [4, 1, 0])).formula


def test_far_rows_are_read_apart_and_near_ones_together(tmp_path):
    wide = np.arange(64 * 65536, dtype=np.float32).reshape(64, 65536)  # 256 KiB a row
    part = Checkpoint(write_model(tmp_path / "wide", {"w": wide})).tensors["w"]
    picks = Picks(np.zeros(4, np.int32), np.array([50, 3, 2, 9]), np.empty(0, np.int64), np.empty((1, 0), int), 4)
    rolled = Rows("w", [part], picks)
    assert rolled.ranges(0, rolled.count) == [(part, r * 65536, s * 65536) for r, s in ((2, 4), (9, 10), (50, 51))]
    narrow_ = Checkpoint(write_model(tmp_path / "narrow", {"w": wide[:, :8].copy()})).tensors["w"]
    assert Rows("w", [narrow_], picks).ranges(0, 32) == [(narrow_, 2 * 8, 51 * 8)]


def test_rows_of_computed_tensors(stored):
    parts, files = tensors(stored, ["F32"] * 3, 2), Files()
    picks = plain([2, 2, 0, 2, 2], [8, 3, 1, 4, 0])
    rolled = Rows("embed", [Doubled(t) for t in parts], picks)
    np.testing.assert_array_equal(files.raw(rolled), 2 * files.raw(Rows("embed", parts, picks)))
    assert rolled.scratch == 8.0


def test_a_tensor_at_an_odd_place(tmp_path, write_by_hand):
    data = np.arange(12, dtype="<f4")
    header = {"a": {"dtype": "U8", "shape": [1], "data_offsets": [0, 1]},
              "w": {"dtype": "F32", "shape": [4, 3], "data_offsets": [1, 49]}}  # fmt: skip
    part = Checkpoint(write_by_hand(tmp_path / "x.safetensors", header, b"\0" + data.tobytes())).tensors["w"]
    picks = Picks(np.zeros(3, np.int32), np.array([3, 0, 2]), np.empty(0, np.int64), np.empty((1, 0), int), 3)
    np.testing.assert_array_equal(Files().raw(Rows("w", [part], picks)), data.reshape(4, 3)[[3, 0, 2]].ravel())


def test_a_tensor_that_is_not_there_gives_zeros_and_is_left_out_of_means(stored):
    _, second, third = tensors(stored, ["F32"] * 3, 2)
    means = np.array([[1, 1], [2, -1], [-1, -1]])
    picks = Picks(np.array([0, MEAN, MEAN, 2], np.int32), np.array([0, 0, 0, 5]), np.array([1, 2]), means, 4)
    files = Files()
    got = files.raw(Rows("embed", [None, second, third], picks)).reshape(4, 3)
    np.testing.assert_array_equal(got[[0, 2]], 0)
    np.testing.assert_array_equal(got[1], files.raw(second).reshape(-1, 3)[2])
    np.testing.assert_array_equal(got[3], files.raw(third).reshape(-1, 3)[5])


def test_bits_of_other_types_are_moved_and_not_averaged(tmp_path):
    write_model(tmp_path / "m", {"w": np.arange(6, dtype=np.int64).reshape(3, 2)})
    part = Checkpoint(tmp_path / "m").tensors["w"]
    none = np.empty((1, 0), np.int64)
    moved = Rows("w", [part], Picks(np.zeros(2, np.int32), np.array([2, 0]), np.empty(0, np.int64), none, 2))
    assert Files().raw(moved).tolist() == [4, 5, 0, 1]
    padded = Picks(np.zeros(2, np.int32), np.array([2, 0]), np.empty(0, np.int64), none, 3)
    with pytest.raises(MismatchError, match=r"'w' is I64, whose rows cannot be averaged .* Convert .*\.$"):
        Rows("w", [part], padded)


def test_rows_of_other_widths_are_refused(stored):
    wide, line = tensors(stored, ["F32"] * 3, 2)[0], tensors(stored, ["F32"] * 3, 1)[1]
    with pytest.raises(MismatchError, match=r"'w' has rows of \(\) in one model and of \(3,\) in another, .*\.$"):
        Rows("w", [wide, line], plain([0, 1], [0, 0]))
