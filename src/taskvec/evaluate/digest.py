"""One name for everything that decides a score."""

import hashlib
import json
from typing import Any


def digest_of(*facts: Any) -> str:
    """Return the SHA-256 of plain data (numbers, texts, lists, dicts), keys in order."""
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()
