"""Who does what next: work for threads, in the order of the files, a statistic's passes before its merge."""

import threading
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from .units import Unit


@dataclass
class Group:
    """Tensors that share statistics (or one tensor alone), on the way from search to merge.

    All `units` are searched; those of `todo` are merged (an earlier run may have merged some).
    """

    units: Sequence[Unit]
    todo: Sequence[Unit]
    searches: dict[str, Any] = field(default_factory=dict)
    waiting: int = 0

    @property
    def searching(self) -> bool:
        """Whether a statistic is still unknown."""
        return any(not s.settled for s in self.searches.values())


@dataclass(frozen=True)
class Work:
    """Entries `start` … `stop` of a unit, for a statistic or for the merge itself."""

    group: Group
    unit: Unit
    start: int
    stop: int
    search: bool


class Schedule:
    """Hands out work to threads until all is done, someone fails, or it is stopped.

    A group's search passes end before its merge begins; groups follow each other in order, and a new one is begun
    only when the threads would run dry, so that little is in flight and reading stays sequential.
    """

    def __init__(
        self, groups: Iterable[Group], size: Callable[[Unit], int], begin: Callable[[Group], None], threads: int
    ) -> None:
        """`size` gives the entries of a slice of a unit, `begin` fills a group's searches when its turn comes."""
        self._groups = deque(groups)
        self._size, self._begin, self._threads = size, begin, threads
        self._ready: deque[Work] = deque()
        self._changed = threading.Condition()
        self._open = 0
        self._beginning = 0
        self.failure: BaseException | None = None
        self.stopped = False

    def next(self) -> Work | None:
        """Return the next piece of work, waiting for one if need be; None when there is no more."""
        with self._changed:
            while True:
                if self.stopped or self.failure:
                    return None
                if len(self._ready) <= self._threads and self._groups:
                    self._start_one()
                    continue
                if self._ready:
                    return self._ready.popleft()
                if self._open == 0 and self._beginning == 0:
                    self._changed.notify_all()
                    return None
                self._changed.wait(0.2)

    def _start_one(self) -> None:
        group = self._groups.popleft()
        self._beginning += 1
        self._changed.release()
        try:
            self._begin(group)
        except BaseException as exc:
            self._changed.acquire()
            self.failure = self.failure or exc
            self._beginning -= 1
            self._changed.notify_all()
            return
        self._changed.acquire()
        self._beginning -= 1
        self._open += 1
        self._enqueue(group)

    def done(self, work: Work) -> None:
        """Report a piece of work as finished; the last of a pass ends it and opens what follows."""
        group = work.group
        with self._changed:
            group.waiting -= 1
            if group.waiting:
                return
            if work.search:
                for search in group.searches.values():
                    if not search.settled:
                        search.end_pass()
                self._enqueue(group, first=True)
            else:
                self._open -= 1
            self._changed.notify_all()

    def fail(self, exc: BaseException) -> None:
        """Stop everyone because of an error."""
        with self._changed:
            self.failure = self.failure or exc
            self._changed.notify_all()

    def stop(self) -> None:
        """Stop everyone after the work in hand."""
        with self._changed:
            self.stopped = True
            self._changed.notify_all()

    def _enqueue(self, group: Group, first: bool = False) -> None:
        search = group.searching
        works = [
            Work(group, unit, start, min(start + self._size(unit), unit.count), search)
            for unit in (group.units if search else group.todo)
            for start in range(0, max(unit.count, 1), self._size(unit))
        ]
        group.waiting = len(works)
        if first:
            self._ready.extendleft(reversed(works))
        else:
            self._ready.extend(works)
        self._changed.notify_all()
