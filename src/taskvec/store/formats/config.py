"""config.json: what a model folder says of its model."""

import json
from pathlib import Path
from typing import Any

from ...errors import FormatError


def read_config(folder: Path | None) -> dict[str, Any]:
    """Return what config.json holds; nothing where there is none."""
    path = folder / "config.json" if folder else None
    if path is None or not path.is_file():
        return {}
    try:
        config = json.loads(path.read_text("utf-8"))
    except ValueError as exc:
        raise FormatError(f"{path} is damaged: {exc}.") from exc
    if not isinstance(config, dict):
        raise FormatError(f"{path} is damaged: expected a JSON object, got {type(config).__name__}.")
    return config
