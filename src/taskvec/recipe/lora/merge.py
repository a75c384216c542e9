"""Adapters in, one adapter out: factors joined, or merged by a method in a space that the adapters share."""

import os
import time
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from ..._version import __version__
from ...errors import RecipeError
from ...ops.floats import narrow, widen
from ...progress import Progress, Silent
from ...store.dtypes import NAMES
from ...store.peft.write import OutLora, adapter_config, task_of
from ..finish import versions
from ..inputs import check_not_an_input
from ..merge import Receipt, check_output
from ..schema import Recipe
from .folder import AdapterFolder, Kept
from .methods import Statistics, coefficients_of, merge_by, statistics_of
from .ranks import rank_by_energy
from .sites import AdapterPlan, Site, plan_adapter, refuse_nonfinite
from .spaces import Merged, Product, Rows, joined, shown

REPORT = "receipt.json"
EXACT = 1e-6
"""Errors up to this are those of storing in float32."""


@dataclass(frozen=True)
class Made:
    """A site that is merged: its factors in a spool (rows of A, columns of B), and what they lack."""

    site: Site
    lora: OutLora
    a: Kept
    b: Kept
    norm: float
    error: float


def merge_adapters(
    recipe: Recipe | AdapterPlan, out: str | Path, *, force: bool = False, progress: Progress | None = None
) -> Receipt:
    """Merge adapters into one adapter that PEFT loads, and write its folder.

        linear methods: [c_1 s_1 B_1 … c_T s_T B_T] [A_1; …; A_T]        exactly Σ c_t s_t B_t A_t
        others, in `space: core`:  Q_B M Q_Aᵀ,  M = method(Q_Bᵀ s_t B_t A_t Q_A)
        others, in `space: knots`: U M,  M = method(Uᵀ s_t B_t A_t)

    Only the base's headers and a sample of its entries are read. A rank below that of the result gives the nearest
    factors of that rank, by QR of the factors and one small singular value decomposition; the receipt has the error of
    each module, measured on what is stored.

    Args:
        recipe: a recipe with `adapter`, or its plan.
        out: the folder to write.
        force: replace an existing output.
        progress: told how far it is.

    Raises:
        RecipeError: the recipe asks for something impossible.
        StoreError: an adapter that cannot be read, or one of another base.
        OutputError: the output exists, or cannot be written.
        NumbersError: NaN or Inf in an adapter, or in the result.
    """
    place = Path(os.path.abspath(out))
    check_output(place, force)
    made = recipe if isinstance(recipe, AdapterPlan) else plan_adapter(recipe, place)
    check_not_an_input(place, [path for i in made.plan.inputs for path in i.places])
    with AdapterFolder(place) as folder:
        return Receipt(place, Merging(made, folder, progress or Silent()).run())


class Merging:
    """The work of `merge_adapters`."""

    def __init__(self, made: AdapterPlan, folder: AdapterFolder, progress: Progress) -> None:
        """Take the plan and where to write."""
        self.made, self.folder, self.progress = made, folder, progress
        self.code = NAMES[made.plan.recipe.dtype or "float32"]
        self.began = time.monotonic()

    def run(self) -> dict[str, Any]:
        """Do it, and return the receipt."""
        results: list[Made] = []
        self.progress.begin("merging", len(self.made.sites), "modules")
        try:
            with np.errstate(over="ignore", invalid="ignore"):  # NaN and Inf are found, and named
                statistics = {} if self.made.linear else statistics_of(self.made)
                for at, site in enumerate(self.made.sites):
                    done = self._site(site, statistics.get(site.unit.name, {}))
                    results += [done] if done else []
                    self.progress.advance(at + 1, site.lora.module)
        finally:
            self.progress.end()
        if not results:
            raise RecipeError("the merged change is zero everywhere: the weights cancel, or 'scale' is 0.")
        loras = [one.lora for one in results]
        with self.folder.begin(loras, self.code) as file:
            for one in results:
                a, b = self.folder.spool.get(one.a, one.lora.rank), self.folder.spool.get(one.b, one.lora.rank)
                file.lora(one.lora, a, b.T)
        return self.folder.finish(self._config(loras), REPORT, self._facts(results))

    def _site(self, site: Site, statistics: Statistics) -> Made | None:
        """Merge one matrix; None where nothing is left of it."""
        merged = self._merged(site, statistics)
        norm = merged.norm
        if not np.isfinite(norm):
            refuse_nonfinite(self.made.plan, site)
        factors = self._factors(merged) if norm else None
        if factors is None:
            return None
        a, b = (self._as_stored(x) for x in factors)
        lora = replace(site.lora, rank=a.shape[0])
        error = merged.far_from(b, a) / norm
        return Made(site, lora, self.folder.spool.put(a), self.folder.spool.put(b.T), norm, error)

    def _merged(self, site: Site, statistics: Statistics) -> Merged:
        if self.made.linear and site.factored:
            return joined(site, coefficients_of(self.made, site))
        here = shown(self.made, site)
        return here.back(merge_by(self.made, site, here.stack, statistics))

    def _factors(self, merged: Merged) -> tuple[Rows, Rows] | None:
        """Return A and B of the rank that is asked for; None where the rank is 0."""
        rank = self.made.adapter.rank
        if rank == "all" and self.made.linear and isinstance(merged, Product) and merged.is_thin:
            return merged.right, merged.left
        u, s, v = merged.spectrum(rank if isinstance(rank, int) else None)
        keep = len(s) if rank == "all" else rank if isinstance(rank, int) else rank_by_energy(np.asarray(s), rank)
        keep = min(keep, int(np.count_nonzero(s)))
        root = np.sqrt(s[:keep])
        return (root[:, None] * v[:, :keep].T, u[:, :keep] * root) if keep else None

    def _as_stored(self, x: Rows) -> Rows:
        flat = np.ascontiguousarray(x, np.float32).reshape(-1)
        return np.asarray(widen(narrow(flat, self.code), self.code)).reshape(x.shape)

    def _config(self, loras: list[OutLora]) -> dict[str, Any]:
        base = self.made.plan.reference.checkpoint
        modules = {name.rpartition(".")[0] for name in base.tensors}
        return adapter_config(loras, modules, base_name=self.made.base_name, task_type=task_of(base.config))

    def _facts(self, results: list[Made]) -> dict[str, Any]:
        plan = self.made.plan
        total = sum(one.norm**2 for one in results)
        error = (sum((one.error * one.norm) ** 2 for one in results) / total) ** 0.5
        here = {one.site.unit.name for one in results}
        return {
            "taskvec": __version__,
            "created": datetime.now(UTC).isoformat(timespec="seconds"),
            "method": plan.method.name,
            "paper": plan.method.paper,
            "recipe": plan.recipe.data,
            "seed": plan.recipe.seed,
            "inputs": [
                {"role": i.role, "kind": i.kind, "path": i.name, "fingerprint": i.fingerprint} for i in plan.inputs
            ],
            "choice": asdict(plan.choice) if plan.choice else None,
            "notes": plan.notes,
            "space": "factors" if self.made.linear else self.made.adapter.space,
            "layers": [self._fact(one) for one in results],
            "unchanged": [site.unit.name for site in self.made.sites if site.unit.name not in here],
            "error": error,
            "exact": error <= EXACT,
            "seconds": round(time.monotonic() - self.began, 3),
            "versions": versions(),
        }

    def _fact(self, one: Made) -> dict[str, Any]:
        return {
            "tensor": one.site.unit.name,
            "shape": list(one.site.unit.shape),
            "ranks": [task[1].rank if task else 0 for task in one.site.tasks],
            "rank": one.lora.rank,
            "norm": one.norm,
            "error": one.error,
            "bytes": sum(tensor.nbytes for tensor in one.lora.tensors(self.code)),
        }
