"""Do these models belong together? Told by norms and cosines of a sample, before the merge."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..errors import MismatchError
from ..ops.floats import widen
from ..store.dtypes import is_float
from ..store.sample import CHUNKS, sample
from .depth import matches
from .inputs import Input

LEAST_COSINE = 0.5
"""Fine-tunes of one base have cosines above 0.9; models trained apart, or with permuted rows, about 0."""


@dataclass(frozen=True)
class Kinship:
    """How near a model is to the reference, over a sample of its matrices."""

    model: str
    cosine: float
    relative_norm: float


def kinship(reference: Input, model: Input, ignore: Sequence[str] = ()) -> Kinship:
    """Return cos(θ, θ_ref) and |θ - θ_ref| / |θ_ref| over a sample of every tensor with two or more axes.

    Vectors (norms, biases) are left out: gains near 1 look alike in unrelated models. A model without a matrix is
    compared by all it has. Ignored tensors are no part of the merge, nor of this.
    """
    inner = own = other = apart = 0.0
    tensors = reference.checkpoint.tensors.values()
    infos = [i for i in tensors if is_float(i.dtype) and not any(matches(i.name, p) for p in ignore)]
    for info in [i for i in infos if len(i.shape) > 1] or infos:
        there = model.checkpoint.resolve(info.name)
        if there is None or there.shape != info.shape or not is_float(there.dtype):
            continue
        x = widen(sample(info, CHUNKS), info.dtype, np.float64)
        y = widen(sample(there, CHUNKS), there.dtype, np.float64)
        if model.kind == "delta":
            y = x + y
        finite = np.isfinite(x) & np.isfinite(y)
        x, y = x[finite], y[finite]
        inner, own, other, apart = inner + x @ y, own + x @ x, other + y @ y, apart + (y - x) @ (y - x)
    if own == 0 or other == 0:
        return Kinship(model.name, 1.0 if own == other else 0.0, 0.0 if own == other else float("inf"))
    return Kinship(model.name, float(inner / (own * other) ** 0.5), float((apart / own) ** 0.5))


def check_kinship(
    reference: Input, models: Sequence[Input], allowed: bool, ignore: Sequence[str] = ()
) -> list[Kinship]:
    """Return the kinship of every model with the reference.

    Raises:
        MismatchError: a model that is no relative, unless `allowed`.
    """
    found = [kinship(reference, model, ignore) for model in models]
    for k in found:
        if k.cosine < LEAST_COSINE and not allowed and (k.relative_norm > 0):
            raise MismatchError(
                f"{k.model} does not look like a relative of {reference.name}: over a sample their cosine is "
                f"{k.cosine:.3f} and they lie {k.relative_norm:.2f} base norms apart (fine-tunes: above 0.9). "
                f"Name the right base, or type 'allow: [unrelated]'."
            )
    return found
