"""YAML as people mean it, and the line of everything."""

import math

import pytest

from taskvec.errors import RecipeError
from taskvec.recipe.yaml_lines import parse

NUMBERS = {
    "1e-5": 1e-5,
    "1E5": 1e5,
    "-2.5e+3": -2500.0,
    ".5": 0.5,
    "5.": 5.0,
    "+0.4": 0.4,
    "3": 3,
    "-7": -7,
    "0": 0,
    "0x10": 16,
    ".inf": math.inf,
    "-.inf": -math.inf,
}


@pytest.mark.parametrize(("text", "value"), NUMBERS.items())
def test_numbers_are_numbers(text: str, value: float) -> None:
    got = parse(f"x: {text}", "r").data["x"]
    assert (got, type(got)) == (value, type(value))


@pytest.mark.parametrize("text", ["yes", "no", "on", "off", "y", "n", "Norway", "1.2.3", "e5", "1e", "--1", "5GB"])
def test_words_are_words(text: str) -> None:
    assert parse(f"x: {text}", "r").data["x"] == text


@pytest.mark.parametrize(("text", "value"), [("true", True), ("False", False), ("null", None), ("~", None)])
def test_the_few_words_of_yaml(text: str, value: object) -> None:
    assert parse(f"x: {text}", "r").data["x"] is value


def test_every_key_and_item_has_its_line() -> None:
    document = parse("a: 1\n\nmodels:\n  - model: x\n    weight: 2\n  - y\n", "r.yaml")
    assert document.at(("a",)) == "r.yaml:1"
    assert document.at(("models",)) == "r.yaml:3"
    assert document.at(("models", 0)) == "r.yaml:4"
    assert document.at(("models", 0, "weight")) == "r.yaml:5"
    assert document.at(("models", 1)) == "r.yaml:6"
    assert document.at(("models", 0, "unheard", "of")) == "r.yaml:4"
    assert document.at(("elsewhere",)) == "r.yaml:1"


REFUSED = {
    "": r"^r:1: the recipe is empty\. Type e\.g\. 'method: ties'",
    "# only a comment\n": r"^r:1: the recipe is empty",
    "a: 1\nb: 2\na: 3": r"^r:3: 'a' is given twice, first on line 1\.$",
    "m:\n  x: 1\n  y: 2\n  x: 1\n": r"^r:4: 'x' is given twice, first on line 2\.$",
    "a: [1, 2\nb: 3": r"^r:2: not valid YAML: ",
    "a: 1\n b: 2": r"^r:2: not valid YAML: ",
    "a: 1\n---\nb: 2": r"^r:3: expected one document, got 2\. Remove what follows",
    "a: !!python/object:os.system {}": r"^r:1: not valid YAML: ",
    "a: \x00": r"^r: not valid YAML: ",
    "a: 1\n? [1, 2]\n: x": r"^r:2: a key must be a word, got a list or a mapping\.$",
    "a: &x [*x]": r"^r: not valid YAML: ",
}


@pytest.mark.parametrize(("text", "message"), REFUSED.items())
def test_what_is_no_recipe_is_refused_with_its_line(text: str, message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        parse(text, "r")
