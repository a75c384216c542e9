"""What is a matrix: which tensors matrix methods take apart, and how the others are added."""

import math
import re
from collections.abc import Iterator, Sequence
from functools import reduce
from typing import Any, Literal

import numpy as np

from ..ops.arrays import Array, namespace
from ..ops.blend import Blend
from ..ops.shapes import Float
from ..ops.spectral import WIDENED, Spectrum

Role = Literal["matrix", "turned", "table", "experts", "convolution", "vector"]
"""What a tensor is: the weight of a linear layer, stored (out, in) or turned (in, out); a table of vectors (embeddings
of tokens or positions, heads); several matrices in one tensor (which recipes take apart one by one, each as the matrix
that it is); anything else of three axes or more; what is one row alone, or multiplies nothing (biases, norms)."""

Spectral = Literal["matrices", "tables", "all", "none"]
"""Which tensors are taken apart: linear layers; tables too; convolutions too, first axis against the others; none."""

Others = Literal["mean", "sum"]
"""How tensors are added that are not taken apart."""

TAKEN_APART: dict[Spectral, tuple[Role, ...]] = {
    "matrices": ("matrix", "turned"),
    "tables": ("matrix", "turned", "table"),
    "all": ("matrix", "turned", "table", "convolution"),
    "none": (),
}

TABLES = re.compile(
    r"(^|[._])(wte|wpe|shared|emb|embed_in|embed_out|embed_tokens|embed_positions|[a-z]+_embed|[a-z]*_?embeddings?|"
    r"[a-z]+_token|relative_attention_bias|relative_position_bias_table|"
    r"lm_head|head|classifier|score|output_layer|proj_out|predictions\.decoder)(\.weight)?$|^output\.weight$"
)
"""Names of tables: their last part, whatever module holds them."""

NO_MATRICES = re.compile(r"(bias|A_log|time_[a-z]+|r_[wrs]_bias|inv_freq|logit_scale)$")
"""Names of tensors of two axes that multiply nothing."""

EXPERTS = re.compile(r"experts|(^|\.)(block_sparse_moe|moe)\.")
"""Names of tensors that hold a matrix for each expert."""

TURNED = re.compile(r"(^|\.)(text_projection|visual\.proj)$")
"""Names of weights that are stored (in, out) in any model; of some models all are (`stored_turned`)."""


def role_of(shape: Sequence[int], name: str = "", stored_turned: bool = False) -> Role:
    """Return what a tensor is, by its shape and its name; `stored_turned`: its model stores linear layers (in, out).

    >>> role_of((4, 4), "model.layers.0.mlp.up_proj.weight"), role_of((9, 4), "model.embed_tokens.weight")
    ('matrix', 'table')
    """
    if len(shape) < 2 or 1 in (shape[0], math.prod(shape[1:])):  # one row alone has no directions
        return "vector"
    if len(shape) > 2:
        return "experts" if EXPERTS.search(name) else "convolution"
    if TABLES.search(name):
        return "table"
    if NO_MATRICES.search(name):
        return "vector"
    return "turned" if stored_turned or TURNED.search(name) else "matrix"


class Turned:
    """Task vectors of a layer that is stored (in, out), seen as (out, in), one at a time."""

    def __init__(self, deltas: Array) -> None:
        """Take what gives the tensors as they are stored."""
        tasks, rows, columns = deltas.shape
        self.stored, self.shape, self.dtype = deltas, (tasks, columns, rows), deltas.dtype

    def __getitem__(self, task: int) -> Array:
        return self.stored[task].T


def upright(deltas: Float[Array, " task *shape"], role: Role | None) -> Any:
    """Return task vectors as (out, in), for methods to which inputs and outputs are not the same."""
    return Turned(deltas) if role == "turned" else deltas


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
    if isinstance(deltas, Turned):
        merged, deltas = merged.T, deltas.stored
    return xp.astype(xp.reshape(merged, deltas.shape[1:]), deltas.dtype)
