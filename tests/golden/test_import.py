"""`taskvec import` prints a recipe that is loaded as the one it came from, for every recipe of the table."""

from pathlib import Path

import pytest

from taskvec.cli.importing import import_recipe
from taskvec.recipe.load import load_recipes
from taskvec.recipe.plan import make_plan

from .models import write_family
from .table import TABLE

RECIPES = Path(__file__).parent / "recipes"


@pytest.fixture(scope="module")
def family(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("imported")
    write_family(folder)
    return folder


@pytest.mark.parametrize("name", TABLE)
def test_the_same_recipe_and_the_same_plan(name: str, family: Path, capsys: pytest.CaptureFixture[str]) -> None:
    theirs, ours = family / f"{name}.yml", family / f"{name}.yaml"
    theirs.write_text((RECIPES / f"{name}.yml").read_text("utf-8"), "utf-8")
    assert import_recipe(theirs, json=False) == 0
    ours.write_text(capsys.readouterr().out, "utf-8")
    before, after = load_recipes(theirs), load_recipes(ours)
    assert [one.recipe for one in after] == [one.recipe for one in before]
    if len(before) == 1:
        one, two = make_plan(before[0].recipe), make_plan(after[0].recipe)
        assert two.units == one.units
        assert two.digest() == one.digest()
