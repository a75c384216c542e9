"""The plan of a merge, made from headers: refusals, the numbers of every tensor, memory, the output's layout."""

import os
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from ..errors import RecipeError
from ..merge import Method, find
from ..ops.kernels import in_use
from ..progress import Progress
from ..store.dtypes import LONG_NAMES
from ..store.layout import OutTensor, lay_out
from .auto import choose
from .budget import NO_BUDGET, make_budget
from .curved_checks import check_statistics_request, statistics_of
from .ground import Ground, lay_ground
from .planned import Plan, tokenizer_folder
from .schema import Recipe
from .units import Unit, check_patterns, in_one_order, make_units, space_of

__all__ = ["Plan", "describe", "make_plan", "plan_on", "tokenizer_folder"]

PLURALS = {
    "matrix": "matrices",
    "turned": "matrices",
    "table": "tables",
    "experts": "stacks of experts",
    "convolution": "convolutions",
    "vector": "vectors",
}
"""What tensors are called in a note, by their role."""

MEANS = ("cart", "knots")
"""Methods of matrices that average what they do not take apart, and make of matrices no sum either."""


def make_plan(
    recipe: Recipe,
    out: Path | None = None,
    *,
    memory: int = 512_000_000,
    threads: int | None = None,
    slice_: int = 0,
    progress: Progress | None = None,
) -> Plan:
    """Plan a merge from headers and a sample; refuse here whatever can be refused.

    With `scale: auto` the inputs are read once more, to find the number.

    Args:
        recipe: what to merge.
        out: the output folder, which must not be an input.
        memory: bytes of anonymous memory the run may take.
        threads: threads to use; all cores when not given.
        slice_: entries worked on at a time; chosen when 0. It does not change the result.
        progress: told how far a search for `scale: auto` is.

    Raises:
        RecipeError: the recipe asks for something impossible.
        StoreError: an input that cannot be read, or inputs that do not belong together.
    """
    method = find(recipe.method)
    check_request(recipe, method)
    ground = lay_ground(recipe, space_of(method, recipe), out)
    return plan_on(ground, recipe, memory=memory, threads=threads, slice_=slice_, progress=progress)


def plan_on(
    ground: Ground,
    recipe: Recipe,
    *,
    memory: int = 512_000_000,
    threads: int | None = None,
    slice_: int = 0,
    gathers: bool = False,
    what: str = "the merge",
    method: Method | None = None,
    progress: Progress | None = None,
) -> Plan:
    """Plan a merge of inputs that are open already; see `make_plan`.

    `gathers`: with room for slices of all inputs. `what` is what messages call the run. `method`: instead of the
    recipe's.
    """
    chosen = method or find(recipe.method)

    def plan(numbered: Recipe, gathers: bool = gathers) -> Plan:
        return _plan(ground, numbered, chosen, memory, threads, slice_, gathers, what)

    if not recipe.choice:
        return plan(recipe)
    numbered, choice, note = choose(recipe, ground.places, lambda one: plan(one, gathers=True), progress)
    made = plan(numbered)
    return replace(made, choice=choice, notes=[*made.notes, note])


def _plan(
    ground: Ground,
    recipe: Recipe,
    method: Method,
    memory: int,
    threads: int | None,
    slice_: int,
    gathers: bool,
    what: str,
) -> Plan:
    """Give every tensor its numbers, and divide the memory; with `gathers`, so that slices of all inputs fit."""
    pool = ground.pool
    notes = [*ground.notes, *check_patterns(recipe, pool, ground.places)]
    units = make_units(recipe, method, pool, ground.places, ground.vocabulary.dtypes if ground.vocabulary else {})
    added, units = in_one_order(recipe, method, pool.models, units)
    tensors = [OutTensor(u.name, u.dtype, u.shape) for u in units]
    layout = lay_out(tensors, recipe.output.shard_size, {"format": "pt"}, next(iter(pool)).checkpoint.stems)
    if recipe.report:
        check_compared(units)
    plan = Plan(
        recipe=recipe,
        method=method,
        bases=pool.bases,
        listed=pool.models,
        models=added,
        units=tuple(units),
        towers=tuple(ground.towers),
        vocabulary=ground.vocabulary,
        layout=layout,
        budget=NO_BUDGET,
        kinship=ground.kinship,
        notes=notes,
    )
    notes += role_notes(method, units)
    curvature, said = statistics_of(method, plan.pool, units)
    notes += said
    tasks, reading = plan.widest()
    budget = make_budget(method.needs, tasks, units, memory, threads, slice_, recipe.rounding, reading, gathers, what)
    return replace(plan, budget=budget, curvature=curvature)


def role_notes(method: Method, units: Sequence[Unit]) -> list[str]:
    """Say how tensors are added that a method of matrices does not take apart: a mean is T times shorter than a sum."""
    merged = [u for u in units if u.merged and method.needs.role]
    if method.name in MEANS:
        return []
    averaged = [u for u in merged if not u.whole and u.settings.get("others") == "mean" and len(u.sources) > 1]
    taken = sum(u.pieces for u in merged if u.whole)
    if not averaged or not taken:
        return []
    counts = sorted({len(u.sources) for u in averaged})
    times = " or ".join(map(str, counts))
    roles = ", ".join(f"{n} {PLURALS[role]}" for role in PLURALS if (n := sum(u.role == role for u in averaged)))
    return [
        f"{method.name} takes {taken} matrices apart and averages the other {len(averaged)} tensors ({roles}): what "
        f"these get is {times} times shorter than a sum. 'settings: {{others: sum}}' adds them, "
        f"'settings: {{spectral: tables}}' or 'all' takes more apart."
    ]


def check_request(recipe: Recipe, method: Method) -> None:
    """Refuse what a method cannot do, before anything is opened."""
    needs, space = method.needs, space_of(method, recipe)
    if recipe.adapter:
        raise RecipeError(
            "a recipe with 'adapter' makes an adapter: run it with `taskvec merge`, or in Python with merge_adapters. "
            "Remove 'adapter' to make a whole model."
        )
    if needs.space == "delta" and recipe.base is None:
        raise RecipeError(f"'{method.name}' merges task vectors and needs the base they start from. Type 'base: …'.")
    if needs.space == "weight" and recipe.base is not None:
        raise RecipeError(
            f"'{method.name}' merges whole models and takes no base. Remove 'base', or list that model under 'models'."
        )
    check_statistics_request(recipe, method)
    if recipe.report:
        _check_report(recipe, method)
    for part in recipe.parts:
        if len(part.models) not in needs.tasks:
            plural = "model" if needs.models == "1" else "models"
            where = " in each part of a stack" if recipe.stack else ""
            raise RecipeError(f"'{method.name}' takes {needs.models} {plural}{where}, got {len(part.models)}.")
    if recipe.base is None and any(part.base for part in recipe.stack):
        raise RecipeError(
            "a part of the stack has a 'base', and the recipe has none. Type 'base: …' for the recipe, too."
        )
    overrides = [*recipe.overrides, *(o for part in recipe.stack for o in part.overrides)]
    weights = [m.weight for part in recipe.parts for m in part.models]
    if not needs.weighted and (any(w != 1 for w in weights) or any(o.weights is not None for o in overrides)):
        raise RecipeError(f"'{method.name}' takes no weights: it finds its own numbers. Remove 'weight'.")
    scales = [recipe.scale, *(part.scale for part in recipe.stack), *(o.scale for o in overrides)]
    if space == "weight" and any(scale not in (1, None) for scale in scales):
        raise RecipeError(f"'{method.name}' merges whole models, so there is no task vector to scale. Remove 'scale'.")


def _check_report(recipe: Recipe, method: Method) -> None:
    """Refuse what cannot be reported on before hours of merging."""
    if space_of(method, recipe) == "weight":
        how = "Type 'base: …'." if method.needs.takes_base else "Remove 'report', or name a method of task vectors."
        raise RecipeError(f"'report' measures task vectors, and '{method.name}' merges whole models here. {how}")
    if (count := len(recipe.models)) < 2:
        raise RecipeError(
            f"'report' tells how two or more models relate, got {count}. Name another, or remove 'report'."
        )
    if recipe.nonfinite == "pass":
        raise RecipeError(
            "'report' measures finite numbers, and 'nonfinite: pass' lets NaN and Inf through. Remove one of them."
        )


def check_compared(units: Sequence[Unit]) -> None:
    """Refuse to tell how models relate where none of their tensors are compared.

    Raises:
        RecipeError: no tensor is left.
    """
    if not any(u.merged for u in units):
        raise RecipeError(
            "no tensor is left to tell how the models relate: all are copied from the base, by 'ignore' or because "
            "they hold no floats. Let 'ignore' match fewer."
        )


def describe(plan: Plan) -> dict[str, Any]:
    """Return the plan in plain data, for a table or JSON."""
    merged = [u for u in plan.units if u.merged]
    return {
        "method": plan.method.name,
        "inputs": [
            {
                "role": i.role,
                "path": i.name,
                "bytes": i.checkpoint.nbytes,
                "fingerprint": i.fingerprint,
                **({"statistics": i.curved.facts} if i.curved else {}),
            }
            for i in plan.inputs
        ],
        "kinship": [asdict(k) for k in plan.kinship],
        "tensors": {"merged": len(merged), "copied": len(plan.units) - len(merged)},
        "dtypes": sorted({LONG_NAMES.get(u.dtype, u.dtype) for u in plan.units}),
        "bytes": {"read": plan.bytes_read, "written": plan.layout.nbytes},
        "passes": plan.passes,
        "files": [{"name": f.name, "bytes": f.nbytes, "tensors": len(f.tensors)} for f in plan.layout.files],
        "memory": {"peak": plan.budget.peak, "limit": plan.budget.limit},
        "threads": plan.budget.threads,
        "slice": plan.budget.slice,
        "kernels": in_use(),
        "cores": os.cpu_count(),
        "choice": asdict(plan.choice) if plan.choice else None,
        "notes": plan.notes,
    }
