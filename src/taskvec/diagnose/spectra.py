"""The leading directions of task vectors of one matrix, and how they lie to each other."""

import math
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from ..merge.matrices import Role, upright
from ..merge.matrices import decomposed as decomposed_numbers
from ..ops.shapes import Float64
from ..ops.spectral import Spectrum, leading, svd
from .report import Matrix

if TYPE_CHECKING:
    import torch

SMALL = 768
"""Shorter sides up to this are decomposed by their Gram matrix, which leaves nothing to chance."""

LOOSE = 0.01
"""Errors of a singular value above this share of the first one are not accepted: then by the Gram matrix, too."""


def spectra_of(name: str, tasks: Any, role: Role, directions: int, energy: Float64[np.ndarray, " task"]) -> Matrix:
    """Return the leading `directions` of each task's matrix, and how they lie to each other.

        cos φ_i = σ_i(U_sᵀ U_t),   |(UᵀU - I) Σ (VᵀV - I)|₁ with U, Σ, V of all tasks side by side

    Args:
        name: what the matrix is called.
        tasks: gives the task vectors one at a time, as torch tensors; only one is held.
        role: what it is; those stored (in, out) are turned.
        directions: how many; fewer where a side is shorter.
        energy: |τ_t|² of each.
    """
    stood = upright(tasks, role)
    rows, columns = stood.shape[1], math.prod(stood.shape[2:])
    count = min(directions, rows, columns)
    found, sure = [], []
    for task in range(stood.shape[0]):
        x = stood[task].reshape(rows, columns)
        spectrum, error = decomposed(x, count)
        found.append(Spectrum(*(np.asarray(part.cpu().numpy(), np.float64) for part in spectrum)))
        sure.append(error)
    interference, alone = _interference(found)
    values = np.stack([s.s for s in found])
    left, right = _angles([s.u for s in found]), _angles([s.v for s in found])
    return Matrix(name, (rows, columns), values, energy, np.array(sure), left, right, interference, alone)


def decomposed(x: "torch.Tensor", count: int) -> tuple[Spectrum, float]:
    """Return leading singular values and vectors, and how far off a value may be, relative to the first one.

        error = max_i |xᵀu_i - s_i v_i| / s_1        (x v_i = s_i u_i holds by construction)

    A singular value of x lies within error · s_1 of each that is returned.
    """
    if x.shape[0] < x.shape[1]:
        (u, s, v), error = decomposed(x.T, count)
        return Spectrum(v, s, u), error
    if x.shape[1] > SMALL:
        found, _ = leading(x, count)
        if (error := _residual(x, found)) <= LOOSE:
            return found, error
    found = svd(x, count)
    return found, _residual(x, found)


def holds(tasks: int, rows: int, columns: int, directions: int) -> int:
    """Return how many float32 numbers are held while spectra are taken."""
    count = min(directions, rows, columns)
    return decomposed_numbers(rows, columns) + 4 * count * (rows + columns) * (tasks + 1) + 6 * (tasks * count) ** 2


def _residual(x: "torch.Tensor", found: Spectrum) -> float:
    first = float(found.s[0])
    if first == 0:
        return 0.0
    return float((x.T @ found.u - found.v * found.s).norm(dim=0).max()) / first


def _angles(spans: list[npt.NDArray[np.float64]]) -> Float64[np.ndarray, "task task k"]:
    """Return the cosines of the principal angles between all pairs of subspaces, falling."""
    tasks, count = len(spans), spans[0].shape[1]
    out = np.zeros((tasks, tasks, count))
    for i in range(tasks):
        for j in range(i + 1):
            out[i, j] = out[j, i] = np.clip(np.linalg.svd(spans[i].T @ spans[j], compute_uv=False), 0, 1)
    return out


def _interference(found: list[Spectrum]) -> tuple[float, float]:
    """Return the singular task interference of the directions side by side, and Σ σ."""
    u, s, v = (np.concatenate([getattr(f, part) for f in found], axis=-1) for part in ("u", "s", "v"))
    here = s > 0  # directions that do not exist are zeros, which are not orthonormal
    u, s, v = u[:, here], s[here], v[:, here]
    one = np.eye(len(s))
    return float(np.abs((u.T @ u - one) * s @ (v.T @ v - one)).sum()), float(s.sum())
