"""The merge that a location asks for, as a recipe."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np

from ..ops.shapes import Float64
from ..recipe.paths import seen_from
from ..recipe.schema import Recipe
from ..recipe.write import as_yaml
from ..store.writer import write_whole
from .known import Known
from .products import REST


def scale_of(mixture: Float64[np.ndarray, " task"], gram: Float64[np.ndarray, "task task"]) -> float:
    """Return the λ that makes a mixture as long as its parts are on average, by their shares; 1 for a lone model.

        λ |Σ m_i τ_i| = Σ m_i |τ_i|,    |Σ m_i τ_i|² = mᵀKm,    m ≥ 0,  Σ m_i = 1

    A gradient says where to go, not how far; the fine-tunes that take part say that, and no others.

    Zero: 0 for a mixture of length 0.
    """
    length = float(np.sqrt(max(mixture @ gram @ mixture, 0.0)))
    return float(mixture @ np.sqrt(np.diagonal(gram))) / length if length else 0.0


def recipe_of(known: Known, weights: Iterable[float], scale: float = 1.0) -> Recipe | None:
    """Return the merge θ₀ + λ Σ w_i τ_i; None where every weight is 0, so that it would be the base.

    Numbers are rounded to six places, so that the recipe that is read again is the one that was scored.
    """
    rounded = {name: round(float(w), 6) for name, w in zip(known.names, weights, strict=True)}
    models = [{"model": known.models[name], "weight": w} for name, w in rounded.items() if w]
    if not models:
        return None
    data = {"method": "task_arithmetic", "base": known.base, "models": models, "scale": round(float(scale), 6)}
    if known.unrelated:
        data["allow"] = ["unrelated"]
    return Recipe.model_validate(data)


def recipe_by_layer(known: Known, groups: Mapping[str, Float64[np.ndarray, " task"]]) -> Recipe | None:
    """Return the merge θ₀ + Σ w_gi τ_i with weights of their own in each group of tensors, as `products.group_of`
    names them; None where every weight is 0.

    Tensors outside of layers take the weights of that group, and so does what no group has.
    """
    rounded = {group: [round(float(w), 6) for w in weights] for group, weights in groups.items()}
    if not any(w for weights in rounded.values() for w in weights):
        return None
    rest = rounded.pop(REST, [0.0] * len(known.names))
    models = [{"model": known.models[name], "weight": w} for name, w in zip(known.names, rest, strict=True)]
    overrides = [{"match": f"{group}.*", "weights": weights} for group, weights in rounded.items()]
    data = {"method": "task_arithmetic", "base": known.base, "models": models, "overrides": overrides}
    if known.unrelated:
        data["allow"] = ["unrelated"]
    return Recipe.model_validate(data)


def uniform(known: Known, scale: float) -> Recipe:
    """Return the sum of all known vectors with one λ."""
    found = recipe_of(known, [1.0] * len(known.names), scale)
    assert found, "weights of 1 are not 0"
    return found


def write_recipe(recipe: Recipe, path: Path, said: Sequence[str]) -> None:
    """Write a recipe below comments that say how it was found; its relative paths start from its own folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, "".join(f"# {line}\n" for line in said) + as_yaml(seen_from(recipe, path.parent)))
