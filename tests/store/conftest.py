"""What the tests of the store share: a way to write a safetensors file by hand, right or wrong."""

import json
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture
def write_by_hand() -> Callable[..., Path]:
    """Return a writer of one safetensors file from a header as it shall stand there and the bytes behind it."""

    def write(path: Path, header: dict[str, Any] | bytes, data: bytes = b"") -> Path:
        text = header if isinstance(header, bytes) else json.dumps(header).encode()
        path.write_bytes(struct.pack("<Q", len(text)) + text + data)
        return path

    return write
