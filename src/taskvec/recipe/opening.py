"""Everything a recipe reads, opened, and brought to one vocabulary where it asks for that."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from ..store.naming import align, is_spare
from ..store.sample import fingerprint
from ..store.vocabulary import VocabularyPlan, VocabularyRequest, plan_vocabulary
from .curved_checks import check_rows, open_statistics
from .depth import matches
from .inputs import Input, Pool, check_spaces, check_tokenizer_source, check_tokenizers, open_input
from .paths import check_paths
from .schema import PartEntry, Recipe
from .stack import numbered


@dataclass(frozen=True)
class Opened:
    """What is read.

    numbers: for each part of the recipe the numbers of its models. on: the number of each part's base, or None.
    """

    pool: Pool
    numbers: list[list[int]]
    on: list[int | None]
    vocabulary: VocabularyPlan | None
    notes: list[str]


def open_all(recipe: Recipe, space: str) -> Opened:
    """Open the models and bases of a recipe.

    Raises:
        RecipeError: a task vector where weights are merged, a tokenizer that is not there.
        StoreError: an input that cannot be read, or tokens that do not belong together.
    """
    check_paths(recipe)
    parts = recipe.parts
    own = [part.base or recipe.base for part in parts]
    bases = {path: open_input(path, "base") for path in dict.fromkeys([recipe.base, *own]) if path}
    if recipe.base and recipe.statistics:
        bases[recipe.base] = open_statistics(bases[recipe.base], recipe.statistics)
    number = {path: -1 - i for i, path in enumerate(bases)}
    entries, numbers = _entries(recipe, own)
    paths = [next(base for base, mine in zip(own, numbers, strict=True) if at in mine) for at in range(len(entries))]
    starts = [bases[path].checkpoint if path else None for path in paths]
    models = [open_input(entry.model, "model", start) for entry, start in zip(entries, starts, strict=True)]
    check_spaces(models, starts, space, recipe.method)
    models = [open_statistics(model, entry.statistics) for model, entry in zip(models, entries, strict=True)]
    pool = _by_one_name(recipe, entries, Pool(tuple(bases.values()), tuple(models)))
    notes = list(dict.fromkeys(note for i in pool for note in i.notes))
    pool, vocabulary = _one_vocabulary(recipe, pool)
    if vocabulary:
        notes += vocabulary.notes
        if recipe.tokenizer != "base":
            key = "vocabulary" if recipe.vocabulary else "chat_template"
            notes.append(
                f"'tokenizer: {recipe.tokenizer}' has no effect: '{key}' writes the tokenizer anew. "
                f"To have that one's tokens, type 'vocabulary: {recipe.tokenizer}'."
            )
    else:
        reference, *others = pool
        notes += check_tokenizers(reference, others, recipe)
        check_tokenizer_source(recipe)
    return Opened(pool, numbers, [number[path] if path else None for path in own], vocabulary, notes)


def _entries(recipe: Recipe, bases: Sequence[str | None]) -> tuple[Sequence[PartEntry], list[list[int]]]:
    """Return the models that are opened, and for each part the numbers of its models."""
    if recipe.stack:
        return numbered(recipe.parts, bases)
    entries = recipe.parts[0].models
    return entries, [list(range(len(entries)))]


def _by_one_name(recipe: Recipe, entries: Sequence[PartEntry], pool: Pool) -> Pool:
    """Return the models with their tensors called as the reference calls them, by rules or by a prefix."""
    reference = next(iter(pool))
    names = reference.checkpoint.tensors

    def spare(name: str) -> bool:
        return is_spare(name) or any(matches(name, pattern) for pattern in recipe.ignore)

    def called(model: Input, rules: Sequence[tuple[str, str]]) -> Input:
        if model.kind == "delta" and not rules:
            return model  # made for the base, and by its names
        checkpoint, notes = align(names, model.checkpoint, rules, model.name, spare)
        if checkpoint is model.checkpoint:
            return model
        called = dict(zip(checkpoint.tensors, model.checkpoint.tensors, strict=True))
        curved = replace(model.curved, names=called) if model.curved else None
        said = (*model.said, *notes)
        return replace(model, checkpoint=checkpoint, fingerprint=fingerprint(checkpoint), said=said, curved=curved)

    rules = [[(rule.from_, rule.to) for rule in entry.rename] for entry in entries]
    models = [called(m, r) if m is not reference or r else m for m, r in zip(pool.models, rules, strict=True)]
    return Pool((*pool.bases[:1], *(called(base, ()) for base in pool.bases[1:])), tuple(models))


def _one_vocabulary(recipe: Recipe, pool: Pool) -> tuple[Pool, VocabularyPlan | None]:
    """Return the models with their rows in the order of one vocabulary, where the recipe asks for it."""
    if recipe.vocabulary is None and recipe.chat_template is None:
        return pool, None
    base = pool.bases[0].checkpoint if pool.bases else None
    others = [i.checkpoint for i in (*pool.models, *pool.bases[1:])]
    plan = plan_vocabulary(base, others, _request(recipe))
    if plan is None:
        return pool, None
    models = plan.models[: len(pool.models)]
    bases = [*([plan.base] if plan.base else []), *plan.models[len(pool.models) :]]

    def same(inputs: Sequence[Input], checkpoints: Sequence[object]) -> tuple[Input, ...]:
        for one, checkpoint in zip(inputs, checkpoints, strict=True):
            if checkpoint is not one.checkpoint:
                check_rows(one)
        return tuple(
            i if c is i.checkpoint else replace(i, checkpoint=c, fingerprint=fingerprint(c))  # type: ignore[arg-type]
            for i, c in zip(inputs, checkpoints, strict=True)
        )

    return Pool(same(pool.bases, bases), same(pool.models, models)), plan


def _request(recipe: Recipe) -> VocabularyRequest:
    said = recipe.vocabulary
    if said is None:
        return VocabularyRequest.parse(None, recipe.chat_template)
    given = {"source": said.rule, "tokens": said.tokens, "pad_to_multiple_of": said.pad_to_multiple_of}
    return VocabularyRequest.parse(given, recipe.chat_template, said.keep_padding)
