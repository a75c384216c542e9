"""Settings are checked at the door, and the message says what to type."""

import re

import pytest

from taskvec.errors import RecipeError
from taskvec.merge import METHODS, Method, find
from taskvec.merge.registry import Setting

PAIRS = [(m, s) for m in METHODS.values() for s in m.settings.values()]
EVERY = pytest.mark.parametrize(("method", "setting"), PAIRS, ids=[f"{m.name}.{s.name}" for m, s in PAIRS])
NUMBERS = [(m, s) for m, s in PAIRS if s.kind is float and not s.choices]
EVERY_NUMBER = pytest.mark.parametrize(("method", "setting"), NUMBERS, ids=[f"{m.name}.{s.name}" for m, s in NUMBERS])
CHOICES = [(m, s) for m, s in PAIRS if s.choices]
EVERY_CHOICE = pytest.mark.parametrize(("method", "setting"), CHOICES, ids=[f"{m.name}.{s.name}" for m, s in CHOICES])


@EVERY
def test_the_default_is_allowed_and_filled_in(method: Method, setting: Setting) -> None:
    assert method.check({})[setting.name] == setting.default
    assert method.check({setting.name: setting.default}) == method.check({})


@EVERY
@pytest.mark.parametrize("wrong", ["nonsense", None, [], {}, ["a"], [[0.5]]], ids=repr)
def test_nonsense_is_refused(method: Method, setting: Setting, wrong: object) -> None:
    with pytest.raises(RecipeError, match=f"'{setting.name}' "):
        method.check({setting.name: wrong})


@EVERY_NUMBER
@pytest.mark.parametrize("wrong", [float("nan"), True, "0.5"], ids=repr)
def test_what_is_no_number_is_refused(method: Method, setting: Setting, wrong: object) -> None:
    with pytest.raises(RecipeError, match=re.escape(f"'{setting.name}' must be a number, got {wrong!r}.")):
        method.check({setting.name: wrong})


@EVERY_NUMBER
def test_a_number_outside_is_refused(method: Method, setting: Setting) -> None:
    assert setting.interval
    low, high = setting.interval.low, setting.interval.high
    wrong = [low - 0.1, high + 0.5, float("inf"), *([low] if setting.interval.open_low else [])]
    for value in wrong:
        with pytest.raises(RecipeError, match=re.escape(f"must be in {setting.interval}, got {value!r}.")):
            method.check({setting.name: value})
    inside = [high, *([] if setting.interval.open_low else [low])]
    assert [method.check({setting.name: value})[setting.name] for value in inside] == inside


@EVERY_NUMBER
def test_whole_numbers_are_numbers(method: Method, setting: Setting) -> None:
    value = method.check({setting.name: 1})[setting.name]
    assert value == 1.0
    assert isinstance(value, float)


@EVERY_NUMBER
def test_one_number_a_task_only_where_it_may_be(method: Method, setting: Setting) -> None:
    if setting.per_task:
        assert method.check({setting.name: [1, 0.5]})[setting.name] == (1.0, 0.5)
        assert setting.interval
        with pytest.raises(RecipeError, match=r"must be in .*, got .*\.5\."):
            method.check({setting.name: [1, setting.interval.high + 0.5]})
    else:
        with pytest.raises(RecipeError, match=r"must be a number, got \[1, 0\.5\]\."):
            method.check({setting.name: [1, 0.5]})


@EVERY_CHOICE
def test_every_choice_is_taken_and_a_misspelt_one_suggested(method: Method, setting: Setting) -> None:
    for choice in setting.choices:
        assert method.check({setting.name: choice})[setting.name] == choice
        with pytest.raises(RecipeError, match=rf"must be one of .*, got '{choice}x'\. Did you mean '{choice}'\?"):
            method.check({setting.name: f"{choice}x"})


@EVERY
def test_a_misspelt_setting_is_suggested(method: Method, setting: Setting) -> None:
    with pytest.raises(
        RecipeError,
        match=rf"'{method.name}' has no setting '{setting.name}x'\. Did you mean '{setting.name}'\? Known: .*\.",
    ):
        method.check({f"{setting.name}x": setting.default})


@pytest.mark.parametrize("method", METHODS.values(), ids=METHODS)
def test_statistics_and_chance_are_ours_to_give(method: Method) -> None:
    for name in (*method.needs.statistics, "chance"):
        with pytest.raises(RecipeError, match=f"has no setting '{name}'"):
            method.check({name: 1})


@pytest.mark.parametrize("name", METHODS)
def test_a_misspelt_method_is_suggested(name: str) -> None:
    assert find(name) is METHODS[name]
    with pytest.raises(RecipeError, match=rf"unknown merge method '{name}z'\. Did you mean '{name}'\? Known: "):
        find(f"{name}z")
