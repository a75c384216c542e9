"""Curvature of a loss around a model's weights: Fisher, Gauss-Newton, K-FAC, Gram matrices."""

from .estimate import estimate
from .estimating import ESTIMATORS, KINDS, Estimate, Estimating

__all__ = ["ESTIMATORS", "KINDS", "Estimate", "Estimating", "estimate"]
