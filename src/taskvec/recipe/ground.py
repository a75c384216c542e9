"""What a plan stands on: the opened inputs, and which of their tensors each tensor of the output is made of."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ..store.vocabulary import VocabularyPlan
from .inputs import Pool, check_copied, check_not_an_input, check_tensors, check_ties
from .kinship import Kinship, check_kinship
from .opening import open_all
from .schema import Recipe
from .stack import Place, Stack, Tower, places_by_name


@dataclass(frozen=True)
class Ground:
    """Everything of a plan that weights, settings and scale do not change."""

    pool: Pool
    places: Sequence[Place]
    towers: list[Tower]
    vocabulary: VocabularyPlan | None
    kinship: list[Kinship]
    notes: list[str]


def lay_ground(recipe: Recipe, space: str, out: Path | None = None) -> Ground:
    """Open the inputs of a recipe and compare them.

    Args:
        recipe: what to merge.
        space: `delta` or `weight`: what the method merges.
        out: the output folder, which must not be an input.

    Raises:
        RecipeError: the recipe asks for something impossible.
        StoreError: an input that cannot be read, or inputs that do not belong together.
    """
    opened = open_all(recipe, space)
    pool, notes = opened.pool, opened.notes
    if out is not None:
        check_not_an_input(out, [place for i in pool for place in i.places])
    reference, *others = pool
    towers: list[Tower] = []
    if recipe.stack:
        places, towers = Stack(recipe, pool, opened.numbers, opened.on).build()
    else:
        dropped = check_tensors(reference, others, recipe) + check_ties(reference, others, recipe)
        notes = [f"'{name}' is left out, as 'ignore' says." for name in dict.fromkeys(dropped)] + notes
        places = places_by_name(pool)
    check_copied(pool, places, recipe)
    return Ground(pool, places, towers, opened.vocabulary, check_kinship(pool, places, recipe), notes)
