"""What a catalogue knows of a vector, and the note that says so beside the index."""

import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from ...errors import FormatError, RecipeError

NOTED = ("name", "sha", "base_name", "tags", "metrics", "licence", "lineage", "lost", "created")
"""What a note holds; the rest is found from the vector itself."""


@dataclass(frozen=True)
class Entry:
    """A vector of a catalogue.

    sha: of its content; entries with equal vectors share it. space, base: where it lives, and the fingerprint of what
    it is to be added to. count: its entries. norm: √Σ x². dtype: what it is stored as, in how many bytes (`size`).
    lost: |stored - τ| / |τ|. lineage: `history`, and what lay beside the model: `finetune`, `recipe`.
    """

    name: str
    sha: str
    space: str
    base: str
    base_name: str
    dtype: str
    count: int
    size: int
    norm: float
    tags: tuple[str, ...] = ()
    metrics: Mapping[str, float] = field(default_factory=dict)
    licence: str = ""
    lineage: Mapping[str, Any] = field(default_factory=dict)
    lost: float = 0.0
    created: str = ""

    @property
    def facts(self) -> dict[str, Any]:
        """All of it, for JSON."""
        return asdict(self)

    @property
    def note(self) -> str:
        """The text of its note."""
        facts = asdict(self)
        return json.dumps({"format": 1} | {key: facts[key] for key in NOTED}, indent=2, ensure_ascii=False) + "\n"


def read_note(text: str, where: str) -> dict[str, Any]:
    """Return what a note says.

    Raises:
        FormatError: it is damaged.
    """
    try:
        facts = dict(json.loads(text))
        out = {key: facts[key] for key in NOTED}
        out["tags"] = checked_tags(out["tags"])
        out["metrics"] = checked_metrics(out["metrics"])
        out["lineage"] = dict(out["lineage"])
        return out | {key: str(out[key]) for key in ("name", "sha", "base_name", "licence", "created")}
    except (ValueError, KeyError, TypeError) as exc:
        raise FormatError(f"{where} is damaged: it is no note of an entry ({exc}).") from exc


def checked_tags(tags: Iterable[str]) -> tuple[str, ...]:
    """Return tags sorted, each once.

    Raises:
        RecipeError: one is empty or holds a comma or a blank.
    """
    if isinstance(tags, str):
        raise RecipeError(f"tags are a list of words, got the text {tags!r}. Type [{tags!r}].")
    out = tuple(sorted(set(tags)))
    if odd := [tag for tag in out if not tag or any(c.isspace() or c == "," for c in tag)]:
        raise RecipeError(f"the tag {odd[0]!r} is not one word. Give each tag on its own, without blanks or commas.")
    return out


def checked_metrics(metrics: Mapping[str, float]) -> dict[str, float]:
    """Return metrics as floats, sorted by name.

    Raises:
        RecipeError: a value is no finite number.
    """
    out = {}
    for key, value in sorted(metrics.items()):
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
            raise RecipeError(f"the metric '{key}' must be a finite number, got {value!r}. Type e.g. {key}=0.87.")
        out[key] = float(value)
    return out
