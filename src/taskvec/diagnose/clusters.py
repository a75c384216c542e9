"""Which models are near each other: a tree of them, an order for figures, and a map in two dimensions."""

from dataclasses import dataclass

import numpy as np

from ..ops.shapes import Float64


@dataclass(frozen=True)
class Tree:
    """Models joined two by two, the nearest first, by the average distance of their members.

    joined: the two that are joined in each step, the smaller number first; below T a model, T + s what step s joined.
    heights: (step,) their distance, never falling. order: the models such that no two branches cross, and those at
    the ends of neighbouring branches are near each other.
    """

    joined: tuple[tuple[int, int], ...]
    heights: tuple[float, ...]
    order: tuple[int, ...]


@dataclass(frozen=True)
class TaskMap:
    """The models in the two directions that hold most of their task vectors, with the base at the origin.

    points: (task, 2), in units of |τ|. shares: (2,) the share of Σ_t |τ_t|² that lies along each axis.
    """

    points: Float64[np.ndarray, "task 2"]
    shares: Float64[np.ndarray, " 2"]


def cluster(cosines: Float64[np.ndarray, "task task"]) -> Tree:
    """Join the models by average linkage of 1 - cosine.

        d(A, B) = mean of 1 - cos(a, b) over a in A, b in B

    Edge:  one model is a tree without joints. Of equal distances the one of the earlier models is joined first.
    Source: UPGMA, Sokal and Michener 1958.

    >>> cluster(np.array([[1.0, 0.0, 0.9], [0.0, 1.0, 0.2], [0.9, 0.2, 1.0]])).order
    (0, 2, 1)
    """
    models = len(cosines)
    leaves: dict[int, tuple[int, ...]] = {t: (t,) for t in range(models)}
    near = 1.0 - cosines
    far = near.astype(np.float64).copy()
    names = list(range(models))
    joined: list[tuple[int, int]] = []
    heights: list[float] = []
    for step in range(models - 1):
        i, j = _nearest(far)
        a, b = sorted((names[i], names[j]))
        joined.append((a, b))
        heights.append(float(max([far[i, j], *heights[-1:]])))
        far = _joined(far, i, j, len(leaves[names[i]]), len(leaves[names[j]]))
        leaves[models + step] = _side_by_side(leaves.pop(a), leaves.pop(b), near)
        names[i] = models + step
        del names[j]
    order = leaves[names[0]] if models else ()
    return Tree(tuple(joined), tuple(heights), min(order, order[::-1]))


def _nearest(far: Float64[np.ndarray, "part part"]) -> tuple[int, int]:
    """Return the two nearest of different parts, the earlier one first."""
    upper = np.where(np.triu(np.ones_like(far), 1) > 0, far, np.inf)
    i, j = np.unravel_index(int(np.argmin(upper)), upper.shape)
    return int(i), int(j)


def _joined(
    far: Float64[np.ndarray, "part part"], i: int, j: int, first: int, second: int
) -> Float64[np.ndarray, "rest rest"]:
    """Replace parts i and j, of `first` and `second` members, by one in the place of i."""
    mean = (first * far[i] + second * far[j]) / (first + second)
    far = far.copy()
    far[i], far[:, i] = mean, mean
    return np.delete(np.delete(far, j, axis=0), j, axis=1)


def _side_by_side(a: tuple[int, ...], b: tuple[int, ...], near: Float64[np.ndarray, "task task"]) -> tuple[int, ...]:
    """Put two branches beside each other, each turned so that their ends which meet are nearest."""
    ways = [(x, y) for x in (a, a[::-1]) for y in (b, b[::-1])]
    x, y = min(ways, key=lambda way: near[way[0][-1], way[1][0]])
    return x + y


def task_map(gram: Float64[np.ndarray, "task task"]) -> TaskMap:
    """Return where the models lie in the plane that holds most of their squared norms.

        K = Σ_i λ_i v_i v_iᵀ,   x_t = (√λ_1 v_1t, √λ_2 v_2t)

    The Gram matrix is not centred, so the base (the zero vector) is the origin and lengths are never longer than |τ|.

    Edge:  of zero vectors all lie at the origin, with shares 0. An axis points to where most of its length lies.
    Source: classical scaling, Torgerson 1952, without its centring.

    >>> task_map(np.diag([4.0, 1.0])).points
    array([[2., 0.],
           [0., 1.]])
    """
    values, vectors = np.linalg.eigh(gram)
    values = np.maximum(values[::-1], 0.0)
    points = np.zeros((len(gram), 2))
    axes = min(2, len(gram))
    points[:, :axes] = vectors[:, ::-1][:, :axes] * np.sqrt(values[:axes])
    points *= np.where(points.sum(axis=0) < 0, -1.0, 1.0)
    total = float(np.trace(gram))
    shares = np.zeros(2)
    if total > 0:
        shares[:axes] = values[:axes] / total
    return TaskMap(points + 0.0, shares)
