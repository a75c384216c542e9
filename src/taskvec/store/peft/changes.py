"""Which tensor of a base an adapter changes, and how: everything that headers can tell is told here."""

from pathlib import Path

from ...errors import FormatError, MismatchError
from ..checkpoint import Checkpoint
from ..computed.difference import Difference
from ..computed.dora import Dora
from ..computed.low_rank import LowRank
from ..computed.times import Times
from ..computed.tokens import Tokens
from ..dtypes import is_float
from ..tensors import Files, Tensor
from .config import NAME, LoraConfig
from .parts import Lora, Parts, Places

CONV1D_MODELS = ("gpt2", "openai-gpt", "imagegpt", "decision_transformer")
CONV1D_LAYERS = ("c_attn", "q_attn", "c_proj", "c_fc")
"""Layers whose matrices are stored (in, out). Shapes tell, unless a matrix is square."""
EXPERTS_IN_OUT = ("aria", "aria_text", "gpt_oss", "llama4", "llama4_text", "openai_privacy_filter")
"""Models that stack their experts' matrices as (expert, in, out); others stack them as (expert, out, in)."""


class Changes:
    """Puts every part of an adapter on its tensor of the base, or refuses it."""

    def __init__(self, path: Path, base: Checkpoint, config: LoraConfig, parts: Parts) -> None:
        self.path, self.base, self.config, self.parts = path, base, config, parts
        self.places = Places(base)
        self.changes: dict[str, list[Tensor]] = {}
        self.replaced: dict[str, Tensor] = {}
        self.missing: list[str] = []

    def find(self) -> dict[str, list[Tensor]]:
        """Return the parts of every change, to be added; what is stored whole comes first."""
        self.stored()
        self.loras()
        self.tokens()
        if self.missing:
            shown = ", ".join(f"'{n}'" for n in self.missing[:3]) + (", …" if len(self.missing) > 3 else "")
            raise MismatchError(
                f"{self.base.path} lacks {len(self.missing)} of the tensors that {self.path} changes: {shown}. "
                f"{self._hint()}"
            )
        return self.changes

    def stored(self) -> None:
        """Tensors that are stored whole: `modules_to_save`, biases, embeddings."""
        heads = {n: t for n, t in self.parts.stored.items() if self._is_tied_head(n)}
        for name, tensor in self.parts.stored.items():
            if name not in heads and (target := self._target(name)):
                self._fit(target, tensor.shape, name)
                self._once(target.name, name)
                self.replaced[target.name] = tensor
                self.changes[target.name] = [Difference(tensor, target)]
        for name, tensor in heads.items():
            there = self.replaced.get(self.base.tied_to(name) or "")
            if there is None or not _same(tensor, there):
                self._refuse_head(name)

    def loras(self) -> None:
        """Low-rank changes, with their biases and magnitudes."""
        for module, lora in self.parts.loras.items():
            a, b = lora.factors(self.path, module)
            self._check_rank(module, a, b)
            if self._is_tied_head(f"{module}.weight"):
                self._check_tied(module, lora)
                continue
            target = self._target(f"{module}.weight", f"{module}.in_proj_weight")
            if target is None:
                continue
            turned = self._turned(module, lora, a, b, target)
            rank, scale = self.config.rank_of(module), self.config.scale_of(module)
            change: Tensor = LowRank(target.name, target.shape, a, b, rank, scale, turned)
            self._add(target.name, self._with_magnitude(module, lora, change, target), module)
            self._bias(module, lora, scale)

    def tokens(self) -> None:
        """Rows of an embedding that were trained alone."""
        for module, stored in self.parts.tokens.items():
            target, rows = self._target(f"{module}.weight"), self.config.rows_of(module)
            if target is None:
                continue
            if rows is None or len(set(rows)) != len(rows) or (rows and max(rows) >= target.shape[0]):
                raise MismatchError(
                    f"{self.config.path} must give '{module}' rows below {target.shape[0]}, each once, in "
                    f"'trainable_token_indices'."
                )
            if stored.shape != (len(rows), *target.shape[1:]):
                self._refuse_shape(target, (len(rows), *target.shape[1:]), stored.shape, module)
            if target.name in self.changes:
                raise MismatchError(f"{self.path} changes '{target.name}' as a whole and some of its rows alone.")
            self._add(target.name, Tokens(stored, rows, target), module)

    def _hint(self) -> str:
        known = f", '{self.config.base_name}'" if self.config.base_name else ""
        return f"Give the base that it was trained on{known}."

    def _target(self, *names: str) -> Tensor | None:
        """Return the base's tensor of a name, or of the next one; notes the first as missing if there is none."""
        exact = [name for name in names if name in self.base.tensors]
        found = next((at for name in exact or names if (at := self.places.of(name))), None)
        if found is None:
            self.missing.append(names[0])
            return None
        target = self.base.tensors[found]
        if not is_float(target.dtype):
            raise MismatchError(
                f"{self.path} changes '{found}', which is {target.dtype} in {self.base.path}; floats were expected."
            )
        return target

    def _add(self, name: str, change: Tensor, source: str) -> None:
        parts = self.changes.setdefault(name, [])
        if any(not isinstance(part, Difference) for part in parts):
            self._once(name, source, taken=True)
        parts.append(change)

    def _once(self, name: str, source: str, taken: bool = False) -> None:
        if taken or name in self.changes:
            raise FormatError(f"{self.path} changes '{name}' of {self.base.path} twice; the second time as '{source}'.")

    def _declared(self, module: str, part: Tensor | None, what: str, key: str, declared: bool) -> None:
        """Refuse what the configuration does not say, and what it says and is not there."""
        if (part is not None) != declared:
            has, says = ("no", "a") if part is None else ("a", "no")
            raise FormatError(f"{self.path} has {has} {what} for '{module}', but {NAME} says {says} '{key}'.")

    def _bias(self, module: str, lora: Lora, scale: float) -> None:
        bias = lora.parts.get("B_bias")
        self._declared(module, bias, "bias", "lora_bias", self.config.bias)
        if bias and (target := self._target(f"{module}.bias", f"{module}.in_proj_bias")):
            self._fit(target, bias.shape, f"{module}.lora_B.bias")
            self._add(target.name, Times(target.name, bias, scale), module)

    def _with_magnitude(self, module: str, lora: Lora, change: Tensor, target: Tensor) -> Tensor:
        """Return the change itself, or DoRA's."""
        magnitude = lora.parts.get("magnitude_vector")
        self._declared(module, magnitude, "magnitude", "use_dora", self.config.dora)
        if magnitude is None:
            return change
        assert isinstance(change, LowRank)
        expected = target.shape[1 if change.turned else 0]
        if magnitude.count != expected:
            self._refuse_shape(target, (expected,), magnitude.shape, f"{module}.lora_magnitude_vector")
        return Dora(change, self.replaced.get(target.name, target), magnitude, by_column=change.turned)

    def _check_rank(self, module: str, a: Tensor, b: Tensor) -> None:
        rank = self.config.rank_of(module)
        if len(a.shape) < 2 or len(b.shape) != len(a.shape) or (a.shape[0], b.shape[1]) != (rank, rank):
            raise FormatError(
                f"{self.path} gives '{module}' the rank {rank} in {NAME}, but its factors are {a.shape} and {b.shape}."
            )

    def _turned(self, module: str, lora: Lora, a: Tensor, b: Tensor, target: Tensor) -> bool:
        """Tell whether the base stores the matrix (in, out)."""
        plain, turned = (b.shape[0], *a.shape[1:]), (*a.shape[1:], b.shape[0])
        if set(b.shape[2:]) - {1} or target.shape not in ((turned,) if lora.embedding else (plain, turned)):
            self._refuse_shape(target, target.shape, turned if lora.embedding else plain, module)
        if lora.embedding or plain != turned:
            return target.shape == turned
        layer, model = module.rpartition(".")[2], self.base.config.get("model_type")
        return self.config.fan_in_fan_out or (model in CONV1D_MODELS and layer in CONV1D_LAYERS)

    def _fit(self, target: Tensor, shape: tuple[int, ...], source: str) -> None:
        if shape != target.shape:
            self._refuse_shape(target, target.shape, shape, source)

    def _refuse_shape(self, target: Tensor, expected: tuple[int, ...], shape: tuple[int, ...], source: str) -> None:
        raise MismatchError(
            f"'{source}' in {self.path} is for {shape}, but '{target.name}' in {self.base.path} takes {expected}. "
            f"{self._hint()}"
        )

    def _is_tied_head(self, name: str) -> bool:
        return self.places.of(name) is None and self.base.tied_to(name) is not None

    def _check_tied(self, head: str, lora: Lora) -> None:
        """Accept a low-rank change of a tied head if it is the embedding's, turned, as PEFT stores it."""
        a, b = lora.factors(self.path, head)
        for other in self.parts.loras.values():
            if other.embedding and self.config.ties and set(lora.parts) == {"A", "B"}:
                other_a, other_b = other.factors(self.path, head)
                if _same(a, other_b, turned=True) and _same(b, other_a, turned=True):
                    return
        self._refuse_head(f"{head}.weight")

    def _refuse_head(self, name: str) -> None:
        raise MismatchError(
            f"{self.path} changes '{name}', which {self.base.path} ties to '{self.base.tied_to(name)}': the change "
            f"of one is not that of the other. Give a base that stores both."
        )


def _same(one: Tensor, other: Tensor, turned: bool = False) -> bool:
    """Compare two stored tensors, or one with the other's transpose."""
    if one.dtype != other.dtype or one.shape != (other.shape[::-1] if turned else other.shape):
        return False
    files = Files()
    x, y = files.raw(one).reshape(one.shape), files.raw(other).reshape(other.shape)
    same = bool((x == (y.T if turned else y)).all())
    del x, y
    files.close()
    return same
