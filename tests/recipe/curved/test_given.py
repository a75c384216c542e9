"""What methods are given of statistics, and that nothing else in a run changes because of them."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import taskvec as tv
from measured import write_statistics
from taskvec.errors import NumbersError
from taskvec.recipe.rescaled import Rescaling
from taskvec.store.statistics import Statistics, StatisticsWriter
from taskvec.testing import finetuned, write_model

from .conftest import EMBED, KINDS, NORM, SHAPES, UP, Made, tensors

Array = np.ndarray


def merged(recipe: tv.Recipe, **how: Any) -> dict[str, Array]:
    """Merge in memory."""
    return {name: np.array(x) for name, x in tv.merge_in_memory(tv.make_plan(recipe, **how)).items()}


def delta(model: int, name: str) -> Array:
    """A task vector."""
    return tensors(model + 1)[name] - tensors(0)[name]


def statistics(soup: Path, model: str, kind: str = "diagonal") -> Statistics:
    """Statistics of the soup."""
    return Statistics(soup / "stats" / f"{model}.{kind}")


def test_diagonals_slice_by_slice(soup: Path, recipe: Made) -> None:
    got = merged(recipe(order=(0, 1, 2)))
    for name in SHAPES:
        f = np.stack([statistics(soup, f"m{i}").read(name) for i in range(3)])
        d = np.stack([delta(i, name) for i in range(3)])
        w = np.array([1, 1.5, 2], np.float32).reshape(-1, *(1,) * (d.ndim - 1))
        np.testing.assert_allclose(got[name], tensors(0)[name] + np.sum(w * f * d, axis=0), rtol=1e-5, atol=1e-6)


def test_the_bases_own(soup: Path, recipe: Made) -> None:
    got = merged(recipe("leaning_on_base", statistics=str(soup / "stats" / "base.diagonal")))
    without = merged(recipe())
    for name in SHAPES:
        expected = without[name] - statistics(soup, "base").read(name)
        np.testing.assert_allclose(got[name], expected, rtol=1e-5, atol=1e-6)


def applied(known: Statistics, name: str, x: Array) -> Array:
    """H x of a weight that is stored (out, in)."""
    kind = known.kind_of(name)
    if kind == "diagonal":
        return known.read(name) * x
    if kind == "gram":
        return x @ known.read(name, "input")
    if kind == "kronecker":
        return known.read(name, "output") @ x @ known.read(name, "input")
    q_out, q_in = known.read(name, "output_vectors"), known.read(name, "input_vectors")
    return q_out @ (known.read(name, "eigenvalues") * (q_out.T @ x @ q_in)) @ q_in.T


@pytest.mark.parametrize("push", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_whole_metrics_task_by_task(soup: Path, recipe: Made, kind: str, push: bool) -> None:
    if kind == "gram" and push:
        with pytest.raises(
            tv.RecipeError, match=r"needs gradients with these settings, and the statistics .* have none"
        ):
            tv.make_plan(recipe("pressing", kind, settings={"push": True}))
        return
    got = merged(recipe("pressing", kind, settings={"push": push}))
    for name in SHAPES:
        expected = np.array(tensors(0)[name])
        for i in (0, 1):
            known, x = statistics(soup, f"m{i}", kind), np.float32(1 + 0.5 * i) * delta(i, name)
            if "up_proj" in name:
                x = applied(known, name, x) / known.total
                x = x - known.read(name, "gradient") if push else x
            expected = expected + x
        np.testing.assert_allclose(got[name], expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_layers_stored_in_out_have_their_sides_swapped(tmp_path: Path, kind: str) -> None:
    name, rng = "h.0.mlp.c_fc.weight", np.random.default_rng(1)
    base = {name: rng.standard_normal((6, 9)).astype(np.float32)}
    config = {"model_type": "gpt2"}
    for folder, own in (("base", base), ("m", finetuned(base, 1))):
        write_model(tmp_path / folder, own, config=config)
    stats = write_statistics(tmp_path / "s", tmp_path / "m", kind, turned=(name,))
    models = [{"model": str(tmp_path / "m"), "statistics": str(stats)}]
    got = merged(tv.Recipe.model_validate({"method": "pressing", "base": str(tmp_path / "base"), "models": models}))
    known, x = Statistics(stats), finetuned(base, 1)[name] - base[name]
    upright = known.read(name) * x if kind == "diagonal" else applied(known, name, x.T).T
    np.testing.assert_allclose(got[name], base[name] + upright / known.total, rtol=1e-4, atol=1e-5)


def test_experts_are_given_their_own_entries(tmp_path: Path) -> None:
    name, rng = "model.layers.0.mlp.experts.down_proj", np.random.default_rng(1)
    base = {name: rng.standard_normal((4, 12, 8)).astype(np.float32)}
    for folder, own in (("base", base), ("m", finetuned(base, 1))):
        write_model(tmp_path / folder, own, config={"model_type": "qwen3_moe"})
    stats = write_statistics(tmp_path / "s", tmp_path / "m", "kronecker", gradient=True)
    models = [{"model": str(tmp_path / "m"), "statistics": str(stats)}]
    data = {"method": "pressing", "base": str(tmp_path / "base"), "models": models, "settings": {"push": True}}
    plan = tv.make_plan(tv.Recipe.model_validate(data))
    assert [(u.pieces, u.whole) for u in plan.units] == [(4, True)]
    known, x = Statistics(stats), finetuned(base, 1)[name] - base[name]
    expected = base[name] + known.read(name) * x / known.total - known.read(name, "gradient")
    np.testing.assert_allclose(tv.merge_in_memory(plan)[name], expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("method", ["leaning", "pressing"])
def test_float64_where_an_input_is_float64(soup: Path, tmp_path: Path, recipe: Made, method: str) -> None:
    write_model(tmp_path / "base", tensors(0), dtypes={EMBED: "F64", UP: "F64"})
    made = recipe(method).model_copy(update={"base": str(tmp_path / "base")})
    plan = tv.make_plan(made)
    assert {u.name: u.work for u in plan.units}[UP] == "F64"
    base, *tuned = (tensors(i)[UP].astype(np.float64) for i in range(3))
    x = [(own - base) * (1 + 0.5 * i) for i, own in enumerate(tuned)]
    known = [statistics(soup, f"m{i}") for i in (0, 1)]
    f = [k.read(UP).astype(np.float64) / (k.total if method == "pressing" else 1) for k in known]
    expected = base + sum(a * b for a, b in zip(f, x, strict=True))
    np.testing.assert_allclose(tv.merge_in_memory(plan)[UP], expected, rtol=1e-14)


HOW: list[dict[str, Any]] = [{"threads": 1}, {"threads": 2, "slice_": 16384}, {"threads": 3, "memory": 500_000_000}]


@pytest.mark.parametrize("method", ["leaning", "pressing"])
def test_the_same_bytes_however_it_is_run(recipe: Made, method: str) -> None:
    first = merged(recipe(method), **HOW[0])
    assert first[EMBED].size > 16384
    for how in HOW[1:]:
        assert all(np.array_equal(x, first[name]) for name, x in merged(recipe(method), **how).items()), how


@pytest.mark.parametrize(("method", "kind"), [("leaning", "diagonal"), ("pressing", "eigen")])
def test_statistics_follow_their_model_into_whatever_order(recipe: Made, method: str, kind: str) -> None:
    first = merged(recipe(method, kind, order=(0, 1, 2)))
    for order in ((2, 1, 0), (1, 2, 0)):
        assert all(np.array_equal(x, first[name]) for name, x in merged(recipe(method, kind, order=order)).items())


def test_one_model_with_two_statistics_is_two(soup: Path, tmp_path: Path, recipe: Made) -> None:
    other = str(write_statistics(tmp_path / "other", soup / "m0", seed=77))
    made = recipe(order=(0, 0))
    pair = [made.models[0], made.models[0].model_copy(update={"statistics": other})]
    one, two = (merged(made.model_copy(update={"models": models})) for models in (pair, pair[::-1]))
    assert all(np.array_equal(x, two[name]) for name, x in one.items())
    assert not np.array_equal(one[UP], merged(made)[UP])


def test_renamed_weights_find_their_statistics(soup: Path, tmp_path: Path, recipe: Made) -> None:
    prefixed = {f"bert.{name}": x for name, x in tensors(1).items()}
    write_model(tmp_path / "m0", prefixed)
    with Statistics(soup / "stats" / "m0.diagonal") as known, tv.Checkpoint(tmp_path / "m0") as model:
        own = {f"bert.{name}": known.read(name) for name in known.names}
        facts = {**known.facts, "model": {"path": "m0", "fingerprint": tv.fingerprint(model)}}
        with StatisticsWriter(tmp_path / "s", "diagonal", {n: {"": x.shape} for n, x in own.items()}) as writer:
            for name, x in own.items():
                writer.add(name, "", x)
            writer.finish(facts)
    made = recipe()
    entry = made.models[0].model_copy(update={"model": str(tmp_path / "m0"), "statistics": str(tmp_path / "s")})
    got, expected = merged(made.model_copy(update={"models": [entry, made.models[1]]})), merged(made)
    assert all(np.allclose(x, expected[name], rtol=1e-6) for name, x in got.items())


def test_a_tied_head_has_the_embeddings(tmp_path: Path) -> None:
    embed, head, rng = "model.embed_tokens.weight", "lm_head.weight", np.random.default_rng(1)
    table = rng.standard_normal((9, 4)).astype(np.float32)
    write_model(tmp_path / "base", {embed: table, head: table})
    write_model(tmp_path / "m", {embed: table + 1}, config={"tie_word_embeddings": True})
    stats = write_statistics(tmp_path / "s", tmp_path / "m")
    models = [{"model": str(tmp_path / "m"), "statistics": str(stats)}]
    got = merged(tv.Recipe.model_validate({"method": "leaning", "base": str(tmp_path / "base"), "models": models}))
    np.testing.assert_allclose(got[head], table + Statistics(stats).read(embed), rtol=1e-5)


def test_what_nobody_measured_is_merged_without_and_said(soup: Path, tmp_path: Path, recipe: Made) -> None:
    made = recipe()
    entries = []
    for i, entry in enumerate(made.models):
        folder = write_statistics(tmp_path / f"s{i}", Path(entry.model), skip=(NORM,), seed=i + 1)
        entries.append(entry.model_copy(update={"statistics": str(folder)}))
    plan = tv.make_plan(made.model_copy(update={"models": entries}))
    assert f"1 of {len(SHAPES)} tensors have no statistics and are merged without: '{NORM}'." in plan.notes
    got = tv.merge_in_memory(plan)
    expected = tensors(0)[NORM] + (delta(0, NORM) + np.float32(1.5) * delta(1, NORM)) / 2
    np.testing.assert_allclose(got[NORM], expected, rtol=1e-5, atol=1e-6)
    assert np.array_equal(got[UP], merged(made)[UP]) is False


def test_settings_that_use_no_statistics_need_none(recipe: Made) -> None:
    without = merged(recipe(kind=None, settings={"flat": True}))
    plan = tv.make_plan(recipe(settings={"flat": True}))
    assert "with these settings 'leaning' uses no statistics; those given have no effect." in plan.notes
    assert plan.curvature == {}
    assert all(np.array_equal(x, without[name]) for name, x in tv.merge_in_memory(plan).items())


def test_an_override_may_use_none_for_some(recipe: Made) -> None:
    made = recipe(overrides=[{"match": "*embed*", "settings": {"flat": True}}])
    assert set(tv.make_plan(made).curvature) == set(SHAPES) - {EMBED}
    some, all_of, none = merged(made), merged(recipe()), merged(recipe(settings={"flat": True}))
    assert np.array_equal(some[EMBED], none[EMBED])
    assert np.array_equal(some[UP], all_of[UP])


def test_statistics_are_read_once_and_counted(recipe: Made, tmp_path: Path) -> None:
    plan = tv.make_plan(recipe())
    floats = 4 * sum(int(np.prod(shape)) for shape in SHAPES.values())
    assert plan.bytes_read == 5 * floats  # the base, two models, two statistics
    assert tv.run(plan, tmp_path / "out").facts["bytes"]["read"] == plan.bytes_read
    assert tv.make_plan(recipe(settings={"flat": True})).bytes_read == 3 * floats


def spoiled(soup: Path, tmp_path: Path, recipe: Made, value: float) -> tv.Recipe:
    """A recipe whose first model has one wrong number in its statistics."""
    folder = write_statistics(tmp_path / "bad", soup / "m0")
    with Statistics(folder) as known:
        info = known.tensor(UP)
    with info.file.open("r+b") as file:  # type: ignore[attr-defined]
        file.seek(info.begin + 4 * 7)  # type: ignore[attr-defined]
        file.write(np.float32(value).tobytes())
    made = recipe()
    entry = made.models[0].model_copy(update={"statistics": str(folder)})
    return made.model_copy(update={"models": [entry, made.models[1]]})


@pytest.mark.parametrize(("value", "said"), [(np.nan, "NaN or Inf"), (np.inf, "NaN or Inf"), (-1.0, "numbers below 0")])
@pytest.mark.parametrize("method", ["leaning", "pressing"])
def test_wrong_numbers_are_named_and_leave_nothing(
    soup: Path, tmp_path: Path, recipe: Made, method: str, value: float, said: str
) -> None:
    made = spoiled(soup, tmp_path, recipe, value).model_copy(update={"method": method})
    with pytest.raises(NumbersError, match=rf"the statistics .*bad hold {said} at '{UP}'\. Measure again\."):
        tv.run(tv.make_plan(made), tmp_path / "out")
    assert not list(tmp_path.glob("*out*"))


class TestWhatElseWorks:
    @pytest.mark.parametrize("method", ["leaning", "pressing"])
    def test_scale_auto(self, recipe: Made, method: str) -> None:
        plan = tv.make_plan(recipe(method, scale="auto"))
        assert plan.choice is not None
        typed = merged(recipe(method, scale=plan.choice.scale))
        assert all(np.array_equal(x, typed[name]) for name, x in tv.merge_in_memory(plan).items())

    @pytest.mark.parametrize("method", ["leaning", "pressing"])
    def test_reports(self, recipe: Made, tmp_path: Path, method: str) -> None:
        plan = tv.make_plan(recipe(method, report=True))
        receipt = tv.run(plan, tmp_path / "out")
        assert (tmp_path / "out" / "report.html").is_file()
        plain = merged(recipe(method))
        assert all(np.array_equal(x.numpy(), plain[name]) for name, x in tv.Checkpoint(tmp_path / "out").items())
        assert receipt.facts["report"]

    @pytest.mark.parametrize("method", ["leaning", "pressing"])
    def test_the_same_models_again_and_again(self, recipe: Made, method: str) -> None:
        made = recipe(method)
        with tv.Reweighted(made) as models:
            for scale in (0.5, 1.0, 2.0, 3.0):
                again = made.model_copy(update={"scale": scale})
                got = {name: np.array(x) for name, x in models.weigh(again).items()}
                assert all(np.array_equal(x, got[name]) for name, x in merged(again).items()), scale
            assert isinstance(models._deltas.arithmetic(models.plan(made)), Rescaling)

    def test_other_statistics_are_another_merge(self, recipe: Made, soup: Path) -> None:
        made = recipe()
        with tv.Reweighted(made) as models:
            entry = made.models[0].model_copy(update={"statistics": str(soup / "stats" / "m1.diagonal")})
            with pytest.raises(tv.RecipeError, match="only numbers may change"):
                models.weigh(made.model_copy(update={"models": [entry, made.models[1]]}))
