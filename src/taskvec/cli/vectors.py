"""`taskvec diff` and `taskvec apply`."""

import re
from math import prod
from pathlib import Path
from typing import Any

from ..errors import OutputError, RecipeError
from ..recipe.schema import Recipe, validate
from ..recipe.yaml_lines import Document
from ..store import diff as difference
from ..store.dtypes import BITS, NAMES
from .show import as_json, progress, size


def diff(base: Path, finetuned: Path, out: Path, dtype: str, force: bool, json: bool, quiet: bool) -> int:
    """Write fine-tuned minus base."""
    if out.exists() and not force:
        raise OutputError(f"{out} exists. Choose another name, or type --force to replace it.")
    vector = difference(base, finetuned)
    shown = progress(quiet or json)
    width = BITS[NAMES.get(dtype, "F32")].itemsize
    shown.begin("writing", sum(prod(shape) for shape in vector.shapes.values()) * width)
    try:
        vector.save(out, dtype, shown.advance)
    finally:
        shown.end()
    facts: dict[str, Any] = {
        "path": str(out),
        "tensors": len(vector),
        "bytes": out.stat().st_size,
        "base": vector.base,
        "history": list(vector.history),
    }
    if json:
        as_json(facts)
    elif not quiet:
        print(f"{out}: {facts['tensors']} tensors, {size(facts['bytes'])}, base {vector.base}")
    return 0


def recipe_for(base: Path, terms: list[str], dtype: str | None) -> Recipe:
    """Turn `+0.4 math.tv -1 toxic.tv` into a recipe of task arithmetic; a vector without a weight has 1.

    Raises:
        RecipeError: a weight that is followed by nothing, or is not a number.
    """
    models: list[dict[str, Any]] = []
    weight: float | None = None
    for term in terms:
        if re.fullmatch(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", term) and weight is None:
            weight = float(term)
        else:
            models.append({"model": term, "weight": 1.0 if weight is None else weight})
            weight = None
    if weight is not None or not models:
        raise RecipeError(f"weights and vectors alternate, e.g. +0.4 math.tv -1 toxic.tv; got {' '.join(terms)!r}.")
    if dtype is not None and dtype not in NAMES:
        raise RecipeError(f"unknown dtype {dtype!r}. Known: {', '.join(NAMES)}.")
    data = {"method": "task_arithmetic", "base": str(base), "models": models, "dtype": dtype}
    return validate(Document(data, "command line", {}))
