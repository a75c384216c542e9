"""What every wrong thing is put to: one sentence, the right kind of error, and not a byte written anywhere."""

import hashlib
import json
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import taskvec as tv
from measured import with_statistics
from taskvec.testing import finetuned, tiny_tensors, write_model

Arrays = dict[str, np.ndarray]
TOKENS = {"a": 0, "b": 1, "c": 2}


def snapshot(folder: Path) -> dict[str, str]:
    """Return every path under a folder, with the hash of what it holds."""
    return {
        str(p.relative_to(folder)): hashlib.sha256(p.read_bytes()).hexdigest() if p.is_file() else "folder"
        for p in sorted(folder.rglob("*"))
    }


def by_hand(path: Path, header: dict[str, Any] | bytes, data: bytes = b"", length: int | None = None) -> None:
    """Write a safetensors file as it shall stand there, right or wrong."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text) if length is None else length) + text + data)


def split(path: Path) -> tuple[dict[str, Any], bytes]:
    """Return the header and the data of a safetensors file."""
    raw = path.read_bytes()
    (length,) = struct.unpack("<Q", raw[:8])
    return json.loads(raw[8 : 8 + length]), raw[8 + length :]


def flip(path: Path, at: int = -3) -> None:
    """Flip one bit of a file."""
    raw = bytearray(path.read_bytes())
    raw[at] ^= 1
    path.write_bytes(raw)


class Family:
    """A folder with `base`, `m0` and `m1`, to be damaged."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.out = folder / "out"
        self.base: Arrays = tiny_tensors() | {"position_ids": np.arange(4, dtype=np.int64)}
        self.write("base", self.base)
        for i in range(2):
            self.write(f"m{i}", finetuned(self.base, i))

    def write(self, name: str, tensors: Arrays, **how: Any) -> Path:
        return write_model(self.folder / name, tensors, **{"tokens": TOKENS} | how)

    def file(self, name: str) -> Path:
        return self.folder / name / "model.safetensors"

    def data(self, method: str = "task_arithmetic", **keys: Any) -> dict[str, Any]:
        """Return a recipe that would be fine; `keys` change it (None removes)."""
        needs = tv.METHODS[method].needs if method in tv.METHODS else None
        models = [{"model": str(self.folder / f"m{i}")} for i in range(2)][-needs.tasks.stop + 1 if needs else 0 :]
        data: dict[str, Any] = {"method": method, "models": models}
        if needs is None or needs.takes_base:
            data["base"] = str(self.folder / "base")
        return {k: v for k, v in (data | keys).items() if v is not None}

    def recipe(self, *args: Any, **keys: Any) -> tv.Recipe:
        return tv.Recipe.model_validate(with_statistics(self.data(*args, **keys)))


@pytest.fixture
def family(tmp_path: Path) -> Family:
    return Family(tmp_path)


@pytest.fixture
def refused(family: Family) -> Callable[..., str]:
    """Return what runs a recipe that must be refused, and checks what every refusal has in common.

    `planning`: the plan alone refuses; else it may be found while running.
    """

    def check(
        error: type[tv.TaskVecError],
        match: str,
        *args: Any,
        planning: bool = True,
        out: Path | None = None,
        how: dict[str, Any] | None = None,
        **keys: Any,
    ) -> str:
        out = out or family.out
        recipe = family.recipe(*args, **keys)
        before = snapshot(family.folder)
        if planning:
            with pytest.raises(error, match=match) as caught:
                tv.make_plan(recipe, out)
        else:
            plan = tv.make_plan(recipe, out)
            with pytest.raises(error, match=match) as caught:
                tv.run(plan, out, **(how or {}))
        message = str(caught.value)
        assert "\n" not in message
        assert message.endswith((".", "?"))
        assert snapshot(family.folder) == before
        return message

    return check
