"""Base and task vectors in memory, added up in a module again and again; and the gradient by their coefficients."""

from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..evaluate.model import Model
from ..recipe.reweighted import Reweighted
from ..recipe.schema import Recipe
from ..store import Checkpoint
from ..store.dtypes import is_float

if TYPE_CHECKING:
    import torch


class Held:
    """Base and task vectors in memory, and the module that they are put into.

    names: the module's weights that have a part in it; files: what each is called in the files.
    """

    def __init__(self, recipe: Recipe, model: Model) -> None:
        """Read the models of a recipe of task arithmetic; `model` is the base in hand, in float32.

        Raises:
            StoreError: models that cannot be read, or do not belong together.
        """
        module = model.module().requires_grad_(True)
        base, *models = _one_by_one(recipe)
        where = model.places_in(base)
        self.count = len(models)
        self.names: list[str] = []
        self.files: list[str] = []
        self.parameters: dict[str, Any] = {}
        self.base: dict[str, Any] = {}
        self.deltas: dict[str, list[Any]] = {}
        for name, parameter in chain(module.named_parameters(), module.named_buffers()):
            known = where.get(name)
            if known is None or not parameter.is_floating_point():
                continue  # positions and counters; a pooler that the files do not have, and that nothing reads
            self.names.append(name)
            self.files.append(known)
            self.parameters[name] = parameter
            self.base[name] = base[known].to(model.device)
            self.deltas[name] = [(m[known] - base[known]).to(model.device) for m in models]

    def put(self, coefficients: "torch.Tensor") -> None:
        """Write θ₀ + Σ λ τ into the module, and forget its gradient."""
        import torch

        columns = coefficients.shape[1]
        with torch.no_grad():
            for i, name in enumerate(self.names):
                merged = self.base[name].clone()
                for weight, delta in zip(coefficients[:, i % columns].tolist(), self.deltas[name], strict=True):
                    merged.add_(delta, alpha=weight)
                self.parameters[name].copy_(merged)
                self.parameters[name].grad = None

    def gradient(self, columns: int) -> "torch.Tensor":
        """Return the gradient by the coefficients, (task, 1) or (task, tensor)."""
        import torch

        rows = []
        for name in self.names:
            slope = self.parameters[name].grad
            rows.append([0.0 if slope is None else float((slope * d).sum()) for d in self.deltas[name]])
        each = torch.tensor(rows).T.contiguous()
        return each if columns > 1 else each.sum(1, keepdim=True)


def bytes_held(base: str | Path, models: int) -> int:
    """Return the bytes that base and task vectors take in memory: four a weight, and as many again while one is read.

    (1 + T + 2) · 4 n,   n the base's floating-point weights, T the task vectors
    """
    with Checkpoint(base) as checkpoint:
        count = sum(info.count for info in checkpoint.tensors.values() if is_float(info.dtype))
    return 4 * count * (models + 3)


def bytes_available() -> int | None:
    """Return the memory that is free, as the system tells it; None where it does not."""
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
    except OSError:
        return None
    found = [line.split()[1] for line in lines if line.startswith("MemAvailable:")]
    return int(found[0]) * 1024 if found else None


def _one_by_one(recipe: Recipe) -> list[dict[str, "torch.Tensor"]]:
    """Return θ₀ and every θ₀ + τ_k, in float32: adapters, stored task vectors and 'ignore' are as in a merge."""
    import torch

    plain = Recipe.model_validate(recipe.data | {"scale": 1.0, "dtype": "float32"})
    out = []
    with Reweighted(plain) as inputs:
        for which in range(-1, len(plain.models)):
            models = [{**m, "weight": float(k == which)} for k, m in enumerate(plain.data["models"])]
            merged = inputs.weigh(Recipe.model_validate(plain.data | {"models": models}))
            out.append({name: torch.from_numpy(np.array(merged[name])) for name in merged})
    return out
