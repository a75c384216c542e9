"""What can be searched, and which recipe each point is."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import taskvec as tv
from taskvec.recipe.reweighted import Reweighted
from taskvec.tune.dimension import Dimension
from taskvec.tune.space import make_space

from .conftest import NAMES

Make = Callable[..., tv.Recipe]


def names(space: Any) -> list[str]:
    return [d.name for d in space.dimensions]


class TestDimension:
    def test_the_grid_of_the_literature(self) -> None:
        assert Dimension.parse("scale", "0:1").grid == tuple(round(0.05 * i, 2) for i in range(21))

    def test_steps_reach_the_end(self) -> None:
        assert Dimension.parse("scale", "0:0.3:0.1").grid == (0.0, 0.1, 0.2, 0.3)

    def test_whole_numbers(self) -> None:
        assert Dimension.parse("settings.rank", "1:4", int).grid == (1, 2, 3, 4)
        assert Dimension.parse("settings.rank", "1:7:3", int).grid == (1, 4, 7)

    def test_four_digits_within_the_ends(self) -> None:
        assert Dimension("x", 0.12341, 1).rounded(0.12341) == 0.12341
        assert Dimension("x", 0, 1).rounded(0.37454011) == 0.3745

    @pytest.mark.parametrize(
        ("text", "kind", "sentence"),
        [
            ("a", float, "'x' takes numbers such as 0:1, 0:1:0.05 or 0.1,0.3, got 'a'"),
            ("1:0", float, "'x=1:0' goes nowhere: 'from' must be below 'to'"),
            ("0:1:0", float, "goes nowhere"),
            ("0:1:2:3", float, r"'x=0:1:2:3' is not of the form from:to"),
            ("0:1", str, "is not of the form"),
            ("1.5", int, "'x' takes whole numbers, got '1.5'"),
            ("nan", float, "'x' takes finite numbers, got 'nan'"),
            ("maybe", bool, "'x' is true or false, got 'maybe'"),
        ],
    )
    def test_refused(self, text: str, kind: type, sentence: str) -> None:
        with pytest.raises(tv.RecipeError, match=sentence):
            Dimension.parse("x", text, kind)


class TestAsked:
    def test_scale_alone(self, recipe: Make) -> None:
        space = make_space(recipe(scale=0.3), NAMES)
        assert names(space) == ["scale"]
        assert space.start == {"scale": 0.3}
        assert space.recipe_at({"scale": 0.7}).scale == 0.7

    def test_weights(self, recipe: Make) -> None:
        space = make_space(recipe(), NAMES, ["weights=0:2"])
        assert names(space) == ["weight.0", "weight.1", "weight.2"]
        made = space.recipe_at({"weight.0": 0.5, "weight.1": 0.0, "weight.2": 2.0})
        assert [m.weight for m in made.models] == [0.5, 0.0, 2.0]

    def test_settings_from_what_they_may_be(self, recipe: Make) -> None:
        space = make_space(recipe("ties"), NAMES, ["density", "settings.elect", "settings.scope=tensor"])
        density, elect, scope = space.dimensions
        assert (density.low, density.high) == (0.05, 1)
        assert elect.values == ("sum", "weighted", "count")
        assert scope.values == ("tensor",)
        assert space.start is None  # the recipe's scope is 'model'
        made = space.recipe_at({"settings.density": 0.4, "settings.elect": "count", "settings.scope": "tensor"})
        assert made.settings == {"density": 0.4, "elect": "count", "scope": "tensor"}

    def test_groups_of_layers(self, recipe: Make) -> None:
        space = make_space(recipe(overrides=[{"match": "h.0.*", "scale": 9}]), NAMES, ["scale"], groups=2)
        assert names(space) == ["0-1.scale", "2-3.scale", "embeddings.scale", "rest.scale"]
        made = space.recipe_at({"0-1.scale": 0.1, "2-3.scale": 0.2, "embeddings.scale": 0.3, "rest.scale": 0.4})
        units = {u.name: u.scale for u in tv.make_plan(made).units}
        assert units == {
            "h.0.w": 9,  # an override that the recipe had
            "h.1.w": 0.1,
            "h.2.w": 0.2,
            "h.3.w": 0.2,
            "embed.weight": 0.3,
            "norm.weight": 0.4,
            "common": 0.4,
        }

    def test_weights_of_groups(self, recipe: Make, family: Any) -> None:
        space = make_space(recipe(), NAMES, ["weights"], groups=4)
        assert len(space.dimensions) == 6 * 3
        assert set(space.start or {}.values()) == set(names(space))
        point = {name: round(0.01 * i, 2) for i, name in enumerate(names(space))}
        with Reweighted(recipe()) as models:
            merged = models.weigh(space.recipe_at(point))
            for group, name in zip(
                ["0-0", "1-1", "2-2", "3-3", "embeddings", "rest"], [*NAMES[1:5], *NAMES[::5]], strict=True
            ):
                expected = np.array([point[f"{group}.weight.{i}"] for i in range(3)], np.float32)
                np.testing.assert_array_equal(merged[name][:3], expected)

    def test_towers_are_parted_each_for_itself(self, recipe: Make) -> None:
        towers = ["text.h.0.w", "text.h.1.w", "vision.h.0.w", "vision.h.1.w", "vision.h.2.w"]
        space = make_space(recipe(), towers, ["scale"], groups=2)
        assert names(space) == ["text.h.0-0.scale", "text.h.1-1.scale", "vision.h.0-1.scale", "vision.h.2-2.scale"]
        made = space.recipe_at(dict.fromkeys(names(space), 0.5))
        assert [(o.match, o.layers) for o in made.overrides][2:] == [("vision.h.*", "0-1"), ("vision.h.*", "2-2")]


@pytest.mark.parametrize(
    ("keys", "asked", "groups", "sentence"),
    [
        ({}, [], 0, "nothing is searched"),
        ({}, ["scal"], 0, r"'scal' is nothing to search with 'task_arithmetic'\. Did you mean 'scale'\?"),
        ({"method": "ties"}, ["densty"], 0, r"Did you mean 'settings\.density'\?"),
        ({"method": "ties"}, ["density=0:1"], 0, r"'density' must be in \(0, 1\], got 0\.0"),
        ({"method": "ties"}, ["settings.elect=some"], 0, "'elect' must be one of sum, weighted, count"),
        ({"method": "ties", "settings": {}}, ["density"], 2, "Search 'scale' or 'weights', too"),
        ({"method": "metagpt"}, ["weights"], 0, r"'metagpt' takes no weights: it finds its own numbers"),
        ({"method": "linear", "base": None}, ["scale"], 0, "'linear' merges whole models here"),
        (
            {"method": "ties", "overrides": [{"settings": {"density": 0.5}}]},
            ["density"],
            0,
            "have a 'density' of their",
        ),
        ({}, ["scale", "scale=0:2"], 0, "'scale' is to be searched twice"),
        (
            {"method": "lines", "settings": {}},
            ["alpha"],
            0,
            r"'alpha' of 'lines' may be a number in .*Say where to search, e\.g\. settings\.alpha=1:10",
        ),
    ],
)
def test_refused(recipe: Make, keys: dict[str, Any], asked: list[str], groups: int, sentence: str) -> None:
    with pytest.raises(tv.RecipeError, match=sentence):
        make_space(recipe(**keys), NAMES, asked, groups)


def test_no_layers_to_part(recipe: Make) -> None:
    with pytest.raises(tv.RecipeError, match="the model has no layers that could be parted into 2 groups"):
        make_space(recipe(), ["a", "b"], ["scale"], 2)


@pytest.mark.parametrize(("what", "own"), [("scale", {"scale": 0.5}), ("weights", {"weights": [1, 2, 3]})])
def test_what_every_tensor_has_of_its_own_is_not_searched(recipe: Make, what: str, own: dict[str, Any]) -> None:
    made = recipe("task_arithmetic", overrides=[{"match": "*", **own}])
    with pytest.raises(tv.RecipeError, match=f"every tensor has '{what}' of its own, so there is none to search"):
        make_space(made, NAMES, [what])
