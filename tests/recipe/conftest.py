"""What the tests of recipes share: a small family of models, and a recipe typed as text."""

from collections.abc import Callable
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest

import taskvec as tv
from measured import with_statistics
from taskvec.testing import finetuned, tiny_tensors, write_model

LAYERS = 5


@pytest.fixture(scope="session")
def family(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with `base` and the fine-tunes `m0` … `m2`, of five layers, in bf16."""
    folder = tmp_path_factory.mktemp("family")
    base = tiny_tensors(layers=LAYERS)
    write_model(folder / "base", base, dtype="BF16")
    for i in range(3):
        write_model(folder / f"m{i}", finetuned(base, i), dtype="BF16")
    return folder


@pytest.fixture
def typed(tmp_path: Path) -> Callable[[str], tuple[tv.Recipe, list[str]]]:
    """Return what loads a recipe from its text, in a file recipe.yaml."""

    def load(text: str) -> tuple[tv.Recipe, list[str]]:
        (tmp_path / "recipe.yaml").write_text(dedent(text).lstrip("\n"))
        return tv.load_recipe(tmp_path / "recipe.yaml")

    return load


@pytest.fixture
def planned(family: Path) -> Callable[..., tv.Plan]:
    """Return what plans a merge of the family; keywords are keys of the recipe, `how` goes to make_plan."""

    def plan(method: str = "ties", count: int | None = None, how: dict[str, Any] | None = None, **keys: Any) -> tv.Plan:
        count = min(2, tv.METHODS[method].needs.tasks.stop - 1) if count is None else count
        recipe: dict[str, Any] = {"method": method, "models": [{"model": str(family / f"m{i}")} for i in range(count)]}
        if tv.METHODS[method].needs.takes_base:
            recipe["base"] = str(family / "base")
        return tv.make_plan(tv.Recipe.model_validate(with_statistics(recipe | keys)), **(how or {}))

    return plan
