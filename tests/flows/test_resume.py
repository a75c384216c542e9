"""Interrupt it anywhere: nothing looks finished, and the same command gives the same bytes."""

import errno
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import taskvec as tv
from taskvec.recipe import run as run_module
from taskvec.recipe.schedule import Schedule
from taskvec.store.writer import ShardWriter

from .conftest import contents

SLICES = {"threads": 2, "slice_": 16384}
SHARDS = {"output": {"shard_size": 120_000}}


@pytest.fixture(params=["task_arithmetic", "ties", "dare_ties"])
def made(request: pytest.FixtureRequest, recipe: Callable[..., tv.Recipe]) -> tv.Recipe:
    """A merge in one pass, one with a threshold over the whole model, one with chance; into several shards."""
    return recipe(request.param, **SHARDS)


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "here" / "merged"


@pytest.fixture
def expected(merged: Callable[..., Path], made: tv.Recipe) -> dict[str, str]:
    """What an uninterrupted run gives."""
    return contents(merged(made))


def again(made: tv.Recipe, out: Path, **how: Any) -> tv.Receipt:
    return tv.run(tv.make_plan(made, out, **SLICES), out, **how)


def nothing_looks_finished(out: Path) -> bool:
    """Tell whether there is no output, and no file that a loader would take, beside it."""
    return (
        not out.exists() and not list(out.parent.rglob("*.safetensors")) and not list(out.parent.rglob("receipt.json"))
    )


class Slow:
    """A writer that counts its writes and takes its time, or stops at one of them."""

    def __init__(self, patch: pytest.MonkeyPatch, stop_at: int = 0, seconds: float = 0.0) -> None:
        self.names: list[str] = []
        write = ShardWriter.write

        def slow(writer: ShardWriter, name: str, start: int, raw: Any) -> None:
            self.names.append(name)
            if len(self.names) == stop_at:
                raise KeyboardInterrupt
            time.sleep(seconds)
            write(writer, name, start, raw)

        patch.setattr(ShardWriter, "write", slow)


@pytest.mark.parametrize("stop_at", [1, 7, 14])
def test_a_thread_that_is_stopped_at_any_write(
    made: tv.Recipe, out: Path, expected: dict[str, str], monkeypatch: pytest.MonkeyPatch, stop_at: int
) -> None:
    with monkeypatch.context() as patch:
        Slow(patch, stop_at)
        with pytest.raises(KeyboardInterrupt):
            again(made, out)
    assert nothing_looks_finished(out)
    receipt = again(made, out)
    assert contents(out) == expected
    assert receipt.facts["resumed"] is True
    assert sorted(p.name for p in out.parent.iterdir()) == ["merged"]


class InterruptAfter:
    """Progress that is Ctrl-C once so many bytes were read."""

    def __init__(self, count: int) -> None:
        self.count = count

    def begin(self, what: str, total: int) -> None:
        self.total = total

    def advance(self, done: int) -> None:
        if done > self.count:
            raise KeyboardInterrupt

    def end(self) -> None:
        pass


@pytest.mark.parametrize("share", [0.2, 0.6])
def test_ctrl_c_while_it_works(
    made: tv.Recipe, out: Path, expected: dict[str, str], monkeypatch: pytest.MonkeyPatch, share: float
) -> None:
    total = tv.make_plan(made).bytes_read
    with monkeypatch.context() as patch:
        slow = Slow(patch, seconds=0.03)
        with pytest.raises(KeyboardInterrupt):
            again(made, out, progress=InterruptAfter(int(share * total)))
    assert nothing_looks_finished(out)
    first = len(slow.names)
    assert first > 0
    again(made, out)
    assert contents(out) == expected


def test_what_was_finished_is_not_done_again(
    recipe: Callable[..., tv.Recipe], out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = recipe("task_arithmetic", **SHARDS)
    with monkeypatch.context() as patch:
        first = Slow(patch, stop_at=11)
        with pytest.raises(KeyboardInterrupt):
            tv.run(tv.make_plan(made, threads=1, slice_=16384), out)
    with monkeypatch.context() as patch:
        second = Slow(patch)
        again(made, out)
    assert first.names[0] not in second.names
    assert set(first.names) | set(second.names) == {u.name for u in tv.make_plan(made).units}


def test_interrupted_again_and_again(
    made: tv.Recipe, out: Path, expected: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for _ in range(12):
        with monkeypatch.context() as patch:
            Slow(patch, stop_at=9)
            try:
                again(made, out)
                break
            except KeyboardInterrupt:
                assert nothing_looks_finished(out)
    else:
        again(made, out)
    assert contents(out) == expected


@pytest.mark.parametrize("other", [{"threads": 1}, {"threads": 3, "slice_": 1 << 20}])
def test_it_may_continue_with_other_threads_and_slices(
    made: tv.Recipe, out: Path, expected: dict[str, str], monkeypatch: pytest.MonkeyPatch, other: dict[str, Any]
) -> None:
    with monkeypatch.context() as patch:
        Slow(patch, stop_at=8)
        with pytest.raises(KeyboardInterrupt):
            again(made, out)
    tv.run(tv.make_plan(made, **other), out)
    assert contents(out) == expected


def test_the_receipt_of_a_resumed_run_counts_the_rounding_of_all_of_it(
    made: tv.Recipe, out: Path, merged: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = tv.run(tv.make_plan(made), out.parent / "whole").facts["rounding"]
    with monkeypatch.context() as patch:
        Slow(patch, stop_at=9)
        with pytest.raises(KeyboardInterrupt):
            again(made, out)
    rounding = again(made, out).facts["rounding"]
    assert rounding["lost"] == pytest.approx(whole["lost"], rel=1e-5)
    assert rounding["task_vector_norm"] == pytest.approx(whole["task_vector_norm"], rel=1e-6)


class TestFullDisk:
    def full_after(self, count: int, patch: pytest.MonkeyPatch) -> None:
        pwrite, done = os.pwrite, []

        def fails(fd: int, data: Any, at: int) -> int:
            done.append(at)
            if len(done) > count:
                raise OSError(errno.ENOSPC, "No space left on device")
            return pwrite(fd, data, at)

        patch.setattr(os, "pwrite", fails)

    @pytest.mark.parametrize("count", [4, 9, 15])
    def test_in_the_middle(
        self, made: tv.Recipe, out: Path, expected: dict[str, str], monkeypatch: pytest.MonkeyPatch, count: int
    ) -> None:
        with monkeypatch.context() as patch:
            self.full_after(count, patch)
            with pytest.raises(
                tv.OutputError, match=r"cannot be written: the disk is full\. Make room or choose another"
            ):
                again(made, out)
        assert nothing_looks_finished(out)
        again(made, out)
        assert contents(out) == expected

    def test_before_anything_is_done_leaves_nothing_behind(
        self, made: tv.Recipe, out: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def full(*args: object) -> None:
            raise OSError(errno.ENOSPC, "No space left on device")

        monkeypatch.setattr(os, "posix_fallocate", full)
        with pytest.raises(tv.OutputError, match="the disk is full"):
            again(made, out)
        assert list(out.parent.iterdir()) == []

    @pytest.mark.parametrize("place", ["copy_sidecars", "write_whole", "sha256"])
    def test_while_the_small_files_are_written(
        self, made: tv.Recipe, out: Path, expected: dict[str, str], monkeypatch: pytest.MonkeyPatch, place: str
    ) -> None:
        def full(*args: object) -> None:
            raise OSError(errno.ENOSPC, "No space left on device")

        with monkeypatch.context() as patch:
            patch.setattr(f"taskvec.recipe.finish.{place}", full)
            with pytest.raises(tv.OutputError, match="cannot be written: the disk is full"):
                again(made, out)
        assert not out.exists()
        assert not list(out.parent.rglob("receipt.json"))
        again(made, out)
        assert contents(out) == expected

    def test_in_the_journal(
        self, made: tv.Recipe, out: Path, expected: dict[str, str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def full(*args: object) -> None:
            raise OSError(errno.ENOSPC, "No space left on device")

        with monkeypatch.context() as patch:
            patch.setattr("taskvec.recipe.journal.Journal.add", full)
            with pytest.raises(tv.OutputError, match="cannot be written: the disk is full"):
                again(made, out)
        assert not out.exists()
        again(made, out)
        assert contents(out) == expected

    def test_when_syncing(
        self, made: tv.Recipe, out: Path, expected: dict[str, str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def fails(fd: int) -> None:
            raise OSError(errno.EIO, "Input/output error")

        with monkeypatch.context() as patch:
            patch.setattr(os, "fdatasync", fails)
            with pytest.raises(tv.OutputError, match=r"cannot be written: Input/output error\."):
                again(made, out)
        assert nothing_looks_finished(out)
        again(made, out)
        assert contents(out) == expected


class TestAnotherRecipe:
    @pytest.fixture(autouse=True)
    def interrupted(
        self, recipe: Callable[..., tv.Recipe], out: Path, monkeypatch: pytest.MonkeyPatch
    ) -> Iterator[None]:
        with monkeypatch.context() as patch:
            Slow(patch, stop_at=10)
            with pytest.raises(KeyboardInterrupt):
                tv.run(tv.make_plan(recipe("task_arithmetic", **SHARDS), threads=1, slice_=16384), out)
        yield

    def unfinished(self, out: Path) -> dict[str, str]:
        return contents(out.parent / ".merged.partial")

    @pytest.mark.parametrize("keys", [{"scale": 0.5}, {"dtype": "float32"}, {"seed": 1}, {"models": [1, 2]}])
    def test_is_refused_and_loses_nothing(
        self, recipe: Callable[..., tv.Recipe], out: Path, keys: dict[str, Any]
    ) -> None:
        before = self.unfinished(out)
        with pytest.raises(
            tv.OutputError, match=r"holds an unfinished merge of another recipe, .* type --restart to begi"
        ):
            again(recipe("task_arithmetic", **SHARDS | keys), out)
        assert self.unfinished(out) == before

    def test_restart_throws_the_old_work_away(
        self, recipe: Callable[..., tv.Recipe], merged: Callable[..., Path], out: Path
    ) -> None:
        other = recipe("task_arithmetic", scale=0.5)
        receipt = again(other, out, restart=True)
        assert receipt.facts["resumed"] is False
        assert contents(out) == contents(merged(other))

    def test_inputs_that_changed_meanwhile_are_another_recipe(
        self, recipe: Callable[..., tv.Recipe], soup: Callable[..., Path], out: Path
    ) -> None:
        file = sorted((soup() / "m0").glob("*.safetensors"))[0]
        stat = file.stat()
        try:
            os.utime(file, ns=(stat.st_atime_ns, stat.st_mtime_ns + 1))
            with pytest.raises(tv.OutputError, match="of another recipe, or of inputs that have changed"):
                again(recipe("task_arithmetic", **SHARDS), out)
        finally:
            os.utime(file, ns=(stat.st_atime_ns, stat.st_mtime_ns))

    def test_a_torn_journal_loses_one_line(
        self, recipe: Callable[..., tv.Recipe], merged: Callable[..., Path], out: Path
    ) -> None:
        journal = out.parent / ".merged.partial" / "journal.jsonl"
        journal.write_bytes(journal.read_bytes()[:-9])
        same = recipe("task_arithmetic", **SHARDS)
        again(same, out)
        assert contents(out) == contents(merged(same))

    def test_a_file_that_has_gone_is_not_taken_for_zeros(
        self, recipe: Callable[..., tv.Recipe], merged: Callable[..., Path], out: Path
    ) -> None:
        gone = sorted((out.parent / ".merged.partial").glob("*.safetensors.partial"))[0]
        gone.unlink()
        with pytest.raises(
            tv.OutputError, match=r"lacks model-00001-of-.*, which its journal says is written\. Type --res"
        ):
            again(recipe("task_arithmetic", **SHARDS), out)
        again(recipe("task_arithmetic", **SHARDS), out, restart=True)
        assert contents(out) == contents(merged(recipe("task_arithmetic", **SHARDS)))


KILLED = """
import os, signal, sys
from pathlib import Path

import taskvec as tv
from taskvec.ops import kernels
from taskvec.recipe import finish, merge, run
from taskvec.store import writer

kernels.choice = "plain"  # for a quick start; who continues has the fused ones

where, count, recipe, out, force = sys.argv[1], int(sys.argv[2]), sys.argv[3], sys.argv[4], sys.argv[5] == "force"
module, name = where.rsplit(".", 1)
place = {"os": os, "writer": writer, "ShardWriter": writer.ShardWriter, "finish": finish, "merge": merge,
         "Path": Path, "run": run}[module]
real, calls = getattr(place, name), []


def deadly(*args, **kwargs):
    calls.append(name)
    if len(calls) == count:
        os.kill(os.getpid(), signal.SIGKILL)
    return real(*args, **kwargs)


run.JOURNAL_EVERY = 0.0
plan = tv.make_plan(tv.load_recipe(recipe)[0], threads=2, slice_=16384)
setattr(place, name, deadly)
tv.run(plan, out, force=force)
"""

POINTS = [
    ("ShardWriter.write", 1),
    ("ShardWriter.write", 9),
    ("ShardWriter.finish", 1),
    ("os.replace", 2),
    ("merge.write_folder", 1),
    ("finish.receipt", 1),
    ("finish.sync_folder", 1),
    ("merge.put_in_place", 1),
    ("os.rename", 1),
    ("writer.sync_folder", 1),
]


def killed(where: str, count: int, recipe: Path, out: Path, force: bool = False) -> int:
    command = [sys.executable, "-c", KILLED, where, str(count), str(recipe), str(out), "force" if force else ""]
    return subprocess.run(command, capture_output=True, timeout=60).returncode


@pytest.mark.parametrize(("where", "count"), POINTS)
def test_kill_9_at_any_point(
    recipe: Callable[..., tv.Recipe],
    merged: Callable[..., Path],
    out: Path,
    tmp_path: Path,
    where: str,
    count: int,
) -> None:
    made = recipe("ties", **SHARDS)
    (tmp_path / "recipe.yaml").write_text(made.model_dump_json(exclude_defaults=True))
    expected = contents(merged(made))
    assert killed(where, count, tmp_path / "recipe.yaml", out) == -signal.SIGKILL
    assert not out.exists() or contents(out) == expected
    assert out.exists() == (where == "writer.sync_folder")
    again(made, out, force=out.exists())
    assert contents(out) == expected
    assert sorted(p.name for p in out.parent.iterdir()) == ["merged"]


@pytest.mark.parametrize(("where", "count"), [("os.rename", 1), ("os.rename", 2), ("writer.sync_folder", 1)])
def test_kill_9_while_an_older_output_is_replaced(
    recipe: Callable[..., tv.Recipe],
    merged: Callable[..., Path],
    out: Path,
    tmp_path: Path,
    where: str,
    count: int,
) -> None:
    again(recipe("linear"), out)
    old = contents(out)
    made = recipe("task_arithmetic", **SHARDS)
    (tmp_path / "recipe.yaml").write_text(made.model_dump_json(exclude_defaults=True))
    expected = contents(merged(made))
    assert killed(where, count, tmp_path / "recipe.yaml", out, force=True) == -signal.SIGKILL
    whole = [contents(p) for p in out.parent.iterdir() if (p / "receipt.json").exists()]
    assert old in whole or expected in whole
    again(made, out, force=True)
    assert contents(out) == expected
    assert sorted(p.name for p in out.parent.iterdir()) == ["merged"]


def test_the_rest_of_another_merge_never_gets_into_the_output(
    recipe: Callable[..., tv.Recipe], merged: Callable[..., Path], out: Path, tmp_path: Path
) -> None:
    """Killed when all but the last rename was done; then another recipe is run into the same folder."""
    cut = recipe("linear", **SHARDS)
    (tmp_path / "recipe.yaml").write_text(cut.model_dump_json(exclude_defaults=True))
    assert killed("merge.put_in_place", 1, tmp_path / "recipe.yaml", out) == -signal.SIGKILL
    whole = recipe("task_arithmetic")
    again(whole, out)
    assert contents(out) == contents(merged(whole))


def test_the_journal_is_kept_while_it_works(
    recipe: Callable[..., tv.Recipe], out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not only when it ends: a killed run has what was written down every few seconds."""
    monkeypatch.setattr(run_module, "JOURNAL_EVERY", 0.0)
    journal = out.parent / ".merged.partial" / "journal.jsonl"
    lines: list[int] = []

    class Watch(InterruptAfter):
        def advance(self, done: int) -> None:
            lines.append(journal.read_text().count("\n"))

    Slow(monkeypatch, seconds=0.02)
    again(recipe("task_arithmetic"), out, progress=Watch(0))
    assert len(set(lines)) > 2


def test_what_a_failed_sync_may_have_lost_is_merged_again(
    made: tv.Recipe, out: Path, expected: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A system tells of a failed write once; a later sync that works proves nothing about the tensors before it."""
    syncs: list[str] = []

    def fails_once(writer: ShardWriter) -> None:
        syncs.append("sync")
        if len(syncs) == 1:
            raise tv.OutputError("the disk failed")

    with monkeypatch.context() as patch:
        patch.setattr(run_module, "JOURNAL_EVERY", 0.001)
        patch.setattr(ShardWriter, "sync", fails_once)
        Slow(patch, seconds=0.01)
        with pytest.raises(tv.OutputError, match="the disk failed"):
            again(made, out)
    assert syncs == ["sync"]
    assert nothing_looks_finished(out)
    assert contents(again(made, out).folder) == expected


@pytest.mark.parametrize("where", ["Scratch", "done"])
def test_a_worker_that_cannot_go_on_ends_the_run(
    made: tv.Recipe, out: Path, expected: dict[str, str], monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    def no_memory(*_: Any) -> None:
        raise MemoryError("no memory")

    with monkeypatch.context() as patch:
        patch.setattr(*((run_module, "Scratch") if where == "Scratch" else (Schedule, "done")), no_memory)
        with pytest.raises(MemoryError, match="no memory"):
            again(made, out)
    assert nothing_looks_finished(out)
    assert contents(again(made, out).folder) == expected
