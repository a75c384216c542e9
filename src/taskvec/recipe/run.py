"""Run a plan: threads over slices, and a sink that takes what they make."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ..errors import TaskVecError
from ..merge.statistics import Question
from ..ops.floats import Raw, narrow, nonfinite, widen
from ..ops.slices import Finished
from ..progress import Progress
from .arithmetic import Arithmetic, Scratch
from .budget import WHOLE_MODEL
from .found import Found
from .memory import anonymous_bytes
from .planned import Plan
from .schedule import Group, Schedule, Work
from .sinks import Sink, Sums
from .units import Unit
from .whole import sharing_cores

SAMPLE = 1 << 16
LOOK_AHEAD = 256_000_000
JOURNAL_EVERY = 0.25


@dataclass
class Stream:
    """The state of a run, shared by its threads."""

    plan: Plan
    sink: Sink
    arithmetic: Arithmetic
    found: Found
    lock: threading.Lock = field(default_factory=threading.Lock)
    sums: dict[str, Sums] = field(default_factory=dict)
    bytes_read: int = 0
    peak: int = 0

    def search(self, work: Work, scratch: Scratch) -> None:
        """Show a slice to a group's statistics."""
        for search in work.group.searches.values():
            if not search.settled:
                seen = self.arithmetic.look(work.unit, work.start, work.stop, search, scratch)
                with self.lock:
                    search.add(work.start, seen)
        self._read_more(work)

    def merge(self, work: Work, scratch: Scratch) -> None:
        """Merge a slice and hand it over."""
        unit = work.unit
        if unit.merged:
            statistics = {name: search.value for name, search in work.group.searches.items()}
            done = self.arithmetic.merge(unit, work.start, work.stop, statistics, scratch)
        else:
            done = Finished(self._copy(unit, work.start, work.stop), 0.0, 0.0)
        self.sink.write(unit.name, work.start, done.raw)
        self._read_more(work)
        with self.lock:
            sums = self.sums.setdefault(unit.name, Sums())
            sums.written += work.stop - work.start
            sums.lost += done.lost
            sums.moved += done.moved
            if sums.written >= unit.count:
                self.sink.whole(unit.name, sums)
                if unit is work.group.units[0]:
                    for name, search in work.group.searches.items():
                        self.found.put(self.plan, work.group, name, search.value)

    def _copy(self, unit: Unit, start: int, stop: int) -> Raw:
        model, tensor = self.plan.origin(unit)
        files = model.checkpoint.files
        files.load(tensor, start, stop)
        raw = files.raw(tensor, start, stop)
        if tensor.dtype == unit.dtype:
            return raw
        wide = widen(raw, tensor.dtype, unit.numpy)
        stored = narrow(wide, unit.dtype)
        if self.arithmetic.careful and nonfinite(widen(stored, unit.dtype, np.float64)):
            self.arithmetic.overflow(unit, stored)
        return stored

    def _read_more(self, work: Work) -> None:
        self.arithmetic.forget(work.unit, work.start, work.stop)
        whole = self.plan.sources_bytes(work.unit)
        if not work.search and self.arithmetic.asks:
            whole += self.plan.curvature_bytes(work.unit)
        got = whole * (work.stop - work.start) // max(work.unit.count, 1)
        with self.lock:
            self.bytes_read += got

    def begin(self, group: Group) -> None:
        """Start the statistics of a group, with a sample to guide them."""
        first = group.units[0]
        asked_for = self.plan.method.needs.statistics if first.merged and self.arithmetic.asks else {}
        for name, statistic in asked_for.items():
            if known := self.found.get(self.plan, group, name):
                group.searches[name] = known
            else:
                asked = Question(
                    len(first.sources),
                    sum(u.count for u in group.units),
                    first.numpy,
                    first.settings,
                    lambda: self._sample(group),
                    self.plan.budget.bins,
                    first.columns,
                )
                group.searches[name] = statistic.search(asked)

    def _sample(self, group: Group) -> np.ndarray[Any, Any]:
        total = sum(u.count for u in group.units)
        wanted = min(SAMPLE * (2 if len(group.units) > 1 else 1), total)
        first = group.units[0]
        parts = [self.arithmetic.sample(u, round(wanted * u.count / total)) for u in group.units if u.count]
        return np.concatenate([np.zeros((len(first.sources), 0), first.numpy), *parts], axis=1)


def stream(
    plan: Plan,
    sink: Sink,
    progress: Progress,
    *,
    arithmetic: Arithmetic | None = None,
    found: Found | None = None,
    what: str = "merging",
) -> Stream:
    """Merge every unit of a plan that the sink does not have yet.

    Args:
        plan: what to merge.
        sink: takes what is made.
        progress: told how far the run is.
        arithmetic: what is done to a slice; the plan's own merge when not given.
        found: statistics of an earlier run of nearly the same plan, which are not searched for again.
        what: the name under which progress is told.

    Raises:
        TaskVecError: what went wrong; the sink has everything finished before.
        KeyboardInterrupt: likewise.
    """
    todo = [u for u in plan.units if u.name not in sink.finished]
    state = Stream(plan, sink, arithmetic or Arithmetic(plan), found or Found())
    schedule = Schedule(_groups(todo, plan), plan.slice_of, state.begin, plan.budget.threads)
    progress.begin(what, sum(plan.unit_bytes(u, state.arithmetic.asks) for u in todo))
    workers = [threading.Thread(target=_work, args=(schedule, state), daemon=True) for _ in range(plan.budget.threads)]
    ahead = threading.Thread(target=_look_ahead, args=(schedule, state, todo), daemon=True)
    try:
        with _flushing(schedule, sink), _cores(plan):
            with _stopping(schedule, [*workers, ahead]):
                _watch(workers, state, progress)
            if not schedule.failure:
                sink.join()
        if schedule.failure:
            raise schedule.failure
    finally:
        state.peak = max(state.peak, anonymous_bytes())
        sink.stop()
        progress.end()
    return state


def _groups(todo: list[Unit], plan: Plan) -> list[Group]:
    """Group what shares statistics; without statistics every tensor stands alone."""
    groups: dict[str, list[Unit]] = {}
    for unit in todo:
        shared = unit.merged and plan.method.needs.statistics
        groups.setdefault(unit.group if shared else f"={unit.name}", []).append(unit)
    whole = [u for u in plan.units if u.merged and u.group == WHOLE_MODEL]
    # A statistic over the whole model counts what an earlier run merged, too.
    return [Group(whole if name == WHOLE_MODEL else units, units) for name, units in groups.items()]


@contextmanager
def _stopping(schedule: Schedule, threads: list[threading.Thread]) -> Iterator[None]:
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        schedule.stop()
        for thread in threads:
            thread.join()


@contextmanager
def _cores(plan: Plan) -> Iterator[None]:
    """Share the cores among threads whose methods work on whole matrices."""
    if not any(unit.whole for unit in plan.units):
        yield
        return
    with sharing_cores(plan.budget.threads):
        yield


@contextmanager
def _flushing(schedule: Schedule, sink: Sink) -> Iterator[None]:
    """Have the disk write and the journal grow all along, so that little is left to wait for at the end."""
    ended = threading.Event()

    def keep() -> None:
        try:
            while not ended.wait(JOURNAL_EVERY):
                sink.flush()
        except BaseException as exc:
            schedule.fail(exc)

    thread = threading.Thread(target=keep, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def _work(schedule: Schedule, state: Stream) -> None:
    work = None
    try:
        scratch = Scratch(state.plan.widest()[0], state.plan.budget)
        with np.errstate(over="ignore", invalid="ignore"):  # NaN and Inf are found in inputs and results, and named
            while work := schedule.next():
                (state.search if work.search else state.merge)(work, scratch)
                schedule.done(work)
    except BaseException as exc:
        if work and isinstance(exc, TaskVecError):
            exc.add_note(f"while {state.arithmetic.doing(work.unit)}")
        schedule.fail(exc)


def _look_ahead(schedule: Schedule, state: Stream, todo: list[Unit]) -> None:
    """Have the disk read what comes next while the threads calculate."""
    if state.arithmetic.keeps:
        return
    asked = 0
    for unit in todo:
        for files, tensor in state.plan.files(unit):
            while asked > state.bytes_read + LOOK_AHEAD and not (schedule.stopped or schedule.failure):
                time.sleep(0.02)
            if schedule.stopped or schedule.failure:
                return
            files.expect(tensor, 0, tensor.count)
            asked += tensor.nbytes * (state.plan.passes if unit.merged else 1)


def _watch(workers: list[threading.Thread], state: Stream, progress: Progress) -> None:
    """Show progress, and note the peak of memory, while the threads work."""
    while working := [worker for worker in workers if worker.is_alive()]:
        working[0].join(0.05)
        progress.advance(state.bytes_read)
        state.peak = max(state.peak, anonymous_bytes())
