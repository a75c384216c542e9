"""The tensors of a PEFT adapter, by the module that each belongs to, and where that lies in a base."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from ...errors import FormatError, MismatchError
from ..checkpoint import Checkpoint
from ..dtypes import is_float
from ..tensors import Tensor

PREFIX = "base_model.model."
_LORA = re.compile(
    r"(?P<module>.+)\.lora_(?P<part>A|B|embedding_A|embedding_B|magnitude_vector)"
    r"(?:\.(?P<adapter>(?!(?:weight|bias)$)[^.]+))?(?:\.(?P<leaf>weight|bias))?"
)
_TOKENS = re.compile(r"(?P<module>.+)\.token_adapter\.trainable_tokens_delta(?:\.[^.]+)?")


@dataclass
class Lora:
    """What an adapter stores for one module, by the part's name."""

    parts: dict[str, Tensor] = field(default_factory=dict)

    @property
    def embedding(self) -> bool:
        """Embeddings name their factors otherwise, and store them the other way round."""
        return any(name.startswith("embedding") for name in self.parts)

    def factors(self, path: Path, module: str) -> tuple[Tensor, Tensor]:
        """Return A and B.

        Raises:
            FormatError: one is missing, or there is more than belongs to them.
        """
        names = ("embedding_A", "embedding_B") if self.embedding else ("A", "B")
        for name in names:
            if name not in self.parts:
                raise FormatError(
                    f"{path} has no 'lora_{name}' for '{module}', whose other tensors it has. Save it again."
                )
        if odd := sorted(set(self.parts) - {*names, "B_bias", "magnitude_vector"}):
            raise FormatError(f"{path} has a 'lora_{odd[0]}' for '{module}' beside 'lora_{names[0]}'; it has no place.")
        return self.parts[names[0]], self.parts[names[1]]


@dataclass
class Parts:
    """An adapter's tensors: low-rank changes and trained tokens by module, tensors stored whole by name."""

    loras: dict[str, Lora] = field(default_factory=dict)
    tokens: dict[str, Tensor] = field(default_factory=dict)
    stored: dict[str, Tensor] = field(default_factory=dict)


def sort_out(path: Path, tensors: Mapping[str, Tensor]) -> Parts:
    """Read an adapter's names: with or without PEFT's prefix, the adapter's name, and the layers it wraps.

    Raises:
        FormatError: two tensors have one place.
        MismatchError: a tensor is no float.
    """
    parts = Parts()
    for key, tensor in tensors.items():
        if not is_float(tensor.dtype):
            raise MismatchError(f"'{key}' in {path} is {tensor.dtype}; an adapter of floats was expected.")
        name = key.removeprefix(PREFIX)
        if found := _LORA.fullmatch(name):
            part = found["part"] + ("_bias" if found["leaf"] == "bias" else "")
            place, at = parts.loras.setdefault(_unwrapped(found["module"]), Lora()).parts, part
        elif found := _TOKENS.fullmatch(name):
            place, at = parts.tokens, _unwrapped(found["module"])
        else:
            place, at = parts.stored, _unwrapped(name)
        if at in place:
            raise FormatError(f"{path} has '{key}' twice, under two adapters' names. Save one adapter alone.")
        place[at] = tensor
    return parts


def _unwrapped(name: str) -> str:
    """Take out what PEFT wraps modules in: `base_layer`, `modules_to_save`.

    >>> _unwrapped("h.0.attn.base_layer.out_proj"), _unwrapped("score.modules_to_save.default.weight")
    ('h.0.attn.out_proj', 'score.weight')
    """
    name = re.sub(r"\.modules_to_save(\.default)?\.", ".", name)
    return name.replace(".base_layer.", ".").removesuffix(".base_layer")


def module_of(name: str) -> str:
    """Return the module that a factor belongs to, as PEFT calls it.

    >>> module_of("base_model.model.h.0.attn.lora_A.default.weight"), module_of("wte.lora_embedding_B")
    ('h.0.attn', 'wte')
    """
    found = _LORA.fullmatch(name.removeprefix(PREFIX))
    return _unwrapped(found["module"] if found else name)


class Places:
    """Finds an adapter's names among a base's."""

    def __init__(self, base: Checkpoint) -> None:
        """Take the base."""
        self.base = base
        parts = [name.split(".") for name in base.tensors]
        self._fronts = sorted({part[0] for part in parts})
        self._seconds = sorted({(part[0], part[1]) for part in parts if len(part) > 2})

    def of(self, name: str) -> str | None:
        """Return the base's name of a tensor: the same; else with the first or the second part of it gone or added, or
        the two swapped, as models differ that are saved with a head or without, or as a part of a larger one.

        Raises:
            MismatchError: several fit.
        """
        if name in self.base.tensors:
            return name
        found = sorted({other for other in self._variants(name) if other in self.base.tensors})
        if len(found) > 1:
            raise MismatchError(f"{self.base.path} has no '{name}', but both '{found[0]}' and '{found[1]}'.")
        return found[0] if found else None

    def _variants(self, name: str) -> Iterator[str]:
        for front in self._fronts:
            yield f"{front}.{name}"
        first, *rest = name.split(".")
        if len(rest) < 2:  # a module's own name stays
            return
        yield ".".join(rest)
        yield from (".".join([front, second, *rest]) for front, second in self._seconds if front == first)
        if len(rest) > 2:
            yield ".".join([first, *rest[1:]])
            yield ".".join([rest[0], first, *rest[1:]])
