"""A report as the page shows it: models in the order of their clustering, layers and kinds with their labels."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import floor, isfinite, log10

import numpy as np

from ...ops.shapes import Float64, Int64
from .. import figures
from ..clusters import Tree, cluster
from ..report import Group, Report
from ..words import KINDS, number


@dataclass(frozen=True)
class Shown:
    """What several figures need, found once."""

    report: Report
    total: Group
    tree: Tree
    layers: tuple[Group, ...]
    kinds: tuple[Group, ...]

    @property
    def order(self) -> Int64[np.ndarray, " task"]:
        """The models as the tree has them."""
        return np.array(self.tree.order, dtype=np.int64)

    @property
    def names(self) -> list[str]:
        """The models' names, as the tree has them."""
        return [self.report.models[t] for t in self.tree.order]

    def ordered(self, values: Float64[np.ndarray, "task task"]) -> Float64[np.ndarray, "task task"]:
        """Put the rows and the columns of a matrix as the tree has them."""
        moved: Float64[np.ndarray, "task task"] = values[np.ix_(self.order, self.order)]
        return moved

    def layer_names(self) -> list[str]:
        """Say which layer each group of a layer is; the stack only where there are several."""
        several = len({group.stack for group in self.layers if group.layer is not None}) > 1
        return [_layer_name(group, several) for group in self.layers]

    def of(self, layer: Group, kind: Group) -> Group | None:
        """Return the group of one kind in one layer, if there is one."""
        key = (layer.stack, layer.layer, kind.kind)
        return next((g for g in self.report.groups if (g.stack, g.layer, g.kind) == key), None)


def shown_of(report: Report) -> Shown:
    """Add up a report's groups, and cluster its models."""
    total, places = report.total, {kind: place for place, kind in enumerate(KINDS)}
    kinds = sorted(report.by_kind(), key=lambda group: places.get(group.kind, len(places)))
    return Shown(report, total, cluster(figures.cosines(total)), report.by_layer(), tuple(kinds))


def _layer_name(group: Group, several: bool) -> str:
    if group.layer is None:
        return f"{group.stack or 'outside'}, no layer" if group.stack else "outside layers"
    return f"{group.stack} {group.layer}" if several else f"layer {group.layer}"


class Percent:
    """Shares in per cent, all with as many decimals as the largest of them needs for three digits.

    >>> Percent([0.0123])(0.005), Percent([0.45])(0.5), Percent([2.0])(1.0)
    ('0.50', '50.0', '100')
    """

    def __init__(self, values: Sequence[float]) -> None:
        """Look at the largest."""
        largest = max([100 * abs(v) for v in values if isfinite(v)], default=1.0) or 1.0
        self.digits = min(4, max(0, 2 - floor(log10(largest))))

    def __call__(self, share: float) -> str:
        """Say one, without its unit."""
        return number(100 * share, self.digits)


def digits_of(values: Sequence[float]) -> int:
    """Return the decimals that cosines are written with: more where all are small."""
    largest = max([abs(v) for v in values if isfinite(v)], default=1.0)
    return 3 if largest < 0.0995 else 2
