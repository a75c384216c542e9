"""Least squares with coefficients that are not negative, or that also have a given sum: exact, by active sets."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from .shapes import Float64

SETTLED = 1e-12
"""A slope below this share of the terms it is the difference of is rounding."""

GUESSES = 25
"""Exchanges of whole blocks that are tried. A handful is enough where they work at all."""

PATIENCE = 3
"""Exchanges in a row that may leave as many indices wrong as before."""

Mask = npt.NDArray[np.bool_]


def least_squares_on(
    hessian: Float64[np.ndarray, "n n"],
    linear: Float64[np.ndarray, "target n"],
    weights: Float64[np.ndarray, " n"] | None = None,
) -> Float64[np.ndarray, "target n"]:
    """Return the u of least ½ uᵀHu - kᵀu for each target, with Σ w_i u_i = 1 where weights are given.

        u = H⁻¹k,   or   u = H⁻¹(k - νw),   ν = (wᵀH⁻¹k - 1) / wᵀH⁻¹w

    One factorisation serves all targets. With weights, k is first shifted along w, which changes nothing but the
    rounding: a target that is far away has large products that are nearly equal.

    Shape: `hessian` is positive definite.

    >>> least_squares_on(np.eye(2), np.array([[3.0, 1.0]]), np.ones(2)).tolist()
    [[1.5, -0.5]]
    """
    if weights is None:
        return np.ascontiguousarray(np.linalg.solve(hessian, linear.T).T)
    shifted = linear - np.outer(linear @ weights / (weights @ weights), weights)
    solved = np.linalg.solve(hessian, np.vstack([shifted, weights]).T).T
    free, plane = solved[:-1], solved[-1]
    return free - np.outer((free @ weights - 1) / (plane @ weights), plane)


def nonnegative(
    hessian: Float64[np.ndarray, "n n"],
    linear: Float64[np.ndarray, " n"],
    weights: Float64[np.ndarray, " n"] | None = None,
) -> Float64[np.ndarray, " n"]:
    """Return the u ≥ 0 of least ½ uᵀHu - kᵀu, with Σ w_i u_i = 1 where (positive) weights are given.

        u ≥ 0,   s = k - Hu - νw ≤ 0,   u_i s_i = 0        (ν = 0 without weights)

    These conditions have one solution, since H is positive definite; u is exactly 0 where it is 0, and s ≤ 0 holds to
    1e-12 of its terms. Blocks of indices are exchanged first, which settles most problems in a handful of solves. Where
    that does not settle, indices enter one by one.

    Ends:  always. The exchanges are counted. After them a point is left only for one whose set of positive entries was
        not seen before, and there are finitely many; at a point each index is tried at most once; and each try drops an
        index a step until what is left is positive.
    Shape: `hessian` is positive definite.
    Source: Portugal, Júdice and Vicente 1994 (block exchanges); Lawson and Hanson 1974, chapter 23 (one by one);
        Bro and de Jong 1997 (from inner products alone).

    >>> nonnegative(np.eye(2), np.array([3.0, -1.0])).tolist()
    [3.0, 0.0]
    >>> nonnegative(np.eye(2), np.array([3.0, 1.0]), np.ones(2)).tolist()
    [1.0, 0.0]
    """
    problem = _Problem(hessian, linear, weights)
    u, settled = _by_blocks(problem)
    if not settled:
        u = _one_by_one(problem, u)
    return u if weights is None else u / (weights @ u)


@dataclass(frozen=True)
class _Problem:
    hessian: Float64[np.ndarray, "n n"]
    linear: Float64[np.ndarray, " n"]
    weights: Float64[np.ndarray, " n"] | None

    def minimum(self, free: Mask) -> Float64[np.ndarray, " n"]:
        """Return the best point whose other entries are 0."""
        u = np.zeros(len(free))
        at = np.flatnonzero(free)
        if len(at):
            part = self.hessian[np.ix_(at, at)]
            u[at] = least_squares_on(part, self.linear[None, at], None if self.weights is None else self.weights[at])[0]
        return u

    def slope(self, u: Float64[np.ndarray, " n"], free: Mask) -> Float64[np.ndarray, " n"]:
        """Return s = k - Hu - νw, where ν makes it nothing on the free entries of their best point."""
        slope = np.asarray(self.linear - self.hessian @ u)
        if self.weights is None:
            return slope
        w = self.weights[free]
        return np.asarray(slope - (slope[free] @ w) / (w @ w) * self.weights)

    def rising(self, u: Float64[np.ndarray, " n"], free: Mask) -> Float64[np.ndarray, " n"]:
        """Return how much each entry that is 0 would gain by growing; 0 where it would gain nothing but rounding."""
        slope = self.slope(u, free)
        scale = float(np.abs(self.linear).max() + np.abs(self.linear - slope).max())
        return np.where(~free & (slope > SETTLED * scale), slope, 0.0)

    def lowered(self, u: Float64[np.ndarray, " n"], other: Float64[np.ndarray, " n"]) -> float:
        """Return how much lower the other point is: sᵀd - ½ dᵀHd, which is right where the values' digits run out."""
        way = other - u
        return float(way @ self.slope(u, u > 0) - way @ (self.hessian @ way) / 2)

    def start(self) -> Mask:
        """Return the indices that gain on their own; with weights, at least the best vertex."""
        if self.weights is None:
            return np.asarray(self.linear > 0)
        return self.vertex()

    def vertex(self) -> Mask:
        """Return the one index that is best alone."""
        if self.weights is None:
            return np.zeros(len(self.linear), dtype=np.bool_)
        at = 1 / self.weights
        best = int(np.argmin(at * at * np.diag(self.hessian) / 2 - at * self.linear))
        return np.asarray(np.arange(len(at)) == best)


def _by_blocks(problem: _Problem) -> tuple[Float64[np.ndarray, " n"], bool]:
    """Exchange all wrong indices at once; return the last point, made feasible, and whether it is the solution."""
    free, fewest, patience = problem.start(), len(problem.linear) + 1, PATIENCE
    u = problem.minimum(free)
    for _ in range(GUESSES):
        wrong = (free & (u <= 0)) | (problem.rising(u, free) > 0)
        count = int(wrong.sum())
        if not count:
            return u, True
        patience = PATIENCE if count < fewest else patience - 1
        if not patience:
            break
        fewest = min(fewest, count)
        free = free ^ wrong
        free = free if free.any() else problem.vertex()
        u = problem.minimum(free)
    return _feasible(problem, u), False


def _feasible(problem: _Problem, u: Float64[np.ndarray, " n"]) -> Float64[np.ndarray, " n"]:
    positive = np.asarray(np.maximum(u, 0.0))
    if problem.weights is None:
        return positive
    total = float(problem.weights @ positive)
    return np.asarray(positive / total) if total > 0 else problem.minimum(problem.vertex())


def _one_by_one(problem: _Problem, u: Float64[np.ndarray, " n"]) -> Float64[np.ndarray, " n"]:
    """Let the index that gains most enter, as long as that leads lower, to a set of positive entries that is new."""
    u = _descend(problem, u, u > 0)
    seen, tried = {(u > 0).tobytes()}, np.zeros(len(u), dtype=np.bool_)
    while True:
        gain = np.where(tried, 0.0, problem.rising(u, u > 0))
        enters = int(np.argmax(gain))
        if gain[enters] <= 0:
            return u
        free = u > 0
        free[enters] = True
        other = _descend(problem, u, free)
        positive = (other > 0).tobytes()
        if problem.lowered(u, other) > 0 and positive not in seen:
            u, tried = other, np.zeros(len(u), dtype=np.bool_)
            seen.add(positive)
        else:
            tried[enters] = True


def _descend(problem: _Problem, u: Float64[np.ndarray, " n"], free: Mask) -> Float64[np.ndarray, " n"]:
    """Go from a feasible point to the best one of its entries, dropping those that would turn negative on the way."""
    while True:
        best = problem.minimum(free)
        negative = free & (best <= 0)
        if not negative.any():
            return best
        steps = np.full(len(u), np.inf)
        steps[negative] = u[negative] / np.maximum(u[negative] - best[negative], np.finfo(np.float64).tiny)
        step = min(1.0, float(steps.min()))
        u = np.where(steps <= step, 0.0, np.maximum(u + step * (best - u), 0.0))
        free = free & (steps > step)
