"""Do these models belong together? Told by norms and cosines of a sample, before the merge."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..errors import MismatchError
from ..ops.floats import widen
from ..store.dtypes import is_float
from ..store.sample import CHUNKS, sample
from ..store.tensors import Tensor
from .depth import matches
from .inputs import Input, Pool
from .schema import Recipe
from .stack import Place

LEAST_COSINE = 0.5
"""Fine-tunes of one base have cosines above 0.9; models trained apart, or with permuted rows, about 0."""


@dataclass(frozen=True)
class Kinship:
    """How near a model is to the reference, over a sample of its matrices."""

    model: str
    cosine: float
    relative_norm: float


Pair = tuple[Tensor, Tensor]
"""A tensor of the reference, and what a model would be merged with it."""


def kinship(reference: Input, model: Input, pairs: Sequence[Pair]) -> Kinship:
    """Return cos(θ, θ_ref) and |θ - θ_ref| / |θ_ref| over a sample of every tensor with two or more axes.

    Vectors (norms, biases) are left out: gains near 1 look alike in unrelated models. A model without a matrix is
    compared by all it has.
    """
    inner = own = other = apart = 0.0
    floats = [(here, there) for here, there in pairs if is_float(here.dtype) and is_float(there.dtype)]
    for here, there in [(h, t) for h, t in floats if len(h.shape) > 1] or floats:
        if there.shape != here.shape:
            continue
        x = widen(sample(here, CHUNKS), here.dtype, np.float64)
        y = widen(sample(there, CHUNKS), there.dtype, np.float64)
        if model.kind == "delta":
            y = x + y
        finite = np.isfinite(x) & np.isfinite(y)
        x, y = x[finite], y[finite]
        inner, own, other, apart = inner + x @ y, own + x @ x, other + y @ y, apart + (y - x) @ (y - x)
    if own == 0 or other == 0:
        return Kinship(model.name, 1.0 if own == other else 0.0, 0.0 if own == other else float("inf"))
    return Kinship(model.name, float(inner / (own * other) ** 0.5), float((apart / own) ** 0.5))


def check_kinship(pool: Pool, places: Sequence[Place], recipe: Recipe) -> list[Kinship]:
    """Return the kinship of every model with what it is merged with: the base, or the first model of its part.

    Raises:
        MismatchError: a model that is no relative, unless the recipe allows it.
    """
    found = []
    for number, model in enumerate(pool.models):
        for partner, pairs in _pairs(pool, places, recipe, number).items():
            k = kinship(pool[partner], model, pairs)
            found.append(k)
            if k.cosine < LEAST_COSINE and "unrelated" not in recipe.allow and k.relative_norm > 0:
                raise MismatchError(
                    f"{k.model} does not look like a relative of {pool[partner].name}: over a sample their cosine is "
                    f"{k.cosine:.3f} and they lie {k.relative_norm:.2f} base norms apart (fine-tunes: above 0.9). Name "
                    f"the right base, or type 'allow: [unrelated]' in the recipe, or --set 'allow=[\"unrelated\"]'."
                )
    return found


def _pairs(pool: Pool, places: Sequence[Place], recipe: Recipe, number: int) -> dict[int, list[Pair]]:
    """Return a model's tensors beside those they are merged with, by whose these are; ignored ones are left out."""
    out: dict[int, list[Pair]] = {}
    for place in places:
        if any(matches(place.name, pattern) for pattern in recipe.ignore):
            continue
        for source in place.sources:
            if source[0] == number and source != place.origin:
                here, there = pool.resolve(place.origin), pool.resolve(source)
                if here is not None and there is not None:
                    out.setdefault(place.origin[0], []).append((here, there))
    return out
