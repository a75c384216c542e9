"""Tensors of which tasks share the entries: one vector for all, a mask a task. Worked on slice by slice."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from ..merge.registry import each
from ..ops.bits import bytes_for, pack_bits
from ..ops.emr import agreeing, unified
from ..ops.floats import narrow, widen
from ..ops.tall import tall_mask
from ..store.dtypes import NAMES
from ..store.pack.appending import Appending
from ..store.pack.names import part, shared
from ..store.tensors import Tensor
from .accuracy import Accuracy
from .job import Job
from .models import F32, check_fits, spans


class Masks:
    """Writes masks and shared entries, and adds up what EMR's rescalers are made of."""

    def __init__(self, job: Job, file: Appending) -> None:
        """Begin with nothing seen."""
        self.job, self.file = job, file
        self.own = np.zeros(len(job.tasks))
        self.masked = np.zeros(len(job.tasks))

    def add(self, info: Tensor, changed: Sequence[bool], accuracies: Sequence[Accuracy]) -> None:
        """Write one tensor of the tasks that change it."""
        tasks = [t for t, here in enumerate(changed) if here]
        code = self._code(info)
        self.file.announce(shared(info.name), code, info.shape)
        for t in tasks:
            self.file.announce(part(t, info.name, "bits"), "U8", (bytes_for(info.count),))
        for span in spans(info):  # whole bytes of bits, but for the last
            deltas = np.stack([self.job.tasks[t].delta(info.name, *span) for t in tasks])
            raw = narrow(self._merged(deltas), code)
            self.file.extend(shared(info.name), raw)
            merged = widen(raw, code)
            check_fits(merged, info.name, "shared=bfloat16")
            for t, delta in zip(tasks, deltas, strict=True):
                mask = self._mask(t, delta, merged)
                self.file.extend(part(t, info.name, "bits"), pack_bits(mask))
                self._count(t, delta, np.where(mask, merged, np.float32(0)), accuracies[t])

    def _code(self, info: Tensor) -> str:
        asked = self.job.settings["shared"]
        if asked != "base":
            return NAMES[asked]
        return "F32" if info.dtype == "F64" else info.dtype

    def _merged(self, deltas: npt.NDArray[np.float32]) -> F32:
        if self.job.method.name == "emr":
            return unified(deltas)
        total: F32 = deltas.sum(axis=0, dtype=np.float64).astype(np.float32)
        return total

    def _mask(self, task: int, delta: F32, merged: F32) -> npt.NDArray[np.bool_]:
        if self.job.method.name == "emr":
            return agreeing(delta, merged)
        return tall_mask(delta, merged, each(self.job.settings["tall"], task))

    def _count(self, task: int, delta: F32, kept: F32, accuracy: Accuracy) -> None:
        self.own[task] += np.abs(delta).sum(dtype=np.float64)
        self.masked[task] += np.abs(kept).sum(dtype=np.float64)
        accuracy.add_unscaled(delta, kept)
