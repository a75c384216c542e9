"""What a checkpoint says of its own quantisation, and the kinds that are refused by name."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from ...errors import FormatError
from ..dtypes import NAMES
from .found import Found

KEYS = ("quantization_config", "compression_config", "quantization")
"""Where a config.json announces it: transformers, older compressed-tensors, MLX."""

FILES = ("hf_quant_config.json", "quantize_config.json", "quant_config.json")
"""Files beside the weights that do."""

READ = ("fp8", "mxfp8", "fbgemm_fp8", "compressed-tensors", "sparseml", "modelopt", "bitsandbytes")

INSTEAD = "Use the model it was made from, or load it, dequantise it and save it in bfloat16 first."

SIGNS = {
    ".qweight": "GPTQ or AWQ",
    ".weight.absmax": "4-bit bitsandbytes",
    ".weight_packed": "packed compressed-tensors",
    ".weight_scale_2": "NVFP4",
    ".weight_global_scale": "NVFP4",
    "_blocks": "MXFP4",
    ".bitmask": "sparse compressed-tensors",
    ".weight._data": "quanto",
    ".W_q": "HQQ",
    ".weight_scales": "EETQ",
    ".biases": "MLX",
}
"""How the names of tensors end in kinds that are not read. Two of them need a partner to be sure."""

PACKED = ("F8_E4M3", "F8_E5M2", "I8", "U8", "I16", "I32", "U32")
"""Types that quantised weights are packed in."""

PARTNERS = {"_blocks": "_scales", ".biases": ".scales"}


@dataclass(frozen=True)
class Announced:
    """The method that a checkpoint names ('' for none), and the sizes of blocks that share a scale."""

    anything: bool = False
    method: str = ""
    blocks: tuple[tuple[int, int], ...] = ()
    target: str = "BF16"


def announced(where: str, found: Found) -> Announced:
    """Return what config, metadata and files beside the weights say.

    Raises:
        FormatError: a kind of quantisation that is not read.
    """
    config = found.config or {}
    said = next(_said(config), None)
    if said is None and found.folder and any((found.folder / name).is_file() for name in FILES):
        said = {}
    if said is None and any("quantization" in key for key in found.metadata):
        said = {}
    method = _method(said or {})
    _refuse_by_name(where, found, method)
    if method and method not in READ and any(t.dtype in PACKED for t in found.tensors.values()):
        raise FormatError(f"{where} is quantised by '{method}', which is not read. {INSTEAD}")
    return Announced(said is not None, method, tuple(_blocks(where, said or {})), _target(config))


def cleaned(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return a config without its announcements, those of nested configs too."""
    return {k: cleaned(v) if isinstance(v, Mapping) else v for k, v in config.items() if k not in KEYS}


def _said(config: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield the announcements of a config and of those nested in it."""
    for key in KEYS:
        if config.get(key):
            yield config[key] if isinstance(config[key], dict) else {"quant_method": str(config[key])}
    for value in config.values():
        if isinstance(value, Mapping):
            yield from _said(value)


def _method(said: Mapping[str, Any]) -> str:
    if said.get("load_in_4bit"):
        return "4-bit bitsandbytes"
    method = str(said.get("quant_method", "")).lower()
    if {"group_size", "bits"} <= said.keys() and not method:
        return "MLX"
    return "bitsandbytes" if said.get("load_in_8bit") else method


def _refuse_by_name(where: str, found: Found, method: str) -> None:
    names = found.tensors.keys()
    for name in names:
        sign = next((s for s in SIGNS if name.endswith(s)), None)
        if sign is None or (sign in PARTNERS and name.removesuffix(sign) + PARTNERS[sign] not in names):
            continue
        kind = method if method not in ("", *READ) else SIGNS[sign]
        raise FormatError(f"{where} is quantised ({kind}: it holds '{name}'), which is not read. {INSTEAD}")


def _blocks(where: str, said: Mapping[str, Any]) -> Iterator[tuple[int, int]]:
    """Yield the sizes of blocks: of the whole model (transformers), and of each group (compressed-tensors)."""
    groups = said.get("config_groups")
    groups = [g for g in groups.values() if isinstance(g, dict)] if isinstance(groups, dict) else []
    weights = [g["weights"] for g in groups if isinstance(g.get("weights"), dict)]
    sizes = [said.get("weight_block_size"), *(w.get("block_structure") for w in weights)]
    sizes += [[1, w["group_size"]] for w in weights if w.get("group_size") not in (None, -1)]  # -1: a whole row
    for size in sizes:
        if size is None:
            continue
        pair = [int(n) for n in re.findall(r"\d+", str(size))]
        if len(pair) != 2 or min(pair) < 1:
            raise FormatError(f"{where} says that its scales stand for blocks of {size!r}; expected two sizes.")
        yield pair[0], pair[1]


def _target(config: Mapping[str, Any]) -> str:
    """Return the type of the model's floats by its config; bfloat16 where that says nothing of use."""
    inner = [v for v in config.values() if isinstance(v, Mapping)]
    named = [c.get(key) for c in (config, *inner) for key in ("dtype", "torch_dtype")]
    known = [NAMES[n] for n in (str(n).removeprefix("torch.") for n in named) if n in NAMES]
    return known[0] if known else "BF16"
