"""The tree of a clustering: models at the left, joined at the cosine that their branches have on average."""

from collections.abc import Sequence
from dataclasses import dataclass

from ..clusters import Tree
from ..words import number
from .svg import letters, line, path, picture, shortened, text

ROOM = 6
PLOT = 250
STUB = 16
"""Length of the branch of the two models that are nearest, so that it is seen."""

LONGEST = 22


@dataclass(frozen=True)
class Axis:
    """Where distances from `near` to `far` stand: x from `left` on, with the ticks below `y`."""

    left: float
    y: float
    near: float
    far: float

    def at(self, distance: float) -> float:
        """Return the x of a distance."""
        reach = self.far - self.near
        return self.left + STUB + (PLOT - STUB) * ((distance - self.near) / reach if reach > 0 else 1.0)

    def drawn(self) -> list[str]:
        """Draw the axis, with three ticks in cosines."""
        y = self.y + ROOM
        out = [line(self.at(self.near), y, self.left + PLOT, y, "axis")]
        for distance in sorted({self.near, (self.near + self.far) / 2, self.far}):
            x = self.at(distance)
            out += [line(x, y, x, y + 4, "axis")]
            out += [text(x, y + 17, number(1 - distance, 3), kind="soft n", anchor="middle", size=11)]
        said = "mean cosine of the branches that are joined"
        return [*out, text(self.left + PLOT / 2, y + 36, said, kind="soft", anchor="middle", size=11)]


def tree_figure(tree: Tree, names: Sequence[str]) -> str:
    """Draw a tree whose joints stand at the mean cosine of what they join, along an axis that says so.

    Edge: the axis spans the joints, not all that a cosine can be; one model alone is a line.
    """
    high = 26 if len(names) <= 20 else 16
    labels = shortened(names, LONGEST)
    size = min(12, high - 3)
    left = max(letters(name, size) for name in labels) + 2 * ROOM
    axis = Axis(left, ROOM + high * len(names), min(tree.heights, default=0.0), max(tree.heights, default=1.0))
    rows = {t: ROOM + (row + 0.5) * high for row, t in enumerate(tree.order)}
    body = [text(left - ROOM, y + size / 3, labels[t], anchor="end", size=size) for t, y in rows.items()]
    body += [*_branches(tree, axis, rows), *axis.drawn()]
    about = f"{len(names)} models in the order {', '.join(names[t] for t in tree.order)}."
    return picture("tree", left + PLOT + 34, axis.y + 52, "Which models are near each other", about, body)


def _branches(tree: Tree, axis: Axis, rows: dict[int, float]) -> list[str]:
    """Draw each joint as three sides of a box, from its two branches to where they are joined."""
    out = []
    places = {t: (axis.left, y) for t, y in rows.items()}
    for step, ((a, b), height) in enumerate(zip(tree.joined, tree.heights, strict=True)):
        x, (xa, ya), (xb, yb) = axis.at(height), places[a], places[b]
        out.append(path([(xa, ya), (x, ya), (x, yb), (xb, yb)], "branch", f"joined at {number(1 - height, 3)}"))
        places[len(rows) + step] = (x, (ya + yb) / 2)
    return out
