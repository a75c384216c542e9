"""Pack: read every tensor of every task, store what the method keeps of it, and say how near that is."""

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from .._version import __version__
from ..errors import OutputError, RecipeError
from ..ops.emr import rescaler
from ..ops.floats import widen
from ..ops.largest import largest
from ..ops.select import count_of
from ..progress import Progress, Silent
from ..store import fingerprint
from ..store.pack.appending import Appending, check_new
from ..store.pack.names import BASE, ENCODINGS, ENDING, FORMAT, METHOD, SETTINGS, TASKS, VERSION, Encoding, part
from ..store.tensors import Tensor
from .accuracy import Accuracy
from .choose import Choice, choose
from .job import MATRICES, Job
from .masks import Masks
from .methods import check_each, find
from .models import F32, check_fits, open_tasks, origin_of, places, spans
from .report import Packed
from .stored import Stored, low_rank, rank_that_is_whole, signs, sparse, spectrum_of

REMEDIES = {"low_rank": "factors=bfloat16", "tsv_c": "factors=bfloat16", "sparse": "values=bfloat16"}
"""What to type where float16 is too small for a method's numbers."""


def pack(
    base: str | Path,
    models: Sequence[str | Path],
    out: str | Path,
    *,
    method: str = "low_rank",
    settings: Mapping[str, Any] | None = None,
    budget: int | None = None,
    error: float | None = None,
    force: bool = False,
    progress: Progress | None = None,
) -> Packed:
    """Store fine-tunes of one base as one small file, from which `unpack` gives each of them back.

    Args:
        base: the model that all start from.
        models: the fine-tunes: folders, adapters, saved task vectors; 'name=path' gives one a name of its own.
        out: the file to write, ending in .pack; there whole or not at all.
        method: how; see docs/packing.md.
        settings: what may be set of the method.
        budget: bytes that the file may take; the ranks or the density are chosen.
        error: the relative Frobenius error that each task vector may have; the ranks or the density are chosen.
        force: replace an existing file.
        progress: told how far it is.

    Raises:
        RecipeError: an unknown method or setting; a budget or an error that is too small, with the least that is not.
        StoreError: a model that cannot be read, or does not belong to the base.
        OutputError: the file exists, or cannot be written.
        NumbersError: NaN or Inf in a model.
    """
    began, out = time.monotonic(), Path(out)
    how = find(method)
    checked = how.check(settings or {})
    if out.suffix != ENDING:
        raise RecipeError(f"'{out}' does not end in {ENDING}. Type e.g. {out.with_suffix(ENDING)}.")
    check_new(out, force)
    checkpoint, tasks = open_tasks(base, models)
    if out.resolve() in places(tasks):
        raise OutputError(f"{out} is read by this command and is not overwritten. Choose another name.")
    check_each(checked, len(tasks))
    job = Job(checkpoint, tasks, how, checked, progress or Silent())
    choice = choose(job, budget, error)
    with Appending(out) as file:
        work = _Work(job, choice, file)
        work.all()
        facts = work.facts()
        size = file.finish(work.metadata(facts["tasks"]))
    facts |= {"path": str(out), "bytes": size, "seconds": round(time.monotonic() - began, 3)}
    return Packed(out, facts)


class _Work:
    """What a packing adds up while it goes through the tensors."""

    def __init__(self, job: Job, choice: Choice, file: Appending) -> None:
        self.job, self.choice, self.file = job, choice, file
        self.masks = Masks(job, file)
        self.accuracies = [Accuracy() for _ in job.tasks]
        self.encodings: dict[str, list[Encoding]] = {}
        self.ranks: list[int] = []
        self.kept = self.of = 0

    def all(self) -> None:
        """Store every tensor of every task."""
        done, tasks = 0, range(len(self.job.tasks))
        self.job.progress.begin("packing", self.job.entries, "entries")
        try:
            for info in self.job.tensors:
                changed = [self.job.changed(task, info) for task in tasks]
                if self.job.method.shared and any(changed) and not self.job.whole(info):
                    self.masks.add(info, changed, self.accuracies)
                    self.encodings[info.name] = [{"kind": "mask"} if here else None for here in changed]
                else:
                    self.encodings[info.name] = [self._one(t, info) if changed[t] else None for t in tasks]
                done += len(tasks) * info.count
                self.job.progress.advance(done, info.name)
        finally:
            self.job.progress.end()

    def _one(self, task: int, info: Tensor) -> Encoding:
        """Store one task's change of one tensor by itself."""
        if self.job.whole(info):
            return self._whole(task, info)
        rank = self._rank(task, info)
        if rank and rank >= rank_that_is_whole(info.shape, self.job.settings["factors"], info.dtype):
            return self._whole(task, info)
        delta = self.job.tasks[task].delta(info.name)
        if rank == 0:
            self.accuracies[task].add(delta, np.zeros_like(delta))
            return None
        stored = self._stored(task, info, delta, rank)
        check_fits(stored.change, info.name, REMEDIES.get(self.job.method.name, "small=…"))
        for name, (code, array) in stored.parts.items():
            self.file.add(part(task, info.name, name), code, array)
        self.accuracies[task].add(delta, stored.change)
        return stored.how

    def _rank(self, task: int, info: Tensor) -> int | None:
        """Return the rank of a matrix; None where the method knows no ranks."""
        if self.job.method.name not in MATRICES:
            return None
        rank = self.choice.ranks.get((task, info.name), 0) if self.choice.ranks else self.job.rank(info)
        self.ranks.append(rank)
        return rank

    def _stored(self, task: int, info: Tensor, delta: F32, rank: int | None) -> Stored:
        settings = self.job.settings
        if rank is not None:
            return low_rank(spectrum_of(delta, info.shape, rank), rank, settings["factors"])
        if self.job.method.name == "bits":
            return signs(delta, info.shape, settings["rows"])
        if self.choice.thresholds:
            kept = (np.abs(delta) >= np.float32(self.choice.thresholds[task])) & (delta != 0)
        else:
            kept = largest(delta, max(1, count_of(settings["density"], delta.size)))
        self.kept, self.of = self.kept + int(np.count_nonzero(kept)), self.of + delta.size
        return sparse(delta, kept, settings["values"], settings["steps"])

    def _whole(self, task: int, info: Tensor) -> Encoding:
        """Store the model's own entries, in the base's type."""
        name, own = part(task, info.name, "weight"), self.job.tasks[task]
        self.file.announce(name, info.dtype, info.shape)
        for span in spans(info):
            raw = own.weight(info.name, *span)
            self.file.extend(name, raw)
            change = widen(raw, info.dtype).astype(np.float32) - origin_of(self.job.base, info.name, *span)
            self.accuracies[task].add(own.delta(info.name, *span), change)
        return {"kind": "whole"}

    def facts(self) -> dict[str, Any]:
        """Return what is known when all is stored."""
        job, common = self.job, self.file.bytes_of("shared/")
        entries = []
        for number, task in enumerate(job.tasks):
            factor = rescaler(self.masks.own[number], self.masks.masked[number]) if job.method.name == "emr" else 1.0
            found = self.accuracies[number].scaled(factor)
            nbytes = self.file.bytes_of(f"tasks/{number}/") + common // len(job.tasks)
            entries.append(
                {"name": task.name, "fingerprint": task.fingerprint, "bytes": nbytes,
                 "share": nbytes / job.base.nbytes, "error": found.error, "cosine": found.cosine}
                | ({"rescaler": factor} if job.method.name == "emr" else {})
            )  # fmt: skip
        return {
            "method": job.method.name,
            "settings": {**job.settings},
            "chosen": self._chosen(),
            "base": fingerprint(job.base),
            "model_bytes": job.base.nbytes,
            "shared_bytes": common,
            "tasks": entries,
        }

    def _chosen(self) -> dict[str, Any]:
        if self.ranks:
            return {"rank": {"least": min(self.ranks), "mean": float(np.mean(self.ranks)), "most": max(self.ranks)}}
        return {"density": self.kept / self.of} if self.of else {}

    def metadata(self, tasks: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        """Return what the header says (docs/formats.md)."""
        return {
            FORMAT: VERSION,
            BASE: fingerprint(self.job.base),
            METHOD: self.job.method.name,
            SETTINGS: dict(self.job.settings),
            TASKS: list(tasks),
            ENCODINGS: self.encodings,
            "taskvec.version": __version__,
        }
