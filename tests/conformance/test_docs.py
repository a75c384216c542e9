"""What a method's docstring and its row in the table hold."""

import importlib
import inspect
import re

import pytest

import taskvec.merge.methods as methods
from taskvec.merge import METHODS, Method

EVERY = pytest.mark.parametrize("method", METHODS.values(), ids=METHODS)


def doc(method: Method) -> str:
    """A method's docstring."""
    return inspect.getdoc(method.function) or ""


@EVERY
@pytest.mark.parametrize("line", ["Shape:", "Units:", "Zero:|Edge:", "Paper:", "Args:"])
def test_the_docstring_has_the_line(method: Method, line: str) -> None:
    assert re.search(rf"^({line})", doc(method), re.MULTILINE)


@EVERY
def test_the_docstring_names_every_setting_and_statistic_and_chance(method: Method) -> None:
    args = doc(method).split("\nArgs:\n")[1]
    for name in inspect.signature(method.function).parameters:
        assert re.search(rf"^    {name}: \S", args, re.MULTILINE), name


@EVERY
def test_the_formula_is_indented_below_the_first_sentence_and_an_example_follows(method: Method) -> None:
    paragraphs = doc(method).split("\n\n")
    assert re.fullmatch(r"[A-Z].*\.", paragraphs[0], re.DOTALL)
    assert method.summary == " ".join(paragraphs[0].split())
    assert "    out = " in paragraphs[1]
    assert ">>> " in paragraphs[-1]


@EVERY
def test_one_name_in_all_places(method: Method) -> None:
    module = importlib.import_module(f"taskvec.merge.methods.{method.name}")
    assert method.function.__module__ == module.__name__
    assert getattr(module, method.name) is method.function is getattr(methods, method.name)
    assert method.name in methods.__all__


def test_the_list_of_methods_is_the_table() -> None:
    assert sorted(methods.__all__) == sorted(METHODS)


@EVERY
def test_the_paper_has_a_year_and_a_place(method: Method) -> None:
    assert re.search(r"\b(19|20)\d\d\b", method.paper)
    assert "§" in method.paper or "Algorithm" in method.paper or "eq." in method.paper


@EVERY
def test_the_first_argument_says_the_space(method: Method) -> None:
    first = next(iter(inspect.signature(method.function).parameters))
    assert first == {"delta": "deltas", "weight": "models", "either": "stack"}[method.needs.space]


@EVERY
def test_what_the_needs_name_are_arguments(method: Method) -> None:
    parameters = inspect.signature(method.function).parameters
    expected = {*method.needs.statistics, *(["chance"] if method.needs.chance else [])}
    expected |= {"curvature"} if method.needs.curvature else set()
    expected |= {"base_curvature"} if method.needs.base_curvature else set()
    for name in expected:
        assert parameters[name].default is None
    assert ("depth" in parameters) == method.needs.depth
    assert ("place" in parameters) == method.needs.place
    assert not expected & set(method.settings)
