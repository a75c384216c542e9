"""The models a plan reads, and what must be true of them before it may run."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from ..errors import FormatError, MismatchError, RecipeError
from ..store.checkpoint import Checkpoint
from ..store.dtypes import COPIED, is_float
from ..store.hub import locate
from ..store.sample import fingerprint
from ..store.sidecars import is_tokenizer_file, sidecars, token_ids
from ..store.taskvector import TaskVector, check_base, is_task_vector
from ..store.tensors import Tensor
from .depth import matches
from .schema import Recipe

EMBEDDINGS = ("embed", "wte", "lm_head", "shared", "decoder.weight")


@dataclass(frozen=True)
class Input:
    """One model or task vector that is read. `given` is what the recipe calls it: a path, or a name on the hub."""

    role: Literal["base", "model"]
    checkpoint: Checkpoint
    kind: Literal["weights", "delta"]
    fingerprint: str
    given: str = ""

    @property
    def name(self) -> str:
        """What messages call it."""
        return self.given or str(self.checkpoint.path)


def open_input(path: str, role: Literal["base", "model"]) -> Input:
    """Open a model, or a saved task vector, from its path or by its name on the hub."""
    checkpoint = Checkpoint(locate(path))
    if not checkpoint.tensors:
        raise FormatError(f"{path} holds no tensor.")
    kind: Literal["weights", "delta"] = "delta" if is_task_vector(checkpoint) else "weights"
    if kind == "delta":
        TaskVector.load(checkpoint.path)  # refuses a format or a space that this version does not know
    if role == "base" and kind == "delta":
        raise RecipeError(f"{path} is a task vector; 'base' must be a model.")
    return Input(role, checkpoint, kind, fingerprint(checkpoint), path)


def check_spaces(base: Input | None, models: Sequence[Input], space: str, method: str) -> None:
    """Refuse task vectors where weights are merged, and task vectors of another base."""
    for model in models:
        if model.kind == "delta" and space == "weight":
            raise RecipeError(f"'{method}' merges weights, but {model.name} is a task vector. Use task_arithmetic.")
        if model.kind == "delta" and base:
            check_base(model.checkpoint.metadata["taskvec.base"], base.checkpoint, model.name)


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
                _check_one(reference, model, name)
    return sorted(set(dropped))


def _has(model: Input, dtype: str, name: str) -> bool:
    return model.checkpoint.resolve(name) is not None or (model.kind == "delta" and not is_float(dtype))


def _check_one(reference: Input, model: Input, name: str) -> None:
    here, there = reference.checkpoint.info(name), model.checkpoint.resolve(name)
    for info, owner in ((here, reference), (there, model)):
        if info and not is_float(info.dtype) and info.dtype not in COPIED:
            raise MismatchError(
                f"'{name}' in {owner.name} is {info.dtype}, which cannot be merged. "
                f"Convert it to bfloat16 first, or add it to 'ignore'."
            )
    if there is None:
        return
    if is_float(here.dtype) != is_float(there.dtype):
        raise MismatchError(f"'{name}' is {there.dtype} in {model.name} but {here.dtype} in {reference.name}.")
    if here.shape != there.shape:
        hint = "Add it to 'ignore' to keep the base's."
        if here.shape[1:] == there.shape[1:] and any(part in name for part in EMBEDDINGS):
            hint = "Their vocabularies differ: give both the same one first, or add it to 'ignore' to keep the base's."
        raise MismatchError(f"'{name}' is {there.shape} in {model.name} but {here.shape} in {reference.name}. {hint}")


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
            raise MismatchError(f"{text}. Use models of one tokenizer, or type 'allow: [tokenizers]'.")
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
            if embedding is None or not _same(model, info, embedding):
                raise MismatchError(
                    f"{model.name} has a '{name}' of its own, which {reference.name} ties to '{tied}'. "
                    f"Add it to 'ignore' to leave it out, or give a base that stores it."
                )
    return dropped


def _same(model: Input, one: Tensor, other: Tensor) -> bool:
    files = model.checkpoint.files
    spans = [(at, min(at + CHUNK, one.count)) for at in range(0, one.count, CHUNK)]
    alike = one.dtype == other.dtype and one.shape == other.shape
    return alike and all((files.raw(one, *s) == files.raw(other, *s)).all() for s in spans)


def check_copied(reference: Input, models: Sequence[Input], recipe: Recipe) -> None:
    """Refuse integer tensors that differ between models: they are copied, not averaged.

    Raises:
        MismatchError: they differ and are not ignored.
    """
    for name, info in reference.checkpoint.tensors.items():
        if is_float(info.dtype) or _ignored(name, recipe):
            continue
        for model in models:
            there = model.checkpoint.resolve(name)
            if there is None:
                continue
            for at in range(0, info.count, CHUNK):
                span = (at, min(at + CHUNK, info.count))
                ours = reference.checkpoint.files.raw(info, *span)
                if (ours != model.checkpoint.files.raw(there, *span)).any():
                    raise MismatchError(
                        f"'{name}' ({info.dtype}, not averaged) differs between {model.name} and {reference.name}. "
                        f"Add it to 'ignore' to keep the base's."
                    )
