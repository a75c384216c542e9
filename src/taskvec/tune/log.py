"""Every evaluation of a search, written down as soon as it is made, so that nothing of it is done twice."""

import fcntl
import json
import os
from pathlib import Path
from types import TracebackType
from typing import Any

from ..errors import OutputError, RecipeError
from ..store.json_lines import whole_lines
from .trials import Evaluation

BEGINNING = b'{"by": '
"""What a log begins with."""


class Log:
    """A file of JSON lines: first what is searched and how, then an evaluation a line.

    A search that goes on runs from its beginning, with the evaluations of the file in place of new ones: all choices
    are functions of the seed and of what was scored before, so it comes to where it was, and on from there.
    """

    def __init__(self, path: Path | None, facts: dict[str, Any], restart: bool = False) -> None:
        """Open a log, or begin one; without a path nothing is written.

        Args:
            path: the file.
            facts: what must be the same where a search goes on; `by` is one of them.
            restart: throw away what an earlier search has left.

        Raises:
            RecipeError: the file holds a search of something else.
            OutputError: the file cannot be written, or another search is writing it.
        """
        self.known: dict[str, Evaluation] = {}
        self._fd: int | None = None
        if path is None:
            return
        facts = json.loads(json.dumps({"by": facts["by"], **facts}))
        self._fd = _open(path)
        try:
            _check_is_log(path)
            lines, size = ([], 0) if restart else whole_lines(path)
            os.ftruncate(self._fd, size)
            if lines:
                _check(path, lines[0], facts)
            else:
                self._append(facts)
            for line in lines[1:]:
                self._know(_evaluation(line))
        except BaseException:
            self.close()
            raise

    def find(self, point: dict[str, Any], share: float) -> Evaluation | None:
        """Return the evaluation of a point on a share of the examples, if it is known."""
        return self.known.get(_key(point, share))

    def add(self, evaluation: Evaluation) -> None:
        """Write an evaluation down; it is on the disk when this returns."""
        self._know(evaluation)
        self._append(evaluation.facts)

    def _know(self, evaluation: Evaluation) -> None:
        self.known[_key(evaluation.point, evaluation.share)] = evaluation

    def _append(self, facts: dict[str, Any]) -> None:
        if self._fd is None:
            return
        text = (json.dumps(facts, ensure_ascii=False) + "\n").encode()
        while text:
            text = text[os.write(self._fd, text) :]
        os.fsync(self._fd)

    def close(self) -> None:
        """Close the file."""
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None

    def __enter__(self) -> "Log":
        return self

    def __exit__(self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None) -> None:
        self.close()


def _key(point: dict[str, Any], share: float) -> str:
    return json.dumps([point, share], sort_keys=True)


def _evaluation(line: dict[str, Any]) -> Evaluation:
    kept = {key: value for key, value in line.items() if key != "mean"}
    return Evaluation(**{**kept, "scores": tuple(line["scores"])})


def _open(path: Path) -> int:
    """Open a log for one search alone; the system lets go of it when the process ends."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644)
    except OSError as exc:
        raise OutputError(f"{path} cannot be written: {exc.strerror}. Choose another output.") from exc
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as exc:
        os.close(fd)
        raise OutputError(f"{path} is being written by another search. Wait for it, or choose another output.") from exc
    except OSError:
        pass  # a file system without locks
    return fd


def _check_is_log(path: Path) -> None:
    """Refuse a file that is something else, which would be written over."""
    with path.open("rb") as file:
        beginning = file.read(len(BEGINNING))
    if not BEGINNING.startswith(beginning):
        raise RecipeError(f"{path} is a file, and no log of a search. Choose another name for the log.")


def _check(path: Path, held: dict[str, Any], facts: dict[str, Any]) -> None:
    """Refuse a log of a search with other facts, and say which."""
    differ = [key for key in dict.fromkeys([*held, *facts]) if held.get(key) != facts.get(key)]
    if differ:
        said = ", ".join(_difference(key, held.get(key), facts.get(key)) for key in differ)
        raise RecipeError(
            f"{path} holds a search that is not this one: {said}. Search as before to go on with it, or type --restart "
            f"to begin anew."
        )


def _difference(key: str, held: Any, asked: Any) -> str:
    """Say what differs; its values, where they are short."""
    one, two = json.dumps(held, ensure_ascii=False), json.dumps(asked, ensure_ascii=False)
    return f"{key} was {one} and is {two}" if len(one) + len(two) <= 60 else f"{key} differs"
