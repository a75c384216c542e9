"""Statistics on disk: what is written is read, slice by slice; what is torn or foreign never passes for whole."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from measured import random_parts
from taskvec.errors import FormatError, MismatchError, NumbersError, OutputError, StoreError
from taskvec.store.statistics import FACTS, PARTS, TENSORS, Statistics, StatisticsWriter, check_new, part_shapes

FACTS_GIVEN = {"estimator": "fisher", "model": {"path": "m", "fingerprint": "tv1:0"}, "total": 3.0}
UP, BIAS, EMBED = "layers.0.up_proj.weight", "layers.0.up_proj.bias", "embed_tokens.weight"
WEIGHTS: dict[str, tuple[int, ...]] = {UP: (6, 4), BIAS: (6,), EMBED: (9, 4)}

Parts = dict[str, dict[str, np.ndarray]]


def made(kind: str, gradient: bool = False) -> Parts:
    """Random statistics of a few weights."""
    rng = np.random.default_rng(3)
    parts = {name: random_parts(kind, name, shape, rng, gradient=gradient) for name, shape in WEIGHTS.items()}
    return {name: own for name, own in parts.items() if own}


def write(folder: Path, kind: str = "diagonal", gradient: bool = False, **facts: Any) -> Parts:
    """Write them, and return them."""
    parts = made(kind, gradient)
    with StatisticsWriter(
        folder, kind, {n: {p: x.shape for p, x in own.items()} for n, own in parts.items()}
    ) as writer:
        for name, own in parts.items():
            for part, values in own.items():
                writer.add(name, part, values)
        writer.finish({**FACTS_GIVEN, **facts})
    return parts


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Diagonal statistics."""
    write(tmp_path / "stats")
    return tmp_path / "stats"


@pytest.mark.parametrize("gradient", [False, True])
@pytest.mark.parametrize("kind", list(PARTS))
def test_what_is_written_is_read(tmp_path: Path, kind: str, gradient: bool) -> None:
    parts = write(tmp_path / "s", kind, gradient)
    with Statistics(tmp_path / "s") as got:
        assert (got.kind, got.estimator, got.fingerprint, got.total) == (kind, "fisher", "tv1:0", 3.0)
        assert got.has_gradients is gradient
        assert got.names == tuple(sorted(parts))
        for name, own in parts.items():
            assert {*got.parts(name), *(["gradient"] if gradient else [])} == set(own)
            for part, values in own.items():
                assert np.array_equal(got.read(name, part), values)
                assert got.read(name, part).dtype == np.float32


def test_what_is_no_linear_layer_is_diagonal_or_nothing(tmp_path: Path) -> None:
    for kind in ("kronecker", "eigen", "gram"):
        write(tmp_path / kind, kind)
    with Statistics(tmp_path / "kronecker") as got:
        assert [got.kind_of(name) for name in got.names] == ["diagonal", "diagonal", "kronecker"]
    with Statistics(tmp_path / "gram") as got:
        assert got.names == (UP,)
        assert EMBED not in got
        with pytest.raises(MismatchError, match=r"gram has no statistics of 'embed_tokens\.weight'\.$"):
            got.parts(EMBED)


@given(ends=st.tuples(st.integers(0, 36), st.integers(0, 36)))
def test_slices_are_parts_of_the_whole(tmp_path_factory: pytest.TempPathFactory, ends: tuple[int, int]) -> None:
    folder = tmp_path_factory.getbasetemp() / "sliced"
    if not folder.exists():
        write(folder)
    start, stop = sorted(ends)
    with Statistics(folder) as got:
        part = got.read(EMBED, "", start, stop)
        assert part.shape == (stop - start,)
        assert np.array_equal(part, got.read(EMBED).reshape(-1)[start:stop])


def test_slices_may_be_written_in_any_order(tmp_path: Path) -> None:
    values = np.arange(24, dtype=np.float32)
    with StatisticsWriter(tmp_path / "s", "diagonal", {"w": {"": (6, 4)}}) as writer:
        for start, stop in ((16, 24), (0, 5), (5, 16)):
            writer.add("w", "", values[start:stop], start)
        got = writer.finish(FACTS_GIVEN)
    assert np.array_equal(got.read("w"), values.reshape(6, 4))


@pytest.mark.parametrize(
    ("kind", "turned", "expected"),
    [
        ("diagonal", False, {"": (2, 3)}),
        ("diagonal", True, {"": (2, 3)}),
        ("gram", False, {"input": (3, 3)}),
        ("gram", True, {"input": (2, 2)}),
        ("kronecker", True, {"input": (2, 2), "output": (3, 3)}),
        ("eigen", False, {"input_vectors": (3, 3), "output_vectors": (2, 2), "eigenvalues": (2, 3)}),
        ("eigen", True, {"input_vectors": (2, 2), "output_vectors": (3, 3), "eigenvalues": (3, 2)}),
    ],
    ids=str,
)
def test_parts_are_said_as_if_a_weight_were_stored_out_in(
    kind: str, turned: bool, expected: dict[str, tuple[int, ...]]
) -> None:
    assert part_shapes(kind, (2, 3), turned=turned) == expected
    assert part_shapes(kind, (2, 3), turned=turned, gradient=True) == {**expected, "gradient": (2, 3)}


class TestWriting:
    def test_the_same_bytes_whatever_the_order(self, tmp_path: Path) -> None:
        shapes: dict[str, dict[str, tuple[int, ...]]] = {"b": {"": (3,)}, "a": {"": (2,)}}
        for name, order in (("one", ["a", "b"]), ("two", ["b", "a"])):
            with StatisticsWriter(tmp_path / name, "diagonal", {k: shapes[k] for k in order}) as writer:
                for weight in order:
                    writer.add(weight, "", np.ones(shapes[weight][""]))
                writer.finish(FACTS_GIVEN)
        for file in (FACTS, TENSORS):
            assert (tmp_path / "one" / file).read_bytes() == (tmp_path / "two" / file).read_bytes()

    def test_what_is_not_whole_is_not_finished(self, tmp_path: Path) -> None:
        with (
            pytest.raises(ValueError, match="'b' is not whole"),
            StatisticsWriter(tmp_path / "s", "diagonal", {"a": {"": (2,)}, "b": {"": (3,)}}) as writer,
        ):
            writer.add("a", "", np.ones(2))
            writer.add("b", "", np.ones(2))
            writer.finish(FACTS_GIVEN)
        assert not list(tmp_path.iterdir())

    def test_more_than_there_is_room_for_is_an_error(self, tmp_path: Path) -> None:
        with (
            pytest.raises(ValueError, match="'a' takes 2 entries, and gets more"),
            StatisticsWriter(tmp_path / "s", "diagonal", {"a": {"": (2,)}}) as writer,
        ):
            writer.add("a", "", np.ones(3))
        assert not list(tmp_path.iterdir())

    @pytest.mark.parametrize("value", [np.nan, np.inf])
    def test_nan_and_inf_are_refused(self, tmp_path: Path, value: float) -> None:
        with (
            pytest.raises(NumbersError, match=r"the statistics of 'a' hold NaN or Inf\. Look at the model"),
            StatisticsWriter(tmp_path / "s", "diagonal", {"a": {"": (2,)}}) as writer,
        ):
            writer.add("a", "", np.array([1.0, value]))
        assert not list(tmp_path.iterdir())

    def test_an_error_on_the_way_leaves_nothing(self, tmp_path: Path) -> None:
        with (
            pytest.raises(RuntimeError, match="stop"),
            StatisticsWriter(tmp_path / "s", "diagonal", {"a": {"": (2,)}}) as writer,
        ):
            writer.add("a", "", np.ones(2))
            raise RuntimeError("stop")
        assert not list(tmp_path.iterdir())

    def test_statistics_are_replaced_only_when_asked(self, folder: Path) -> None:
        with pytest.raises(OutputError, match=r"stats exists\. Choose another folder, or type --force to replace it\."):
            StatisticsWriter(folder, "diagonal", {"a": {"": (2,)}})
        with StatisticsWriter(folder, "diagonal", {"a": {"": (2,)}}, force=True) as writer:
            writer.add("a", "", np.ones(2))
            assert len(Statistics(folder).names) == 3, "the old ones stay until the new ones are whole"
            writer.finish(FACTS_GIVEN)
        assert Statistics(folder).names == ("a",)

    def test_what_lies_beside_them_is_not_lost(self, folder: Path) -> None:
        (folder / "math").mkdir()
        with pytest.raises(OutputError, match="holds more than statistics, such as 'math', which would be lost"):
            check_new(folder, force=True)
        assert (folder / "math").is_dir()

    def test_what_is_no_statistics_is_never_replaced(self, tmp_path: Path) -> None:
        (tmp_path / "letters").mkdir()
        (tmp_path / "letters" / "mine.txt").write_text("dear")
        for force in (False, True):
            with pytest.raises(OutputError, match=r"letters exists and holds no statistics\. Choose another folder\."):
                check_new(tmp_path / "letters", force)
        (tmp_path / "empty").mkdir()
        check_new(tmp_path / "empty")
        assert (tmp_path / "letters" / "mine.txt").read_text() == "dear"

    def test_killed_while_writing_leaves_nothing_that_looks_finished(self, tmp_path: Path) -> None:
        code = f"""
import os, signal
import numpy as np
from taskvec.store.statistics import written as statistics
keep = statistics.write_whole
statistics.write_whole = lambda *args: (keep(*args), os.kill(os.getpid(), signal.SIGKILL))
with statistics.StatisticsWriter({str(tmp_path / "s")!r}, "diagonal", {{"a": {{"": (2,)}}}}) as writer:
    writer.add("a", "", np.ones(2))
    writer.finish({FACTS_GIVEN!r})
"""
        done = subprocess.run([sys.executable, "-c", code], env=dict(os.environ), timeout=60)
        assert done.returncode == -signal.SIGKILL
        assert [p.name for p in tmp_path.iterdir()] == [".s.partial"]
        write(tmp_path / "s")  # begins anew
        assert [p.name for p in tmp_path.iterdir()] == ["s"]
        assert len(Statistics(tmp_path / "s").names) == 3


def change(folder: Path, **facts: Any) -> None:
    """Change some facts; None removes one."""
    told = json.loads((folder / FACTS).read_text())
    (folder / FACTS).write_text(json.dumps({k: v for k, v in {**told, **facts}.items() if v is not None}))


WRONG: dict[str, tuple[Callable[[Path], Any], str]] = {
    "no facts": (
        lambda f: (f / FACTS).unlink(),
        r"is no folder of statistics: it has no statistics\.json\. Make one with",
    ),
    "no tensors": (lambda f: (f / TENSORS).unlink(), r"is damaged: it lacks statistics\.safetensors\. Measure again\."),
    "torn facts": (lambda f: os.truncate(f / FACTS, 30), r"statistics\.json is damaged: .* Measure again\."),
    "torn tensors": (lambda f: os.truncate(f / TENSORS, (f / TENSORS).stat().st_size - 8), r"is truncated: its header"),
    "torn header": (lambda f: os.truncate(f / TENSORS, 20), r"statistics\.safetensors"),
    "another's facts": (lambda f: change(f, format="x"), r"is no folder of statistics: its statistics\.json is not of"),
    "a list": (lambda f: (f / FACTS).write_text("[]"), r"is no folder of statistics: its statistics\.json is not of"),
    "newer": (
        lambda f: change(f, version=2),
        r"holds statistics of version 2; this taskvec reads version 1\.",
    ),
    "no total": (lambda f: change(f, total=None), r"is damaged: it lacks 'total'\. Measure again\."),
    "no trace": (lambda f: change(f, total="x"), r"is damaged: its 'total' is 'x', not a trace\. Measure again\."),
    "trace below 0": (lambda f: change(f, total=-1.0), r"is damaged: its 'total' is -1\.0, not a trace\."),
    "no model": (lambda f: change(f, model={}), r"is damaged: it names no kind that is known, or no model\."),
    "unknown kind": (lambda f: change(f, kind="full"), r"is damaged: it names no kind that is known, or no model\."),
    "another kind": (lambda f: change(f, kind="gram"), r"is damaged: it is of the kind 'gram' and lacks '.*#input'\."),
}


@pytest.mark.parametrize("what", list(WRONG))
def test_whatever_is_wrong_is_said_in_one_sentence(folder: Path, what: str) -> None:
    spoil, message = WRONG[what]
    spoil(folder)
    with pytest.raises(FormatError, match=message) as caught:
        Statistics(folder)
    assert "\n" not in str(caught.value)
    assert str(folder) in str(caught.value)


def test_nothing_there_is_said(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match=r"nowhere does not exist\. Give a folder of statistics, or make one with"):
        Statistics(tmp_path / "nowhere")


def test_a_model_folder_is_no_statistics(tmp_path: Path) -> None:
    (tmp_path / "m").mkdir()
    (tmp_path / "m" / "config.json").write_text("{}")
    with pytest.raises(FormatError, match=r"m is no folder of statistics: it has no statistics\.json"):
        Statistics(tmp_path / "m")
