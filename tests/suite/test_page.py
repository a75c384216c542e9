"""A benchmark's tables."""

import numpy as np

from taskvec.evaluate.results import Results, Row
from taskvec.evaluate.score import mean_score
from taskvec.suite.page import YARDSTICK, methods_table


def row(name: str, rights: list[list[int]], **facts: object) -> Row:
    """A model that was right or wrong on the examples of tasks a, b, …."""
    scores = [mean_score(chr(97 + i), "accuracy", np.array(task)) for i, task in enumerate(rights)]
    return Row(name, scores, {"merge_seconds": 1.0, **facts})


def two(name: str, rights: list[list[int]]) -> list[Row]:
    """A method at its default, where it is always wrong, and tuned."""
    facts = {"method": name, "scale": 0.3}
    wrong = [[0] * len(task) for task in rights]
    return [row(name, wrong, tuned=False, **facts), row(f"{name}, tuned", rights, tuned=True, **facts)]


def test_the_gain_is_that_over_task_arithmetic_on_the_same_examples() -> None:
    plain = [[1, 0] * 50, [1, 1, 0, 0] * 25]
    better = [[1, 1, 1, 0] * 25, [1, 1, 0, 0] * 25]  # right wherever task arithmetic is, and on half of the rest of a
    rows = [*two("task_arithmetic", plain), *two("ties", better), row("linear", plain, method="linear", tuned=False)]
    header, *lines = methods_table(Results(rows))
    gain = {line[0]: line[header.index("gain")] for line in lines}
    assert list(gain) == ["ties", "task_arithmetic", "linear"]
    assert (gain["task_arithmetic"], gain["linear"]) == ("", "")
    value, width = gain["ties"].split(" ±")
    assert value == "+12.5"
    assert 3.5 < float(width) < 5.0  # 1.96 √(0.25 · 0.75 / 100) / 2: only what differs varies


def test_without_task_arithmetic_there_is_no_gain() -> None:
    header, line = methods_table(Results(two("ties", [[1, 0], [1, 1]])))
    assert YARDSTICK == "task_arithmetic, tuned"
    assert line[header.index("gain")] == ""
