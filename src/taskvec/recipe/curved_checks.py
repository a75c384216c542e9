"""What must be true of the statistics of a merge, refused while planning: before a tensor is read."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from ..errors import MismatchError, RecipeError
from ..merge import METHODS, Method
from ..store.statistics import Statistics, part_shapes
from .curved import Curved, Known, Sides, known_of
from .depth import spread
from .schema import Recipe

if TYPE_CHECKING:
    from .inputs import Input, Pool
    from .units import Unit

ESTIMATORS: Mapping[str, str] = {"diagonal": "empirical_fisher", "gram": "gram", "kronecker": "kfac", "eigen": "ekfac"}
"""Kind of statistics → an estimator that makes it."""


def check_statistics_request(recipe: Recipe, method: Method) -> None:
    """Refuse statistics where none are used, and their lack where they are, before anything is opened.

    Raises:
        RecipeError: see above.
    """
    entries = [entry for part in recipe.parts for entry in part.models]
    given = [path for path in (recipe.statistics, *(entry.statistics for entry in entries)) if path]
    tasks = [entry.task for entry in entries if entry.task]
    if not method.needs.curvature:
        if given or tasks or recipe.curvature:
            raise RecipeError(_none_used(method, "statistics" if given else "task" if tasks else "curvature"))
        return
    if recipe.stack and (given or tasks or asked_by(recipe, method)):
        raise RecipeError(f"'{method.name}' heeds statistics of models, which 'stack' does not take. List 'models'.")
    if recipe.statistics and not method.needs.base_curvature:
        raise RecipeError(
            f"'{method.name}' uses no statistics of the base. Type 'statistics: …' under each model instead."
        )
    for entry in entries if asked_by(recipe, method) else ():
        if entry.task and not entry.statistics:
            raise RecipeError(
                f"the statistics of {entry.model} on '{entry.task}' are not measured yet. `taskvec merge` measures "
                f"them; in Python: recipe = taskvec.suite.statistics.with_statistics(recipe)."
            )
        if not entry.statistics:
            raise RecipeError(_lacking(method, entry.model))
    if asked_by(recipe, method) and method.needs.base_curvature and not recipe.statistics:
        raise RecipeError(_lacking(method, str(recipe.base), base=True))


def _none_used(method: Method, key: str) -> str:
    users = ", ".join(sorted(name for name, m in METHODS.items() if m.needs.curvature))
    return f"'{method.name}' uses no statistics of models. Remove '{key}', or type a method that does: {users}."


def _lacking(method: Method, model: str, base: bool = False) -> str:
    estimator = " or ".join(dict.fromkeys(ESTIMATORS[kind] for kind in method.needs.curvature))
    where = "Type the recipe's own 'statistics: …'" if base else "Type 'statistics: …' under it"
    return (
        f"'{method.name}' needs statistics of {'the base' if base else 'every model'}, and {model} has none. {where}, "
        f"a folder made with `taskvec curvature --model {model} --estimator {estimator}`."
    )


def asked_by(recipe: Recipe, method: Method) -> tuple[str, ...]:
    """Return what of statistics the recipe's settings ask for, those of its overrides among them."""
    if not method.needs.curvature:
        return ()
    overrides = [*recipe.overrides, *(o for part in recipe.stack for o in part.overrides)]
    every = [recipe.settings, *(recipe.settings | o.settings for o in overrides)]
    plain = [method.check({key: spread(value, 0.0) for key, value in settings.items()}) for settings in every]
    return tuple(dict.fromkeys(part for settings in plain for part in method.needs.measured(settings)))


def open_statistics(model: "Input", folder: str | None) -> "Input":
    """Return a model with its statistics, if it has some.

    Raises:
        StoreError: a folder that is not there, or no statistics.
        RecipeError: what has them is no model of weights.
        MismatchError: they were measured of another model.
    """
    if folder is None:
        return model
    if model.kind == "delta":
        raise RecipeError(
            f"{model.name} is a change of the base (a task vector or an adapter), and statistics are of a whole model. "
            f"Name the fine-tuned model's folder under 'model'."
        )
    statistics = Statistics(folder)
    if statistics.fingerprint != model.fingerprint:
        theirs = statistics.facts["model"].get("path") or "another model"
        raise MismatchError(
            f"the statistics {folder} were measured of {theirs} ({statistics.fingerprint}), and {model.name} is "
            f"{model.fingerprint}. Measure it with `taskvec curvature --model {model.name}`."
        )
    return replace(model, curved=Curved(statistics), lies_in=(*model.lies_in, statistics.path))


def check_rows(model: "Input") -> None:
    """Refuse statistics of a model whose rows are put in another order.

    Raises:
        RecipeError: it has statistics.
    """
    if model.curved:
        raise RecipeError(
            f"'vocabulary' moves the rows of {model.name}, and its statistics are of the rows as they were. "
            f"Remove 'vocabulary' and 'chat_template', and merge models of one vocabulary."
        )


def statistics_of(method: Method, pool: "Pool", units: "Sequence[Unit]") -> tuple[dict[str, Sides], list[str]]:
    """Return which statistics go with which tensor, and notes on those that have none.

    Raises:
        RecipeError: a model without statistics, or with such as the method cannot use.
        MismatchError: statistics that do not go with each other, or with the models.
    """
    # A method of matrices adds the other tensors, and needs no statistics of these.
    by_function = [u for u in units if u.merged and (u.whole or method.needs.scope != "tensor")]
    curved = [u for u in by_function if method.needs.is_curved(u.settings)]
    if not curved:
        return {}, _unused(method, pool)
    numbers = dict.fromkeys(number for u in curved for number, _ in u.sources)
    base = pool.bases[:1] if method.needs.base_curvature else ()
    gradient = any("gradient" in method.needs.measured(u.settings) for u in curved)
    _check_models(method, [*(pool[number] for number in numbers), *base], gradient)
    found = {u.name: sides for u in curved if (sides := _sides(method, pool, u))}
    return found, _without([u.name for u in curved if u.name not in found], len(curved))


def _unused(method: Method, pool: "Pool") -> list[str]:
    given = [model.name for model in pool if model.curved]
    return [f"with these settings '{method.name}' uses no statistics; those given have no effect."] if given else []


def _without(missing: Sequence[str], count: int) -> list[str]:
    if not missing:
        return []
    first = ", ".join(f"'{name}'" for name in missing[:3]) + (", …" if len(missing) > 3 else "")
    return [f"{len(missing)} of {count} tensors have no statistics and are merged without: {first}."]


def _check_models(method: Method, models: "Sequence[Input]", gradient: bool) -> None:
    """Compare the statistics of models with what the method can use, and with each other."""
    first: tuple[str, Statistics] | None = None
    for model in models:
        if model.curved is None:
            raise RecipeError(_lacking(method, model.name, base=model.role == "base"))
        statistics = model.curved.statistics
        _check_kind(method, model.name, statistics)
        if gradient and model.role == "model" and not statistics.has_gradients:
            raise RecipeError(
                f"'{method.name}' needs gradients with these settings, and the statistics {statistics.path} have none. "
                f"Measure again with `taskvec curvature --gradient`."
            )
        before, one = first = first or (model.name, statistics)
        if (one.kind, one.estimator) != (statistics.kind, statistics.estimator):
            raise MismatchError(
                f"the statistics of {model.name} are by {statistics.estimator} ({statistics.kind}), those of {before} "
                f"by {one.estimator} ({one.kind}). Measure both with one estimator."
            )


def _check_kind(method: Method, name: str, statistics: Statistics) -> None:
    if statistics.kind not in method.needs.curvature:
        wanted = " or ".join(f"'{kind}'" for kind in method.needs.curvature)
        estimators = " or ".join(f"--estimator {ESTIMATORS[kind]}" for kind in method.needs.curvature)
        raise RecipeError(
            f"'{method.name}' uses statistics of the kind {wanted}, and {statistics.path} holds the kind "
            f"'{statistics.kind}' (by {statistics.estimator}). Type: taskvec curvature --model {name} {estimators}."
        )


def _sides(method: Method, pool: "Pool", unit: "Unit") -> Sides | None:
    """Return the statistics of a unit, checked; None where nobody has any."""
    gradient = "gradient" in method.needs.measured(unit.settings)
    models = [pool[number] for number, _ in unit.sources]
    sides = [known_of(model, name, gradient) for model, (_, name) in zip(models, unit.sources, strict=True)]
    if method.needs.base_curvature:
        models.append(pool[unit.origin[0]])
        sides.append(known_of(models[-1], unit.origin[1]))
    if not any(sides):
        return None
    whole = [_checked(unit, model, known) for model, known in zip(models, sides, strict=True)]
    return Sides(tuple(whole[: len(unit.sources)]), whole[-1] if method.needs.base_curvature else None)


def _checked(unit: "Unit", model: "Input", known: Known | None) -> Known:
    """Return what is known of a unit in one model, which must fit it, and be there where others know it."""
    if known is None:
        raise MismatchError(
            f"the statistics of {model.name} lack '{unit.name}', which those of another model have. Measure both alike."
        )
    statistics, name = known.statistics, known.name
    kind, found = statistics.kind_of(name), statistics.shapes(name)
    if kind != "diagonal" and len(unit.shape) != 2:
        raise MismatchError(f"the statistics {statistics.path} call '{unit.name}' a matrix, but it is {unit.shape}.")
    expected = part_shapes(kind, unit.shape, turned=unit.role == "turned", gradient=known.gradient)
    if wrong := [part for part in expected if found.get(part) != expected[part]]:
        part = wrong[0]
        raise MismatchError(
            f"the statistics {statistics.path} do not fit '{unit.name}', which is {unit.shape}: its {part or kind} is "
            f"{found.get(part, 'missing')}, not {expected[part]}. Measure again."
        )
    return known
