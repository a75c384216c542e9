"""The known models: their task vectors, and what a recipe calls them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ..errors import MismatchError, RecipeError
from ..store import Checkpoint, TaskVector, diff, fingerprint


@dataclass(frozen=True)
class Known:
    """Task vectors of one base.

    base: the path of the base. vectors: name → task vector; nothing is read yet. models: what a recipe calls each.
    """

    base: str
    vectors: Mapping[str, TaskVector]
    models: Mapping[str, str]

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
        return Known(self.base, {n: self.vectors[n] for n in kept}, {n: self.models[n] for n in kept})


def known_models(base: str, paths: Sequence[str]) -> Known:
    """Return the task vectors of model folders, stored task vectors and adapters, each called by its last name.

    Raises:
        RecipeError: no path, or two of one name.
        MismatchError: a model of another form, or a vector of another base.
        StoreError: one that cannot be read.
    """
    if not paths:
        raise RecipeError("there is no known model to locate among. Type --known MODEL …, or --catalog FOLDER.")
    names = _names(paths)
    vectors = {name: _vector(base, path) for name, path in zip(names, paths, strict=True)}
    return _checked(base, vectors, dict(zip(names, paths, strict=True)))


def _names(paths: Sequence[str]) -> list[str]:
    """Return what paths are called: their last parts, or where these are not all different, the paths."""
    last = [Path(path).name.removesuffix(".tv") for path in paths]
    names = last if len(set(last)) == len(last) else list(paths)
    if twice := next((n for n in names if names.count(n) > 1), None):
        raise RecipeError(f"'{twice}' is named twice among the known models. Name each once.")
    return names


def _vector(base: str, path: str) -> TaskVector:
    return TaskVector.load(path) if path.endswith((".tv", ".safetensors")) else diff(base, path)


def _checked(base: str, vectors: Mapping[str, TaskVector], models: Mapping[str, str]) -> Known:
    with Checkpoint(base) as checkpoint:
        own = fingerprint(checkpoint)
    for name, vector in vectors.items():
        if vector.base != own:
            raise MismatchError(
                f"'{name}' is a task vector of the base {vector.base}, and {base} is {own}. Give the base it was made from."
            )
    return Known(base, vectors, models)
