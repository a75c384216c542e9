"""Merges under curvature as their papers have them: every metric written out as a matrix on all entries, in float64."""

from collections.abc import Sequence

import numpy as np

from reference.matrix_methods import procrustes, svd

Matrix = np.ndarray


def kron(outer: Matrix, inner: Matrix) -> Matrix:
    """The matrix of x → outer x innerᵀ on entries in rows."""
    return np.kron(outer, inner)


def mean(targets: Sequence[Matrix], hessians: Sequence[Matrix], weights: Sequence[float]) -> Matrix:
    """EpiMer's eq. (2): the minimiser of Σ w_t (d - d_t)ᵀ H_t (d - d_t); nearest to the flat mean where it is free."""
    shares = np.asarray(weights, np.float64) / sum(weights)
    quadratic = sum(w * h for w, h in zip(shares, hessians, strict=True))
    pull = sum(w * (h @ d.ravel()) for w, h, d in zip(shares, hessians, targets, strict=True))
    flat = sum(w * d.ravel() for w, d in zip(shares, targets, strict=True))
    return (flat + np.linalg.pinv(quadratic, rcond=1e-12) @ (pull - quadratic @ flat)).reshape(targets[0].shape)


def fisher(models: Sequence[Matrix], fishers: Sequence[Matrix], weights: Sequence[float]) -> Matrix:
    """Matena and Raffel, entry by entry."""
    out = np.zeros(models[0].size)
    for i in range(out.size):
        total = sum(w * f.flat[i] for w, f in zip(weights, fishers, strict=True))
        if total > 0:
            out[i] = sum(w * f.flat[i] * x.flat[i] for w, f, x in zip(weights, fishers, models, strict=True)) / total
        else:
            out[i] = sum(w * x.flat[i] for w, x in zip(weights, models, strict=True)) / sum(weights)
    return out.reshape(models[0].shape)


def gradient_matching(
    deltas: Sequence[Matrix], fishers: Sequence[Matrix], base: Matrix, weights: Sequence[float], prior: float
) -> Matrix:
    """Daheim et al., eq. (12), entry by entry."""
    out = np.zeros(deltas[0].size)
    for i in range(out.size):
        h0 = base.flat[i] + prior
        hbar = h0 + sum(w * f.flat[i] for w, f in zip(weights, fishers, strict=True))
        for w, f, x in zip(weights, fishers, deltas, strict=True):
            out[i] += w * (h0 + f.flat[i]) * x.flat[i] / hbar
    return out.reshape(deltas[0].shape)


def regmean(models: Sequence[Matrix], grams: Sequence[Matrix], weights: Sequence[float], alpha: float) -> Matrix:
    """Jin et al., §3.2, on weights that are stored (out, in): W = (Σ W_t G_t)(Σ G_t)⁻¹."""
    lowered = [np.where(np.eye(len(g), dtype=bool), g, alpha * g) for g in grams]
    left = sum(w * x @ g for w, x, g in zip(weights, models, lowered, strict=True))
    return left @ np.linalg.inv(sum(w * g for w, g in zip(weights, lowered, strict=True)))


def atoms(deltas: Sequence[Matrix], keep: int) -> tuple[Matrix, Matrix, Matrix]:
    """§1.4: the basis S, a column an atom; every atom's singular value; and its task."""
    us, ss, vs = [], [], []
    for delta in deltas:
        u, s, vt = svd(delta)
        us.append(u[:, :keep])
        ss.append(s[:keep])
        vs.append(vt[:keep])
    u, v = procrustes(np.concatenate(us, axis=1)), procrustes(np.concatenate(vs, axis=0)).T
    basis = np.stack([np.outer(u[:, i], v[:, i]).ravel() for i in range(u.shape[1])], axis=1)
    return basis, np.concatenate(ss), np.repeat(np.arange(len(deltas)), keep)


def epimer(
    deltas: Sequence[Matrix],
    hessians: Sequence[Matrix],
    keep: int,
    *,
    project: bool = False,
    summed: bool = True,
    damping: float = 0.0,
) -> Matrix:
    """Steps A to H, and eq. (3): every H̃_t is formed, and each is damped."""
    tasks = len(deltas)
    basis, s, label = atoms(deltas, keep)
    projected = [basis.T @ h @ basis for h in hessians]
    ridge = damping * np.trace(sum(projected) / tasks) / len(s) * np.eye(len(s))
    projected = [h + ridge for h in projected]
    own = [basis.T @ x.ravel() if project else np.where(label == t, s, 0.0) for t, x in enumerate(deltas)]
    quadratic = sum(projected) / tasks
    d = np.linalg.solve(quadratic, sum(h @ x for h, x in zip(projected, own, strict=True)))
    return (basis @ (d if summed else d / tasks)).reshape(deltas[0].shape)
