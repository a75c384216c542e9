"""How well each class is recognised."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt


def per_class(
    answers: npt.NDArray[np.integer[Any]], labels: npt.NDArray[np.integer[Any]], names: Sequence[str]
) -> dict[str, dict[str, float]]:
    """Return precision, recall, F1 and the number of examples of every class.

        precision = right / said,   recall = right / there,   F1 = 2 right / (said + there)

    Shape: `answers` and `labels` are (example,), indices into `names`.
    Edge:  a class that nobody said has precision 0, one that is not there recall 0, as scikit-learn has it.

    >>> per_class(np.array([0, 0, 1]), np.array([0, 1, 1]), ["no", "yes"])["yes"]
    {'precision': 1.0, 'recall': 0.5, 'f1': 0.6666666666666666, 'examples': 2}
    """
    count = len(names)
    right = np.bincount(labels[answers == labels], minlength=count)
    said, there = np.bincount(answers, minlength=count), np.bincount(labels, minlength=count)
    return {
        name: {
            "precision": _share(right[c], said[c]),
            "recall": _share(right[c], there[c]),
            "f1": _share(2 * right[c], said[c] + there[c]),
            "examples": int(there[c]),
        }
        for c, name in enumerate(names)
    }


def _share(part: int, whole: int) -> float:
    return float(part / whole) if whole else 0.0
