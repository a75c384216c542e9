"""A search's progress in the terms of all other long work."""

from .. import progress
from .trials import Evaluation


class Telling:
    """Tells `taskvec.progress` how far a search is, in hundredths of an evaluation, and its best point."""

    def __init__(self, told: progress.Progress, what: str = "") -> None:
        """Tell `told`; `what` is searched, if a name is wanted."""
        self._told, self._what = told, what

    def begin(self, what: str, total: float | None) -> None:
        """See `trials.Progress`."""
        self._told.begin(f"{what} {self._what}".strip(), round(100 * (total or 0)) or 100, "% of an evaluation")

    def advance(self, done: float, total: float | None, best: Evaluation | None, left: float | None) -> None:
        """See `trials.Progress`."""
        self._told.advance(round(100 * done), f"best {best.mean:.4f} at {point_of(best)}" if best else "")

    def end(self) -> None:
        """See `trials.Progress`."""
        self._told.end()


def point_of(evaluation: Evaluation, most: int = 4) -> str:
    """Return the numbers of an evaluation in words, the first few of them."""
    words = [
        f"{name} {value:g}" if isinstance(value, float) else f"{name} {value}"
        for name, value in evaluation.point.items()
    ]
    return ", ".join(words[:most]) + (", …" if len(words) > most else "")
