"""Lines that say how far the training of a task is."""

import time

from rich.console import Console

LINES = 8
"""So many a task."""


class Progress:
    """Prints task, step, mean loss since the last line, and the time left, at the pace so far."""

    def __init__(self, task: str, console: Console) -> None:
        self._task = task
        self._console = console
        self._start = time.perf_counter()
        self._losses: list[float] = []

    def __call__(self, step: int, steps: int, loss: float) -> None:
        """Take note of a step; print a line if it is time for one."""
        self._losses.append(loss)
        if step % -(-steps // LINES) and step < steps:
            return
        left = (time.perf_counter() - self._start) * (steps - step) / step
        mean = sum(self._losses) / len(self._losses)
        self._losses.clear()
        self._console.print(f"{self._task}: step {step} of {steps}, loss {mean:.3f}, {left:.0f} s left")
