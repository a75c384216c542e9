"""Checkpoints whose weights are stored in eight bits, seen as the numbers that they stand for.

A quantised weight and the tensors that belong to it (scale, zero point, marker) become one tensor under the weight's
name. Everything else stays as it is.
"""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from ...errors import FormatError
from ...ops.eight_bits import INTEGERS
from ...ops.floats import FLOATS
from ..computed.scaled import Grid, Scaled, grid
from ..tensors import Files, Tensor
from .announced import INSTEAD, Announced, announced, cleaned
from .found import Found

FLOAT8 = ("F8_E4M3", "F8_E5M2")
ENDS = ("_scale_inv", "_scale")
"""A scale has the weight's own name and one of these …"""

SIBLINGS = (".scale", ".qscale_weight", ".scale_weight")
"""… or stands beside a '….weight' under one of these (DeepSeek V4, Mistral, ComfyUI)."""

ACTIVATIONS = (
    ".input_scale", ".input_zero_point", ".output_scale", ".output_zero_point", ".activation_scale",
    "_activation_scale", ".input_scale_ub", ".q_scale", ".k_scale", ".v_scale", ".kv_scale", ".prob_scale",
    ".qscale_act", ".scale_input",
)  # fmt: skip
"""What runs in eight bits at inference, not a weight: left out of a model in plain floats."""

MARKERS = ("scaled_fp8",)
BNB_FACTOR = 7.874015718698502e-3
"""1/127 in float32, as bitsandbytes multiplies by it."""

LAYOUTS = {1: "col32", 2: "col_turing", 3: "col_ampere"}


def dequantised(path: Path, found: Found) -> Found:
    """Return what was found with quantised weights computed, and a config that does not announce them any more.

    Raises:
        FormatError: a kind of quantisation that is not read, or a quantised weight without its scale.
    """
    said = announced(str(path), found)
    reader = _Reader(path, found.tensors, said)
    for name, tensor in found.tensors.items():
        if tensor.dtype in (*FLOAT8, "I8"):
            reader.take(name, tensor)
    if not reader.scaled and not said.anything and not reader.unscaled:
        return found
    reader.finish()
    tensors = {n: reader.tensor(n) for n in found.tensors if n not in reader.used and n not in reader.left_out}
    notes = found.notes
    if reader.left_out:
        notes += (f"{path}: {len(reader.left_out)} scales of activations ('{reader.left_out[0]}', …) are left out.",)
    return replace(found, tensors=tensors, config=cleaned(found.config or {}), notes=notes)


class _Reader:
    """Finds what belongs to each weight.

    scaled: weights with their scales. unscaled: float8 without. used: names that are part of another tensor.
    """

    def __init__(self, path: Path, tensors: Mapping[str, Tensor], said: Announced) -> None:
        self.path, self.tensors, self.said = path, tensors, said
        self.scaled: dict[str, Scaled] = {}
        self.unscaled: dict[str, Tensor] = {}
        self.used: set[str] = set()
        self.left_out: list[str] = []

    def take(self, name: str, tensor: Tensor) -> None:
        """Look at one tensor of eight bits."""
        stem = name.removesuffix(".weight")
        if tensor.dtype == "I8" and f"{stem}.SCB" in self.tensors:
            self._bitsandbytes(name, tensor, stem)
        elif scale := self._scale_of(name, stem):
            self._scaled(name, tensor, scale)
        else:
            self.unscaled[name] = tensor

    def _scale_of(self, name: str, stem: str) -> str | None:
        names = [name + end for end in ENDS]
        names += [stem + end for end in SIBLINGS] if stem != name else []
        return next((n for n in names if n in self.tensors), None)

    def _scaled(self, name: str, tensor: Tensor, scale: str) -> None:
        if tensor.dtype == "I8" and not scale.endswith("_scale"):
            raise FormatError(
                f"{self.path}: '{name}' holds two 4-bit numbers a byte (I8 with '{scale}'), which is not read. "
                f"{INSTEAD}"
            )
        zero, shift = f"{name}_zero_point", None
        if zero in self.tensors:
            shift = self._grid(zero, name, tensor)
        factors = self._grid(scale, name, tensor)
        self.scaled[name] = Scaled(name, tensor.shape, tensor, factors, shift, target=self.said.target)
        self.used |= {scale, zero} & self.tensors.keys()

    def _grid(self, name: str, weight: str, tensor: Tensor) -> Grid:
        part = self.tensors[name]
        # MXFP8 checkpoints store exponents as plain bytes.
        code = "F8_E8M0" if part.dtype == "U8" and not name.endswith("_zero_point") else part.dtype
        if code not in (*FLOATS, *FLOAT8, "F8_E8M0") and not (name.endswith("_zero_point") and code in INTEGERS):
            raise FormatError(f"{self.path}: '{name}' scales a weight and is {code}; expected floats.")
        if found := grid(part, code, tensor.shape, self.said.blocks):
            return found
        sizes = f"blocks of {' or '.join(f'{a}×{b}' for a, b in self.said.blocks)}" if self.said.blocks else "no blocks"
        raise FormatError(
            f"{self.path}: '{name}' is {part.shape}, which does not fit '{weight}' {tensor.shape} with {sizes} in "
            f"config.json. Give the model's folder, with the config.json it came with."
        )

    def _bitsandbytes(self, name: str, tensor: Tensor, stem: str) -> None:
        """LLM.int8: W = q · SCB / 127, where SCB holds the largest magnitude of each row."""
        scale = self._grid(f"{stem}.SCB", name, tensor)
        marker = f"{stem}.weight_format"
        if marker in self.tensors:
            layout = _first_byte(self.tensors[marker])
            if layout:
                raise FormatError(
                    f"{self.path}: '{name}' is stored in the layout '{LAYOUTS.get(layout, layout)}' of one kind of "
                    f"GPU; expected rows. Save the model again with a current bitsandbytes."
                )
        self.scaled[name] = Scaled(name, tensor.shape, tensor, scale, factor=BNB_FACTOR, target=self.said.target)
        self.used |= {f"{stem}.SCB", marker} & self.tensors.keys()

    def finish(self) -> None:
        """Settle what has no scale, when all that belongs to others is known."""
        quantised = self.said.anything or bool(self.scaled)
        for name in MARKERS:
            if self.scaled and name in self.tensors:
                self.used.add(name)
        for name, tensor in self.unscaled.items():
            matrix = name.endswith("weight") and len(tensor.shape) > 1
            if name not in self.used and (matrix if tensor.dtype == "I8" else quantised):
                raise FormatError(
                    f"{self.path}: '{name}' is a quantised tensor ({tensor.dtype}) without its scale. {INSTEAD}"
                )
        for name in self.tensors if quantised else ():
            if name.endswith((".weight_scale", ".weight_scale_inv", ".SCB")) and name not in self.used:
                raise FormatError(f"{self.path}: '{name}' is a scale without a quantised tensor. Download it again.")
        self.left_out = [n for n in self.tensors if quantised and n.endswith(ACTIVATIONS) and n not in self.used]

    def tensor(self, name: str) -> Tensor:
        """Return a tensor as it is seen: computed, if it is quantised."""
        if name in self.scaled:
            return self.scaled[name]
        plain = self.tensors[name]
        return Scaled(name, plain.shape, plain, target=self.said.target) if plain.dtype in FLOAT8 else plain


def _first_byte(tensor: Tensor) -> int:
    files = Files()
    try:
        return int(tensor.read(files, 0, 1)[0])
    finally:
        files.close()
