"""The journal: what it keeps through a crash, and what it refuses."""

import json
import os
from pathlib import Path

import pytest

from taskvec.errors import OutputError
from taskvec.recipe.journal import NAME, Journal, finished_in

LINES = [{"unit": "a", "lost": 0.25, "moved": 1.0}, {"unit": "b", "lost": 0.0, "moved": 0.0}]


def written(folder: Path, lines: list[dict[str, object]] = LINES) -> Path:
    journal = Journal(folder, "plan")
    journal.add(lines)
    journal.close()
    return folder / NAME


def finished(folder: Path) -> dict[str, dict[str, object]]:
    journal = Journal(folder, "plan")
    journal.close()
    return journal.finished


def test_what_was_added_is_there_again(tmp_path: Path) -> None:
    written(tmp_path)
    journal = Journal(tmp_path, "plan")
    journal.close()
    assert journal.resumed
    assert journal.finished == {line["unit"]: line for line in LINES}


def test_numbers_come_back_to_the_bit(tmp_path: Path) -> None:
    written(tmp_path, [{"unit": "a", "lost": 0.1 + 0.2, "moved": 1e-300}])
    assert finished(tmp_path)["a"] == {"unit": "a", "lost": 0.1 + 0.2, "moved": 1e-300}


def test_a_second_run_into_the_same_output_is_refused(tmp_path: Path) -> None:
    journal = Journal(tmp_path, "plan")
    before = journal.path.read_bytes()
    for plan in ("plan", "other"):
        with pytest.raises(
            OutputError, match=r"is being written by another run\. Wait for it, or choose another output"
        ):
            Journal(tmp_path, plan)
        with pytest.raises(OutputError, match=r"is being written by another run"):
            finished_in(tmp_path, plan)
    assert journal.path.read_bytes() == before
    journal.add(LINES)
    journal.close()
    assert list(finished(tmp_path)) == ["a", "b"]


@pytest.mark.parametrize("cut", range(1, 40))
def test_a_torn_last_line_is_dropped_and_written_over(tmp_path: Path, cut: int) -> None:
    path = written(tmp_path)
    whole = path.read_bytes()
    path.write_bytes(whole[:-cut])
    assert finished_in(tmp_path, "plan") == 1
    assert path.read_bytes() == whole[:-cut]  # who only asks changes nothing
    assert list(finished(tmp_path)) == ["a"]
    assert written(tmp_path, [{"unit": "c", "lost": 0, "moved": 0}]) == path
    assert [json.loads(line).get("unit") for line in path.read_text().splitlines()] == [None, "a", "c"]


@pytest.mark.parametrize("text", ["", '{"plan": "pl', '{"plan": "plan"}'])
def test_a_torn_first_line_is_a_new_beginning(tmp_path: Path, text: str) -> None:
    (tmp_path / NAME).write_text(text)
    journal = Journal(tmp_path, "plan")
    assert (journal.resumed, journal.finished) == (False, {})
    journal.add(LINES)
    journal.close()
    assert list(finished(tmp_path)) == ["a", "b"]


def test_a_last_line_of_garbage_is_dropped(tmp_path: Path) -> None:
    """After a power loss a block may hold anything, a line break too."""
    path = written(tmp_path)
    with path.open("ab") as file:
        file.write(b"\0\0\0\0\n")
    assert list(finished(tmp_path)) == ["a", "b"]


def test_another_plan_is_refused(tmp_path: Path) -> None:
    before = written(tmp_path).read_bytes()
    with pytest.raises(
        OutputError, match=r"holds an unfinished merge of another recipe, .* type --restart to begin anew"
    ):
        Journal(tmp_path, "other")
    assert (tmp_path / NAME).read_bytes() == before


def test_a_line_is_on_the_disk_when_add_returns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[bytes] = []
    fsync = os.fsync
    monkeypatch.setattr(os, "fsync", lambda fd: synced.append((tmp_path / NAME).read_bytes()) or fsync(fd))
    written(tmp_path)
    assert synced[-1] == (tmp_path / NAME).read_bytes()
    assert b'"b"' in synced[-1]
