"""What an encoder makes of texts and images: one vector each."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from ..errors import MismatchError
from .batches import BATCH, Batches, gathered, in_batches
from .data import Examples, decode
from .model import POOLING, Model

if TYPE_CHECKING:
    import torch

Pooling = Literal["mean", "cls", "last", "pooler"]

HELD = 1_000_000_000
"""Bytes of a task's images that are kept ready for the next model; of more, each batch is decoded every time."""


@dataclass(frozen=True, kw_only=True)
class Reading:
    """How inputs become vectors.

    pooling: of a text's or image's last hidden states: their mean (padding does not count), the first (of a map, which
        has none, the mean), the last one that is no padding, or what the model's own pooler makes; None: what the model
        says of itself, see `pooling_of`.
    tokens: longer texts are cut, and always where the encoder ends.
    batch: examples a batch, at most.
    """

    pooling: Pooling | None = None
    tokens: int = 128
    batch: int = BATCH


def pooling_of(model: Model, reading: Reading) -> Pooling:
    """Return how a model's states are pooled.

    What was asked for; else what a sentence-transformers folder says (1_Pooling/config.json); else the last state for
    causal models, the first for images, and the mean for other texts.
    """
    if reading.pooling:
        return reading.pooling
    said = model.path / POOLING
    if said.is_file():
        config = json.loads(said.read_text("utf-8"))
        for key, pooling in (("pooling_mode_cls_token", "cls"), ("pooling_mode_lasttoken", "last")):
            if config.get(key):
                return pooling  # type: ignore[return-value]
        return "mean"
    if _sees(model):
        return "pooler" if hasattr(_tower(model, "vision_model"), "post_layernorm") else "cls"
    causal = any("CausalLM" in name or "LMHead" in name for name in model.config.architectures or ())
    return "last" if causal or getattr(model.config, "is_decoder", False) else "mean"


def ready(model: Model, examples: Examples, reading: Reading) -> Batches:
    """Return the examples as the model's inputs.

    Raises:
        MismatchError: images for a model of texts, or the other way round.
    """
    if examples.kind == "image":
        if not _sees(model):
            raise MismatchError(f"{examples.origin} holds images, and {model.name} has no tower for images.")
        return _ready_images(model, examples, reading)
    must_read(model, examples.origin)
    return ready_texts(model, examples.inputs, reading)


def must_read(model: Model, origin: str) -> None:
    """Refuse a model that has no tower for the texts of `origin`.

    Raises:
        MismatchError: it has none.
    """
    if not (hasattr(model.config, "text_config") or getattr(model.config, "vocab_size", None) is not None):
        raise MismatchError(f"{origin} holds texts, and {model.name} has no tower for texts.")


def ready_texts(model: Model, texts: Sequence[Any], reading: Reading) -> Batches:
    """Return texts (or pairs) as inputs, in batches of like length."""
    import torch

    pairs = bool(texts) and not isinstance(texts[0], str)
    columns = [[t[0] for t in texts], [t[1] for t in texts]] if pairs else [list(texts)]
    known = model.tokenizer(*columns, truncation=True, max_length=_most_tokens(model, reading))
    lengths = [len(ids) for ids in known["input_ids"]]
    batches = []
    for places in in_batches(lengths, reading.batch):
        part = {name: [values[i] for i in places] for name, values in known.items()}
        padded = model.tokenizer.pad(part, padding=True, padding_side="right", return_tensors="pt")
        batches.append((places, {name: torch.as_tensor(x) for name, x in padded.items()}))
    return Batches(len(texts), batches)


def _most_tokens(model: Model, reading: Reading) -> int:
    """Return how long texts may be: as asked for, and no longer than the encoder and its tokenizer can read."""
    own = getattr(getattr(model.config, "text_config", model.config), "max_position_embeddings", None)
    return int(min(reading.tokens, model.tokenizer.model_max_length, own or reading.tokens))


def _ready_images(model: Model, examples: Examples, reading: Reading) -> Batches:
    images = _Images(model, examples, reading.batch)
    pixels = images[0][1]["pixel_values"]
    held = pixels.nbytes // len(pixels) * len(examples) <= HELD
    return Batches(len(examples), list(images) if held else images)


class _Images(Sequence[tuple[list[int], Mapping[str, "torch.Tensor"]]]):
    """Images in batches, each spread over the file (whose order may be that of the classes), decoded when asked for."""

    def __init__(self, model: Model, examples: Examples, size: int) -> None:
        self._processor, self._examples, self._size = model.images, examples, size

    def __len__(self) -> int:
        return -(-len(self._examples) // self._size)

    def __getitem__(self, number: Any) -> Any:
        if not 0 <= number < len(self):
            raise IndexError(number)
        examples = self._examples
        places = list(range(number, len(examples), len(self)))
        pictures = [decode(examples.inputs[i], f"{examples.origin}: example {i}") for i in places]
        return places, {"pixel_values": self._processor(pictures, return_tensors="pt")["pixel_values"]}


def features(model: Model, batches: Batches, reading: Reading) -> "torch.Tensor":
    """Return the vectors that an encoder makes, (example, width), in float32; they are not normalised."""
    module, pooling = model.module(), pooling_of(model, reading)

    def run(inputs: Mapping[str, Any]) -> "torch.Tensor":
        return encode(module, inputs, pooling)

    return gathered(batches, run, model.device)


def text_features(model: Model, batches: Batches, reading: Reading) -> "torch.Tensor":
    """Return the vectors of texts as `features` does; through the model's own projection where it has one (CLIP)."""
    vectors = features(model, batches, reading)
    weight = getattr(getattr(model.module(), "text_projection", None), "weight", None)
    return vectors if weight is None else vectors @ weight.detach().float().cpu().T


def encode(module: Any, inputs: Mapping[str, Any], pooling: Pooling) -> "torch.Tensor":
    """Return the vectors of one batch, (example, width); gradients flow where they are on."""
    if "pixel_values" in inputs:
        tower = getattr(module, "vision_model", module)
        found = tower(pixel_values=inputs["pixel_values"].to(next(tower.parameters()).dtype))
        mask = None
    else:
        tower = getattr(module, "text_model", module)
        found, mask = tower(**inputs), inputs["attention_mask"]
    if pooling == "pooler":
        return _pooled(found, module)
    hidden = found.last_hidden_state
    if pooling == "cls" and hidden.dim() == 3:  # a map of a convolutional net has no first state
        return hidden[:, 0]  # type: ignore[no-any-return]
    return _last(hidden, mask) if pooling == "last" else _mean(hidden, mask)


def _pooled(found: Any, module: Any) -> "torch.Tensor":
    pooled = getattr(found, "pooler_output", None)
    if pooled is None:
        raise MismatchError(f"{type(module).__name__} has no pooler. Type 'pooling: mean', 'cls' or 'last'.")
    return pooled.flatten(1)  # type: ignore[no-any-return]


def _mean(hidden: "torch.Tensor", mask: "torch.Tensor | None") -> "torch.Tensor":
    if mask is None:
        return hidden.flatten(2).mean(-1) if hidden.dim() == 4 else hidden.mean(1)
    kept = mask.unsqueeze(-1).to(hidden.dtype)
    return (hidden * kept).sum(1) / kept.sum(1)


def _last(hidden: "torch.Tensor", mask: "torch.Tensor | None") -> "torch.Tensor":
    if mask is None:
        return hidden[:, -1]
    return hidden[range(len(hidden)), mask.sum(1) - 1]


def _tower(model: Model, name: str) -> Any:
    return getattr(model.module(), name, model.module())


def _sees(model: Model) -> bool:
    return hasattr(model.config, "vision_config") or getattr(model.config, "num_channels", None) is not None
