"""Check a model folder: headers, hashes, finite numbers, and that it loads."""

import json
import os
from importlib.util import find_spec
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import FormatError, MismatchError, NumbersError
from ..ops import floats
from ..progress import Progress, Silent
from ..store.adapter import is_sum, open_model
from ..store.checkpoint import Checkpoint
from ..store.dtypes import is_float
from ..store.hashes import known_hashes, sha256

STEP = 1 << 20
LOADED = 4_000_000_000
"""Bytes up to which a model is really loaded; a larger one is compared by shapes."""


def verify(path: str | Path, progress: Progress | None = None) -> dict[str, Any]:
    """Return what was checked of a model: a path, a name on the hub, or 'model+adapter', which is checked as a sum.

    Raises:
        RecipeError: what is put on a model is no adapter.
        StoreError: a damaged header, a file whose hash is not what its receipt says, or one that is missing.
        NumbersError: NaN or Inf in a tensor.
        FormatError: transformers is installed and cannot load the folder, or finds weights missing.
    """
    progress = progress or Silent()
    with open_model(path) as checkpoint:
        _check_finite(checkpoint, progress)
        return {
            "path": str(path),
            "tensors": len(checkpoint),
            "bytes": checkpoint.nbytes,
            "hashes": _check_hashes(checkpoint, progress),
            "loads": "not tried (the sum lies in no folder)" if is_sum(str(path)) else _check_loads(checkpoint),
        }


def _check_finite(checkpoint: Checkpoint, progress: Progress) -> None:
    progress.begin("reading", checkpoint.nbytes)
    done = 0
    try:
        for name, info in checkpoint.tensors.items():
            for start in range(0, info.count if is_float(info.dtype) else 0, STEP):
                raw = checkpoint.raw(name, start, min(start + STEP, info.count))
                wide = np.float64 if info.dtype == "F64" else np.float32
                if bad := floats.nonfinite(floats.widen(raw, info.dtype, wide)):
                    raise NumbersError(f"'{name}' in {checkpoint.path} holds {bad} NaN or Inf, the first found.")
            done += info.nbytes
            progress.advance(done)
    finally:
        progress.end()


def _check_hashes(checkpoint: Checkpoint, progress: Progress) -> str:
    expected = _stated(checkpoint.path) or known_hashes(checkpoint.on_disk)
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
    return f"{len(expected)} files as stated"


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
    if "model_type" not in checkpoint.config:
        return "not tried (config.json names no model of transformers)"
    if find_spec("transformers") is None:
        return "not tried (pip install 'taskvec[hf]')"
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    import transformers

    logging: Any = transformers.logging
    logging.set_verbosity_error()
    kind = _auto_class(transformers, checkpoint)
    _check_shapes(kind, transformers.AutoConfig.from_pretrained(checkpoint.folder), checkpoint)
    if checkpoint.nbytes > LOADED:
        return f"shapes as transformers {kind.__name__} (too large to load for a check)"
    try:
        _, report = kind.from_pretrained(checkpoint.folder, output_loading_info=True)
    except Exception as exc:
        raise FormatError(f"transformers cannot load {checkpoint.folder}: {exc}") from exc
    if report["missing_keys"]:
        first = sorted(report["missing_keys"])[0]
        raise FormatError(f"{kind.__name__} finds no weights for {first!r} in {checkpoint.path}.")
    return f"as transformers {kind.__name__}"


def _check_shapes(kind: Any, config: Any, checkpoint: Checkpoint) -> None:
    """Compare the model that config.json describes, made without memory, with the tensors that are there."""
    import torch

    try:
        with torch.device("meta"):
            model = kind(config) if hasattr(kind, "config_class") else kind.from_config(config)
    except Exception as exc:
        raise FormatError(f"{checkpoint.folder}/config.json describes no model: {exc}") from exc
    described = {name: tuple(x.shape) for name, x in model.state_dict().items()}
    for name, shape in described.items():
        info = checkpoint.tensors.get(name)
        if info is not None and info.shape != shape:
            raise FormatError(f"'{name}' in {checkpoint.path} is {info.shape}, but config.json describes {shape}.")
    entries = sum(prod(shape) for shape in described.values())
    stored = sum(info.count for info in checkpoint.tensors.values())
    if entries > 2 * stored + 1_000_000:
        raise FormatError(
            f"{checkpoint.folder}/config.json describes a model of {entries} weights, but {stored} are stored."
        )


def _auto_class(transformers: Any, checkpoint: Checkpoint) -> Any:
    """Return the class that config.json names, which knows the heads that are stored; else AutoModel."""
    for name in checkpoint.config.get("architectures") or []:
        if hasattr(transformers, name):
            return getattr(transformers, name)
    return transformers.AutoModel
