"""What is a matrix: which tensors matrix methods take apart, and how the others are added."""

import math
from collections.abc import Iterator, Sequence
from functools import reduce
from typing import Literal

import numpy as np

from ..ops.arrays import Array, namespace
from ..ops.blend import Blend
from ..ops.shapes import Float
from ..ops.spectral import WIDENED, Spectrum

Role = Literal["matrix", "table", "convolution", "vector"]
"""What a tensor is: the weight of a linear layer; a table of vectors (embeddings of tokens or positions, output heads);
anything else of three axes or more; what has one axis or none (biases, norms)."""

Spectral = Literal["matrices", "tables", "all", "none"]
"""Which tensors are taken apart: linear layers; tables too; convolutions too, first axis against the others; none."""

Others = Literal["mean", "sum"]
"""How tensors are added that are not taken apart."""

TAKEN_APART: dict[Spectral, tuple[Role, ...]] = {
    "matrices": ("matrix",),
    "tables": ("matrix", "table"),
    "all": ("matrix", "table", "convolution"),
    "none": (),
}

TABLES = ("embed", "wte", "wpe", "lm_head", "shared.weight", "relative_attention_bias", "token_type")
"""Parts of the names of tables."""

PATCHES = ("patch_embed",)
"""Parts of the names of what turns patches of an image into vectors: linear layers or convolutions."""


def role_of(shape: Sequence[int], name: str = "") -> Role:
    """Return what a tensor is, by its shape and its name.

    >>> role_of((4, 4), "model.layers.0.mlp.up_proj.weight"), role_of((9, 4), "model.embed_tokens.weight")
    ('matrix', 'table')
    """
    if len(shape) < 2:
        return "vector"
    if any(part in name for part in TABLES) and not any(part in name for part in PATCHES):
        return "table"
    return "matrix" if len(shape) == 2 else "convolution"


def added(
    weights: Float[Array, " task"], *, spectral: Spectral, others: Others, role: Role | None = None
) -> Blend | None:
    """Return how a tensor is added that is not taken apart; None for those that are, or whose role is not known.

    mean: Σ w_t τ_t / T,    sum: Σ w_t τ_t
    """
    if role is None or role in TAKEN_APART[spectral]:
        return None
    w = np.asarray(weights, dtype=np.float64)
    return Blend(w / len(w) if others == "mean" else w)


def role_in(deltas: Float[Array, " task *shape"], role: Role | None) -> Role:
    """Return the role that was given, or what the shape alone tells."""
    return role or role_of(deltas.shape[1:])


def matrices(
    deltas: Float[Array, " task *shape"], weights: Float[Array, " task"]
) -> Iterator[Float[Array, "row column"]]:
    """Yield w_t τ_t one after the other, as matrices: the first axis against all others.

    `deltas` is asked for one task at a time, so it need not be an array: only one task is held.
    """
    for t, w in enumerate(np.asarray(weights, dtype=np.float64).tolist()):
        x = deltas[t]
        xp = namespace(x)
        yield xp.asarray(w, dtype=x.dtype) * xp.reshape(x, (x.shape[0], math.prod(x.shape[1:])))


def total(deltas: Float[Array, " task *shape"], weights: Float[Array, " task"]) -> Float[Array, "row column"]:
    """Return Σ w_t τ_t as a matrix, added one after the other."""
    return reduce(lambda one, other: one + other, matrices(deltas, weights))


def decomposed(rows: int, columns: int) -> int:
    """Return how many float32 numbers are held while a matrix is decomposed by its Gram matrix, the matrix aside."""
    return rows * columns + 11 * min(rows, columns) ** 2 + 4 * min(rows * columns, WIDENED)


def side(deltas: Float[Array, " task *shape"]) -> int:
    """Return the shorter side of the matrices."""
    return int(min(deltas.shape[1], math.prod(deltas.shape[2:])))


def beside(parts: Iterator[Spectrum], deltas: Float[Array, " task *shape"], count: int) -> Spectrum:
    """Put singular values and vectors of `count` in all beside each other, in the order in which they come.

    They are written into their places one by one, so that no part is held twice.
    """
    out, at = None, 0
    for part in parts:
        if out is None:
            xp = namespace(part.s)
            sizes = (deltas.shape[1], count), (count,), (math.prod(deltas.shape[2:]), count)
            out = Spectrum(*(xp.empty(size, dtype=part.s.dtype, device=part.s.device) for size in sizes))
        end = at + part.s.shape[0]
        out.u[:, at:end], out.s[at:end], out.v[:, at:end] = part
        at = end
    assert out is not None
    return out


def shaped(merged: Float[Array, "row column"], deltas: Float[Array, " task *shape"]) -> Float[Array, "*shape"]:
    """Return a matrix in the shape and type of the tensors that it was merged from."""
    xp = namespace(merged)
    return xp.astype(xp.reshape(merged, deltas.shape[1:]), deltas.dtype)
