"""What `taskvec merge` and `taskvec plan` say of recipes that make an adapter."""

import sys
from pathlib import Path
from typing import Any

from ..recipe.load import Loaded
from ..recipe.lora.describe import describe_adapter
from ..recipe.lora.sites import plan_adapter
from .show import duration, say, size, table


def say_adapter(folder: Path, facts: dict[str, Any]) -> None:
    """Print what was merged, module by module, and how exact it is."""
    rows = [[*_beginning(one), str(one["rank"]), f"{one['error']:.3g}"] for one in facts["layers"]]
    table("", ["layer", "shape", "ranks", "rank", "error"], rows)
    bytes_ = facts["files"]["adapter_model.safetensors"]["bytes"]
    how = "exact, but for rounding" if facts["exact"] else f"error {facts['error']:.3g} of the merged change"
    print(
        f"{folder}: {len(facts['layers'])} modules merged by {facts['method']}, {size(bytes_)} in "
        f"{duration(facts['seconds'])}; {how}."
    )
    if facts["unchanged"]:
        print(f"{len(facts['unchanged'])} modules come to nothing and are left out.")


def planned_adapter(one: Loaded, out: Path | None, quiet: bool) -> dict[str, Any]:
    """Return the plan in plain data, and print it unless `quiet`."""
    facts = describe_adapter(plan_adapter(one.recipe, out))
    facts["notes"] = [*one.notes, *facts["notes"]]
    if not quiet:
        rows = [[*_beginning(layer), str(layer["rank"])] for layer in facts["layers"]]
        table(f"{facts['method']}, as an adapter", ["layer", "shape", "ranks", "rank, at most"], rows)
        print(f"\nwrites   {size(facts['bytes'])} at most, merged in the space of: {facts['space']}")
        for note in facts["notes"]:
            say(f"note: {note}", sys.stdout)
    return facts


def _beginning(layer: dict[str, Any]) -> list[str]:
    return [layer["tensor"], "×".join(map(str, layer["shape"])), " + ".join(map(str, layer["ranks"]))]
