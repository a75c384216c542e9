"""What `locate` is given, checked, in float64 and laid out as one list of targets."""

import math
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from ..errors import NumbersError, RecipeError
from .shapes import Float64, Int64

ROUNDING = 1e-6
"""What a Gram matrix may lack of symmetry, and have of negative eigenvalues, as a share of its largest numbers."""

AGREES = 1e-3
"""By how much a cosine, or a share, may exceed 1 before its numbers cannot be of the same vectors."""


class Given(NamedTuple):
    """A list of targets of shape `batch`, and which group of tensors each belongs to."""

    grams: Float64[np.ndarray, "group task task"]
    products: Float64[np.ndarray, "target task"]
    energies: Float64[np.ndarray, " target"]
    group: Int64[np.ndarray, " target"]
    batch: tuple[int, ...]

    def spread(self, per_target: npt.ArrayLike, name: str) -> npt.NDArray[Any]:
        """Return one number a target of a setting that may be given per group or per target.

        Raises:
            RecipeError: Where its shape does not fit the targets.
        """
        value = np.asarray(per_target)
        try:
            return np.broadcast_to(value, self.batch).reshape(-1)
        except ValueError:
            said = (
                f"{name} has shape {value.shape}, but the targets have shape {self.batch}: give one number, or one each"
            )
            raise RecipeError(said) from None


def given(gram: npt.ArrayLike, products: npt.ArrayLike, energy: npt.ArrayLike) -> Given:
    """Check the three inputs of `locate` and lay them out.

    Raises:
        RecipeError: Where shapes do not fit.
        NumbersError: Where numbers are not finite, or cannot be inner products of one set of vectors.
    """
    k, b, e = (_numbers(x, name) for x, name in ((gram, "gram"), (products, "products"), (energy, "energy")))
    if k.ndim < 2 or k.shape[-1] != k.shape[-2] or not k.shape[-1]:
        raise RecipeError(f"gram has shape {k.shape}, but its last two sides must be equal: one row a known vector")
    tasks, group = k.shape[-1], k.shape[:-2]
    if not b.ndim or b.shape[-1] != tasks:
        raise RecipeError(
            f"products has shape {b.shape}, but its last side must be {tasks}: one a known vector of gram"
        )
    try:
        batch = np.broadcast_shapes(group, b.shape[:-1], e.shape)
    except ValueError:
        said = f"gram {k.shape}, products {b.shape} and energy {e.shape} do not fit: their groups and targets differ"
        raise RecipeError(
            f"{said}; put targets before groups: gram (group, T, T), products (target, group, T)"
        ) from None
    which = np.broadcast_to(np.arange(math.prod(group), dtype=np.int64).reshape(group), batch)
    b, e = np.broadcast_to(b, (*batch, tasks)), np.broadcast_to(e, batch)
    out = Given(_symmetric(k).reshape(-1, tasks, tasks), b.reshape(-1, tasks), e.reshape(-1), which.reshape(-1), batch)
    _check_targets(out)
    return out


def check_semidefinite(negative: float) -> None:
    """Refuse a Gram matrix by its smallest eigenvalue, as a share of its largest.

    Raises:
        NumbersError: Where that is negative beyond rounding.
    """
    if negative < -ROUNDING:
        said = f"gram has an eigenvalue of {negative:.2g} times its largest, but inner products have none below 0"
        raise NumbersError(f"{said}: compute all of them from the same vectors, in float64")


def check_share(share: Float64[np.ndarray, " target"]) -> None:
    """Refuse products that explain more of a target than there is.

    Raises:
        NumbersError: Where a share is above 1 beyond rounding.
    """
    if share.size and share.max() > 1 + AGREES:
        said = f"the known vectors would explain {share.max():.4g} of a target, which is more than all of it"
        same = "gram, products and energy must be of the same vectors and inner product, summed in float64"
        raise NumbersError(f"{said}: {same}, or vectors that hardly differ need a ridge=1e-4")


def _numbers(value: npt.ArrayLike, name: str) -> npt.NDArray[np.float64]:
    try:
        numbers = np.asarray(value, dtype=np.float64)
    except (TypeError, ValueError):
        raise RecipeError(f"{name} is not an array of numbers: give the inner products as floats") from None
    if not np.isfinite(numbers).all():
        at = np.argwhere(~np.isfinite(numbers))[0].tolist()
        raise NumbersError(f"{name} holds {numbers[tuple(at)]} at {at}: every inner product must be finite")
    return numbers


def _symmetric(gram: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    diagonal = np.diagonal(gram, axis1=-2, axis2=-1)
    if (diagonal < 0).any():
        raise NumbersError(f"gram has {diagonal.min():.3g} on its diagonal: a squared length cannot be negative")
    lengths = np.sqrt(diagonal)
    bound = lengths[..., None] * lengths[..., None, :]
    apart = np.abs(gram - np.swapaxes(gram, -1, -2))
    if (apart > ROUNDING * bound).any():
        said = f"gram is not symmetric: an entry and its mirror image are {apart.max():.3g} apart"
        raise NumbersError(f"{said}; give K_ij = ⟨v_i, v_j⟩")
    if (np.abs(gram) > (1 + AGREES) * bound).any():
        raise NumbersError("gram has a cosine above 1: compute all inner products from the same vectors, in float64")
    return np.asarray((gram + np.swapaxes(gram, -1, -2)) / 2)


def _check_targets(given: Given) -> None:
    if (given.energies < 0).any():
        raise NumbersError(f"energy holds {given.energies.min():.3g}, but a squared length cannot be negative")
    lengths = np.sqrt(np.diagonal(given.grams, axis1=-2, axis2=-1))[given.group]
    bound = np.sqrt(given.energies)[:, None] * lengths
    wrong = np.abs(given.products) > (1 + AGREES) * bound
    if wrong.any():
        target, task = np.argwhere(wrong)[0].tolist()
        said = f"the product of target {target} with vector {task} is {given.products[target, task]:.4g}"
        most = f"but their lengths allow {bound[target, task]:.4g} at most"
        raise NumbersError(f"{said}, {most}: gram, products and energy must be of one inner product")
