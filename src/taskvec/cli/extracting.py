"""`taskvec extract-lora`."""

from pathlib import Path
from typing import Any

from ..recipe.lora.extract import extract_lora
from .show import as_json, duration, progress, say, size, table

SHOWN = 5
"""Tensors without factors that are named; the report has all."""


def extract(base: Path, finetuned: Path, out: Path, json: bool, quiet: bool, **options: Any) -> int:
    """Write an adapter of what fine-tuning added, and say what it lacks."""
    shown = progress(quiet or json)
    receipt = extract_lora(str(base), str(finetuned), out, progress=shown, **options)
    if json:
        as_json(receipt.facts)
    elif not quiet:
        _print(receipt.folder, receipt.facts)
    return 0


def _print(folder: Path, facts: dict[str, Any]) -> None:
    rows = [
        [one["tensor"], "×".join(map(str, one["shape"])), str(one["rank"]), f"{one['error']:.3g}"]
        for one in facts["layers"]
    ]
    table("", ["layer", "shape", "rank", "error"], rows)
    error, name = facts["error"], "adapter_model.safetensors"
    print(
        f"{folder}: {len(rows)} layers, {size(facts['files'][name]['bytes'])} in {duration(facts['seconds'])}; "
        f"error {error['of_layers']:.3g} of what changed in these layers, {error['of_everything']:.3g} of everything."
    )
    if facts["unchanged"]:
        print(f"{len(facts['unchanged'])} layers did not change and have no factors.")
    if facts["whole"]:
        print(f"{len(facts['whole'])} tensors are stored whole.")
    rest = facts["rest"]
    if rest:
        named = ", ".join(f"'{one['tensor']}' ({one['share']:.2%})" for one in rest[:SHOWN])
        more = f" and {len(rest) - SHOWN} more" if len(rest) > SHOWN else ""
        print(
            f"{len(rest)} tensors changed and are not in the adapter: {named}{more} of the change's norm. "
            f"To store them whole: --save-rest."
        )
    for note in facts["notes"]:
        say(f"note: {note}")
