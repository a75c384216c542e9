"""Reports made in memory, of task vectors drawn by chance."""

from collections.abc import Sequence

import numpy as np

from taskvec.diagnose.report import Counts, Group, Matrix, Report, Rounding

KINDS = ("q", "k", "v", "o", "mlp", "norm")
SHAPE = (24, 16)
KEPT = 0.2


def group(
    deltas: np.ndarray, *, stack: str = "layers", layer: int | None = 0, kind: str = "q", spectra: int = 0
) -> Group:
    """Measure some task vectors, (task, row, column), as an inspection would; the base has |θ|² = entries."""
    flat = deltas.reshape(len(deltas), -1).astype(np.float64)
    entries = flat.shape[1]
    matrices = (_matrix(f"{stack}.{layer}.{kind}", deltas, spectra),) if spectra else ()
    return Group(
        stack,
        layer,
        kind,
        1,
        entries,
        float(entries),
        flat @ flat.T,
        np.abs(flat).max(axis=1),
        _counts(flat),
        _rounding(flat),
        matrices,
    )


def _counts(flat: np.ndarray) -> Counts:
    largest = int(KEPT * flat.shape[1])
    threshold = np.sort(np.abs(flat), axis=1)[:, -largest, None]
    nonzero = flat != 0
    kept = (np.abs(flat) >= threshold) & nonzero

    def both(mask: np.ndarray) -> np.ndarray:
        return mask.astype(np.int64) @ mask.astype(np.int64).T

    def opposite(mask: np.ndarray) -> np.ndarray:
        signs = np.where(mask, np.sign(flat), 0).astype(np.int64)
        return (both(mask) - signs @ signs.T) // 2

    return Counts(flat.shape[1], both(nonzero), opposite(nonzero), both(kept), opposite(kept))


def _rounding(flat: np.ndarray) -> Rounding:
    """Round to steps of 1/256 around a base of zeros."""
    changes = np.vstack([flat, flat.mean(axis=0)])
    stored = np.round(changes * 256) / 256
    changed = changes != 0
    return Rounding(
        (changes**2).sum(axis=1),
        ((stored - changes) ** 2).sum(axis=1),
        (changed & (stored == 0)).sum(axis=1).astype(np.int64),
        changed.sum(axis=1).astype(np.int64),
    )


def _matrix(name: str, deltas: np.ndarray, spectra: int) -> Matrix:
    left, values, right = np.linalg.svd(deltas.astype(np.float64), full_matrices=False)
    left, values, right = left[:, :, :spectra], values[:, :spectra], right[:, :spectra].swapaxes(1, 2)

    def angles(spaces: np.ndarray) -> np.ndarray:
        return np.clip(np.linalg.svd(np.einsum("anr,bnq->abrq", spaces, spaces), compute_uv=False), 0, 1)

    u, v, s = np.hstack(list(left)), np.hstack(list(right)), values.reshape(-1)
    eye = np.eye(len(s))
    found = np.abs(((u.T @ u - eye) * s) @ (v.T @ v - eye)).sum()
    energy = (deltas.astype(np.float64) ** 2).sum(axis=(1, 2))
    sure = np.zeros(len(deltas))
    return Matrix(
        name, (SHAPE[0], SHAPE[1]), values, energy, sure, angles(left), angles(right), float(found), float(s.sum())
    )


def report(
    rng: np.random.Generator,
    *,
    names: Sequence[str] = ("anna", "bert", "carl"),
    layers: int = 3,
    kinds: Sequence[str] = KINDS,
    common: float = 0.3,
    zeros: Sequence[int] = (),
    scale: float = 0.02,
    spectra: int = 0,
    outside: bool = True,
    base: str = "base",
) -> Report:
    """Draw task vectors that share a part, those of `zeros` being zero, and report on them."""

    def drawn() -> np.ndarray:
        deltas = rng.normal(size=(len(names), *SHAPE)) + common * rng.normal(size=SHAPE)
        deltas[list(zeros)] = 0
        return scale * deltas

    groups = [group(drawn(), layer=n, kind=kind, spectra=spectra) for n in range(layers) for kind in kinds]
    if outside:
        groups.insert(0, group(drawn(), stack="", layer=None, kind="embedding"))
    return Report(base, tuple(names), "bfloat16", KEPT, tuple(groups), spectra=spectra, read_bytes=10**9, seconds=2.5)
