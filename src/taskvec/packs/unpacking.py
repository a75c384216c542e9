"""Unpack: one task of a pack as a model folder, through the same stream as any merge."""

from pathlib import Path
from typing import Any

from ..progress import Progress
from ..recipe.merge import Receipt, check_output, run
from ..recipe.plan import make_plan
from ..recipe.schema import Recipe
from ..store.adapter import open_model
from ..store.pack import PACKED, Pack
from ..store.taskvector import check_base


def tasks_of(path: str | Path) -> dict[str, Any]:
    """Return what a pack's header says: the method, the base's fingerprint, and what is known of each task.

    Raises:
        StoreError: no pack, or a damaged one.
    """
    with Pack(path) as opened:
        return {
            "path": str(path),
            "bytes": opened.path.stat().st_size,
            "method": opened.method,
            "settings": dict(opened.settings),
            "base": opened.base,
            "tasks": opened.tasks,
        }


def unpack(
    path: str | Path,
    task: str,
    out: str | Path,
    *,
    base: str | Path,
    dtype: str | None = None,
    force: bool = False,
    restart: bool = False,
    memory: int = 512_000_000,
    threads: int | None = None,
    progress: Progress | None = None,
) -> Receipt:
    """Write one task of a pack as a model folder: base plus what was stored of its change, slice by slice.

    Config, tokenizer and all else beside the weights are the base's, as with a merge. Of the pack only this task's
    tensors are read, and compared with their checksums before anything is written.

    Args:
        path: the pack.
        task: the name of the task.
        out: the folder to write; there whole or not at all.
        base: the model that the pack was made with.
        dtype: what floats are stored as; the base's own by default.
        force: replace an existing output.
        restart: throw away the unfinished work of an earlier run.
        memory: anonymous memory that it may take.
        threads: all cores by default; the result is the same.
        progress: told how far it is.

    Raises:
        RecipeError: no such task.
        StoreError: no pack, a damaged one, or another base.
        OutputError: `out` exists and `force` is not given.
    """
    check_output(Path(out), force)
    with Pack(path) as opened:
        opened.number(task)
        with open_model(base) as model:
            check_base(opened.base, model, f"{opened.path.name}{PACKED}{task}")
        opened.check(task)
    # What is far from its base was packed all the same; that it is a relative is not asked again.
    models = [{"model": f"{path}{PACKED}{task}"}]
    data = {"method": "task_arithmetic", "base": str(base), "models": models, "dtype": dtype, "allow": ["unrelated"]}
    plan = make_plan(Recipe.model_validate(data), Path(out), memory=memory, threads=threads)
    return run(plan, out, force=force, restart=restart, progress=progress)
