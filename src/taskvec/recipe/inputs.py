"""The models a plan reads, and what must be true of them before it may run."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from ..errors import FormatError, MismatchError, RecipeError
from ..store.adapter import adapter_notes, adapters_of, is_adapter, is_sum, open_adapter, open_applied
from ..store.catalogued import catalogued, folder_and_name
from ..store.checkpoint import Checkpoint
from ..store.dtypes import COPIED, is_float
from ..store.hub import locate
from ..store.pack import Pack, pack_and_task, packed
from ..store.sample import fingerprint
from ..store.sidecars import is_tokenizer_file, sidecars, token_ids
from ..store.taskvector import TaskVector, check_base, is_task_vector
from ..store.tensors import Tensor
from .curved import Curved
from .depth import matches
from .schema import Recipe

if TYPE_CHECKING:
    from .stack import Place

EMBEDDINGS = ("embed", "wte", "lm_head", "shared", "decoder.weight")


@dataclass(frozen=True)
class Input:
    """One model or task vector that is read.

    given: what the recipe calls it. lies_in: more places it is in. curved: its statistics, if it has some.
    """

    role: Literal["base", "model"]
    checkpoint: Checkpoint
    kind: Literal["weights", "delta"]
    fingerprint: str
    given: str = ""
    said: tuple[str, ...] = ()
    lies_in: tuple[Path, ...] = ()
    curved: Curved | None = None

    @property
    def name(self) -> str:
        """What messages call it."""
        return self.given or str(self.checkpoint.path)

    @property
    def notes(self) -> list[str]:
        """What is worth saying of it."""
        return [*self.checkpoint.notes, *self.said]

    @property
    def places(self) -> list[Path]:
        """The files and folders that it is read from."""
        return [self.checkpoint.path, *self.lies_in]


@dataclass(frozen=True)
class Pool:
    """Everything that is read: models by the numbers 0, 1 and so on, bases by -1, -2 and so on."""

    bases: tuple[Input, ...]
    models: tuple[Input, ...]

    def __getitem__(self, number: int) -> Input:
        return self.models[number] if number >= 0 else self.bases[-1 - number]

    def __iter__(self) -> Iterator[Input]:
        return iter((*self.bases, *self.models))

    def resolve(self, source: tuple[int, str]) -> Tensor | None:
        """Return a tensor of one of them, or None."""
        return self[source[0]].checkpoint.resolve(source[1])


def open_input(path: str, role: Literal["base", "model"], base: Checkpoint | None = None) -> Input:
    """Open a model, a task vector, an adapter (seen as what it changes in `base`), 'model+adapter' or 'x.pack#task'.

    Each is a path, a name on the hub, or 'catalogue#name'.
    """
    if packed(path):
        return _open_packed(path, role, base)
    if catalogued(path):
        return _open_catalogued(path, role)
    if is_sum(path):
        return _open_sum(path, role, base)
    place = locate(path)
    if is_adapter(place):
        return _open_adapter(path, place, role, base)
    checkpoint = Checkpoint(place)
    if not checkpoint.tensors:
        raise FormatError(f"{path} holds no tensor.")
    kind: Literal["weights", "delta"] = "delta" if is_task_vector(checkpoint) else "weights"
    if kind == "delta":
        TaskVector.load(place)  # refuses a format or a space that this version does not know
    if role == "base" and kind == "delta":
        raise RecipeError(f"{path} is a task vector; 'base' must be a model.")
    return Input(role, checkpoint, kind, fingerprint(checkpoint), path)


def _open_adapter(path: str, place: Path, role: Literal["base", "model"], base: Checkpoint | None) -> Input:
    if role == "base":
        raise RecipeError(f"{path} is an adapter; 'base' must be a model, or 'model+adapter'.")
    if base is None:
        raise RecipeError(
            f"{path} is an adapter, which needs the model it was trained on. Type 'base: …', or 'model+adapter'."
        )
    checkpoint = open_adapter(place, base)
    return Input(role, checkpoint, "delta", fingerprint(checkpoint), path, tuple(adapter_notes(place, base)))


def _open_packed(path: str, role: Literal["base", "model"], base: Checkpoint | None) -> Input:
    """Open one task of a pack: its change of the base."""
    if role == "base":
        raise RecipeError(f"{path} is packed, as a change of a base; 'base' must be a model.")
    if base is None:
        raise RecipeError(f"{path} is packed, as a change of a base. Type 'base: …', the model it was packed with.")
    file, task = pack_and_task(path)
    checkpoint = Pack(file).open(task, base)
    return Input(role, checkpoint, "delta", fingerprint(checkpoint), path)


def _open_catalogued(path: str, role: Literal["base", "model"]) -> Input:
    """Open a vector of a catalogue."""
    from ..store.catalog import Catalog

    folder, name = folder_and_name(path)
    place = Catalog(folder).path(name)
    if role == "base":
        raise RecipeError(f"{path} is a task vector; 'base' must be a model.")
    checkpoint = TaskVector.load(place).terms[0][1].checkpoint
    return Input(role, checkpoint, "delta", fingerprint(checkpoint), path)


def _open_sum(path: str, role: Literal["base", "model"], base: Checkpoint | None) -> Input:
    """Open a model with adapters put on it. On the recipe's own base one adapter is its change, nothing else."""
    start = open_input(path.split("+")[0], role, base)
    if start.kind == "delta":
        raise RecipeError(f"{path} puts an adapter on a task vector. Name a model before the '+'.")
    adapters = adapters_of(path)
    if base is not None and len(adapters) == 1 and base.path.resolve() == start.checkpoint.path.resolve():
        return _open_adapter(path, adapters[0], role, base)
    checkpoint, notes = start.checkpoint, []
    for adapter in adapters:
        notes += adapter_notes(adapter, checkpoint)
        checkpoint = open_applied(adapter, checkpoint)
    lies_in = (start.checkpoint.path, *adapters)
    return Input(role, checkpoint, "weights", fingerprint(checkpoint), path, tuple(notes), lies_in)


def check_spaces(models: Sequence[Input], bases: Sequence[Checkpoint | None], space: str, method: str) -> None:
    """Refuse task vectors where weights are merged, and task vectors of another base than that of their part."""
    for model, base in zip(models, bases, strict=True):
        if model.kind == "delta" and space == "weight":
            raise RecipeError(f"'{method}' merges weights, but {model.name} is a task vector. Use task_arithmetic.")
        if model.kind == "delta" and base is not None:
            check_base(model.checkpoint.metadata["taskvec.base"], base, model.name)


def check_tensors(reference: Input, models: Sequence[Input], recipe: Recipe) -> list[str]:
    """Compare names, shapes and types with the reference; return the ignored tensors that only models have.

    Raises:
        MismatchError: a tensor is missing, extra, of another shape, or of a type that cannot be merged.
    """
    dropped = []
    for model in models:
        names = reference.checkpoint.tensors
        missing = [n for n in names if not _has(model, names[n].dtype, n) and not _ignored(n, recipe)]
        if missing:
            raise MismatchError(
                f"{model.name} lacks {_count(missing, names)} that {reference.name} has: {_list(missing)}. "
                f"Add them to 'ignore' to keep the base's."
            )
        extra = [n for n in model.checkpoint.tensors if reference.checkpoint.resolve(n) is None]
        if refused := [n for n in extra if not _ignored(n, recipe)]:
            raise MismatchError(
                f"{model.name} has {_count(refused, model.checkpoint.tensors)} that {reference.name} lacks: "
                f"{_list(refused)}. Add them to 'ignore' to leave them out."
            )
        dropped += extra
        for name in names:
            if not _ignored(name, recipe):
                _check_one(reference, model, name, recipe)
    return sorted(set(dropped))


def _has(model: Input, dtype: str, name: str) -> bool:
    return model.checkpoint.resolve(name) is not None or (model.kind == "delta" and not is_float(dtype))


def _check_one(reference: Input, model: Input, name: str, recipe: Recipe) -> None:
    here, there = reference.checkpoint.info(name), model.checkpoint.resolve(name)
    check_types((reference, here), (model, there))
    if there is not None and here.shape != there.shape:
        hint = "Add it to 'ignore' to keep the base's."
        rows = here.shape[1:] == there.shape[1:] and any(part in name for part in EMBEDDINGS)
        if rows and recipe.vocabulary is None:
            hint = (
                "Their vocabularies differ: type 'vocabulary: union' in the recipe, or --set vocabulary=union, "
                "or add it to 'ignore' to keep the base's."
            )
        raise MismatchError(f"'{name}' is {there.shape} in {model.name} but {here.shape} in {reference.name}. {hint}")


def check_types(here: tuple[Input, Tensor], there: tuple[Input, Tensor | None]) -> None:
    """Refuse tensors of types that cannot be merged, or not with each other.

    Raises:
        MismatchError: neither a float nor a type that is copied; or a float here and none there.
    """
    for owner, info in (here, there):
        if info and not is_float(info.dtype) and info.dtype not in COPIED:
            raise MismatchError(
                f"'{info.name}' in {owner.name} is {info.dtype}, which cannot be merged. "
                f"Convert it to bfloat16 first, or add it to 'ignore'."
            )
    (reference, mine), (model, other) = here, there
    if other is not None and is_float(mine.dtype) != is_float(other.dtype):
        raise MismatchError(f"'{other.name}' is {other.dtype} in {model.name} but {mine.dtype} in {reference.name}.")


def _ignored(name: str, recipe: Recipe) -> bool:
    return any(matches(name, p) for p in recipe.ignore)


def _list(names: list[str]) -> str:
    return ", ".join(f"'{n}'" for n in names[:3]) + (", …" if len(names) > 3 else "")


def _count(some: list[str], all_of: object) -> str:
    return f"{len(some)} of {len(all_of)} tensors"  # type: ignore[arg-type]


def check_tokenizers(reference: Input, models: Sequence[Input], recipe: Recipe) -> list[str]:
    """Compare token → row of each model with the reference's; return notes on what could not be compared.

    Raises:
        MismatchError: a token that both know stands in different rows, or rows hold other tokens.
    """
    notes = []
    ours = token_ids(reference.checkpoint.folder)
    for model in models:
        theirs = token_ids(model.checkpoint.folder) if model.kind == "weights" else ours
        if ours is None or theirs is None:
            if (ours is None) != (theirs is None):
                which = reference if ours is None else model
                notes.append(f"{which.name} has no readable tokenizer; it was not compared.")
            continue
        text, harmless = _tokens_differ(reference.name, ours, model.name, theirs)
        if harmless:
            notes += [f"{text}."] if text else []
            continue
        if "tokenizers" not in recipe.allow:
            raise MismatchError(
                f"{text}. Type 'vocabulary: union' in the recipe, or --set vocabulary=union, to match rows by token; "
                f"or 'allow: [tokenizers]', or --set 'allow=[\"tokenizers\"]', to merge them as they stand."
            )
        notes.append(f"{text} (allowed).")
    return notes


RENAMED = 0.01
"""Share of rows whose token may have another name: fine-tunes give reserved rows names of their own."""


def _tokens_differ(our_name: str, ours: dict[str, int], their_name: str, theirs: dict[str, int]) -> tuple[str, bool]:
    """Return in what two vocabularies differ, if they do, and whether that is harmless."""
    moved = [t for t, row in theirs.items() if ours.get(t, row) != row]
    if moved:
        return (
            f"{their_name} puts {len(moved)} of {len(theirs)} tokens in other rows than {our_name}: "
            f"{moved[0]!r} is row {theirs[moved[0]]} there, {ours[moved[0]]} here"
        ), False
    in_row = {row: t for t, row in ours.items()}
    renamed = [t for t, row in theirs.items() if t not in ours and row in in_row]
    if not renamed:
        return "", True
    row = theirs[renamed[0]]
    return (
        f"{their_name} has other tokens than {our_name} in {len(renamed)} of {len(ours)} rows: "
        f"row {row} is {renamed[0]!r} there, {in_row[row]!r} here"
    ), len(renamed) <= RENAMED * len(ours)


def check_tokenizer_source(recipe: Recipe) -> None:
    """Refuse to take the tokenizer from where there is none."""
    if recipe.tokenizer != "base" and not any(map(is_tokenizer_file, sidecars(locate(recipe.tokenizer)))):
        raise RecipeError(
            f"'tokenizer: {recipe.tokenizer}' is no folder that holds a tokenizer. "
            f"Type 'base', or the path of one of the models."
        )


def check_not_an_input(out: Path, paths: Sequence[Path]) -> None:
    """Refuse an output that is or holds an input, or lies in an input's folder."""
    out = out.resolve()
    for path in paths:
        real = path.resolve()
        if out == real or out in real.parents or (real.is_dir() and real in out.parents):
            raise RecipeError(f"the output {out} would lie over the input {path}. Choose another output folder.")


CHUNK = 1 << 22


def check_ties(reference: Input, models: Sequence[Input], recipe: Recipe) -> list[str]:
    """Refuse a stored output head that the reference ties to its embedding, unless it is that embedding.

    A tied head stored twice says nothing new and is left out; one of its own would be lost. Returns what 'ignore'
    leaves out.

    Raises:
        MismatchError: the head differs from the model's own embedding, and is not ignored.
    """
    dropped = []
    for model in models:
        for name, info in model.checkpoint.tensors.items():
            tied = reference.checkpoint.tied_to(name)
            if name in reference.checkpoint.tensors or tied is None:
                continue
            if _ignored(name, recipe):
                dropped.append(name)
                continue
            embedding = model.checkpoint.resolve(tied)
            if embedding is None or info.dtype != embedding.dtype or not _equal(model, info, model, embedding):
                raise MismatchError(
                    f"{model.name} has a '{name}' of its own, which {reference.name} ties to '{tied}'. "
                    f"Add it to 'ignore' to leave it out, or give a base that stores it."
                )
    return dropped


def check_copied(pool: Pool, places: Sequence["Place"], recipe: Recipe) -> None:
    """Refuse integer tensors that differ between models: they are copied, not averaged.

    Raises:
        MismatchError: they differ and are not ignored.
    """
    for place in places:
        reference, info = pool[place.origin[0]], pool.resolve(place.origin)
        if info is None or is_float(info.dtype) or _ignored(place.name, recipe):
            continue
        for source in place.sources:
            model, there = pool[source[0]], pool.resolve(source)
            if there is not None and not _equal(reference, info, model, there):
                raise MismatchError(
                    f"'{place.origin[1]}' ({info.dtype}, not averaged) differs between {model.name} and "
                    f"{reference.name}. Add it to 'ignore' to keep the base's."
                )


def _equal(one_model: Input, one: Tensor, other_model: Input, other: Tensor) -> bool:
    spans = [(at, min(at + CHUNK, one.count)) for at in range(0, one.count, CHUNK)]
    files, others = one_model.checkpoint.files, other_model.checkpoint.files
    return one.shape == other.shape and all((files.raw(one, *s) == others.raw(other, *s)).all() for s in spans)
