"""Searches find the best point of a known objective, go on where they were stopped, and leave a recipe behind."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import taskvec as tv
from taskvec.recipe.load import load_recipe
from taskvec.recipe.reweighted import Reweighted
from taskvec.tune.grid import grid
from taskvec.tune.sampled import sampled
from taskvec.tune.space import Space, make_space
from taskvec.tune.trials import Budget, Evaluation, Result
from taskvec.tune.writing import recipe_text, write_recipe

from .conftest import NAMES, Quadratic

Make = Callable[..., tv.Recipe]
WEIGHTS = np.array([0.2, 0.5, 0.8], np.float32)
AIM = dict.fromkeys(NAMES, WEIGHTS)


@pytest.fixture
def scales(recipe: Make) -> Space:
    return make_space(recipe(), NAMES)


@pytest.fixture
def weights(recipe: Make) -> Space:
    return make_space(recipe(), NAMES, ["weights"])


class TestGrid:
    def test_the_best_of_21(self, scales: Space) -> None:
        score = Quadratic(0.35)
        result = grid(scales, score)
        assert result.best.point == {"scale": 0.35}
        assert [e.point["scale"] for e in result.evaluations] == [round(0.05 * i, 2) for i in range(21)]
        assert result.spent == len(score.asked) == 21
        assert result.start is not None and result.start.point == {"scale": 1.0}

    def test_several_numbers(self, recipe: Make) -> None:
        space = make_space(recipe(), NAMES, ["weights=0.2,0.5,0.8"])
        result = grid(space, Quadratic(AIM))
        assert result.best.point == {"weight.0": 0.2, "weight.1": 0.5, "weight.2": 0.8}
        assert len(result.evaluations) == 27

    def test_halving_scores_few_points_on_all_examples(self, scales: Space) -> None:
        score = Quadratic(0.35, noise=0.002)
        result = grid(scales, score, rounds=(0.25, 0.5, 1.0), keep=3)
        assert result.best.point == {"scale": 0.35}
        assert [score.asked.count(share) for share in (0.25, 0.5, 1.0)] == [21, 8, 3]
        assert result.spent == pytest.approx(21 / 4 + 8 / 2 + 3)
        assert [t.share for t in result.trials].count(1.0) == 3

    def test_a_score_a_task(self, scales: Space) -> None:
        result = grid(scales, Quadratic(AIM))
        assert len(result.best.scores) == 3
        assert result.best.mean == pytest.approx(sum(result.best.scores) / 3)

    def test_what_is_refused_is_told_and_not_chosen(self, recipe: Make) -> None:
        space = make_space(recipe(settings={"normalize": True}), NAMES, ["weights=0,1"])
        result = grid(space, Quadratic(AIM))
        assert [e.point for e in result.evaluations if e.refused] == [
            dict.fromkeys(("weight.0", "weight.1", "weight.2"), 0)
        ]
        assert "sum to 0" in result.evaluations[0].refused
        assert not result.best.refused

    def test_too_large(self, weights: Space) -> None:
        with pytest.raises(tv.RecipeError, match=r"the grid has 9261 points, which is 9261 evaluations, and 100 eval"):
            grid(weights, Quadratic(AIM), budget=Budget(evaluations=100))

    @pytest.mark.parametrize("rounds", [(), (0.5,), (0.5, 0.25, 1.0), (0.0, 1.0)])
    def test_rounds_rise_to_1(self, scales: Space, rounds: tuple[float, ...]) -> None:
        with pytest.raises(tv.RecipeError, match="must rise to 1"):
            grid(scales, Quadratic(0.3), rounds=rounds)


class TestSampled:
    @pytest.mark.parametrize("by", ["tpe", "cma"])
    def test_near_the_best(self, weights: Space, by: Any) -> None:
        result = sampled(weights, Quadratic(AIM), by=by, budget=Budget(evaluations=90), seed=1)
        found = np.array([result.best.point[f"weight.{i}"] for i in range(3)])
        assert np.abs(found - WEIGHTS).max() < 0.12
        assert result.spent == 90

    def test_begins_with_the_recipe_itself(self, recipe: Make) -> None:
        space = make_space(recipe(scale=0.3), NAMES)
        result = sampled(space, Quadratic(0.35), budget=Budget(evaluations=5))
        assert result.evaluations[0].point == {"scale": 0.3}
        assert result.start == result.evaluations[0]

    def test_words_and_whole_values(self, recipe: Make) -> None:
        space = make_space(recipe("ties"), NAMES, ["settings.combine", "scale=0:1:0.05"])
        result = sampled(space, Quadratic(0.35), budget=Budget(evaluations=40))
        assert result.best.point == {"settings.combine": result.best.point["settings.combine"], "scale": 0.35}

    def test_a_space_that_is_used_up_ends(self, recipe: Make) -> None:
        space = make_space(recipe(), NAMES, ["scale=0.1,0.2"])
        assert len(sampled(space, Quadratic(0.1), budget=Budget(evaluations=50)).evaluations) == 2

    @pytest.mark.parametrize("pruner", ["median", "hyperband"])
    def test_pruning_saves_evaluations(self, weights: Space, pruner: Any) -> None:
        whole = sampled(weights, Quadratic(AIM), budget=Budget(evaluations=30), seed=2)
        pruned = sampled(weights, Quadratic(AIM), budget=Budget(evaluations=30), seed=2, pruner=pruner)
        assert pruned.spent <= whole.spent == len(whole.trials) == 30
        assert any(t.share < 1 for t in pruned.trials)
        assert len(pruned.trials) > 30 / 1.25, "more points than 30 evaluations pay for where none is given up"

    @pytest.mark.parametrize("evaluations", [1.3, 2.0, 7.9])
    def test_no_budget_is_overspent_and_no_point_left_unfinished(self, weights: Space, evaluations: float) -> None:
        budget = Budget(evaluations=evaluations)
        result = sampled(weights, Quadratic(AIM), budget=budget, seed=2, pruner="median")
        assert 1.25 <= result.spent <= evaluations
        assert result.trials[-1].share == 1 or len(result.trials) > 5, "pruned, not broken off"

    def test_a_budget_of_minutes(self, weights: Space) -> None:
        result = sampled(weights, Quadratic(AIM), budget=Budget(minutes=0.002))
        assert result.evaluations
        assert sum(e.seconds for e in result.evaluations[:-1]) < 0.12

    @pytest.mark.parametrize(
        ("how", "sentence"),
        [
            ({"budget": Budget()}, "'tpe' goes on for ever without a budget"),
            ({"by": "anneal"}, "'anneal' is not one of tpe, cma"),
            ({"pruner": "some"}, "'some' is not one of none, median, hyperband"),
            ({"pruner": "median", "rounds": (1.0,)}, "gives points up between shares"),
            ({"by": "cma"}, "CMA-ES searches two numbers or more"),
        ],
    )
    def test_refused(self, scales: Space, how: dict[str, Any], sentence: str) -> None:
        with pytest.raises(tv.RecipeError, match=sentence):
            sampled(scales, Quadratic(0.3), **{"budget": Budget(evaluations=3)} | how)

    def test_without_optuna(self, scales: Space, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(sys.modules, "optuna", None)
        with pytest.raises(tv.MissingExtraError, match=r"Type: pip install 'taskvec\[search\]', or search on a grid"):
            sampled(scales, Quadratic(0.3), budget=Budget(evaluations=3))

    @pytest.mark.parametrize("budget", [{"evaluations": 0}, {"minutes": -1}])
    def test_a_budget_of_nothing(self, budget: dict[str, float]) -> None:
        with pytest.raises(tv.RecipeError, match="buys nothing"):
            Budget(**budget)


def searches(space: Space, score: Quadratic, by: str, log: Path | None, **more: Any) -> Result:
    if by == "grid":
        return grid(space, score, rounds=(0.25, 1.0), log=log, **more)
    how: dict[str, Any] = {"budget": Budget(evaluations=20), "seed": 3, "pruner": "median"} | more
    return sampled(space, score, by=by, log=log, **how)  # type: ignore[arg-type]


def same(one: Result, two: Result) -> bool:
    """The same points with the same scores, in the same order."""
    return [(e.trial, e.point, e.share, e.scores) for e in one.evaluations] == [
        (e.trial, e.point, e.share, e.scores) for e in two.evaluations
    ]


@pytest.mark.parametrize("by", ["grid", "tpe", "cma"])
class TestGoingOn:
    @pytest.fixture
    def space(self, by: str, scales: Space, weights: Space) -> Space:
        return scales if by == "grid" else weights

    def test_where_it_was_stopped(self, space: Space, by: str, tmp_path: Path) -> None:
        log = tmp_path / "out" / "search.jsonl"
        whole = searches(space, Quadratic(AIM), by, None)
        asked = 0
        for stop_after in (1, 7, 5):
            score = Quadratic(AIM, stop_after=stop_after)
            with pytest.raises(KeyboardInterrupt):
                searches(space, score, by, log)
            asked += len(score.asked)
        score = Quadratic(AIM)
        assert same(searches(space, score, by, log), whole)
        assert asked + len(score.asked) == len(whole.evaluations)

    def test_a_torn_line_is_scored_again(self, space: Space, by: str, tmp_path: Path) -> None:
        log = tmp_path / "search.jsonl"
        whole = searches(space, Quadratic(AIM), by, log)
        log.write_bytes(log.read_bytes()[:-20])
        score = Quadratic(AIM)
        assert same(searches(space, score, by, log), whole)
        assert len(score.asked) == 1
        assert json.loads(log.read_text().splitlines()[-1])["trial"] == whole.evaluations[-1].trial

    def test_a_finished_search_scores_nothing(self, space: Space, by: str, tmp_path: Path) -> None:
        whole, score = searches(space, Quadratic(AIM), by, tmp_path / "log"), Quadratic(AIM)
        assert same(searches(space, score, by, tmp_path / "log"), whole)
        assert score.asked == []

    def test_restart_begins_anew(self, space: Space, by: str, tmp_path: Path) -> None:
        first, second = Quadratic(AIM), Quadratic(AIM)
        searches(space, first, by, tmp_path / "log", data="one")
        searches(space, second, by, tmp_path / "log", data="two", restart=True)
        assert first.asked == second.asked
        assert json.loads((tmp_path / "log").read_text().splitlines()[0])["data"] == "two"

    def test_other_data_are_refused(self, space: Space, by: str, tmp_path: Path) -> None:
        searches(space, Quadratic(AIM), by, tmp_path / "log", data="one")
        before = (tmp_path / "log").read_bytes()
        with pytest.raises(
            tv.RecipeError, match=r'not this one: data was "one" and is "two"\. Search as before .*--rest'
        ):
            searches(space, Quadratic(AIM), by, tmp_path / "log", data="two")
        assert (tmp_path / "log").read_bytes() == before


class TestGoingOnWithOthers:
    def test_a_larger_budget_goes_further(self, weights: Space, tmp_path: Path) -> None:
        small = searches(weights, Quadratic(AIM), "tpe", tmp_path / "log", budget=Budget(evaluations=5))
        large = searches(weights, Quadratic(AIM), "tpe", tmp_path / "log", budget=Budget(evaluations=10))
        assert large.evaluations[: len(small.evaluations)] == small.evaluations
        assert small.spent <= 5 < large.spent <= 10

    def test_another_seed(self, weights: Space, tmp_path: Path) -> None:
        searches(weights, Quadratic(AIM), "tpe", tmp_path / "log")
        with pytest.raises(tv.RecipeError, match="not this one: seed was 3 and is 4"):
            searches(weights, Quadratic(AIM), "tpe", tmp_path / "log", seed=4)

    def test_another_space_and_recipe(self, recipe: Make, scales: Space, tmp_path: Path) -> None:
        searches(scales, Quadratic(AIM), "grid", tmp_path / "log")
        other = make_space(recipe(dtype="bfloat16"), NAMES, ["scale=0:2"])
        with pytest.raises(tv.RecipeError, match="space differs, recipe differs"):
            searches(other, Quadratic(AIM), "grid", tmp_path / "log")

    def test_two_at_once(self, scales: Space, tmp_path: Path) -> None:
        log = tmp_path / "log"
        hold = f"import fcntl, sys; f = open({str(log)!r}, 'w'); fcntl.flock(f, 2); print(flush=True); sys.stdin.read()"
        with subprocess.Popen([sys.executable, "-c", hold], stdin=-1, stdout=-1) as other:
            assert other.stdout is not None
            other.stdout.readline()
            with pytest.raises(tv.OutputError, match="is being written by another search"):
                searches(scales, Quadratic(AIM), "grid", log)
            other.communicate()

    @pytest.mark.parametrize("restart", [False, True])
    def test_another_file_is_left_alone(self, scales: Space, tmp_path: Path, restart: bool) -> None:
        (tmp_path / "recipe.yaml").write_text("method: ties\n")
        with pytest.raises(
            tv.RecipeError, match=r"recipe\.yaml is a file, and no log of a search\. Choose another name"
        ):
            searches(scales, Quadratic(AIM), "grid", tmp_path / "recipe.yaml", restart=restart)
        assert (tmp_path / "recipe.yaml").read_text() == "method: ties\n"

    def test_a_log_whose_first_line_is_torn_begins_anew(self, scales: Space, tmp_path: Path) -> None:
        whole = searches(scales, Quadratic(AIM), "grid", tmp_path / "log")
        (tmp_path / "log").write_bytes((tmp_path / "log").read_bytes()[:15])
        assert same(searches(scales, Quadratic(AIM), "grid", tmp_path / "log"), whole)

    def test_a_log_that_cannot_be_written(self, scales: Space, tmp_path: Path) -> None:
        (tmp_path / "file").touch()
        with pytest.raises(tv.OutputError, match="cannot be written"):
            searches(scales, Quadratic(AIM), "grid", tmp_path / "file" / "log")


class TestTheRecipe:
    @pytest.mark.parametrize("groups", [0, 2])
    def test_it_merges_to_what_was_scored(self, recipe: Make, groups: int, tmp_path: Path) -> None:
        scored: dict[float, dict[str, bytes]] = {}
        aim = Quadratic(AIM)

        def score(weights: Any, share: float) -> float:
            mean = float(np.mean(aim(weights, share)))
            scored[mean] = {name: weights[name].tobytes() for name in weights}
            return mean

        space = make_space(recipe(), NAMES, ["weights", "scale"], groups)
        result = sampled(space, score, budget=Budget(evaluations=12), seed=5)
        path = write_recipe(result, tmp_path / "found" / "best.yaml")
        made = tv.run(tv.make_plan(load_recipe(path)[0]), tmp_path / "out").folder
        with tv.Checkpoint(made) as model:
            assert {name: model.raw(name).tobytes() for name in model} == scored[result.best.mean]

    def test_the_comment_says_how_it_was_found(self, recipe: Make) -> None:
        space = make_space(recipe(scale=0.9), NAMES, ["scale=0.3,0.6,0.9"])
        text = recipe_text(grid(space, Quadratic(0.3)), "valid.csv")
        assert text.startswith(
            "# Found by taskvec: grid, 3 points, 3 evaluations on valid.csv.\n"
            "# Validation: -0.0000 (mean of -0.0000, -0.0000, -0.0000).\n"
            "# The numbers before scored -0.3600 (mean of -0.3600, -0.3600, -0.3600).\n"
            "#   scale: 0.3\n"
            "method: task_arithmetic\n"
        )


class TestResult:
    def evaluation(self, trial: int, share: float, *scores: float) -> Evaluation:
        return Evaluation(trial, {"scale": 0.1 * trial}, share, scores, 1.0)

    def test_only_a_whole_score_is_the_best(self, scales: Space) -> None:
        some = [self.evaluation(0, 0.5, 9.0), self.evaluation(1, 1.0, 1.0, 2.0), self.evaluation(2, 1.0, 1.5)]
        result = Result(scales, "grid", tuple(some))
        assert result.best is some[1]
        assert result.history == [(1.5, 1.5)]
        assert json.loads(json.dumps(result.facts))["best"]["mean"] == 1.5

    def test_nothing_scored(self, scales: Space) -> None:
        with pytest.raises(tv.RecipeError, match="no point was scored on all validation examples"):
            _ = Result(scales, "tpe", (self.evaluation(0, 0.5, 1.0),)).best


class TestAround:
    def test_progress(self, scales: Space) -> None:
        told: list[Any] = []

        class Told:
            def begin(self, what: str, total: float | None) -> None:
                told.append((what, total))

            def advance(self, done: float, total: float | None, best: Evaluation | None, left: float | None) -> None:
                told.append((done, total, best, left))

            def end(self) -> None:
                told.append("end")

        grid(scales, Quadratic(0.35), progress=Told())
        assert told[0] == ("searching", 21) and told[-1] == "end"
        done, total, best, left = told[-2]
        assert (done, total, best.point, left) == (21, 21, {"scale": 0.35}, 0)

    def test_open_models_stay_open(self, scales: Space, recipe: Make) -> None:
        with Reweighted(scales.recipe) as models:
            grid(scales, Quadratic(0.3), models=models)
            assert models.weigh(recipe())["common"][0] == 9

    def test_a_score_that_is_no_number(self, scales: Space) -> None:
        with pytest.raises(tv.RecipeError, match=r'the score at {"scale": 0\.0} is nan, which is no number'):
            grid(scales, lambda weights, share: float("nan"))

    def test_an_input_with_nan(self, recipe: Make, family: Path, tmp_path: Path) -> None:
        from taskvec.testing import write_model

        with tv.Checkpoint(family / "m0") as model:
            tensors = {name: model[name].numpy() for name in model}
        tensors["norm.weight"] = np.full(8, np.nan, np.float32)
        write_model(tmp_path / "bad", tensors)
        space = make_space(recipe(models=[{"model": str(tmp_path / "bad")}]), NAMES)
        with pytest.raises(tv.NumbersError, match=r"'norm\.weight' in .*bad holds 8 NaN"):
            grid(space, Quadratic(0.3))
