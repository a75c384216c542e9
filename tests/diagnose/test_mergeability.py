"""A verdict adds up, says what its figures say, and comes as words, as a section of the page and as JSON."""

import json
from dataclasses import replace

import numpy as np
import pytest

from taskvec.diagnose.advice import Advice, advise
from taskvec.diagnose.advising.curvature import places
from taskvec.diagnose.examining import examined_entries, examined_matrix, examined_tensor
from taskvec.diagnose.facts import facts
from taskvec.diagnose.mergeability import MERGES, Mergeability, predictors
from taskvec.diagnose.page import render
from taskvec.merge.methods import tsv_m
from taskvec.ops.metric import Diagonal, Products

from .reports import SHAPE, report
from .verdicts import judged, tensor, verdict

TASKS = 3


def said(rng: np.random.Generator, of: Mergeability) -> dict[str, Advice]:
    """What is said of curvature, by its title."""
    return {one.title: one for one in advise(judged(rng, of)) if one.topic == "curvature"}


def of_one(deltas: np.ndarray, curvature: np.ndarray, names: str = "abcdefgh") -> Mergeability:
    """A verdict on one vector."""
    return Mergeability(tuple(names[: len(deltas)]), "fisher", 0, (tensor(deltas, curvature),))


class TestOneTensor:
    def test_the_flat_merge_of_a_matrix_is_that_of_tsv_m(self, rng: np.random.Generator) -> None:
        """T times the flat mean is what `tsv_m` makes; its expected loss is that of its quadratics."""
        deltas, curvature = rng.normal(size=(TASKS, *SHAPE)), rng.gamma(1.0, size=(TASKS, *SHAPE))
        found = examined_matrix("layers.0.mlp.weight", deltas, [Diagonal(h) for h in curvature])
        merged = tsv_m(deltas, np.ones(TASKS))
        expected = [(h * (merged - d) ** 2).sum() / 2 for d, h in zip(deltas, curvature, strict=True)]
        np.testing.assert_allclose(found.sums.excess("flat", TASKS), expected, rtol=1e-6)
        assert (found.inside, found.rank, found.kind, found.layer) == (True, SHAPE[1] // TASKS, "mlp", 0)
        assert found.sums.directions == TASKS * found.rank

    def test_a_rank_is_kept(self, rng: np.random.Generator) -> None:
        deltas, curvature = rng.normal(size=(TASKS, *SHAPE)), rng.gamma(1.0, size=(TASKS, *SHAPE))
        found = examined_matrix("w", deltas, [Diagonal(h) for h in curvature], rank=2)
        more = examined_matrix("w", deltas, [Diagonal(h) for h in curvature], rank=4)
        assert (found.rank, more.rank) == (2, 4)
        assert more.sums.residual_energy < found.sums.residual_energy
        np.testing.assert_allclose(np.diagonal(found.sums.interference), 1.0, rtol=1e-6)

    def test_a_task_of_zeros_has_no_directions(self, rng: np.random.Generator) -> None:
        deltas = rng.normal(size=(TASKS, *SHAPE))
        deltas[1] = 0
        found = examined_matrix("w", deltas, [Diagonal(np.ones(SHAPE))] * TASKS, rank=2)
        assert found.sums.directions == 4
        assert found.sums.gains[1] == 0
        nothing = examined_matrix("w", 0 * deltas, [Diagonal(np.ones(SHAPE))] * TASKS, rank=2)
        assert not nothing.inside
        assert not nothing.sums.excess().any()

    def test_slices_of_a_tensor_add_up(self, rng: np.random.Generator) -> None:
        rows, curvature = rng.normal(size=(TASKS, 90)), rng.gamma(1.0, size=(TASKS, 90))
        parts = [examined_entries(rows[:, at : at + 40], curvature[:, at : at + 40]) for at in (0, 40, 80)]
        whole, cut = (
            examined_tensor("norm.weight", (90,), some) for some in ([examined_entries(rows, curvature)], parts)
        )
        assert (cut.sums.tensors, cut.sums.entries, cut.inside, cut.kind) == (1, 90, False, "norm")
        np.testing.assert_allclose(cut.sums.excess("curved", 1.5), whole.sums.excess("curved", 1.5), rtol=1e-12)
        np.testing.assert_allclose(cut.sums.eta, whole.sums.eta, rtol=1e-12)


class TestExpected:
    def test_a_merge_is_scaled_as_a_recipe_scales_it(self, rng: np.random.Generator) -> None:
        """Matrices are summed, other tensors averaged; the plain merge sums everything."""
        deltas, curvature = rng.normal(size=(TASKS, 30)), rng.gamma(1.0, size=(TASKS, 30))
        total = of_one(deltas, curvature).total
        for which, merged in (("plain", 0.4 * deltas.sum(axis=0)), ("flat", 0.4 * deltas.mean(axis=0))):
            expected = [(h * (merged - d) ** 2).sum() / 2 for d, h in zip(deltas, curvature, strict=True)]
            np.testing.assert_allclose(total.expected(which, 0.4).excess, expected, rtol=1e-10)

    @pytest.mark.parametrize("which", MERGES)
    def test_the_best_scale_is_best_for_matrices_and_others_together(
        self, which: str, rng: np.random.Generator
    ) -> None:
        total = verdict(rng).total
        best = total.best_scale(which)
        around = [total.expected(which, best + step).shares.mean() for step in (-1e-3, 0.0, 1e-3)]
        assert around[1] < min(around[0], around[2])
        assert total.expected(which).scale == best

    def test_layers_and_groups_add_up_to_the_total(self, rng: np.random.Generator) -> None:
        found = verdict(rng)
        for parts in (found.layers, found.groups):
            excess = np.sum([place.expected("curved", 0.7).excess for place in parts], axis=0)
            np.testing.assert_allclose(excess, found.total.expected("curved", 0.7).excess, rtol=1e-10)
        assert [(p.stack, p.layer) for p in found.layers] == [("layers", 0), ("layers", 1), ("layers", 2), ("", None)]

    def test_shares_are_of_what_fine_tuning_gained(self, rng: np.random.Generator) -> None:
        found = verdict(rng).total
        np.testing.assert_allclose(found.expected("curved", 0.0).shares, 1.0, rtol=1e-9)
        one = verdict(rng, zeros=(1,)).total.expected("curved", 1.0)
        assert one.shares[1] == 0 < one.excess[1]


class TestWords:
    def test_disjoint_tasks_are_expected_to_merge(self, rng: np.random.Generator) -> None:
        deltas = np.kron(np.eye(TASKS), np.ones(20))
        found = said(rng, of_one(deltas, deltas))
        outlook = found["Expected to merge"]
        assert outlook.severity == "note"
        assert "`task_arithmetic` at scale 1.00" in outlook.text
        assert outlook.figures["share_mean"] == pytest.approx(0.0, abs=1e-12)
        assert "scale 1.00 is expected to lose 0 %" in outlook.text.replace("<0.01 %", "0 %")

    def test_opposed_tasks_are_not(self, rng: np.random.Generator) -> None:
        step = rng.normal(size=50)
        found = said(rng, of_one(np.stack([step, -step]), np.ones((2, 50))))
        assert found["Expected to lose much"].severity == "warning"
        assert found["Expected to lose much"].figures["share_mean"] == pytest.approx(1.0)

    def test_who_pays_is_who_learnt_against_the_others(self, rng: np.random.Generator) -> None:
        step = rng.normal(size=200)
        deltas = np.stack([step, step, step, -0.5 * step]) + 0.1 * rng.normal(size=(4, 200))
        found = said(rng, of_one(deltas, np.ones((4, 200))))["Who pays"]
        assert found.about == ("d",)
        assert found.figures["share"] > 1

    def test_equal_curvature_is_not_worth_measuring(self, rng: np.random.Generator) -> None:
        found = said(rng, verdict(rng, uneven=0.0))["Curvature adds little"]
        assert found.methods == ("tsv_m",)
        assert found.figures["relative_eta"] < 1e-9

    def test_uneven_curvature_is(self, rng: np.random.Generator) -> None:
        """Each task bends where the others do not, so weights in proportion keep all of them."""
        deltas, where = rng.normal(size=(2, 80)), np.arange(80) < 40
        curvature = np.stack([np.where(where, 50.0, 1.0), np.where(where, 1.0, 50.0)])
        found = said(rng, of_one(deltas, curvature))["Curvature is worth it"]
        assert found.methods == ("epimer",)
        assert found.figures["gain"] > 0.5

    def test_layers_that_want_less_or_nothing_are_named(self, rng: np.random.Generator) -> None:
        """Where tasks share what they learnt, a sum goes too far; where those that hardly bend pull back, it hurts."""
        step, far = rng.normal(size=60), np.array([1.0, 0.1, 0.1])[:, None]
        disjoint = tensor(np.kron(np.eye(3), 3 * np.ones(30)), np.kron(np.eye(3), np.ones(30)), layer=0)
        shared = tensor(np.stack([step] * 3), np.ones((3, 60)), layer=1)
        against = tensor(np.stack([step, -step, -step]), far * np.ones((3, 60)), layer=2)
        of = Mergeability(("a", "b", "c"), "fisher", 0, (disjoint, shared, against))
        found = {one.title: one for one in places(of, of.total.expected("plain"))}
        assert found["Layers to damp"].about == ("layer 1",)
        assert found["Layers to damp"].figures["scale"] == pytest.approx(1 / 3)
        assert found["Layers to leave out"].about == ("layer 2",)
        calm = replace(of, tensors=(disjoint, replace(disjoint, layer=1)))
        assert not list(places(calm, calm.total.expected("plain")))

    def test_negative_curvature_is_a_warning(self, rng: np.random.Generator) -> None:
        values = np.where(np.arange(SHAPE[1]) < 8, -5.0, 1.0) * np.ones(SHAPE)
        bent = Products(lambda x: values * x)
        found = examined_matrix("w", rng.normal(size=(2, *SHAPE)), [bent, bent], rank=8)
        assert said(rng, Mergeability(("a", "b"), "hessian", 8, (found,)))["Negative curvature"].about == ("w",)

    def test_no_curvature_is_said(self, rng: np.random.Generator) -> None:
        found = said(rng, of_one(rng.normal(size=(2, 9)), np.zeros((2, 9))))
        assert list(found) == ["No curvature along the task vectors"]

    def test_every_figure_is_a_number_and_a_report_without_curvature_says_nothing(
        self, rng: np.random.Generator
    ) -> None:
        found = said(rng, verdict(rng))
        assert all(np.isfinite(value) for one in found.values() for value in one.figures.values())
        assert all(one.figures for one in found.values())
        assert not [one for one in advise(report(rng)) if one.topic == "curvature"]


class TestPlainData:
    def test_json_has_every_tensor_and_adds_up(self, rng: np.random.Generator) -> None:
        of = verdict(rng)
        found = json.loads(json.dumps(facts(judged(rng, of))["mergeability"], allow_nan=False))
        assert [one["name"] for one in found["tensors"]] == [one.name for one in of.tensors]
        assert sum(one["eta"] for one in found["tensors"]) == pytest.approx(found["total"]["eta"], rel=1e-6)
        assert sum(one["residual"] for one in found["layers"]) == pytest.approx(found["total"]["residual"], rel=1e-6)
        assert found["matrices"]["tensors"] + found["others"]["tensors"] == found["total"]["tensors"] == len(of.tensors)
        assert {one["method"] for one in found["merges"]} == {"task_arithmetic", "tsv_m", "epimer"}

    def test_without_curvature_there_is_no_such_key(self, rng: np.random.Generator) -> None:
        assert "mergeability" not in facts(report(rng))


class TestPredictors:
    def test_all_are_finite_and_those_of_the_report_come_with_it(self, rng: np.random.Generator) -> None:
        of = verdict(rng)
        alone, both = predictors(None, of), predictors(judged(rng, of), of)
        assert all(np.isfinite(value) for value in both.values())
        assert set(both) - set(alone) == {
            "mean_cosine",
            "sign_conflict",
            "trimmed_conflict",
            "mean_norm",
            "relative_change",
        }

    def test_measured_gains_give_measured_shares(self, rng: np.random.Generator) -> None:
        of = verdict(rng)
        excess = of.total.expected("curved").excess
        found = predictors(None, of, gains=[2.0, 1.0, 0.5])
        assert found["measured_share_worst_curved"] == pytest.approx((excess / [2.0, 1.0, 0.5]).max())
        assert found["excess_worst_curved"] == pytest.approx(excess.max())

    def test_more_conflict_is_predicted_to_cost_more(self, rng: np.random.Generator) -> None:
        """Task vectors that share a direction merge better than orthogonal ones, and those than opposed ones."""
        step, other = rng.normal(size=(2, 300))
        pairs = {"shared": (step, step + 0.1 * other), "orthogonal": (step, other), "opposed": (step, -step)}
        found = [predictors(None, of_one(np.stack(pair), np.ones((2, 300)))) for pair in pairs.values()]
        shares = [one["share_mean_curved"] for one in found]
        assert shares == sorted(shares)


def test_the_page_shows_it_and_leaves_it_out_where_there_is_none(rng: np.random.Generator) -> None:
    page = render(judged(rng, verdict(rng)))
    assert 'href="#mergeability"' in page
    assert 'id="mergeability"' in page
    assert all(f'id="{key}-title"' in page for key in ("excess", "eta"))
    assert "mergeability" not in render(report(rng))
