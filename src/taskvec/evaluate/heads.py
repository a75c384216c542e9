"""A head: what turns an encoder's vector into a score for each label."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt

from ..errors import FormatError, MismatchError
from ..store.arrays import load_arrays, save_arrays

if TYPE_CHECKING:
    import torch

    from .model import Model

Rows = npt.NDArray[np.float32]

FORMAT = "1"
FOLDER = "heads"


@dataclass(frozen=True, kw_only=True)
class Head:
    """A linear map from an encoder's vector f to a score for each label.

        cosine:  logits = scale · W (P f / |P f|),   rows of W of length 1
        linear:  logits = W f + b

    kind: `cosine` heads see directions alone, `linear` ones lengths, too.
    labels: the labels' names, one a row of W.
    weight: W, Shape (label, width); with a projection (label, projected).
    bias: b, Shape (label,), of linear heads.
    projection: P, Shape (projected, width): an encoder's own projection into the space of W, such as CLIP's.
    scale: of cosine heads: the temperature's inverse.
    pooling: how the encoder's states become f; a head fits that pooling only.
    encoder: what the encoder is, see `encoder_of`; a head fits encoders of that form only.
    made: how it was made, in plain data.
    """

    kind: Literal["cosine", "linear"]
    labels: tuple[str, ...]
    weight: Rows
    bias: Rows | None = None
    projection: Rows | None = None
    scale: float = 1.0
    pooling: str = ""
    encoder: str = ""
    made: Mapping[str, Any] = field(default_factory=dict)

    @property
    def width(self) -> int:
        """The width of the vectors that it takes."""
        return int((self.weight if self.projection is None else self.projection).shape[1])

    def logits(self, features: "torch.Tensor") -> "torch.Tensor":
        """Return (example, label) for vectors of (example, width); gradients flow to the vectors."""
        import torch
        from torch.nn.functional import linear, normalize

        def held(rows: Rows) -> "torch.Tensor":
            return torch.as_tensor(rows, device=features.device, dtype=features.dtype)

        if self.projection is not None:
            features = linear(features, held(self.projection))
        if self.kind == "cosine":
            return self.scale * linear(normalize(features, dim=-1), held(self.weight))
        return linear(features, held(self.weight), None if self.bias is None else held(self.bias))

    def check(self, model: "Model", pooling: str, names: Sequence[str], origin: str) -> None:
        """Refuse an encoder or labels that the head was not made for.

        Raises:
            MismatchError: the encoder has another form or pooling, or the labels are not the head's.
        """
        form = encoder_of(model)
        if self.encoder and form != self.encoder:
            raise MismatchError(
                f"the head with the labels {_some(self.labels)} was made for {self.encoder}, "
                f"and {model.name} is {form}. Make a head for it, or give the model that the head belongs to."
            )
        if self.pooling and pooling != self.pooling:
            raise MismatchError(
                f"the head was made for vectors pooled by '{self.pooling}', not by '{pooling}'. "
                f"Type 'pooling: {self.pooling}'."
            )
        strange = [name for name in names if name not in self.labels]
        if strange:
            raise MismatchError(
                f"{origin} has the label '{strange[0]}', which the head does not know. It knows {_some(self.labels)}."
            )

    def _check_shapes(self) -> None:
        rows = self.weight if self.projection is None else self.projection
        inner = rows.shape[-1] if self.projection is None else len(rows)
        flat = self.weight.shape == (len(self.labels), inner) and rows.ndim == 2
        if self.kind not in ("cosine", "linear") or not flat:
            raise ValueError(f"a {self.kind} head of {len(self.labels)} labels with weights of {self.weight.shape}")
        if self.bias is not None and self.bias.shape != (len(self.labels),):
            raise ValueError(f"{len(self.labels)} labels and a bias of {self.bias.shape}")

    def save(self, path: Path) -> None:
        """Write the head as one safetensors file (docs/formats.md)."""
        arrays = {"weight": self.weight, "bias": self.bias, "projection": self.projection}
        note = {"kind": self.kind, "labels": self.labels, "scale": self.scale, "pooling": self.pooling,
            "encoder": self.encoder, "made": dict(self.made)}  # fmt: skip
        metadata = {"format": "pt", "taskvec.head": FORMAT, "taskvec.note": json.dumps(note)}
        save_arrays(path, {name: x for name, x in arrays.items() if x is not None}, metadata)

    @classmethod
    def load(cls, path: Path) -> "Head":
        """Read a head that `save` wrote.

        Raises:
            StoreError: there is no such file.
            FormatError: it is no head, or of a format that this version does not know.
        """
        arrays, metadata = load_arrays(path)
        if metadata.get("taskvec.head") != FORMAT:
            raise FormatError(
                f"{path} is not a head of format {FORMAT}. "
                f"Make one: taskvec eval MODEL --tasks tasks.yaml --save-heads."
            )
        try:
            note: dict[str, Any] = json.loads(metadata["taskvec.note"])
            head = cls(**{**note, "labels": tuple(note["labels"]), **arrays})
            head._check_shapes()
            return head
        except (KeyError, TypeError, ValueError) as exc:
            raise FormatError(f"{path} is a damaged head: {exc}.") from exc


def encoder_of(model: "Model") -> str:
    """Return what heads must agree on: the architecture, its width and its depth.

    A merge of models keeps it, and another size of the same family does not.
    """
    config = getattr(model.config, "vision_config", model.config)
    width = getattr(config, "hidden_size", None) or getattr(config, "hidden_dim", None)
    depth = getattr(config, "num_hidden_layers", None)
    return f"{config.model_type} of width {width}" + (f" with {depth} layers" if depth else "")


def _some(names: Sequence[str]) -> str:
    shown = ", ".join(f"'{name}'" for name in names[:4])
    return f"{shown} and {len(names) - 4} more" if len(names) > 4 else shown
