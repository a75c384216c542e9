"""`scale: auto`: the number is the closed form's, it is found while planning, and a merge uses it."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import taskvec as tv
from taskvec.cli.app import app
from taskvec.cli.exits import run
from taskvec.ops.chance import Chance
from taskvec.ops.coefficients import equal_energy, isotropic, norm_shares, products_of_sum
from taskvec.recipe.write import as_yaml
from taskvec.testing import write_model

Planned = Callable[..., tv.Plan]


@pytest.fixture(scope="session")
def vectors(family: Path) -> dict[str, np.ndarray]:
    """The task vectors of the family by tensor, (task, *shape), in float32."""
    models = [tv.Checkpoint(family / name) for name in ("base", "m0", "m1", "m2")]
    arrays = {name: np.stack([m[name].float().numpy() for m in models]) for name in models[0]}
    return {name: x[1:] - x[:1] for name, x in arrays.items()}


def flat(vectors: dict[str, np.ndarray], names: Any = None) -> np.ndarray:
    """(task, entry) in float64."""
    return np.concatenate([x.reshape(3, -1) for n, x in vectors.items() if names is None or n in names], 1).astype(
        float
    )


def expected(name: str, merged: np.ndarray, tasks: np.ndarray) -> float:
    """The closed form, of whole vectors in memory."""
    energy = float(merged @ merged)
    by = {"isotropic": (tasks @ merged).mean() / energy, "equal_energy": np.sqrt((tasks**2).sum(1).mean() / energy)}
    return float(by[name])


class TestFormulas:
    @pytest.fixture
    def tasks(self, rng: np.random.Generator) -> np.ndarray:
        return rng.standard_normal((3, 40)) + 0.3

    def test_isotropic_is_the_minimiser(self, tasks: np.ndarray) -> None:
        w = np.array([0.5, 1.0, 2.0])
        best = isotropic(*products_of_sum(tasks @ tasks.T, w))

        def loss(s: float) -> float:
            return float(((s * (w @ tasks) - tasks) ** 2).sum())

        assert loss(best) < min(loss(best - 1e-3), loss(best + 1e-3))

    def test_isotropic_of_a_plain_sum_is_one_over_the_number_of_tasks(self, tasks: np.ndarray) -> None:
        assert isotropic(*products_of_sum(tasks @ tasks.T, np.ones(3))) == pytest.approx(1 / 3, rel=1e-12)

    def test_equal_energy_has_the_specialists_length(self, tasks: np.ndarray) -> None:
        gram, w = tasks @ tasks.T, np.array([0.5, -1.0, 2.0])
        s = equal_energy(products_of_sum(gram, w)[0], np.diag(gram))
        assert np.linalg.norm(s * (w @ tasks)) == pytest.approx(np.sqrt((tasks**2).sum(1).mean()))

    def test_shares_of_nothing_are_equal(self) -> None:
        assert norm_shares(np.zeros(4)).tolist() == [0.25] * 4


@pytest.mark.parametrize("name", ["isotropic", "equal_energy"])
class TestTheNumber:
    def test_of_a_weighted_sum(self, planned: Planned, family: Path, vectors: dict[str, np.ndarray], name: str) -> None:
        weights = [0.5, 1.0, 2.0]
        models = [{"model": str(family / f"m{i}"), "weight": w} for i, w in enumerate(weights)]
        plan = planned("task_arithmetic", models=models, scale={"auto": name})
        tasks = flat(vectors)
        found = expected(name, np.array(weights) @ tasks, tasks)
        assert plan.recipe.scale == pytest.approx(found, rel=6e-6)
        assert {u.scale for u in plan.units if u.merged} == {plan.recipe.scale}

    @pytest.mark.parametrize("method", ["ties", "dare_linear", "pcb"])
    def test_of_a_method_that_is_no_sum(
        self, planned: Planned, vectors: dict[str, np.ndarray], name: str, method: str, kernels: str
    ) -> None:
        settings = {"density": 0.5} if method == "dare_linear" else {"scope": "tensor"}
        plan = planned(method, 3, scale={"auto": name}, settings=settings)
        keys = tuple(m.fingerprint for m in plan.listed)
        function = tv.METHODS[method].function
        drawn = tv.METHODS[method].needs.chance
        merged = [
            function(x, np.ones(3), **settings, **({"chance": Chance(0, keys, n, 0)} if drawn else {}))
            for n, x in vectors.items()
        ]
        whole = np.concatenate([np.asarray(m, np.float64).reshape(-1) for m in merged])
        assert plan.recipe.scale == pytest.approx(expected(name, whole, flat(vectors)), rel=6e-6)

    def test_of_an_override_its_own_stays_and_does_not_count(
        self, planned: Planned, vectors: dict[str, np.ndarray], name: str
    ) -> None:
        overrides = [{"match": "*.mlp.*", "scale": 0.125}]
        weighted = {"match": "*.0.self_attn.*", "weights": [3.0, None, None]}
        plan = planned("task_arithmetic", 3, scale={"auto": name}, overrides=[*overrides, weighted])
        rest = [n for n in vectors if ".mlp." not in n]
        merged = [
            (np.array([3.0, 1, 1]) if ".0.self_attn." in n else np.ones(3)) @ vectors[n].reshape(3, -1) for n in rest
        ]
        found = expected(name, np.concatenate(merged).astype(np.float64), flat(vectors, rest))
        assert plan.recipe.scale == pytest.approx(found, rel=6e-6)
        assert {u.scale for u in plan.units if ".mlp." in u.name} == {0.125}

    def test_threads_and_slices_do_not_change_it(self, planned: Planned, name: str) -> None:
        found = {
            planned("sce", 3, {"threads": t, "slice_": s}, scale={"auto": name}).digest()
            for t, s in ((1, 0), (2, 16384), (3, 1 << 20))
        }
        assert len(found) == 1


class TestMetaGPT:
    def test_weights_are_shares_of_the_squared_norms(self, planned: Planned, vectors: dict[str, np.ndarray]) -> None:
        plan = planned("task_arithmetic", 3, scale={"auto": "metagpt"})
        norms = (flat(vectors) ** 2).sum(1)
        assert [m.weight for m in plan.recipe.models] == pytest.approx(norms / norms.sum(), rel=6e-6)
        assert plan.recipe.scale == 1
        by_name = {
            plan.models[n].name: w for (n, _), w in zip(plan.units[0].sources, plan.units[0].weights, strict=True)
        }
        assert by_name == {m.model: m.weight for m in plan.recipe.models}

    @pytest.mark.parametrize(
        ("method", "keys", "sentence"),
        [
            ("ties", {}, r"'auto: metagpt' finds the weights of a sum of task vectors, which 'ties' is not\. Type"),
            ("task_arithmetic", {"overrides": [{"weights": [1, 2]}]}, r"finds the weights itself\. Remove 'weight'"),
        ],
    )
    def test_refused(self, planned: Planned, method: str, keys: dict[str, Any], sentence: str) -> None:
        with pytest.raises(tv.RecipeError, match=sentence):
            planned(method, 2, scale={"auto": "metagpt"}, **keys)


class TestMerging:
    def test_the_merge_is_that_of_the_number(self, planned: Planned, tmp_path: Path) -> None:
        auto = planned("ties", 3, scale="auto")
        typed = planned("ties", 3, scale=auto.recipe.scale)
        assert auto.digest() == typed.digest()
        receipt = tv.run(auto, tmp_path / "out").facts
        assert receipt["recipe"]["scale"] == auto.recipe.scale
        assert receipt["choice"]["name"] == "equal_energy"
        card = (tmp_path / "out" / "README.md").read_text()
        assert f"scale: {auto.recipe.scale}" in card
        (note,) = [n for n in receipt["notes"] if "scale: auto" in n]
        assert note == (
            f"'scale: auto' is 'scale: {auto.recipe.scale:g}', by equal_energy, which assumes that a merged model may "
            f"move as far as its specialists moved, in the root mean square; the inputs were read once more to find it."
        )

    def test_plan_on_the_command_line(self, family: Path, capsys: pytest.CaptureFixture[str]) -> None:
        models = [str(family / f"m{i}") for i in range(2)]
        args = ["plan", "--method", "task_arithmetic", "--base", str(family / "base"), *models, "--json"]
        assert run(app, [*args, "--set", "scale={auto: isotropic}"], debug=False) == 0
        facts = json.loads(capsys.readouterr().out)
        assert facts["choice"]["scale"] == 0.5
        assert any("isotropic, which assumes that every task's loss" in n for n in facts["notes"])

    def test_a_recipe_keeps_its_auto_as_text(self, planned: Planned) -> None:
        recipe = tv.Recipe.model_validate({"method": "ties", "models": ["a"], "scale": {"auto": "isotropic"}})
        assert recipe.choice == "isotropic"
        assert "scale:\n  auto: isotropic\n" in as_yaml(recipe)


@pytest.mark.parametrize(
    ("scale", "sentence"),
    [
        ("atuo", r"'scale' must be a number, a list over depth, 'auto', .*; did you mean 'auto', got 'atuo'"),
        ({"auto": "isotropc"}, "; did you mean 'isotropic', got {'auto': 'isotropc'}"),
        ({"by": "isotropic"}, r"'scale' must be a number, a list over depth, 'auto', or \{auto: NAME\}"),
        (True, "'scale' must be a number, or a list"),
    ],
)
def test_other_words_are_refused(typed: Any, scale: Any, sentence: str) -> None:
    with pytest.raises(tv.RecipeError, match=sentence):
        typed(f"method: ties\nbase: b\nmodels: [a]\nscale: {json.dumps(scale)}\n")


class TestRefused:
    def test_methods_of_whole_models(self, planned: Planned) -> None:
        with pytest.raises(tv.RecipeError, match=r"'linear' merges whole models, .*Remove 'scale'"):
            planned("linear", scale="auto")

    def test_nothing_is_merged(self, planned: Planned, family: Path) -> None:
        models = [{"model": str(family / "m0"), "weight": 1}, {"model": str(family / "m0"), "weight": -1}]
        with pytest.raises(tv.RecipeError, match=r"the merged task vector is zero.*Type a number"):
            planned("task_arithmetic", models=models, scale="auto")

    def test_the_merge_leads_away(self, planned: Planned, family: Path) -> None:
        models = [{"model": str(family / "m0"), "weight": -1}, {"model": str(family / "m1"), "weight": -1}]
        with pytest.raises(tv.RecipeError, match=r"'auto: isotropic' finds -0\.5: with these weights the merge leads"):
            planned("task_arithmetic", models=models, scale={"auto": "isotropic"})

    def test_no_tensor_takes_it(self, planned: Planned) -> None:
        with pytest.raises(tv.RecipeError, match=r"'scale: auto' is a scale for no tensor"):
            planned("task_arithmetic", scale="auto", overrides=[{"scale": 0.5}])


@pytest.mark.parametrize("name", ["isotropic", "equal_energy", "metagpt"])
def test_no_number_is_found_among_nan(tmp_path: Path, name: str) -> None:
    for i, model in enumerate(("base", "m0", "m1")):
        x = np.arange(6, dtype=np.float32) + i
        x[2] = np.nan if model == "m1" else x[2]
        write_model(tmp_path / model, {"w": x}, dtype="F32")
    data = {"method": "task_arithmetic", "base": str(tmp_path / "base"), "nonfinite": "pass", "scale": {"auto": name}}
    made = tv.Recipe.model_validate(data | {"models": [str(tmp_path / m) for m in ("m0", "m1")]})
    with pytest.raises(
        tv.NumbersError, match=r"'scale: auto' cannot be found: an input holds NaN or Inf\. Type a number"
    ):
        tv.make_plan(made)
