"""The matrix methods as their papers and the authors' codes have them: whole SVDs in float64, one step a line."""

from collections.abc import Sequence

import numpy as np

Matrix = np.ndarray


def svd(x: Matrix) -> tuple[Matrix, Matrix, Matrix]:
    """Thin."""
    return np.linalg.svd(x.astype(np.float64), full_matrices=False)


def real(s: Matrix, most: float) -> int:
    """How many of the singular values are no rounding. The vectors of the others are arbitrary: the authors' codes
    whiten them with the rest, so that their results depend on the library; here they are left out."""
    return int((s > 1e-6 * most).sum()) if most else 0


def procrustes(x: Matrix) -> Matrix:
    """The nearest orthonormal matrix."""
    if not x.size:
        return x
    u, s, vt = svd(x)
    k = real(s, s[0])
    return u[:, :k] @ vt[:k]


def whole_procrustes(x: Matrix) -> Matrix:
    """The same with every direction, real or not."""
    u, _, vt = svd(x)
    return u @ vt


def tsv_m(deltas: Sequence[Matrix], share: float = 0.0) -> Matrix:
    """Gargiulo et al.: k components a task, both sides whitened together."""
    tasks = len(deltas)
    us, ss, vts = [], [], []
    for delta in deltas:
        u, s, vt = svd(delta)
        k = min(max(1, int(len(s) * (share or 1 / tasks))), real(s, s[0]))
        us.append(u[:, :k])
        ss.append(s[:k])
        vts.append(vt[:k])
    u, s, vt = np.concatenate(us, axis=1), np.concatenate(ss), np.concatenate(vts, axis=0)
    return procrustes(u) @ np.diag(s) @ procrustes(vt)


def iso_c(deltas: Sequence[Matrix]) -> Matrix:
    """Marczak et al.: a flat spectrum."""
    u, s, vt = svd(sum(deltas))
    k = real(s, s[0])
    if k < len(s):
        return s.mean() * u[:, :k] @ vt[:k]
    return u @ np.diag(np.full(len(s), s.mean())) @ vt


def iso_cts(deltas: Sequence[Matrix], common: float = 0.8) -> Matrix:
    """Marczak et al.: a common subspace, and what each task has beside it."""
    tasks = len(deltas)
    u, s, vt = svd(sum(deltas))
    rank = len(s)
    kept = int(rank * common)
    own = round((rank - kept) / tasks)
    kept = rank - own * tasks
    k = min(kept, real(s, s[0]))
    u_common, s_common, vt_common = u[:, :k], s[:k], vt[:k]
    us, ss, vts = [], [], []
    for delta in deltas:
        rest = delta - u_common @ u_common.T @ delta
        u, s, vt = svd(rest)
        k = min(own, real(s, float(np.linalg.norm(delta))))
        us.append(u[:, :k])
        ss.append(s[:k])
        vts.append(vt[:k])
    u = np.concatenate([*us, u_common], axis=1)
    s = np.concatenate([*ss, s_common])
    vt = np.concatenate([*vts, vt_common], axis=0)
    return s.sum() / rank * procrustes(u) @ procrustes(vt)


def cart(deltas: Sequence[Matrix], share: float = 0.08, strength: float = 1.0) -> Matrix:
    """Choi et al.: the mean, and the low-rank part of each difference from it."""
    mean = sum(deltas) / len(deltas)
    out = mean.astype(np.float64)
    for delta in deltas:
        u, s, vt = svd(delta - mean)
        k = max(1, int(len(s) * share))
        out = out + strength * u[:, :k] @ np.diag(s[:k]) @ vt[:k]
    return out


def subspace_boosting(deltas: Sequence[Matrix], beta: float = 0.01) -> Matrix:
    """Skorobogat et al.: singular values clamped from below."""
    u, s, vt = svd(sum(deltas))
    if s.sum() == 0:
        return np.zeros_like(u @ vt)
    k = real(s, s[0])
    u, s, vt = u[:, :k], s[:k], vt[:k]
    reached = np.nonzero(np.cumsum(s) / s.sum() >= beta)[0]
    cutoff = reached[0] if len(reached) else len(s) - 1
    return u @ np.diag(np.maximum(s, s[cutoff])) @ vt


def wudi(deltas: Sequence[Matrix], steps: int = 300, rate: float = 1e-5) -> Matrix:
    """Cheng et al.: Adam on Σ |(x - τ_t) τ_tᵀ|² / |τ_t|², from Σ τ_t; the gradient is written out."""
    x = sum(deltas).astype(np.float64)
    first, second = np.zeros_like(x), np.zeros_like(x)
    for step in range(1, steps + 1):
        gradient = np.zeros_like(x)
        for delta in deltas:
            size = (delta**2).sum()
            if size:
                gradient += 2 * ((x - delta) @ delta.T) @ delta / size
        first = 0.9 * first + 0.1 * gradient
        second = 0.999 * second + 0.001 * gradient**2
        x = x - rate * (first / (1 - 0.9**step)) / (np.sqrt(second / (1 - 0.999**step)) + 1e-8)
    return x


def wudi_loss(x: Matrix, deltas: Sequence[Matrix]) -> float:
    """What WUDI minimises."""
    return float(sum((((x - d) @ d.T) ** 2).sum() / (d**2).sum() for d in deltas if (d**2).sum()))


def knots(deltas: Sequence[Matrix], weights: Sequence[float], density: float, elect: bool) -> Matrix:
    """Stoica et al.: one SVD of all, side by side; the blocks are trimmed, vote, and go back through U."""
    u, s, vt = svd(np.concatenate(deltas, axis=1))
    real = s > 1e-6 * s[0]
    u, s, vt = u[:, real], s[real], vt[real]
    blocks = np.split(np.diag(s) @ vt, len(deltas), axis=1)
    kept = []
    for block in blocks:
        k = max(1, int(density * block.size + 0.5))
        threshold = np.sort(np.abs(block).ravel())[-k]
        kept.append(np.where(np.abs(block) >= threshold * (1 - 1e-9), block, 0.0))
    if not elect:
        return u @ sum(w * block for w, block in zip(weights, kept, strict=True))
    sign = np.sign(sum(np.sign(w) * block for w, block in zip(weights, kept, strict=True)))
    top, share = np.zeros_like(blocks[0]), np.zeros_like(blocks[0])
    for w, block in zip(weights, kept, strict=True):
        agrees = (np.sign(np.sign(w) * block) == sign) & (block != 0)
        top += np.where(agrees, abs(w) * np.sign(w) * block, 0)
        share += np.where(agrees, abs(w), 0)
    return u @ np.where(share > 0, top / np.where(share > 0, share, 1), 0)
