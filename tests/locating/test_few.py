"""Examples that say where to go, and those that do not."""

from collections.abc import Callable
from pathlib import Path

import pytest

import encoders
from taskvec import MismatchError, RecipeError
from taskvec.evaluate.data import Examples, Source, some_of
from taskvec.evaluate.model import Model
from taskvec.locating.few import few_of, lesson_of


def test_the_training_split_is_taken(tmp_path: Path) -> None:
    path = encoders.split_table(tmp_path / "taste.tsv", "taste", {"train": 6, "test": 4})
    assert len(few_of(Source(path=str(path)))) == 6
    assert len(few_of(Source(path=str(path)), "test")) == 4


def test_some_are_spread_over_the_labels_and_grow(few: Callable[..., Examples]) -> None:
    four, six = some_of(few("taste"), 4, seed=1), some_of(few("taste"), 6, seed=1)
    assert sorted(four.labels.tolist()) == [0, 0, 1, 1]
    assert set(four.inputs) <= set(six.inputs)
    assert four.digest != six.digest != some_of(few("taste"), 6, seed=2).digest


@pytest.mark.parametrize("head", ["labels", "class_means", "ridge"])
def test_heads_in_closed_form(base: Model, few: Callable[..., Examples], head: str, tmp_path: Path) -> None:
    one = lesson_of(base, "taste", few("taste"), head)
    assert one.head.labels == ("bad", "good")
    one.head.save(tmp_path / "head.safetensors")
    again = lesson_of(base, "taste", few("taste"), str(tmp_path / "head.safetensors"))
    assert (again.head.weight == one.head.weight).all()


@pytest.mark.parametrize(
    ("rows", "header", "message"),
    [
        ([("a", "good"), ("b", "good")], ("text", "label"), r"all 2 examples of .*few.tsv are of the class 'good'"),
        ([("a",), ("b",)], ("text",), r"few.tsv has no labels|label"),
        ([], ("text", "label"), r"few.tsv (is empty|has no examples)"),
    ],
)
def test_examples_that_say_nothing(
    tmp_path: Path, rows: list[tuple[str, ...]], header: tuple[str, ...], message: str
) -> None:
    path = encoders.table(tmp_path / "few.tsv", rows, header)
    with pytest.raises(RecipeError, match=message):
        few_of(Source(path=str(path)))


def test_examples_whose_labels_are_not_read(tmp_path: Path) -> None:
    path = encoders.table(tmp_path / "few.tsv", [("a", "good"), ("b", "bad")])
    with pytest.raises(RecipeError, match=r"few.tsv has no labels, and a task is located by them"):
        few_of(Source(path=str(path), label=None))


def test_a_head_that_is_none(base: Model, few: Callable[..., Examples], tmp_path: Path) -> None:
    with pytest.raises(
        RecipeError, match=r"a head is one of labels, class_means, ridge, or .*'labls'. Did you mean 'l"
    ):
        lesson_of(base, "taste", few("taste"), "labls")
    images = Model(encoders.vit(tmp_path / "vit"), device="cpu")
    with pytest.raises(MismatchError, match="has no tower for texts"):
        lesson_of(images, "taste", few("taste"))
