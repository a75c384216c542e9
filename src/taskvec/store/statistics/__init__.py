"""Curvature of a model, on disk: a folder of facts (`statistics.json`) and tensors by the names of the model's weights.

The format is described in docs/formats.md. Whoever measures writes it tensor by tensor; whoever merges reads slices.
"""

from .names import FACTS, GRADIENT, NEEDED, PARTS, TENSORS, key, part_shapes
from .opened import Statistics
from .written import StatisticsWriter, check_new

__all__ = [
    "FACTS",
    "GRADIENT",
    "NEEDED",
    "PARTS",
    "TENSORS",
    "Statistics",
    "StatisticsWriter",
    "check_new",
    "key",
    "part_shapes",
]
