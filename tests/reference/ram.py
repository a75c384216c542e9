"""RAM and RAM+: Yuan et al. 2026, arXiv:2601.13572, §4."""

from collections.abc import Sequence


def changed_by(entries: Sequence[float], epsilon: float) -> list[int]:
    """The tasks that changed an entry."""
    return [t for t, x in enumerate(entries) if abs(x) > epsilon]


def rescale(deltas: Sequence[Sequence[float]], *, r: float, alpha: float, epsilon: float) -> list[float]:
    """λ_t = 1 + r clip(ρ_t, 0, α), with ρ_t the ratio of shared to unique changes."""
    shared, unique = [0] * len(deltas), [0] * len(deltas)
    for entries in zip(*deltas, strict=True):
        tasks = changed_by(entries, epsilon)
        for t in tasks:
            if len(tasks) > 1:
                shared[t] += 1
            else:
                unique[t] += 1
    ratios = [s / u if u else 0.0 for s, u in zip(shared, unique, strict=True)]  # nothing unique: nothing to rescale
    return [1 + r * min(ratio, alpha) for ratio in ratios]


def ram(
    deltas: Sequence[Sequence[float]], *, epsilon: float = 0.0, rescaled: Sequence[float] | None = None
) -> list[float]:
    """Shared changes are averaged, unique ones kept (rescaled, in RAM+), unchanged entries stay the base's."""
    out = []
    for entries in zip(*deltas, strict=True):
        tasks = changed_by(entries, epsilon)
        if not tasks:
            out.append(0.0)
        elif len(tasks) == 1:
            out.append((rescaled[tasks[0]] if rescaled else 1.0) * entries[tasks[0]])
        else:
            out.append(sum(entries[t] for t in tasks) / len(tasks))
    return out


def ramplus(deltas: Sequence[Sequence[float]], *, r: float, alpha: float, epsilon: float = 0.0) -> list[float]:
    """RAM+, with ratios over the entries given."""
    return ram(deltas, epsilon=epsilon, rescaled=rescale(deltas, r=r, alpha=alpha, epsilon=epsilon))
