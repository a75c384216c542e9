"""Check a model folder: headers, hashes, finite numbers, and that it loads."""

import json
import os
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from ..errors import FormatError, MismatchError, NumbersError
from ..ops import floats
from ..store.checkpoint import Checkpoint
from ..store.dtypes import is_float
from ..store.hashes import known_hashes, sha256
from .progress import Progress, Silent

STEP = 1 << 20


def verify(path: str | Path, progress: Progress | None = None) -> dict[str, Any]:
    """Return what was checked of a model.

    Raises:
        StoreError: a damaged header, a file whose hash is not what its receipt says, or one that is missing.
        NumbersError: NaN or Inf in a tensor.
        FormatError: transformers is installed and cannot load the folder, or finds weights missing or left over.
    """
    path, progress = Path(path), progress or Silent()
    with Checkpoint(path) as checkpoint:
        _check_finite(checkpoint, progress)
        return {
            "path": str(path),
            "tensors": len(checkpoint),
            "bytes": checkpoint.nbytes,
            "hashes": _check_hashes(checkpoint, path, progress),
            "loads": _check_loads(checkpoint),
        }


def _check_finite(checkpoint: Checkpoint, progress: Progress) -> None:
    progress.begin("reading", checkpoint.nbytes)
    done = 0
    try:
        for name, info in checkpoint.tensors.items():
            for start in range(0, info.count if is_float(info.dtype) else 0, STEP):
                raw = checkpoint.raw(name, start, min(start + STEP, info.count))
                if bad := floats.nonfinite(floats.widen(raw, info.dtype)):
                    raise NumbersError(f"'{name}' in {checkpoint.path} holds {bad} NaN or Inf, the first found.")
            done += info.nbytes
            progress.advance(done)
    finally:
        progress.end()


def _check_hashes(checkpoint: Checkpoint, path: Path, progress: Progress) -> str:
    expected = _stated(path) or known_hashes(sorted({i.file for i in checkpoint.tensors.values()}))
    if not expected:
        return "none known"
    progress.begin("hashing", sum(f.stat().st_size for f in expected if f.exists()))
    done = 0

    def advance(count: int) -> None:
        nonlocal done
        done += count
        progress.advance(done)

    try:
        for file, known in expected.items():
            if not file.exists():
                raise MismatchError(f"{file} is missing; the receipt lists it.")
            if (actual := sha256(file, advance)) != known:
                raise MismatchError(f"{file} has changed: its SHA-256 is {actual[:12]}…, known is {known[:12]}….")
    finally:
        progress.end()
    return f"{len(expected)} files as the receipt says"


def _stated(folder: Path) -> dict[Path, str]:
    receipt = folder / "receipt.json"
    if not receipt.is_file():
        return {}
    try:
        files = json.loads(receipt.read_text("utf-8"))["files"]
        return {folder / name: str(facts["sha256"]) for name, facts in files.items()}
    except (ValueError, KeyError, TypeError, AttributeError) as exc:
        raise FormatError(f"{receipt} is damaged: it lists no files ({exc}).") from exc


def _check_loads(checkpoint: Checkpoint) -> str:
    if not checkpoint.config or checkpoint.folder is None:
        return "not tried (no config.json)"
    if find_spec("transformers") is None:
        return "not tried (pip install 'taskvec[hf]')"
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    import transformers

    logging: Any = transformers.logging
    logging.set_verbosity_error()
    kind = _auto_class(transformers, checkpoint)
    try:
        _, report = kind.from_pretrained(checkpoint.folder, output_loading_info=True)
    except Exception as exc:
        raise FormatError(f"transformers cannot load {checkpoint.folder}: {exc}") from exc
    if report["missing_keys"]:
        first = sorted(report["missing_keys"])[0]
        raise FormatError(f"{kind.__name__} finds no weights for {first!r} in {checkpoint.path}.")
    return f"as transformers {kind.__name__}"


def _auto_class(transformers: Any, checkpoint: Checkpoint) -> Any:
    """Return the class that config.json names, which knows the heads that are stored; else AutoModel."""
    for name in checkpoint.config.get("architectures") or []:
        if hasattr(transformers, name):
            return getattr(transformers, name)
    return transformers.AutoModel
