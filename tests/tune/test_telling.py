"""A search says how far it is, as all long work does."""

from taskvec.tune.telling import Telling, point_of
from taskvec.tune.trials import Evaluation


class Heard:
    """Writes down what it is told."""

    def __init__(self) -> None:
        self.told: list[object] = []

    def begin(self, what: str, total: int, unit: str = "B") -> None:
        self.told.append((what, total, unit))

    def advance(self, done: int, note: str = "") -> None:
        self.told.append((done, note))

    def end(self) -> None:
        self.told.append("end")


def test_in_hundredths_of_an_evaluation_with_the_best_point() -> None:
    heard = Heard()
    telling = Telling(heard, "ties")
    telling.begin("searching", 10.25)
    telling.advance(0.25, 10.25, None, None)
    telling.advance(1.25, 10.25, Evaluation(0, {"scale": 0.35}, 1.0, (0.5, 0.7), 1.0), 3.0)
    telling.end()
    assert heard.told == [
        ("searching ties", 1025, "% of an evaluation"), (25, ""), (125, "best 0.6000 at scale 0.35"), "end",
    ]  # fmt: skip


def test_a_search_without_an_end_still_begins() -> None:
    heard = Heard()
    Telling(heard).begin("searching", None)
    assert heard.told == [("searching", 100, "% of an evaluation")]


def test_long_points_are_cut() -> None:
    point = {f"w{i}": i / 10 for i in range(6)} | {"elect": "sum"}
    assert point_of(Evaluation(0, point, 1.0, (1.0,), 0.0)) == "w0 0, w1 0.1, w2 0.2, w3 0.3, …"
