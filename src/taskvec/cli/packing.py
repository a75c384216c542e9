"""`taskvec pack` and `taskvec unpack`."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import RecipeError
from ..packs import pack as pack_models
from ..packs import tasks_of
from ..packs import unpack as unpack_task
from ..store.layout import parse_size
from .merging import say_receipt, set_key
from .show import as_json, duration, progress, size, table

COLUMNS = ("model", "size", "share of a model", "error", "cosine")


@dataclass(frozen=True)
class How:
    """How a folder is written."""

    dtype: str | None
    force: bool
    restart: bool
    memory: str
    threads: int | None


def pack(
    base: Path,
    models: list[str],
    out: Path,
    method: str,
    changes: list[str],
    budget: str | None,
    error: float | None,
    force: bool,
    json: bool,
    quiet: bool,
) -> int:
    """Pack, and say how near each model is to its own."""
    settings: dict[str, Any] = {}
    for change in changes:
        set_key(settings, change.removeprefix("settings."))
    packed = pack_models(
        base, models, out, method=method, settings=settings, budget=parse_size(budget) if budget else None,
        error=error, force=force, progress=progress(quiet or json),
    )  # fmt: skip
    if json:
        as_json(packed.facts)
    elif not quiet:
        _print(packed.facts)
        told = f"{out}: {len(packed.tasks)} models by {method} in {size(packed.facts['bytes'])}"
        print(f"{told}, {packed.facts['bytes'] / packed.facts['model_bytes']:.1%} of one model; {_chosen(packed.facts)}"
              f"packed in {duration(packed.facts['seconds'])}.")  # fmt: skip
    return 0


def _print(facts: dict[str, Any]) -> None:
    rows = [
        [t["name"], size(t["bytes"]), f"{t['share']:.1%}", f"{t['error']:.4f}", f"{t['cosine']:.4f}"]
        for t in facts["tasks"]
    ]
    table("", COLUMNS, rows)


def _chosen(facts: dict[str, Any]) -> str:
    """Say which ranks, or which density, the matrices have."""
    if rank := facts["chosen"].get("rank"):
        return f"rank {rank['least']} to {rank['most']}; "
    density = facts["chosen"].get("density")
    return f"density {density:.3f}; " if density is not None else ""


def show(file: Path, json: bool) -> int:
    """Say what a pack holds."""
    facts = tasks_of(file)
    if json:
        as_json(facts)
        return 0
    _print(facts)
    print(f"{file}: {len(facts['tasks'])} models by {facts['method']} in {size(facts['bytes'])}, base {facts['base']}")
    return 0


def unpack(file: Path, base: Path | None, task: str | None, out: Path | None, how: How, json: bool, quiet: bool) -> int:
    """Write one model."""
    missing = [name for name, given in (("--base", base), ("--task", task), ("-o", out)) if given is None]
    if base is None or task is None or out is None:
        raise RecipeError(
            f"{missing[0]} is missing. Type: taskvec unpack {file} --base BASE --task TASK -o FOLDER; "
            f"taskvec unpack {file} --list says which tasks there are."
        )
    receipt = unpack_task(
        file, task, out, base=base, dtype=how.dtype, force=how.force, restart=how.restart,
        memory=parse_size(how.memory), threads=how.threads, progress=progress(quiet or json),
    )  # fmt: skip
    if json:
        as_json(receipt.facts)
    elif not quiet:
        say_receipt(receipt.folder, receipt.facts)
    return 0
