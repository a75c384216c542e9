"""`taskvec verify`."""

from pathlib import Path

from ..recipe.verify import verify as check
from .show import as_json, progress, size


def verify(folder: Path, json: bool, quiet: bool) -> int:
    """Re-read a model folder and say what was checked; raises at the first fault."""
    facts = check(folder, progress(quiet or json))
    if json:
        as_json(facts)
    elif not quiet:
        print(f"{folder}: {facts['tensors']} tensors, {size(facts['bytes'])}, all finite.")
        print(f"hashes: {facts['hashes']}. loads: {facts['loads']}.")
    return 0
