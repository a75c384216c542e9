"""Core Space Merging (arXiv:2509.17786, §3), step by step in float64 and on dense matrices."""

from collections.abc import Callable, Sequence

import numpy as np

Method = Callable[[np.ndarray], np.ndarray]


def core(bs: Sequence[np.ndarray], as_: Sequence[np.ndarray], method: Method) -> np.ndarray:
    """Return the merged change: `method` merges the cores, a matrix a task."""
    stacked_b = np.concatenate([b.astype(np.float64) for b in bs], axis=1)
    stacked_a = np.concatenate([a.astype(np.float64) for a in as_], axis=0)
    u_b, s_b, _ = np.linalg.svd(stacked_b, full_matrices=False)
    _, s_a, v_a = np.linalg.svd(stacked_a, full_matrices=False)
    u_b, v_a = u_b[:, s_b > 1e-10 * s_b[0]], v_a[s_a > 1e-10 * s_a[0]]
    cores = []
    for b, a in zip(bs, as_, strict=True):
        change = b.astype(np.float64) @ a.astype(np.float64)
        cores.append(u_b.T @ change @ v_a.T)
    return u_b @ method(np.stack(cores)) @ v_a
