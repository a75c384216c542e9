"""What `locate` returns."""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import numpy.typing as npt

from .shapes import Float64, Int64

Index = int | slice | tuple[int | slice, ...]


@dataclass(frozen=True)
class Nearest:
    """The point of a set that is nearest to each target: Σ c_i v_i.

    `explained` is 1 - |g - Σ c_i v_i|²/|g|². It lies between 0 and 1 for a span and a cone, and may be negative for an
    affine hull and a simplex, which need not hold the origin. NaN for a target of zeros.
    """

    coefficients: Float64[np.ndarray, "*batch task"]
    explained: Float64[np.ndarray, "*batch"]

    @property
    def residual(self) -> Float64[np.ndarray, "*batch"]:
        """|g - Σ c_i v_i|²/|g|²."""
        return np.asarray(1 - self.explained)

    def __getitem__(self, index: Index) -> "Nearest":
        return Nearest(self.coefficients[index], _picked(self.explained, index))

    def facts(self) -> dict[str, Any]:
        """Return the numbers as plain lists; None for NaN."""
        return {name: _plain(getattr(self, name)) for name in ("coefficients", "explained", "residual")}


@dataclass(frozen=True)
class Location:
    """Where targets lie among known vectors; every array begins with the shape of the targets, `batch`.

    `location[i]` is that of one target.

    Args:
        span: The nearest combination with any coefficients.
        affine: … with coefficients that add up to 1.
        cone: … with coefficients that are not negative: the simplex at the scale that fits best.
        simplex: … with coefficients that are not negative and add up to 1.
        cosines: Of the target with each known vector; 0 where one of the two is a vector of zeros.
        ridge: What was added to K for span and cone, as a share of each known vector's squared length; 0 for none.
        hull_ridge: The same for affine hull and simplex, as a share of squared length plus mean squared length.
        rank: How many directions the known vectors have.
        random_mean: The share of a random direction that lies in the span; NaN where `entries` was not given.
        random_spread: Its standard deviation.
        among: The share of each known vector that the others explain; NaN for a vector of zeros.
        among_mean: The mean of those shares: what a vector drawn like the known ones has explained.
        among_spread: Their standard deviation over the known vectors.
        inside: x_span, the explained share as a part of the reference, chance taken off; of a noisy target, an estimate
            of the share of its task vector that lies in the span. NaN where nothing could be decided.
        in_hull: The same of the simplex, or of the cone where the scale is free.
        verdict: "retrieve", "recombine", "learn" or "undecided".
        reason: A sentence with the numbers that decided.
    """

    span: Nearest
    affine: Nearest
    cone: Nearest
    simplex: Nearest
    cosines: Float64[np.ndarray, "*batch task"]
    ridge: Float64[np.ndarray, "*batch"]
    hull_ridge: Float64[np.ndarray, "*batch"]
    rank: Int64[np.ndarray, "*batch"]
    random_mean: Float64[np.ndarray, "*batch"]
    random_spread: Float64[np.ndarray, "*batch"]
    among: Float64[np.ndarray, "*batch task"]
    among_mean: Float64[np.ndarray, "*batch"]
    among_spread: Float64[np.ndarray, "*batch"]
    inside: Float64[np.ndarray, "*batch"]
    in_hull: Float64[np.ndarray, "*batch"]
    verdict: npt.NDArray[Any]
    reason: npt.NDArray[Any]

    @property
    def batch(self) -> tuple[int, ...]:
        """The shape of the targets; () for one."""
        return self.verdict.shape

    @property
    def scale(self) -> Float64[np.ndarray, "*batch"]:
        """Σ c_i of the cone: its nearest point is `scale` times the mixture."""
        return np.asarray(self.cone.coefficients.sum(axis=-1))

    @property
    def mixture(self) -> Float64[np.ndarray, "*batch task"]:
        """The cone's coefficients as shares that add up to 1; zeros where nothing points the target's way."""
        total = self.scale[..., None]
        return np.asarray(self.cone.coefficients / np.where(total > 0, total, 1.0))

    def __getitem__(self, index: Index) -> "Location":
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        parts: dict[str, Any] = {
            name: v[index] if isinstance(v, Nearest) else _picked(v, index) for name, v in values.items()
        }
        return Location(**parts)

    def facts(self) -> dict[str, Any]:
        """Return everything as plain dicts, lists, numbers and strings, as JSON takes them; None for NaN."""
        values = {name: getattr(self, name) for name in [*(field.name for field in fields(self)), "scale", "mixture"]}
        return {name: v.facts() if isinstance(v, Nearest) else _plain(v) for name, v in values.items()}


def _picked(value: npt.NDArray[Any], index: Index) -> npt.NDArray[Any]:
    return np.asarray(value[index])


def _plain(value: npt.NDArray[Any]) -> Any:
    return _without_nan(value.tolist())


def _without_nan(value: Any) -> Any:
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [_without_nan(x) for x in value]
    return None if isinstance(value, float) and np.isnan(value) else value
