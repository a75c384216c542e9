"""The known models: their task vectors, and what a recipe calls them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from ..errors import FormatError, MismatchError, RecipeError
from ..recipe.inputs import open_input
from ..recipe.kinship import LEAST_COSINE, kinship
from ..store import Checkpoint, TaskVector, diff, fingerprint
from ..store.catalog import Catalog
from ..store.catalogued import BETWEEN, catalogued, folder_and_name
from ..store.taskvector import is_task_vector

TOP = 50
"""So many vectors of a catalogue are fitted, those nearest to the signal: more cost memory and say nothing further."""


@dataclass(frozen=True)
class Known:
    """Task vectors of one base.

    base: the path of the base. vectors: name → task vector; nothing is read yet. models: what a recipe calls each.
    unrelated: whether models may be among them that do not look like fine-tunes of the base; its recipes allow them.
    """

    base: str
    vectors: Mapping[str, TaskVector]
    models: Mapping[str, str]
    unrelated: bool = False

    @property
    def names(self) -> tuple[str, ...]:
        """The names, in the order of every "task" axis."""
        return tuple(self.vectors)

    def without(self, name: str) -> "Known":
        """Return all but one, as if that had never been known.

        Raises:
            RecipeError: nothing would be left.
        """
        kept = [n for n in self.names if n != name]
        if not kept:
            raise RecipeError(f"without '{name}' there is no known model. Give at least two.")
        return replace(self, vectors={n: self.vectors[n] for n in kept}, models={n: self.models[n] for n in kept})


def known_models(base: str, paths: Sequence[str], unrelated: bool = False) -> Known:
    """Return the task vectors of models, saved ones, adapters and 'catalogue#name', each called by its last name.

    Raises:
        RecipeError: no path, or two of one name.
        MismatchError: a model of another form, a vector of another base, or, unless `unrelated`, a model that does not
            look like a fine-tune of the base.
        StoreError: one that cannot be read.
    """
    if not paths:
        raise RecipeError("there is no known model to locate among. Type --known MODEL …, or --catalog FOLDER.")
    names = _names(paths)
    vectors = {name: _vector(base, path) for name, path in zip(names, paths, strict=True)}
    known = _checked(base, vectors, dict(zip(names, paths, strict=True)))
    if not unrelated:
        check_related(known)
    return replace(known, unrelated=unrelated)


def check_related(known: Known) -> None:
    """Refuse models that were trained apart from the base, as merges do; by a sample of every matrix.

    Raises:
        MismatchError: a model that is no relative of the base.
    """
    start = open_input(known.base, "base")
    for name, path in known.models.items():
        model = open_input(path, "model", start.checkpoint)
        tensors = [(start.checkpoint.resolve(n), model.checkpoint.resolve(n)) for n in start.checkpoint.tensors]
        found = kinship(start, model, [(here, there) for here, there in tensors if here and there])
        if found.cosine < LEAST_COSINE and found.relative_norm > 0:
            raise MismatchError(
                f"'{name}' does not look like a relative of {known.base}: over a sample their cosine is "
                f"{found.cosine:.3f} and they lie {found.relative_norm:.2f} base norms apart (fine-tunes: above 0.9). "
                f"Name the right base, or type --unrelated."
            )


def names_in(catalog: Catalog, base: str) -> list[str]:
    """Return the entries of a catalogue that belong to a base.

    Raises:
        RecipeError: there is none.
    """
    with Checkpoint(base) as checkpoint:
        own = fingerprint(checkpoint)
    names = [entry.name for entry in catalog.entries(base=own)]
    if not names:
        others = sorted({entry.base_name or entry.base for entry in catalog.entries()})
        said = f"its vectors belong to {', '.join(others)}" if others else "it is empty"
        raise RecipeError(
            f"{catalog.folder} has no task vector of the base {base}: {said}. "
            f"Type: taskvec catalog add MODEL --base {base} -C {catalog.folder}."
        )
    return names


def known_in(
    catalog: Catalog, base: str, target: TaskVector | None = None, top: int = TOP, keep: Sequence[str] = ()
) -> Known:
    """Return the vectors of a catalogue that belong to a base; of more than `top`, those nearest to a target.

    The nearest have the largest cosines, exactly: a gradient's are too small to be told apart by sketches. That takes
    a pass over all of them, with one product each. Those to `keep` are among them in any case, the nearest beside.

    Raises:
        RecipeError: the catalogue has no vector of this base, or the target is zero.
    """
    names = names_in(catalog, base)
    if target is not None and len(names) > top:
        nearest = [found.entry.name for found in catalog.find(target, top=len(names))]
        kept = [n for n in names if n in set(keep)]
        rest = [n for n in nearest if n not in set(kept)]
        names = sorted([*kept, *rest[: max(0, top - len(kept))]])
    return Known(base, {n: catalog.vector(n) for n in names}, {n: f"{catalog.folder}{BETWEEN}{n}" for n in names})


def _names(paths: Sequence[str]) -> list[str]:
    """Return what paths are called: their last parts, or where these are not all different, the paths."""
    last = [folder_and_name(path)[1] if catalogued(path) else Path(path).name.removesuffix(".tv") for path in paths]
    names = last if len(set(last)) == len(last) else list(paths)
    if twice := next((n for n in names if names.count(n) > 1), None):
        raise RecipeError(f"'{twice}' is named twice among the known models. Name each once.")
    return names


def _vector(base: str, path: str) -> TaskVector:
    """Return a saved task vector, a catalogue's, or what a model adds to the base: one file may be either."""
    if catalogued(path):
        folder, name = folder_and_name(path)
        return Catalog(folder).vector(name)
    if path.endswith(".tv"):
        if not is_task_vector(Checkpoint(path)):
            raise FormatError(f"{path} is not a task vector. Make one: taskvec diff {base} FINETUNED -o NAME.tv.")
        return TaskVector.load(path)
    if path.endswith(".safetensors") and is_task_vector(Checkpoint(path)):
        return TaskVector.load(path)
    return diff(base, path)


def _checked(base: str, vectors: Mapping[str, TaskVector], models: Mapping[str, str]) -> Known:
    with Checkpoint(base) as checkpoint:
        own = fingerprint(checkpoint)
    for name, vector in vectors.items():
        if vector.base != own:
            raise MismatchError(
                f"'{name}' is a task vector of the base {vector.base}, and {base} is {own}. Give its base."
            )
    return Known(base, vectors, models)
