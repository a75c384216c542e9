"""The table, and how a row is read from a function."""

from collections.abc import Iterator
from typing import Annotated, Any, Literal

import numpy as np
import pytest

from taskvec.errors import RecipeError
from taskvec.merge import METHODS, Needs, find, merge_method
from taskvec.merge.registry import Interval, Setting, Share, Shares, each, factors, shares, suggest


@pytest.fixture
def table() -> Iterator[None]:
    """Put the table back as it was."""
    before = dict(METHODS)
    yield
    METHODS.clear()
    METHODS.update(before)


@pytest.fixture
def halve(table: None) -> Any:
    """A method of somebody else."""

    def halve(
        deltas: Any,
        weights: Any,
        *,
        share: Share = 0.5,
        each: Shares = 0.25,
        how: Literal["up", "down"] = "up",
        often: bool = False,
        free: float = 3.0,
        near: Annotated[float, Interval(-1, 1)] = 0.0,
        gram: Any = None,
        chance: Any = None,
    ) -> Any:
        """Halve the first
        task vector.

        out = deltas_0 / 2
        """
        return deltas[0] / 2

    statistics: Any = {"gram": object()}
    return halve, merge_method(needs=Needs(space="delta", chance=True, statistics=statistics), paper="None")(halve)


def test_the_decorator_enters_a_function_and_steps_aside(halve: Any) -> None:
    function, returned = halve
    assert returned is function
    assert find("halve").function is function
    assert find("halve").summary == "Halve the first task vector."
    assert function(np.ones((1, 2)), np.ones(1)).tolist() == [0.5, 0.5]


def test_settings_are_the_keywords_that_are_not_ours(halve: Any) -> None:
    settings = find("halve").settings
    assert settings == {
        "share": Setting("share", 0.5, float, (), Interval(0, 1, open_low=True)),
        "each": Setting("each", 0.25, float, (), Interval(0, 1, open_low=True), per_task=True),
        "how": Setting("how", "up", str, ("up", "down")),
        "often": Setting("often", False, bool),
        "free": Setting("free", 3.0, float),
        "near": Setting("near", 0.0, float, (), Interval(-1, 1)),
    }
    assert {name: s.expected() for name, s in settings.items()} == {
        "share": "a number in (0, 1]",
        "each": "a number in (0, 1]",
        "how": "one of up, down",
        "often": "true or false",
        "free": "a number",
        "near": "a number in [-1, 1]",
    }


def test_check_fills_in_what_is_missing(halve: Any) -> None:
    assert find("halve").check({"often": True, "each": [1, 0.5]}) == {
        "share": 0.5,
        "each": (1.0, 0.5),
        "how": "up",
        "often": True,
        "free": 3.0,
        "near": 0.0,
    }


@pytest.mark.parametrize(
    ("interval", "inside", "outside", "text"),
    [
        (Interval(0, 1), [0, 0.5, 1], [-1e-9, 1.1, float("nan")], "[0, 1]"),
        (Interval(0, 1, open_low=True), [1e-300, 1], [0, -1], "(0, 1]"),
        (Interval(low=2), [2, 1e300], [1.9], "[2, inf)"),
        (Interval(), [-1e300, 1e300], [float("nan")], "(-inf, inf)"),
    ],
    ids=lambda value: str(value) if isinstance(value, Interval) else None,
)
def test_an_interval_says_what_it_holds(
    interval: Interval, inside: list[float], outside: list[float], text: str
) -> None:
    assert all(x in interval for x in inside)
    assert not any(x in interval for x in outside)
    assert str(interval) == text


def test_each_task_has_its_value() -> None:
    assert [each(0.5, t) for t in (0, 1)] == [0.5, 0.5]
    assert [each((0.1, 1), t) for t in (0, 1)] == [0.1, 1.0]


def test_shares_sum_to_one_and_may_be_negative() -> None:
    assert shares(np.array([1.0, 3.0])).tolist() == [0.25, 0.75]
    assert shares(np.array([3.0, -1.0])).tolist() == [1.5, -0.5]


@pytest.mark.parametrize("weights", [[0.0, 0.0], [1.0, -1.0], [0.1, 0.2, -0.3], [1e-9, -1e-9]], ids=str)
def test_weights_that_sum_to_zero_but_for_a_rounding_have_no_shares(weights: list[float]) -> None:
    with pytest.raises(RecipeError, match=r"sum to 0\. Type 'normalize: false'"):
        shares(np.array(weights))


def test_factors_are_the_weights_or_their_shares() -> None:
    assert factors(np.array([1.0, -1.0]), False).tolist() == [1.0, -1.0]
    assert factors(np.array([1.0, 3.0]), True).tolist() == [0.25, 0.75]


def test_small_weights_have_shares() -> None:
    assert shares(np.array([1e-300, 3e-300])).tolist() == [0.25, 0.75]


@pytest.mark.parametrize(("word", "said"), [("tise", " Did you mean 'ties'?"), ("qqqq", ""), (7, "")])
def test_only_what_is_near_is_suggested(word: object, said: str) -> None:
    assert suggest(word, ["ties", "linear"]) == said
