"""What a plan stands on: the opened inputs, and which of their tensors each tensor of the output is made of."""

from collections.abc import Container, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from ..store.computed.held import Held
from ..store.tensors import Tensor
from ..store.vocabulary import VocabularyPlan
from .inputs import Input, Pool, check_copied, check_not_an_input, check_tensors, check_ties
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


def hold(ground: Ground, most: int) -> Ground:
    """Return the same ground with computed tensors (of adapters, decoded ones) in memory, while they take `most` bytes.

    Those that are views of files stay there, and those that do not fit are computed each time.
    """
    used = {source for place in ground.places for source in (place.origin, *place.sources)}
    bases, models = ground.pool.bases, ground.pool.models
    left = most
    held: dict[int, Input] = {}
    for number in (*range(-len(bases), 0), *range(len(models))):
        one = ground.pool[number]
        wanted = {name for where, name in used if where == number}
        tensors, left = _held(one, wanted, left)
        held[number] = replace(one, checkpoint=one.checkpoint.replaced(tensors)) if tensors else one
    pool = Pool(tuple(held[-1 - i] for i in range(len(bases))), tuple(held[i] for i in range(len(models))))
    return replace(ground, pool=pool)


def _held(one: Input, wanted: Container[str], left: int) -> tuple[dict[str, Tensor], int]:
    """Return a model's tensors, those computed that fit, and how many bytes are left; nothing where none is held."""
    tensors: dict[str, Tensor] = {}
    for name, tensor in one.checkpoint.tensors.items():
        size = tensor.count * tensor.itemsize
        if name in wanted and tensor.scratch and tensor.on_disk and size <= left:
            left -= size
            tensors[name] = Held(tensor, one.checkpoint.files)
    return ({**one.checkpoint.tensors, **tensors}, left) if tensors else ({}, left)
