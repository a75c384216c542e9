"""Advice is given where it is due, with its figure, and not where it is not."""

import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from taskvec.diagnose import figures
from taskvec.diagnose.advice import ORDER, Advice, advise
from taskvec.diagnose.report import Report
from taskvec.merge import registry

from .reports import KEPT, SHAPE, group, report

ROOT = Path(__file__).parents[2]


def made(vectors: np.ndarray, names: Sequence[str] = "abcdefgh", *, spectra: int = 0) -> Report:
    """Report on vectors (task, row, column) of one matrix."""
    one = group(vectors, layer=4, kind="v", spectra=spectra)
    return Report("base", tuple(names[: len(vectors)]), "bfloat16", KEPT, (one,), spectra=spectra)


def titled(found: Sequence[Advice], title: str) -> Advice:
    return next(advice for advice in found if advice.title == title)


def titles(found: Sequence[Advice]) -> set[str]:
    return {advice.title for advice in found}


def test_the_gravest_comes_first_and_every_figure_is_a_number(rng: np.random.Generator) -> None:
    found = advise(report(rng, names=("a", "b", "c"), zeros=(1,), spectra=2))
    places = [ORDER.index(advice.severity) for advice in found]
    assert places == sorted(places)
    assert all(np.isfinite(value) for advice in found for value in advice.figures.values())
    assert len({advice.severity for advice in found}) > 1


def test_every_method_and_source_that_is_named_exists(rng: np.random.Generator) -> None:
    orthogonal = advise(report(rng, names="abcdef", common=0.0, spectra=2))
    alike = advise(made(rng.normal(size=SHAPE) + 0.1 * rng.normal(size=(3, *SHAPE))))
    low_rank = advise(made(_one_subspace(rng), spectra=2))
    found = [*orthogonal, *alike, *low_rank]
    named = {name for advice in found for name in advice.methods}
    assert {"task_arithmetic", "ties", "linear", "tsv_m"} <= named <= set(registry.METHODS)
    for advice in found:
        assert all(f"`{name}`" in advice.text for name in advice.methods)
        if advice.source:
            path, _, anchor = advice.source.partition("#")
            headings = re.findall(r"^#+ (.*)$", (ROOT / path).read_text(encoding="utf-8"), re.MULTILINE)
            assert anchor in {heading.lower().replace(" ", "-") for heading in headings}


def test_orthogonal_vectors_are_summed_and_vectors_that_are_alike_averaged(rng: np.random.Generator) -> None:
    sums = titled(advise(report(rng, common=0.0)), "Sums suit")
    assert abs(sums.figures["mean_cosine"]) < 0.1
    alike = advise(made(rng.normal(size=SHAPE) + 0.1 * rng.normal(size=(3, *SHAPE))))
    assert titled(alike, "Averages suit").figures["mean_cosine"] > 0.9
    assert "Sums suit" not in titles(alike)


def test_near_copies_and_near_opposites_are_named(rng: np.random.Generator) -> None:
    a, b = rng.normal(size=(2, *SHAPE))
    found = advise(made(np.stack([a, b, 1.5 * a, -b])))
    copies, opposites = titled(found, "Near copies"), titled(found, "Near opposites")
    assert copies.about == ("a", "c")
    assert copies.figures["cosine"] == pytest.approx(1)
    assert opposites.about == ("b", "d")
    assert opposites.figures["cosine"] == pytest.approx(-1)


def test_a_model_that_is_the_base_is_named(rng: np.random.Generator) -> None:
    zero = titled(advise(report(rng, zeros=(1,))), "Equal to the base")
    assert zero.about == ("bert",)
    assert zero.severity == "warning"


def test_a_model_within_the_span_of_others_is_named(rng: np.random.Generator) -> None:
    a, b = rng.normal(size=(2, *SHAPE))
    inside = titled(
        advise(made(np.stack([a, b, a + b + 0.5 * rng.normal(size=SHAPE)]))), "Mostly in the span of others"
    )
    assert inside.about[0] == "c"
    assert inside.figures["in_span"] > 0.8


def test_a_conflict_is_told_with_its_models_and_its_place(rng: np.random.Generator) -> None:
    calm = report(rng, common=0.0, layers=2, kinds=("q", "v"), outside=False)
    assert "Opposed in places" not in titles(advise(calm))
    a, c = rng.normal(size=(2, *SHAPE))
    groups = [
        g if (g.layer, g.kind) != (1, "v") else group(np.stack([a, c, c - 2 * a]), layer=1, kind="v")
        for g in calm.groups
    ]
    found = advise(replace(calm, groups=tuple(groups)))
    opposed, clash = titled(found, "Opposed in places"), titled(found, "Signs clash in places")
    assert "anna and carl in layer 1, values (−0." in opposed.text
    assert opposed.about == ("anna", "carl")
    assert opposed.figures["lowest_cosine"] < -0.8
    assert clash.figures["highest_trimmed_conflict"] > 0.9
    assert "No conflict stands out" not in titles(found)


def test_unrelated_vectors_are_not_said_to_conflict(rng: np.random.Generator) -> None:
    for _ in range(5):
        calm = titled(advise(report(rng, names="abcdefgh", common=0.0)), "No conflict stands out")
        assert calm.severity == "note"
        assert calm.figures["lowest_trimmed_conflict"] < 0.5 < calm.figures["highest_trimmed_conflict"]


def test_few_models_with_few_large_entries_in_common_need_no_votes(rng: np.random.Generator) -> None:
    assert "Votes on signs may help" not in titles(advise(report(rng, names="ab", common=0.0)))
    many = titled(advise(report(rng, names="abcdefgh", common=0.0)), "Votes on signs may help")
    assert many.figures["opposing_large_entries"] == pytest.approx(7 * KEPT / 2, rel=0.15)


def _one_subspace(rng: np.random.Generator) -> np.ndarray:
    """Draw matrices of rank two whose rows and columns lie in the same planes."""
    left, right = rng.normal(size=(SHAPE[0], 2)), rng.normal(size=(2, SHAPE[1]))
    return np.stack([left @ rng.normal(size=(2, 2)) @ right for _ in range(3)])


def test_matrices_are_taken_apart_where_few_directions_are_shared(rng: np.random.Generator) -> None:
    found = titled(advise(made(_one_subspace(rng), spectra=2)), "Methods of matrices may help")
    assert found.figures["shared_subspace"] == pytest.approx(1)
    assert found.figures["shared_by_chance"] == pytest.approx((2 / SHAPE[0] + 2 / SHAPE[1]) / 2)
    frozen = group(np.zeros((3, *SHAPE)), layer=5, kind="v", spectra=2)
    one = made(_one_subspace(rng), spectra=2)
    half = titled(advise(replace(one, groups=(*one.groups, frozen))), "Methods of matrices may help")
    assert half.figures["shared_subspace"] == pytest.approx(1)
    full = titles(advise(made(rng.normal(size=(3, *SHAPE)), spectra=2)))
    assert not {"Methods of matrices may help", "Matrices were not taken apart"} & full
    assert "Matrices were not taken apart" in titles(advise(made(rng.normal(size=(3, *SHAPE)))))


def test_one_long_vector_is_said_to_outweigh_the_others(rng: np.random.Generator) -> None:
    long = titled(
        advise(made(rng.normal(size=(3, *SHAPE)) * np.array([1, 1, 5])[:, None, None])), "One outweighs the others"
    )
    assert long.about == ("c",)
    assert long.figures["share_of_squared_norms"] > 0.9


def test_the_scale_is_that_of_the_closed_forms(rng: np.random.Generator) -> None:
    made_report = report(rng, names="abcd", common=0.4)
    scale = titled(advise(made_report), f"Begin at a scale of {_equal(made_report):.2f}")
    assert scale.figures["scale"] == pytest.approx(_equal(made_report))
    assert scale.figures["isotropic"] == pytest.approx(1 / 4)


def _equal(found: Report) -> float:
    gram = found.total.gram
    return float(np.sqrt(np.trace(gram) / len(gram) / gram.sum()))


def test_vectors_that_cancel_have_no_scale(rng: np.random.Generator) -> None:
    a = rng.normal(size=SHAPE)
    found = advise(made(np.stack([a, -a])))
    assert titled(found, "The task vectors cancel").figures["energy_of_sum"] == pytest.approx(0, abs=1e-9)
    assert not any(title.startswith("Begin at") for title in titles(found))


def test_a_model_that_the_sum_leaves_out_is_named(rng: np.random.Generator) -> None:
    a, b = rng.normal(size=(2, *SHAPE))
    found = titled(advise(made(np.stack([a, 3 * b, a / 10 - b / 2]))), "Hardly in the sum")
    assert found.about[0] == "c"
    assert found.figures["way"] < 0


def test_rounding_is_grave_only_where_it_loses_something(rng: np.random.Generator) -> None:
    coarse = titled(advise(report(rng, scale=0.001)), "bfloat16 loses part of the change")
    assert (coarse.severity, coarse.figures["gone_average"]) == ("warning", pytest.approx(1, abs=0.05))
    fine = titled(advise(report(rng, scale=10.0)), "bfloat16 is fine enough")
    assert (fine.severity, fine.source) == ("note", "")


def test_an_average_that_cancels_is_not_compared(rng: np.random.Generator) -> None:
    a = rng.normal(size=SHAPE)
    noise = 1e-3 * rng.normal(size=SHAPE)
    cancelling = made(np.stack([a, noise - a]))
    assert figures.gone(cancelling.total.rounding)[-1] > 0.9
    found = titled(advise(cancelling), "bfloat16 is fine enough")
    assert set(found.figures) == {"lost_worst_model", "gone_worst_model"}
    small = titled(advise(made(0.001 * np.stack([a, noise - a]))), "bfloat16 loses part of the change")
    assert "The average of all models mostly cancels" in small.text
    assert set(small.figures) == {"lost_worst_model", "gone_worst_model"}


@pytest.mark.parametrize(
    ("dtype", "said"),
    [
        ("bfloat16", "Write the merge as `dtype: float32`, or use `rounding: stochastic`"),
        ("float32", "If the models are stored in float64, write the merge as `dtype: float64`"),
        ("float64", "No type is finer"),
    ],
)
def test_the_type_that_is_set_is_not_advised(rng: np.random.Generator, dtype: str, said: str) -> None:
    coarse = replace(report(rng, scale=0.001), dtype=dtype)
    found = titled(advise(coarse), f"{dtype} loses part of the change")
    assert said in found.text
    assert f"`dtype: {dtype}`" not in found.text


def test_dead_and_exploding_tensors_are_named(rng: np.random.Generator) -> None:
    calm = report(rng)
    assert not {"Never changed", "Larger than the base"} & titles(advise(calm))
    found = advise(replace(calm, dead=("wte",), exploding=(("anna", "ln.bias", 2.0), ("carl", "head.weight", 40.0))))
    assert titled(found, "Never changed").about == ("wte",)
    assert titled(found, "Larger than the base").about == ("head.weight", "ln.bias")
    assert "head.weight of carl (40 times)" in titled(found, "Larger than the base").text


def test_models_that_are_all_the_base_get_no_advice_on_merging(rng: np.random.Generator) -> None:
    found = advise(report(rng, names="ab", zeros=(0, 1)))
    assert titles(found) == {"Equal to the base"}
