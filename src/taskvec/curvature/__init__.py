"""Curvature of a loss around a model's weights: Fisher, Gauss-Newton, K-FAC, Gram matrices."""

from .cost import Cost
from .estimate import estimate
from .estimating import ESTIMATORS, KINDS, Estimate, Estimating
from .measure import measure_curvature
from .products import Bending
from .through import measure_through

__all__ = [
    "ESTIMATORS",
    "KINDS",
    "Bending",
    "Cost",
    "Estimate",
    "Estimating",
    "estimate",
    "measure_curvature",
    "measure_through",
]
