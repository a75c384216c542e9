"""Precisions that a processor cannot calculate in, and emulates."""

from typing import Any


def emulated(precision: Any, device: str = "auto") -> str:
    """Return a sentence where a precision is emulated on this device, which takes many times longer; else nothing."""
    import torch

    if precision == "float32" or not (device.startswith("cpu") or (device == "auto" and not torch.cuda.is_available())):
        return ""
    library = torch.ops.mkldnn
    asked = {"bfloat16": "_is_mkldnn_bf16_supported", "float16": "_is_mkldnn_fp16_supported"}
    supported = getattr(library, asked.get(str(precision), ""), None)
    if supported is None or supported():
        return ""
    return f"this processor emulates {precision}, some twenty times slower than float32. Type 'precision: float32'."
