"""The facts of statistics, read and checked."""

import json
import math
from pathlib import Path
from typing import Any

from ...errors import FormatError, StoreError
from .names import FACTS, FORMAT, NEEDED, PARTS, TENSORS, VERSION


def read_facts(folder: Path) -> dict[str, Any]:
    """Return the facts of a folder of statistics.

    Raises:
        StoreError: nothing there.
        FormatError: no statistics, of a newer version, or damaged.
    """
    make = "Make one with `taskvec curvature`."
    if not folder.exists():
        raise StoreError(f"{folder} does not exist. Give a folder of statistics, or make one with `taskvec curvature`.")
    try:
        facts = json.loads((folder / FACTS).read_text("utf-8"))
    except (FileNotFoundError, NotADirectoryError) as exc:
        raise FormatError(f"{folder} is no folder of statistics: it has no {FACTS}. {make}") from exc
    except ValueError as exc:
        raise FormatError(f"{folder / FACTS} is damaged: {exc}. Measure again.") from exc
    if not isinstance(facts, dict) or facts.get("format") != FORMAT:
        raise FormatError(f"{folder} is no folder of statistics: its {FACTS} is not of taskvec. {make}")
    if facts.get("version") != VERSION:
        raise FormatError(
            f"{folder} holds statistics of version {facts.get('version')}; this taskvec reads version {VERSION}. "
            f"Type: pip install --upgrade taskvec."
        )
    if missing := [fact for fact in NEEDED if fact not in facts]:
        raise FormatError(f"{folder / FACTS} is damaged: it lacks '{missing[0]}'. Measure again.")
    if facts["kind"] not in PARTS or not isinstance(facts["model"], dict) or "fingerprint" not in facts["model"]:
        raise FormatError(f"{folder / FACTS} is damaged: it names no kind that is known, or no model. Measure again.")
    total = facts["total"]
    if isinstance(total, bool) or not isinstance(total, int | float) or not 0 <= total < math.inf:
        raise FormatError(f"{folder / FACTS} is damaged: its 'total' is {total!r}, not a trace. Measure again.")
    if not (folder / TENSORS).is_file():
        raise FormatError(f"{folder} is damaged: it lacks {TENSORS}. Measure again.")
    return facts
