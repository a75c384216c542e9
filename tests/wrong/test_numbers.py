"""Numbers that go wrong: NaN, Inf, overflow, weights that cannot be normalised."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import taskvec as tv
from measured import with_statistics
from taskvec.testing import finetuned, write_model

from .conftest import Family

Refused = Callable[..., str]
NORM, HEAD = "model.norm.weight", "lm_head.weight"


def spoil(family: Family, name: str, tensor: str, values: list[float], **how: Any) -> None:
    tensors = dict(family.base) if name == "base" else finetuned(family.base, int(name[1]))
    tensors[tensor] = tensors[tensor].copy()
    tensors[tensor].reshape(-1)[: len(values)] = values
    family.write(name, tensors, **how)


@pytest.mark.parametrize("method", list(tv.METHODS))
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_in_a_model(family: Family, refused: Refused, method: str, value: float) -> None:
    spoil(family, "m1", HEAD, [value, 1.0, value])
    refused(
        tv.NumbersError,
        r"'lm_head\.weight' in .*m1 holds 2 NaN or Inf among 128 entries\. Mend that model, or type 'nonfinite: pass'",
        method,
        planning=False,
    )


@pytest.mark.parametrize(
    ("method", "settings"),
    [
        ("sce", {"select_topk": 0.5}),
        ("ties", {"scope": "tensor", "rescale": "mergekit"}),
        ("breadcrumbs", {"rescale": "mergekit"}),
        ("model_stock", {"over": "row"}),
    ],
)
def test_where_a_search_works_on_rows(family: Family, refused: Refused, method: str, settings: dict[str, Any]) -> None:
    spoil(family, "m1", HEAD, [np.inf, 1.0, -np.inf])
    message = r"'lm_head\.weight' in .*m1 holds 2 NaN or Inf among 128 entries"
    refused(tv.NumbersError, message, method, planning=False, settings=settings)
    plan = tv.make_plan(family.recipe(method, settings=settings, nonfinite="pass"))
    assert tv.Checkpoint(tv.run(plan, family.out).folder)[NORM].isfinite().all()


@pytest.mark.parametrize("kernels", ["plain", "fused"])
@pytest.mark.parametrize("dtype", ["BF16", "F16", "F32", "F64"])
@pytest.mark.parametrize("method", ["task_arithmetic", "ties"])
def test_in_any_type(
    family: Family, refused: Refused, method: str, dtype: str, kernels: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("taskvec.ops.kernels.choice", kernels)
    local = {"settings": {"scope": "tensor"}} if method == "ties" else {}
    spoil(family, "m0", NORM, [np.nan], dtypes={NORM: dtype})
    message = r"'model\.norm\.weight' in .*m0 holds 1 NaN or Inf among 8 entries"
    refused(tv.NumbersError, message, method, planning=False, **local)


@pytest.mark.parametrize("method", [n for n, m in tv.METHODS.items() if m.needs.space == "delta"])
def test_in_the_base(family: Family, refused: Refused, method: str) -> None:
    spoil(family, "base", HEAD, [np.nan] * 3)
    refused(
        tv.NumbersError, r"'lm_head\.weight' in .*base holds 3 NaN or Inf among 128 entries", method, planning=False
    )


def test_the_same_inf_in_base_and_models(family: Family, refused: Refused) -> None:
    """Masks of -inf that are stored with a model: their difference is NaN."""
    for name in ("base", "m0", "m1"):
        spoil(family, name, NORM, [-np.inf])
    refused(tv.NumbersError, r"'model\.norm\.weight' in .*base holds 1 NaN or Inf among 8 entries", planning=False)


def test_with_a_weight_of_zero_too(family: Family, refused: Refused) -> None:
    spoil(family, "m1", HEAD, [np.inf])
    models = [{"model": str(family.folder / "m0")}, {"model": str(family.folder / "m1"), "weight": 0}]
    refused(tv.NumbersError, r"'lm_head\.weight' in .*m1 holds 1 NaN or Inf", models=models, planning=False)


@pytest.mark.parametrize("method", ["linear", "task_arithmetic", "ties", "dare_linear", "breadcrumbs"])
def test_they_pass_if_asked_to(family: Family, method: str) -> None:
    spoil(family, "m1", HEAD, [np.nan])
    out = tv.run(tv.make_plan(family.recipe(method, nonfinite="pass")), family.out).folder
    merged = tv.Checkpoint(out)
    assert all(bool(merged[n].isfinite().all()) for n in merged if n != HEAD)
    assert int((~merged[HEAD].isfinite()).sum()) <= 1
    assert (out / "receipt.json").exists()


def test_in_a_tensor_that_is_ignored_only_the_bases_counts(family: Family, refused: Refused) -> None:
    spoil(family, "m1", HEAD, [np.nan])
    assert tv.run(tv.make_plan(family.recipe(ignore=[HEAD])), family.out).folder


def test_found_by_verify(family: Family) -> None:
    spoil(family, "m1", HEAD, [np.nan, np.inf])
    with pytest.raises(tv.NumbersError, match=r"'lm_head\.weight' in .*m1 holds 2 NaN or Inf, the first found\."):
        tv.verify(family.folder / "m1")


class TestOverflow:
    @pytest.fixture
    def large(self, family: Family) -> Family:
        """Base 60,000 and models 65,000 in one entry: fine in float16 each, not added up."""
        spoil(family, "base", HEAD, [60_000.0], dtype="F16")
        for i in range(2):
            spoil(family, f"m{i}", HEAD, [65_000.0], dtype="F16")
        return family

    @pytest.mark.parametrize("rounding", ["nearest", "stochastic"])
    def test_of_float16(self, large: Family, refused: Refused, rounding: str) -> None:
        refused(
            tv.NumbersError,
            r"1 entries of 'lm_head\.weight' exceed what float16 can hold\. Type 'dtype: bfloat16' or 'dty",
            rounding=rounding,
            planning=False,
        )
        out = tv.run(tv.make_plan(large.recipe(rounding=rounding, dtype="bfloat16")), large.out).folder
        assert tv.Checkpoint(out)[HEAD][0, 0].item() == pytest.approx(70_000, rel=0.01)

    def test_of_a_copied_tensor(self, family: Family, refused: Refused) -> None:
        spoil(family, "base", HEAD, [1e6])
        refused(tv.NumbersError, "exceed what float16 can hold", ignore=[HEAD], dtype="float16", planning=False)

    def test_of_float32_by_its_weights(self, family: Family, refused: Refused) -> None:
        models = [
            {"model": str(family.folder / "m0"), "weight": 1e38},
            {"model": str(family.folder / "m1"), "weight": 1e38},
        ]
        refused(
            tv.NumbersError,
            r"exceed what float32 can hold|overflows float32",
            models=models,
            scale=1e10,
            planning=False,
        )


class TestWeights:
    @pytest.mark.parametrize("weights", [(1, -1), (0, 0), (0.3, -0.3)])
    @pytest.mark.parametrize(
        ("method", "keys"),
        [
            ("linear", {}),
            ("task_arithmetic", {"settings": {"normalize": True}}),
            ("della_linear", {"settings": {"normalize": True}}),
        ],
    )
    def test_that_sum_to_zero(
        self, family: Family, refused: Refused, method: str, keys: dict[str, Any], weights: tuple[float, ...]
    ) -> None:
        """mergekit: -inf, or no normalisation, without a word (peers.md D)."""
        models = [{"model": str(family.folder / f"m{i}"), "weight": w} for i, w in enumerate(weights)]
        refused(
            tv.RecipeError,
            r"the weights \[.*\] sum to 0\. Type 'normalize: false', or other weights\.",
            method,
            models=models,
            **keys,
        )
        loose = {"settings": {"normalize": False}}
        assert tv.make_plan(family.recipe(method, models=models, **loose)).units

    def test_that_sum_to_zero_but_for_a_rounding(self, family: Family, refused: Refused) -> None:
        family.write("m2", finetuned(family.base, 2))
        models = [{"model": str(family.folder / f"m{i}"), "weight": w} for i, w in enumerate((0.1, 0.2, -0.3))]
        assert sum((0.1, 0.2, -0.3)) != 0
        refused(tv.RecipeError, r"the weights \[.*\] sum to 0\.", "linear", models=models)

    def test_that_sum_to_zero_somewhere(self, family: Family, refused: Refused) -> None:
        models = [{"model": str(family.folder / "m0"), "weight": [1, -1]}, {"model": str(family.folder / "m1")}]
        refused(tv.RecipeError, r"the weights \[-1\.0, 1\.0\] sum to 0\.", "linear", models=models)
        refused(
            tv.RecipeError,
            r"the weights \[2\.0, -2\.0\] sum to 0\.",
            "linear",
            overrides=[{"layers": 1, "weights": [2, -2]}],
        )

    def test_that_are_nothing(self, family: Family, refused: Refused) -> None:
        with pytest.raises(ValueError, match="must be a number"):
            family.recipe(models=[{"model": "x", "weight": float("nan")}])


def test_settings_of_methods_that_are_no_blend_are_tried_too(family: Family, refused: Refused) -> None:
    refused(tv.RecipeError, r"'k' is 3 and only 2 models are merged.*Type 'k: 2'", "consensus_ta", settings={"k": 3})


def test_an_entry_that_is_far_from_the_others_is_no_error(family: Family) -> None:
    spoil(family, "m0", HEAD, [1e30])
    recipe = family.recipe(allow=["unrelated"])
    assert np.isfinite(tv.Checkpoint(tv.run(tv.make_plan(recipe), family.out).folder)[HEAD].numpy()).all()


@pytest.mark.parametrize(
    ("method", "weights", "message"),
    [
        ("nuslerp", (1, -1), r"the weights \[1\.0, -1\.0\] sum to 0\. Type other weights\."),
        ("multislerp", (1, -1), r"the weights \[1\.0, -1\.0\] sum to 0\. Type 'normalize: false'"),
        ("geometric_median", (0, 0), r"the weights \[0\.0, 0\.0\] are all 0, .* Type other weights\."),
    ],
)
def test_weights_are_tried_before_anything_is_searched(
    family: Family, refused: Refused, method: str, weights: tuple[float, float], message: str
) -> None:
    models = [{"model": str(family.folder / f"m{i}"), "weight": w} for i, w in enumerate(weights)]
    refused(tv.RecipeError, message, method, models=models)


@pytest.mark.parametrize("method", [name for name, m in tv.METHODS.items() if m.needs.role])
def test_a_matrix_with_nan_is_refused_or_is_nan_as_a_whole(
    tmp_path: Path, method: str, rng: np.random.Generator
) -> None:
    base = {"up.weight": rng.standard_normal((6, 5)).astype(np.float32), "b": np.ones(6, np.float32)}
    broken = {name: x.copy() for name, x in base.items()}
    broken["up.weight"][2, 3] = np.nan
    folders = [str(write_model(tmp_path / n, x)) for n, x in (("base", base), ("a", broken), ("c", base))]
    data = {"method": method, "base": folders[0], "models": [{"model": f} for f in folders[1:]]}
    data |= {"settings": {"steps": 2}} if method == "wudi" else {}
    data = with_statistics(data)
    with pytest.raises(tv.NumbersError, match=r"'up\.weight' in .*a holds 1 NaN or Inf among 30 entries"):
        tv.merge_in_memory(tv.make_plan(tv.Recipe.model_validate(data)))
    merged = tv.merge_in_memory(tv.make_plan(tv.Recipe.model_validate({**data, "nonfinite": "pass"})))
    assert np.isnan(merged["up.weight"]).any()
    assert np.isfinite(merged["b"]).all()


def test_a_matrix_whose_products_overflow_is_named(tmp_path: Path, rng: np.random.Generator) -> None:
    base = {"up.weight": rng.standard_normal((6, 5)).astype(np.float32)}
    folders = [str(write_model(tmp_path / n, {"up.weight": (1 + i) * base["up.weight"]})) for i, n in enumerate("bac")]
    models = [{"model": f, "weight": 1e38} for f in folders[1:]]
    recipe = tv.Recipe.model_validate({"method": "tsv_m", "base": folders[0], "models": models})
    with pytest.raises(tv.NumbersError, match=r"'up\.weight' cannot be decomposed: its products overflow|overflows"):
        tv.merge_in_memory(tv.make_plan(recipe))
