"""The matrices that a merge of adapters changes, and each adapter's factors there; what cannot be one is refused."""

from dataclasses import dataclass, replace
from math import prod
from pathlib import Path
from typing import NoReturn

import numpy as np
import numpy.typing as npt

from ...errors import NumbersError, RecipeError
from ...merge import find
from ...ops.floats import widen
from ...store.adapter import is_adapter
from ...store.computed.dora import Dora
from ...store.computed.low_rank import LowRank
from ...store.peft.config import read_config
from ...store.peft.parts import module_of
from ...store.peft.write import HEAD, OutLora
from ...store.tensors import Files, Tensor
from ..curved_checks import asked_by
from ..inputs import Input
from ..plan import Plan, make_plan
from ..schema import Adapter, Recipe
from ..units import Unit

F64 = npt.NDArray[np.float64]

NO_EFFECT = (
    "stack",
    "statistics",
    "curvature",
    "vocabulary",
    "chat_template",
    "tokenizer",
    "output",
    "rounding",
    "nonfinite",
)
"""Keys about whole models."""


@dataclass(frozen=True)
class Site:
    """A matrix of the base that some adapter changes.

    lora: what is written of it; its rank comes later.
    tasks: each model's factors, in the unit's order; None where it has nothing, or no factors (a DoRA).
    """

    unit: Unit
    lora: OutLora
    tasks: tuple[tuple[Input, LowRank] | None, ...]
    factored: bool

    @property
    def sides(self) -> tuple[int, int]:
        """Rows of B and columns of A."""
        return self.lora.out, prod(self.lora.inner)

    @property
    def swapped(self) -> bool:
        """Whether the base stores the transpose of B A."""
        return self.lora.turned or self.lora.embedding

    def factors(self, task: int) -> tuple[F64, F64]:
        """Return B, with the adapter's scale, and A, in float64; of rank 0 where it has nothing."""
        rows, columns = self.sides
        there = self.tasks[task]
        if there is None:
            return np.zeros((rows, 0)), np.zeros((0, columns))
        model, change = there
        a, b = _read(model.checkpoint.files, change.a), _read(model.checkpoint.files, change.b)
        return b.reshape(rows, change.rank) * change.scale, a.reshape(change.rank, columns)


@dataclass(frozen=True)
class AdapterPlan:
    """A merge of adapters that may be run: the plan of the merge, and the matrices that change."""

    plan: Plan
    adapter: Adapter
    sites: tuple[Site, ...]
    base_name: str

    @property
    def linear(self) -> bool:
        """Whether the method adds up its inputs, so that factors are joined and no space is needed."""
        return "linear" in self.plan.method.laws


def plan_adapter(recipe: Recipe, out: Path | None = None) -> AdapterPlan:
    """Plan a merge of adapters into one, from headers; refuse here whatever can be refused.

    Raises:
        RecipeError: keys of whole models, models that are no adapters, changes without factors.
        StoreError: an adapter that cannot be read, or one of another base.
    """
    adapter = recipe.adapter or Adapter.model_validate({})
    _check_keys(recipe)
    plan = make_plan(recipe.model_copy(update={"adapter": None}), out)
    if plan.space != "delta":
        raise RecipeError(
            f"'{plan.method.name}' merges whole models, and an adapter is a change of one. Use e.g. task_arithmetic."
        )
    for model in plan.listed:
        if not is_adapter(model.checkpoint.path):
            raise RecipeError(
                f"{model.name} is no adapter, and 'adapter' merges adapters. Make one of it: "
                f"taskvec extract-lora {plan.reference.name} {model.name} -o lora -r 16."
            )
    sites = tuple(site for unit in plan.units if (site := _site(plan, unit, adapter)))
    if not sites:
        raise RecipeError("'ignore' leaves no matrix that an adapter changes.")
    with_adapter = plan.recipe.model_copy(update={"adapter": adapter})
    made = AdapterPlan(replace(plan, recipe=with_adapter), adapter, sites, _base_name(plan))
    if not made.linear and adapter.space == "dense" and adapter.rank == "all":
        raise RecipeError(
            f"'{plan.method.name}' in 'space: dense' gives matrices of full rank. Type 'adapter: {{space: dense, "
            f"rank: 16}}', or --set adapter.rank=16."
        )
    return made


def _check_keys(recipe: Recipe) -> None:
    method = find(recipe.method)
    if asked_by(recipe, method):
        raise RecipeError(
            f"'{method.name}' heeds statistics of whole models, which adapters lack. Merge models instead, "
            f"or type e.g. 'method: task_arithmetic'."
        )
    for key in NO_EFFECT:
        if key in recipe.data:
            raise RecipeError(f"'{key}' is of whole models and has no meaning beside 'adapter'. Remove one of them.")


def _site(plan: Plan, unit: Unit, adapter: Adapter) -> Site | None:
    """Return a tensor as a matrix that changes; None where no adapter has anything.

    Raises:
        RecipeError: a change that has no factors.
    """
    sources = plan.sources(unit) if unit.merged else []
    changed = [(model, tensor) for model, tensor in sources if tensor.on_disk]
    if not changed:
        return None
    tasks = [(model, t) if isinstance(t, LowRank) else None for model, t in sources]
    known = next((change for _, tensor in changed if (change := _factors_in(tensor))), None)
    others = [model for model, tensor in changed if not isinstance(tensor, LowRank)]
    if others and (not known or len(unit.shape) != 2 or adapter.space != "dense"):
        _refuse(others[0], unit, known is not None and len(unit.shape) == 2)
    assert known is not None
    return Site(unit, _lora(plan, unit, known), tuple(tasks), not others)


def _factors_in(tensor: Tensor) -> LowRank | None:
    """Return the factors that a change is, or is made of."""
    if isinstance(tensor, Dora):
        return tensor.change
    return tensor if isinstance(tensor, LowRank) else None


def _refuse(model: Input, unit: Unit, matrix: bool) -> None:
    if matrix:
        raise RecipeError(
            f"{model.name} changes '{unit.name}' otherwise than by two factors (a DoRA, or several changes in one). "
            f"Type 'adapter: {{space: dense, rank: 16}}', which makes factors of the change, or remove 'adapter' to "
            f"write a whole model."
        )
    raise RecipeError(
        f"{model.name} stores '{unit.name}' whole (modules_to_save, or a bias), which has no factors. "
        f"Add it to 'ignore' to leave it out, or remove 'adapter' to write a whole model."
    )


def _lora(plan: Plan, unit: Unit, change: LowRank) -> OutLora:
    """Return how PEFT stores a change of this matrix: as the adapters do."""
    embedding = "lora_embedding" in change.a.name
    base = plan.reference.checkpoint
    ties = any(read_config(model.checkpoint.path).ties for model in plan.listed)
    tied = embedding and ties and base.tied_to(f"{HEAD}.weight") == unit.name and f"{HEAD}.weight" not in base.tensors
    return OutLora(
        module_of(change.a.name),
        0,
        change.b.shape[0],
        change.a.shape[1:],
        embedding,
        change.turned and not embedding,
        HEAD if tied else None,
    )


def _base_name(plan: Plan) -> str:
    """Return what the adapters call their base, if they agree, else what the recipe does."""
    names = {read_config(model.checkpoint.path).base_name for model in plan.listed}
    return (names.pop() if len(names) == 1 else None) or plan.reference.name


def _read(files: Files, tensor: Tensor) -> F64:
    wide = widen(files.raw(tensor), tensor.dtype, np.float64)
    return np.asarray(wide, np.float64)


def refuse_nonfinite(plan: Plan, site: Site) -> NoReturn:
    """Say which adapter holds NaN or Inf.

    Raises:
        NumbersError: always.
    """
    for task, (model, tensor) in enumerate(plan.sources(site.unit)):
        parts = site.factors(task) if site.tasks[task] else (np.asarray(model.checkpoint.files.raw(tensor)),)
        if bad := sum(int((~np.isfinite(part)).sum()) for part in parts):
            raise NumbersError(
                f"{model.name} holds {bad} NaN or Inf in its factors of '{site.unit.name}'. Mend that adapter."
            )
    raise NumbersError(f"merging '{site.unit.name}' overflows, though every input is finite.")
