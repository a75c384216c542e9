"""What is added to a catalogue or searched for in it: a task vector, and what lies beside the model it comes from."""

import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from ...errors import MismatchError, RecipeError
from ...ops.floats import widen
from ..adapter import is_sum, open_model
from ..checkpoint import Checkpoint
from ..hub import locate
from ..pack import Pack, pack_and_task, packed
from ..sample import fingerprint, sample
from ..taskvector import Difference, Saved, TaskVector, check_base, diff

ENDINGS = (".tv", ".safetensors")
STORED = {"F32": "float32", "BF16": "bfloat16", "F16": "float16"}
"""What a catalogue stores."""

UNRELATED = "unrelated"
"""What is allowed in so many words: a model that does not look like a fine-tune of its base."""

LEAST_COSINE = 0.5
"""Fine-tunes of one base have cosines above 0.9 with it; models trained apart about 0."""


@dataclass(frozen=True)
class Opened:
    """A task vector that is not read yet.

    dtype: what it is stored as unless told otherwise. licence, lineage: what the files beside it say.
    """

    vector: TaskVector
    name: str
    base_name: str
    dtype: str = "float32"
    licence: str = ""
    lineage: Mapping[str, Any] = field(default_factory=dict)


def open_source(source: TaskVector | str | Path, base: str | Path | None) -> Opened:
    """Open a vector in hand, a saved one, or what a model, an adapter or a task of a pack adds to its base.

    Raises:
        RecipeError: a model without a base.
        StoreError: what cannot be read, or does not belong to the base.
    """
    if isinstance(source, TaskVector):
        return _checked(Opened(source, "", _title(base), _dtype(source), lineage={"history": source.history}), base)
    path = str(source)
    if Path(path).suffix in ENDINGS and _is_saved(Path(path)):
        vector = TaskVector.load(path)
        opened = Opened(vector, Path(path).stem, _title(base), _dtype(vector), lineage={"history": vector.history})
        return _checked(opened, base)
    if base is None:
        raise RecipeError(f"{path} is no saved task vector, so it needs the base it was made from. Type --base BASE.")
    origin = open_model(base)
    if packed(path):
        file, task = pack_and_task(path)
        saved = Saved(Pack(file).open(task, origin))
        vector = TaskVector(fingerprint(origin), ((1.0, saved),), (path,))
        return Opened(vector, task, _title(base), lineage={"history": vector.history})
    vector = diff(origin, path)
    folder = locate(path.split("+")[-1] if is_sum(path) else path)
    name = folder.resolve().name if folder.is_dir() else folder.stem
    lineage = {"history": vector.history, **_beside(folder)}
    return Opened(vector, name, _title(base), licence=licence_of(folder), lineage=lineage)


def check_related(opened: Opened, allow: Sequence[str] = ()) -> None:
    """Refuse the difference of a model and a base that it was not made from, told by a sample of their matrices.

    Vectors (norms, biases) are left out, as gains near 1 look alike in unrelated models, unless there is nothing else.

    Raises:
        MismatchError: they are no relatives, and `allow` does not say 'unrelated'.
        RecipeError: `allow` says something else.
    """
    if odd := [word for word in allow if word != UNRELATED]:
        raise RecipeError(f"'allow' takes '{UNRELATED}', got {odd[0]!r}.")
    ((_, source), *rest) = opened.vector.terms
    if allow or rest or not isinstance(source, Difference):
        return
    shapes = source.shapes()
    names = [name for name, shape in shapes.items() if len(shape) > 1] or list(shapes)
    inner = own = other = apart = 0.0
    for name in names:
        here, there = source.base.info(name), source.checkpoint.info(name)
        x, y = (widen(sample(info), info.dtype, np.float64) for info in (here, there))
        finite = np.isfinite(x) & np.isfinite(y)
        x, y = x[finite], y[finite]
        inner, own, other, apart = inner + x @ y, own + x @ x, other + y @ y, apart + (y - x) @ (y - x)
    if apart > 0 and inner < LEAST_COSINE * math.sqrt(own * other):
        cosine = inner / math.sqrt(own * other)
        raise MismatchError(
            f"{source.checkpoint.path} does not look like a fine-tune of {source.base.path}: over a sample their "
            f"cosine is {cosine:.3f} (fine-tunes: above 0.9). Name the right base, or type --allow {UNRELATED}."
        )


def _checked(opened: Opened, base: str | Path | None) -> Opened:
    if base is not None:
        check_base(opened.vector.base, open_model(base), opened.vector.history[-1])
    return opened


def _is_saved(path: Path) -> bool:
    """Tell a saved task vector from a model in one file; what cannot be read is told by whoever reads it."""
    return path.suffix == ".tv" or "taskvec.format" in Checkpoint(path).metadata


def _dtype(vector: TaskVector) -> str:
    """Return the type of a vector that is stored already, else float32."""
    ((factor, source), *rest) = vector.terms
    if rest or factor != 1 or not isinstance(source, Saved):
        return "float32"
    codes = {info.dtype for info in source.checkpoint.tensors.values()}
    return STORED.get(codes.pop(), "float32") if len(codes) == 1 else "float32"


def _title(base: str | Path | None) -> str:
    """Return what to call a base: its name on the hub where it has one, else the folder's own."""
    if base is None:
        return ""
    first = str(base).split("+")[0]
    if not Path(first).exists():
        return str(base)
    for part in Path(first).resolve().parts:
        if part.startswith("models--"):
            return part.removeprefix("models--").replace("--", "/")
    return Path(first).resolve().name + str(base)[len(first) :]


def _beside(folder: Path) -> dict[str, Any]:
    """Return how a model was made, where a note or a receipt in its folder says so."""
    out: dict[str, Any] = {}
    if note := _read(folder / "finetune.json"):
        out["finetune"] = note
    if recipe := _read(folder / "receipt.json").get("recipe"):
        out["recipe"] = recipe
    return out


def _read(path: Path) -> dict[str, Any]:
    try:
        facts = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError):
        return {}  # none, or another tool's; it says nothing of how the model was made
    return facts if isinstance(facts, dict) else {}


def licence_of(folder: Path) -> str:
    """Return the licence that a model card's front matter names; nothing where there is none.

    Of `license: other` it is the `license_name`.
    """
    try:
        text = (folder / "README.md").read_text("utf-8")
    except (OSError, UnicodeDecodeError):
        return ""
    front = re.match(r"---\n(.*?)\n---", text, re.DOTALL)
    if front is None:
        return ""
    named = _of_key("license", front[1])
    return _of_key("license_name", front[1]) or named if named == "other" else named


def _of_key(key: str, front: str) -> str:
    """Return the value of a key of flat YAML: a word, or a list of words."""
    found = re.search(rf"^{key}:[ \t]*(.*(?:\n[ \t]*- .*)*)", front, re.MULTILINE)
    words = re.split(r"[\n,]", found[1].strip("[] ")) if found else []
    return ", ".join(word for raw in words if (word := raw.strip().removeprefix("- ").strip("'\"[] ")))
