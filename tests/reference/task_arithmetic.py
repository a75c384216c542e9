"""Task arithmetic: Ilharco et al. 2023, arXiv:2212.04089, §2."""

from collections.abc import Sequence


def task_arithmetic(
    deltas: Sequence[Sequence[float]], weights: Sequence[float], *, normalize: bool = False
) -> list[float]:
    """τ_new = Σ w_t τ_t: a weight of 1 adds a task, of -1 forgets it."""
    total = sum(weights) if normalize else 1.0
    new = []
    for entries in zip(*deltas, strict=True):
        tau = 0.0
        for weight, entry in zip(weights, entries, strict=True):
            tau += weight / total * entry
        new.append(tau)
    return new
