"""What is written down of statistics: paths, receipts, cards, digests; and going on after an interruption."""

import shutil
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any

import pytest

import taskvec as tv
from measured import write_statistics
from taskvec.recipe.paths import seen_from
from taskvec.recipe.write import as_yaml

from . import conftest
from .conftest import SHAPES, Made


def test_paths_start_at_the_recipe(soup: Path, typed: Callable[[str], Any], tmp_path: Path) -> None:
    made, _ = typed("""
        method: leaning_on_base
        base: ./b
        models:
        - {model: ./m0, statistics: stats/m0}
        - {model: ./m1, task: sst2}
        statistics: ./stats/base
        curvature: {tasks: tasks.yaml}
    """)
    assert made.models[0].statistics == str(tmp_path / "stats/m0")
    assert made.statistics == str(tmp_path / "stats/base")
    assert made.curvature.tasks == str(tmp_path / "tasks.yaml")


def test_paths_of_a_recipe_elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    data = {"method": "leaning", "base": "b", "models": [{"model": "m", "statistics": "stats/m"}]}
    made = seen_from(tv.Recipe.model_validate(data), Path("deep/er"))
    assert made.models[0].statistics == "./../../stats/m"


def test_what_was_measured_on_the_way_is_written_as_it_was_asked_for(tmp_path: Path) -> None:
    data = {"method": "leaning", "base": "b", "models": [{"model": "m", "task": "sst2"}], "curvature": {"tasks": "t"}}
    asked = tv.Recipe.model_validate(data)
    entry = asked.models[0].model_copy(update={"statistics": str(tmp_path)})
    found = asked.model_copy(update={"models": [entry]})
    assert as_yaml(found) == as_yaml(asked)
    assert tv.Recipe.model_validate(found.data).models[0].statistics == str(tmp_path)
    assert (asked.unmeasured, found.unmeasured) == ([asked.models[0]], [])


def test_receipt_and_card_name_them(recipe: Made, soup: Path, tmp_path: Path) -> None:
    receipt = tv.run(tv.make_plan(recipe()), tmp_path / "out")
    told = [i.get("statistics") for i in receipt.facts["inputs"]]
    assert told[0] is None
    assert told[1]["path"] == str(soup / "stats" / "m0.diagonal")
    assert (told[1]["estimator"], told[1]["kind"], told[1]["data"]["examples"]) == ("fisher", "diagonal", 64)
    assert told[1]["fingerprint"].startswith("tv1:")
    assert told[1]["fingerprint"] != told[2]["fingerprint"]
    card = (tmp_path / "out" / "README.md").read_text()
    assert "heeds curvature: `fisher` (diagonal) of 64 examples a model" in card


def test_a_plan_tells_of_them(recipe: Made) -> None:
    facts = tv.describe(tv.make_plan(recipe()))
    assert [i.get("statistics", {}).get("kind") for i in facts["inputs"]] == [None, "diagonal", "diagonal"]


def test_the_digest_covers_them(recipe: Made, soup: Path, tmp_path: Path) -> None:
    made, folder = recipe(), tmp_path / "s"

    def digest(**how: Any) -> str:
        shutil.rmtree(folder, ignore_errors=True)
        write_statistics(folder, soup / "m0", **how)
        entry = made.models[0].model_copy(update={"statistics": str(folder)})
        return tv.make_plan(made.model_copy(update={"models": [entry, made.models[1]]})).digest()

    assert len({digest(seed=1), digest(seed=2), digest(seed=2, total=1.0)}) == 3
    assert tv.make_plan(made).digest() == tv.make_plan(made).digest()


@pytest.mark.parametrize("method", ["leaning", "pressing"])
def test_it_goes_on_after_an_interruption(recipe: Made, tmp_path: Path, method: str) -> None:
    whole = tv.run(tv.make_plan(recipe(method), threads=1), tmp_path / "whole").folder
    calls, function = 0, tv.METHODS[method].function

    @wraps(function)
    def stops(*args: Any, **more: Any) -> Any:
        nonlocal calls
        merging = args[0].shape[1:] != (0,)  # of nothing, as plans try the weights
        calls += merging
        if merging and calls == 2:
            raise KeyboardInterrupt
        return function(*args, **more)

    conftest.enter(stops, method, tv.METHODS[method].needs)
    with pytest.raises(KeyboardInterrupt):
        tv.run(tv.make_plan(recipe(method), threads=1, slice_=1 << 20), tmp_path / "out")
    assert not (tmp_path / "out").exists()
    receipt = tv.run(tv.make_plan(recipe(method), threads=1, slice_=1 << 20), tmp_path / "out")
    assert receipt.facts["resumed"] is True
    assert receipt.facts["bytes"]["read"] < tv.make_plan(recipe(method)).bytes_read
    for name in SHAPES:
        assert (tv.Checkpoint(receipt.folder)[name] == tv.Checkpoint(whole)[name]).all(), name


def test_it_does_not_go_on_with_other_statistics(recipe: Made, soup: Path, tmp_path: Path) -> None:
    made = recipe()
    (tmp_path / ".out.partial").mkdir()
    digest = tv.make_plan(made).digest()
    (tmp_path / ".out.partial" / "journal.jsonl").write_text(f'{{"plan": "{digest}"}}\n{{"unit": "x"}}\n')
    folder = write_statistics(tmp_path / "s", soup / "m0", seed=9)
    entry = made.models[0].model_copy(update={"statistics": str(folder)})
    other = made.model_copy(update={"models": [entry, made.models[1]]})
    with pytest.raises(tv.OutputError, match=r"unfinished merge of another recipe, or of inputs that have changed"):
        tv.run(tv.make_plan(other), tmp_path / "out")
