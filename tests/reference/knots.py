"""KnOTS (arXiv:2410.19735, §4), step by step in float64: the dense changes side by side, and their decomposition."""

from collections.abc import Callable, Sequence

import numpy as np

Method = Callable[[np.ndarray], np.ndarray]


def knots(bs: Sequence[np.ndarray], as_: Sequence[np.ndarray], method: Method) -> np.ndarray:
    """Return the merged change: `method` merges the blocks diag(s) V_tᵀ."""
    changes = [b.astype(np.float64) @ a.astype(np.float64) for b, a in zip(bs, as_, strict=True)]
    u, s, vt = np.linalg.svd(np.concatenate(changes, axis=1), full_matrices=False)
    kept = s > 1e-10 * s[0]
    u, s, vt = u[:, kept], s[kept], vt[kept]
    all_blocks = s[:, None] * vt
    all_blocks[np.abs(all_blocks) < 1e-12 * s[0]] = 0  # of a task that has nothing; a sign of rounding is no vote
    blocks = np.split(all_blocks, len(changes), axis=1)
    return u @ method(np.stack(blocks))
