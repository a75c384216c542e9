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


NUMBER = r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?"


def recipe_for(base: Path, terms: list[str], dtype: str | None) -> Recipe:
    """Turn `+0.4 math.tv -1 toxic.tv` into a recipe of task arithmetic; a vector without a weight has 1.

    Raises:
        RecipeError: a weight that is followed by nothing, or is not a number.
    """
    models: list[dict[str, Any]] = []
    weight: float | None = None
    for at, term in enumerate(terms):
        if meant := _meant_by(term, terms[at + 1 :]):
            raise RecipeError(f"{term!r} is neither a weight nor a vector. Type: {meant}.")
        if re.fullmatch(NUMBER, term) and weight is None:
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


def _meant_by(term: str, after: list[str]) -> str:
    """Return what to type for a term written as in a formula: `+ 0.4 a.tv`, `0.4*a.tv`, `-a.tv`; else nothing."""
    if term in ("+", "-"):
        signed = bool(after) and re.fullmatch(NUMBER, after[0]) is not None and after[0][0] not in "+-"
        weighted = [term + after[0], *after[1:2]] if signed else [f"{term}1", *after[:1]]
        return " ".join(weighted if len(weighted) > 1 else [*weighted, "math.tv"])
    if Path(term).exists():
        return ""
    if product := re.fullmatch(rf"({NUMBER})\*(.*)", term):
        return " ".join([product[1], product[2] or " ".join(after[:1])]).rstrip()
    if term[0:1] in ("+", "-") and Path(term[1:]).exists():
        return f"{term[0]}1 {term[1:]}"
    return ""
