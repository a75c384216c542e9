"""Files that do not look finished until they are."""

import errno
import os
from pathlib import Path

import numpy as np
import pytest

from taskvec.errors import OutputError
from taskvec.store import Checkpoint
from taskvec.store.layout import OutTensor, lay_out
from taskvec.store.writer import ShardWriter, write_whole

LAYOUT = lay_out([OutTensor("a", "F32", (4,)), OutTensor("b", "BF16", (3,))], 16, {})
A, B = np.arange(4, dtype=np.float32), np.array([1, 2, 3], np.uint16)


def names(folder: Path) -> list[str]:
    return sorted(p.name for p in folder.iterdir())


def test_files_have_their_whole_size_and_another_name_from_the_start(tmp_path: Path) -> None:
    with ShardWriter(tmp_path, LAYOUT) as writer:
        for file in LAYOUT.files:
            assert writer.path(file).stat().st_size == file.nbytes
        assert names(tmp_path) == [f.name + ".partial" for f in LAYOUT.files]


def test_entries_may_come_in_any_order(tmp_path: Path) -> None:
    with ShardWriter(tmp_path, LAYOUT) as writer:
        writer.write("a", 3, A[3:])
        writer.write("b", 0, B)
        writer.write("a", 0, A[:3])
        writer.finish()
    assert names(tmp_path) == [f.name for f in LAYOUT.files]
    first, second = (Checkpoint(tmp_path / f.name) for f in LAYOUT.files)
    assert first.raw("a").tolist() == A.tolist()
    assert second.raw("b").tolist() == B.tolist()


def test_an_error_leaves_nothing_that_looks_finished(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="boom"), ShardWriter(tmp_path, LAYOUT) as writer:
        writer.write("a", 0, A)
        raise RuntimeError("boom")
    assert all(name.endswith(".partial") for name in names(tmp_path))


def test_reopening_keeps_what_was_written(tmp_path: Path) -> None:
    with ShardWriter(tmp_path, LAYOUT) as writer:
        writer.write("a", 0, A)
    with ShardWriter(tmp_path, LAYOUT) as writer:
        writer.write("b", 0, B)
        writer.finish()
    assert Checkpoint(tmp_path / LAYOUT.files[0].name).raw("a").tolist() == A.tolist()


def test_reopening_after_some_files_were_named_keeps_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A kill between two renames of `finish`: the first file has its name, the second has not."""
    replace, renamed = os.replace, []

    def replace_once(source: Path, target: Path) -> None:
        if renamed:
            raise KeyboardInterrupt
        renamed.append(target)
        replace(source, target)

    with ShardWriter(tmp_path, LAYOUT) as writer, pytest.raises(KeyboardInterrupt):
        writer.write("a", 0, A)
        writer.write("b", 0, B)
        monkeypatch.setattr(os, "replace", replace_once)
        writer.finish()
    monkeypatch.undo()
    with ShardWriter(tmp_path, LAYOUT, resume=True) as writer:
        writer.finish()
    assert names(tmp_path) == [f.name for f in LAYOUT.files]
    assert Checkpoint(tmp_path / LAYOUT.files[0].name).raw("a").tolist() == A.tolist()
    assert Checkpoint(tmp_path / LAYOUT.files[1].name).raw("b").tolist() == B.tolist()


def test_without_resume_a_finished_file_stays_until_it_is_replaced(tmp_path: Path) -> None:
    one = lay_out([OutTensor("a", "F32", (4,))], 16, {})
    with ShardWriter(tmp_path, one) as writer:
        writer.write("a", 0, A)
        writer.finish()
    with ShardWriter(tmp_path, one) as writer:
        assert Checkpoint(tmp_path / "model.safetensors").raw("a").tolist() == A.tolist()
        writer.write("a", 0, -A)
        writer.finish()
    assert Checkpoint(tmp_path / "model.safetensors").raw("a").tolist() == (-A).tolist()


def test_a_longer_rest_of_an_earlier_run_is_cut(tmp_path: Path) -> None:
    (tmp_path / (LAYOUT.files[0].name + ".partial")).write_bytes(b"x" * 1000)
    with ShardWriter(tmp_path, LAYOUT) as writer:
        writer.write("a", 0, A)
        writer.write("b", 0, B)
        writer.finish()
    assert (tmp_path / LAYOUT.files[0].name).stat().st_size == LAYOUT.files[0].nbytes
    assert Checkpoint(tmp_path / LAYOUT.files[0].name).raw("a").tolist() == A.tolist()


@pytest.mark.parametrize("function", ["posix_fallocate", "pwrite"])
def test_a_full_disk_is_said_in_a_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, function: str) -> None:
    def full(*args: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, function, full)
    with pytest.raises(OutputError, match=r"cannot be written: the disk is full\. Make room or choose another"):
        ShardWriter(tmp_path, LAYOUT)


def test_a_file_that_may_not_grow_is_said_with_the_remedy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def too_big(*args: object) -> None:
        raise OSError(errno.EFBIG, "File too large")

    monkeypatch.setattr(os, "posix_fallocate", too_big)
    with pytest.raises(OutputError, match=r"may not grow to \d+ bytes here\. Type a smaller shard size\."):
        ShardWriter(tmp_path, LAYOUT)


def test_a_short_write_goes_on_where_it_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pwrite = os.pwrite
    with ShardWriter(tmp_path, LAYOUT) as writer:
        monkeypatch.setattr(os, "pwrite", lambda fd, data, at: pwrite(fd, bytes(data)[:3], at))
        writer.write("a", 0, A)
        writer.finish()
    assert Checkpoint(tmp_path / LAYOUT.files[0].name).raw("a").tolist() == A.tolist()


def test_a_small_file_is_there_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_whole(tmp_path / "x.json", "old")

    def fails(*args: object) -> None:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(os, "fsync", fails)
    with pytest.raises(OSError, match="Input/output"):
        write_whole(tmp_path / "x.json", "new")
    assert (tmp_path / "x.json").read_text() == "old"
