"""An exponential moving average of weights: Tarvainen & Valpola 2017, arXiv:1703.01780, §2."""

from collections.abc import Sequence


def ema(models: Sequence[Sequence[float]], *, decay: float) -> list[float]:
    """θ' ← decay θ' + (1 - decay) θ for every checkpoint after the first, oldest first."""
    average = list(models[0])
    for theta in models[1:]:
        average = [decay * old + (1 - decay) * new for old, new in zip(average, theta, strict=True)]
    return average
