"""Write a base plus a task vector as a model folder, through the same stream as any merge."""

from pathlib import Path
from typing import Any

from ..errors import RecipeError
from ..progress import Progress
from ..store import Checkpoint, TaskVector
from ..store.taskvector import check_base
from .merge import Receipt, run
from .plan import make_plan
from .schema import Recipe


def apply(
    vector: TaskVector,
    base: str | Path,
    out: str | Path,
    *,
    scale: float = 1.0,
    dtype: str | None = None,
    force: bool = False,
    progress: Progress | None = None,
) -> Receipt:
    """Write base + scale τ to the folder `out`, slice by slice, and return the receipt.

    The vector's terms (Σ c_i τ_i) become a recipe of task arithmetic, so nothing is computed that is not written.

    Raises:
        MismatchError: another base than the one the vector was made from.
        RecipeError: a term that lies in no file.
        OutputError: `out` exists and `force` is not given.
    """
    check_base(vector.base, Checkpoint(base), vector.history[-1])
    models: list[dict[str, Any]] = [{"model": str(_path(source)), "weight": float(c)} for c, source in vector.terms]
    data = {"method": "task_arithmetic", "base": str(base), "models": models, "scale": scale, "dtype": dtype}
    return run(make_plan(Recipe.model_validate(data), Path(out)), out, force=force, progress=progress)


def _path(source: Any) -> Path:
    checkpoint = getattr(source, "checkpoint", None)
    if not isinstance(checkpoint, Checkpoint):
        raise RecipeError(
            f"the term {source.describe()!r} lies in no file. Save the vector first: vector.save('x.tv')."
        )
    return checkpoint.path
