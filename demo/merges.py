"""Run `taskvec merge` on each recipe and read the receipts."""

import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from .errors import DemoError
from .keep import read_json

TEMPLATES = Path(__file__).with_name("recipes")


def lay_recipes(folder: Path) -> list[Path]:
    """Copy the recipes of `demo/recipes` to `folder`, from where their relative paths lead to the models."""
    folder.mkdir(parents=True, exist_ok=True)
    templates = sorted(TEMPLATES.glob("*.yaml"))
    if not templates:
        raise DemoError(f"There is no recipe in {TEMPLATES.name}/. Type: git checkout demo/recipes")
    return [Path(shutil.copy(template, folder / template.name)) for template in templates]


def command(recipe: Path, out: Path) -> list[str]:
    """Return the command that merges `recipe` into the folder `out`."""
    return [sys.executable, "-m", "taskvec", "merge", str(recipe), "-o", str(out), "--force"]


def merge(recipe: Path, out: Path) -> dict[str, Any]:
    """Merge `recipe` into `out` and return the receipt that taskvec left there."""
    out.parent.mkdir(parents=True, exist_ok=True)
    done = subprocess.run(command(recipe, out), capture_output=True, text=True, check=False)
    if done.returncode:
        said = done.stderr.strip() or f"exit status {done.returncode}"
        raise DemoError(f"taskvec could not merge {recipe.name}: {said}")
    receipt = read_json(out / "receipt.json")
    if not receipt:
        raise DemoError(f"taskvec merged {recipe.name} but left no receipt.json in {out}.")
    return receipt


def entry(receipt: Mapping[str, Any], path: str) -> float | None:
    """Return the number at a dotted path of a receipt, or None where there is none.

    >>> entry({"bytes": {"read": 12}}, "bytes.read"), entry({}, "bytes.read")
    (12.0, None)
    """
    found: Any = receipt
    for name in path.split("."):
        found = found.get(name) if isinstance(found, Mapping) else None
    return float(found) if isinstance(found, int | float) else None
