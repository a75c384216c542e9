"""Where implementations of these methods disagree, one test a disagreement: what ours computes, and how to get theirs.

The numbers were measured on the other packages (mergekit 0.1.4, PEFT, the authors' code, sd-mecha); their formulas are
written out here from their sources.
"""

import math
from itertools import permutations
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from taskvec.errors import RecipeError
from taskvec.merge.methods import (
    breadcrumbs,
    breadcrumbs_ties,
    dare_linear,
    dare_ties,
    della,
    della_linear,
    linear,
    magnitude_prune,
    model_stock,
    ram,
    ramplus_tl,
    sce,
    slerp,
    task_arithmetic,
    ties,
)
from taskvec.merge.methods.model_stock import interpolation_ratio, steps
from taskvec.merge.methods.sce import energy_above
from taskvec.merge.methods.ties import KEPT
from taskvec.ops.chance import Chance, cases_by_rank
from taskvec.ops.floats import narrow, widen
from taskvec.ops.gram import gram
from taskvec.ops.slices import Slice, Stored, blend_stored
from taskvec.ops.sphere import arc

Array = npt.NDArray[np.float64]


def trimmed(deltas: Array, density: float) -> Array:
    """The largest entries of each task, as mergekit and PEFT choose them; no ties here."""
    k = int(density * deltas.shape[1])
    out = np.zeros_like(deltas)
    for row, kept in zip(out, deltas, strict=True):
        largest = np.argsort(np.abs(kept))[deltas.shape[1] - k :]
        row[largest] = kept[largest]
    return out


# --- TIES ------------------------------------------------------------------------------------------------------------


def test_ties_keeps_all_entries_at_the_threshold_where_mergekit_keeps_an_arbitrary_half(dtype: np.dtype) -> None:
    large, equal, small = np.linspace(2, 3, 100), np.ones(400), np.linspace(0, 0.5, 500)
    signs = np.resize([1.0, -1.0], 1000)
    deltas = (np.concatenate([large, equal, small]) * signs).astype(dtype)[None]
    merged = ties(deltas, np.ones(1), density=0.2)
    assert np.count_nonzero(merged) == 500
    order = np.random.default_rng(0).permutation(1000)
    assert ties(deltas[:, order], np.ones(1), density=0.2).tobytes() == merged[order].tobytes()


@pytest.fixture
def two_scales(rng: np.random.Generator) -> tuple[Array, Array]:
    """Four tasks of two tensors; the deltas of the first are 25 times those of the second."""
    return 25 * rng.standard_normal((4, 20_000)), rng.standard_normal((4, 20_000))


def nonzero(x: Array) -> float:
    """The share of entries that are not zero."""
    return np.count_nonzero(x) / x.size


def test_ties_over_the_whole_model_spends_everything_on_the_tensor_of_large_deltas(
    two_scales: tuple[Array, Array],
) -> None:
    threshold = KEPT.whole(np.concatenate(two_scales, axis=1), {"density": 0.2, "rescale": "none"})
    large, small = (ties(x, np.ones(4), density=0.2, threshold=threshold) for x in two_scales)
    assert nonzero(large) == pytest.approx(1 - 0.6**4, abs=0.02)  # 40 % of each task: 87 % of the merge
    assert nonzero(small) == 0


def test_ties_per_tensor_keeps_as_much_of_each_tensor(two_scales: tuple[Array, Array]) -> None:
    for x in two_scales:
        assert nonzero(ties(x, np.ones(4), density=0.2)) == pytest.approx(1 - 0.8**4, abs=0.02)


def test_ties_over_the_whole_model_and_per_tensor_are_different_methods(two_scales: tuple[Array, Array]) -> None:
    threshold = KEPT.whole(np.concatenate(two_scales, axis=1), {"density": 0.2, "rescale": "none"})
    whole = np.concatenate([ties(x, np.ones(4), density=0.2, threshold=threshold) for x in two_scales])
    each = np.concatenate([ties(x, np.ones(4), density=0.2) for x in two_scales])
    assert np.linalg.norm(whole - each) > 0.3 * np.linalg.norm(whole)


def test_ties_gives_0_for_an_exact_cancellation_where_mergekit_and_peft_take_the_positive_side(
    dtype: np.dtype,
) -> None:
    deltas = np.array([[1.0, 2.0, 1.0], [-1.0, -1.0, 3.0], [0.0, -1.0, 0.0]], dtype)
    assert ties(deltas, np.ones(3), density=1.0).tolist() == [0, 0, 2]
    assert ties(deltas, np.ones(3), density=1.0, tied="positive").tolist() == [1, 2, 2]


def mergekit_ties(deltas: Array, weights: Array, density: float, normalize: bool, rescale: bool = False) -> Array:
    """mergekit's generalised task arithmetic with `consensus: sum`, on one tensor."""
    kept = trimmed(deltas, density)
    if rescale:
        kept = kept * (np.abs(deltas).sum(1) / np.abs(kept).sum(1))[:, None]
    weighted = weights[:, None] * kept
    sign = np.where(weighted.sum(0) >= 0, 1.0, -1.0)
    mask = np.sign(weighted) == sign
    mixed = (weighted * mask).sum(0)
    if normalize:
        divisor = (weights[:, None] * mask).sum(0)
        divisor[np.abs(divisor) < 1e-8] = 1
        mixed /= divisor
    return mixed


def test_ties_with_mergekits_settings_is_mergekits_mean_of_those_that_agree(rng: np.random.Generator) -> None:
    deltas, weights = rng.standard_normal((4, 5000)), np.array([0.3, 1.0, 0.5, 2.0])
    merged = ties(deltas, weights, density=0.2, scope="tensor", elect="weighted", tied="positive")
    np.testing.assert_allclose(merged, mergekit_ties(deltas, weights, 0.2, True), rtol=1e-12)


def test_ties_with_mergekits_settings_and_no_normalising_is_its_sum(rng: np.random.Generator) -> None:
    deltas, weights = rng.standard_normal((4, 5000)), np.array([0.3, 1.0, 0.5, 2.0])
    merged = ties(deltas, weights, density=0.2, scope="tensor", elect="weighted", combine="sum", tied="positive")
    np.testing.assert_allclose(merged, mergekit_ties(deltas, weights, 0.2, False), rtol=1e-12)


@pytest.mark.parametrize("combine", ["mean", "sum"])
def test_ties_with_mergekits_rescaling_gives_each_task_its_l1_norm_back(combine: str, rng: np.random.Generator) -> None:
    deltas, weights = rng.standard_normal((4, 5000)), np.array([0.3, 1.0, 0.5, 2.0])
    how = {"scope": "tensor", "elect": "weighted", "tied": "positive", "rescale": "mergekit"}
    merged = ties(deltas, weights, density=0.2, combine=combine, **how)
    expected = mergekit_ties(deltas, weights, 0.2, combine == "mean", rescale=True)
    np.testing.assert_allclose(merged, expected, rtol=1e-12)


def test_ties_mean_does_not_change_when_all_weights_are_multiplied(rng: np.random.Generator) -> None:
    deltas, weights = rng.standard_normal((4, 500)), np.array([0.3, 1.0, 0.5, 2.0])
    for elect in ("sum", "weighted", "count"):
        once = ties(deltas, weights, elect=elect)
        np.testing.assert_allclose(ties(deltas, 8 * weights, elect=elect), once, rtol=1e-14)


def test_ties_sum_with_weights_of_1_over_t_is_a_third_of_the_mean(rng: np.random.Generator) -> None:
    deltas, quarter = rng.standard_normal((4, 20_000)), np.full(4, 0.25)
    how = {"elect": "weighted", "tied": "positive"}
    mean, total = ties(deltas, quarter, **how), ties(deltas, quarter, combine="sum", **how)
    assert np.linalg.norm(total) / np.linalg.norm(mean) == pytest.approx(0.31, abs=0.02)


def peft_ties(deltas: Array, weights: Array, density: float) -> Array:
    """PEFT's `ties` with majority sign `total`, on one dense tensor."""
    kept = trimmed(deltas, density)
    majority = np.where(kept.sum(0) >= 0, 1.0, -1.0)
    mask = np.sign(kept) == majority
    return (weights[:, None] * kept * mask).sum(0) / np.maximum(mask.sum(0), 1.0)


def test_ties_with_pefts_settings_divides_by_the_count_of_those_that_agree(rng: np.random.Generator) -> None:
    deltas, weights = rng.standard_normal((4, 5000)), np.array([0.3, 1.0, 0.5, 2.0])
    merged = ties(deltas, weights, density=0.2, scope="tensor", combine="count", tied="positive")
    np.testing.assert_allclose(merged, peft_ties(deltas, weights, 0.2), rtol=1e-12)


def test_ties_mergekit_and_peft_elect_otherwise_where_weights_differ() -> None:
    deltas, weights = np.array([[3.0], [-2.0]]), np.array([1.0, 2.0])
    assert ties(deltas, weights, density=1.0, elect="weighted").tolist() == [-2.0]
    assert ties(deltas, weights, density=1.0, combine="count").tolist() == [3.0]


def test_ties_with_sd_mechas_settings_votes_by_count_and_cancels_to_0(rng: np.random.Generator) -> None:
    deltas = np.array([[9.0, 1.0, 9.0], [-1.0, -3.0, 1.0], [-2.0, 0.0, 2.0]])
    merged = ties(deltas, np.ones(3), density=1.0, elect="count", combine="count")
    assert merged.tolist() == [-1.5, 0.0, 4.0]


def test_ties_with_weights_2_to_a_quarter_is_far_from_pefts_which_divides_by_the_count(
    rng: np.random.Generator,
) -> None:
    deltas, weights = rng.standard_normal((4, 20_000)), np.array([2.0, 1.0, 0.5, 0.25])
    mean = ties(deltas, weights, tied="positive")
    by_count = ties(deltas, weights, combine="count", tied="positive")
    np.testing.assert_allclose(by_count, peft_ties(deltas, weights, 0.2), rtol=1e-12)
    assert np.linalg.norm(by_count - mean) > 0.5 * np.linalg.norm(mean)


def test_ties_with_fusion_benchs_settings_is_three_tenths_of_a_sum(rng: np.random.Generator) -> None:
    deltas = rng.standard_normal((4, 5000))
    kept = trimmed(deltas, 0.2)
    sign = np.sign(kept.sum(0))
    theirs = 0.3 * np.where(np.sign(kept) == sign, kept, 0).sum(0)
    np.testing.assert_allclose(0.3 * ties(deltas, np.ones(4), combine="sum"), theirs, rtol=1e-12)


@pytest.mark.parametrize(("density", "n", "kept"), [(0.2, 1000, 200), (0.29, 100, 29), (0.001, 100, 1)])
def test_ties_keeps_the_nearest_number_where_authors_keep_one_more_and_mergekit_rounds_down(
    density: float, n: int, kept: int, rng: np.random.Generator
) -> None:
    """int(0.29 · 100) is 28; the authors' code keeps int(density · n) + 1."""
    assert np.count_nonzero(ties(rng.standard_normal((1, n)), np.ones(1), density=density)) == kept


def test_magnitude_prune_per_tensor_is_pefts(rng: np.random.Generator) -> None:
    deltas, weights = rng.standard_normal((3, 5000)), np.array([0.3, -1.0, 0.5])
    theirs = np.tensordot(weights, trimmed(deltas, 0.2), 1)
    np.testing.assert_allclose(magnitude_prune(deltas, weights, density=0.2), theirs, rtol=1e-12, atol=1e-15)


# --- DARE ------------------------------------------------------------------------------------------------------------


def over_seeds(deltas: Array, density: float, draws: int) -> Array:
    """Many results of DARE on one small tensor."""
    return np.stack(
        [
            dare_linear(deltas, np.ones(len(deltas)), density=density, chance=Chance(seed, ("a", "b"), "norm.weight"))
            for seed in range(draws)
        ]
    )


def test_dare_is_unbiased_on_a_tensor_of_4_entries_where_mergekit_is_not() -> None:
    """mergekit rescales to the old L1 norm: its mean there is 0.17 to 0.94 of the truth."""
    deltas = np.array([[4.0, 1.0, 0.5, 0.1]])
    drawn = over_seeds(deltas, 0.1, 3000)
    standard_error = drawn.std(axis=0) / len(drawn) ** 0.5
    assert np.all(np.abs(drawn.mean(axis=0) - deltas[0]) < 5 * standard_error)
    assert np.all(5 * standard_error < 0.3 * deltas[0])  # a bias like mergekit's would be seen


def test_dare_does_not_keep_the_l1_norm(dtype: np.dtype) -> None:
    """Each kept entry is divided by p, whatever else was kept."""
    deltas = np.array([[4.0, 1.0, 0.5, 0.1]], dtype)
    values = {tuple(x) for x in over_seeds(deltas, 0.25, 60)}
    for value in values:
        assert all(x in (0, dtype.type(4) * d) for x, d in zip(value, deltas[0], strict=True))
    assert len({sum(value) for value in values}) > 3


def test_dare_with_nothing_kept_is_zero() -> None:
    drawn = over_seeds(np.ones((1, 4)), 0.1, 40)
    assert (drawn == 0).all(axis=1).any()
    assert np.isfinite(drawn).all()


def test_dare_divides_by_the_probability_that_it_drew_with() -> None:
    p = round(0.1 * 65536) / 65536
    drawn = over_seeds(np.ones((1, 4)), 0.1, 40)
    assert set(drawn.reshape(-1).tolist()) == {0.0, 1 / p}


def test_dare_masks_follow_the_model_and_not_its_place() -> None:
    deltas = np.random.default_rng(0).standard_normal((2, 50))
    there = dare_linear(deltas, np.array([1.0, 2.0]), chance=Chance(0, ("math", "code"), "w"))
    back = dare_linear(deltas[::-1].copy(), np.array([2.0, 1.0]), chance=Chance(0, ("code", "math"), "w"))
    np.testing.assert_allclose(back, there, rtol=1e-14)


def two_adapters(rng: np.random.Generator) -> tuple[Array, Array, Array]:
    """The factors A and B of two LoRAs of rank 16, and the two changes B A that they stand for."""
    a, b = rng.standard_normal((2, 16, 256)), rng.standard_normal((2, 256, 16))
    return a, b, b @ a


def relative_error(x: Array, exact: Array) -> float:
    return float(np.linalg.norm(x - exact) / np.linalg.norm(exact))


def test_linear_adds_what_adapters_change_where_peft_adds_their_factors_apart(rng: np.random.Generator) -> None:
    """(B1 + B2)(A1 + A2) holds B1 A2 and B2 A1 as well: as much again as the sum of two adapters."""
    a, b, changes = two_adapters(rng)
    exact = changes.sum(0)
    assert relative_error(task_arithmetic(changes, np.ones(2)), exact) == 0
    assert relative_error(b.sum(0) @ a.sum(0), exact) == pytest.approx(1, abs=0.1)


def test_dare_drops_entries_of_what_adapters_change_where_peft_drops_those_of_their_factors(
    rng: np.random.Generator,
) -> None:
    """An entry of a product is made of entries that are each kept or not; the products across come on top."""
    a, b, changes = two_adapters(rng)
    exact, density = changes.sum(0), 0.5
    dropped = [(x * (rng.random(x.shape) < density) / density).sum(0) for x in (b, a)]
    assert relative_error(dropped[0] @ dropped[1], exact) == pytest.approx(7**0.5, abs=0.25)
    assert relative_error(dare_linear(changes, np.ones(2), density=density), exact) == pytest.approx(1, abs=0.05)


def test_dare_ties_trims_as_its_authors_do_and_leaves_it_out_as_mergekit_does(rng: np.random.Generator) -> None:
    deltas, weights = rng.standard_normal((3, 5000)), np.array([0.3, 1.0, 0.5])
    how = {"density": 0.5, "elect": "weighted", "combine": "sum", "tied": "positive"}
    chance = Chance(0, ("a", "b", "c"), "w")
    rest = np.stack(
        [
            dare_linear(x[None], np.ones(1), density=0.5, chance=Chance(0, (key,), "w"))
            for x, key in zip(deltas, "abc", strict=True)
        ]
    )
    merged = dare_ties(deltas, weights, trim=1.0, chance=chance, **how)
    np.testing.assert_allclose(merged, mergekit_ties(rest, weights, 1.0, False), rtol=1e-12)
    full = dare_ties(deltas, weights, trim=0.2, chance=chance, **how)
    np.testing.assert_allclose(full, mergekit_ties(rest, weights, 0.2, False), rtol=1e-12)
    assert np.count_nonzero(full) < np.count_nonzero(merged)


# --- DELLA -----------------------------------------------------------------------------------------------------------

LARGE = 40, 2000
"""Rows and columns of a matrix on which means over masks are taken."""


def by_decile(x: Array, of: Array) -> Array:
    """What is left of each tenth of a matrix' entries, by magnitude within their row, on the whole."""
    order = np.argsort(np.abs(of), axis=1)
    left = np.take_along_axis(x * np.sign(of), order, axis=1).reshape(LARGE[0], 10, -1).sum(axis=(0, 2))
    whole = np.take_along_axis(np.abs(of), order, axis=1).reshape(LARGE[0], 10, -1).sum(axis=(0, 2))
    return left / whole


def mean_della(deltas: Array, **how: Any) -> Array:
    """The mean of some draws."""
    return np.mean([della_linear(deltas, np.ones(1), chance=Chance(seed), **how) for seed in range(12)], axis=0)


@pytest.mark.parametrize("epsilon", [0.1, 0.15, 0.4])
def test_della_is_unbiased_in_every_magnitude_decile(epsilon: float, rng: np.random.Generator) -> None:
    """As the authors' code is; mergekit's mean is 0.66 to 1.13 of an entry."""
    deltas = rng.standard_normal((1, *LARGE))
    left = by_decile(mean_della(deltas, density=0.5, epsilon=epsilon), deltas[0])
    assert left == pytest.approx(1.0, abs=0.02)


@pytest.mark.parametrize(("epsilon", "smallest", "largest"), [(0.1, 0.77, 1.09), (0.15, 0.66, 1.13)])
def test_della_with_mergekits_rescaling_has_mergekits_bias(
    epsilon: float, smallest: float, largest: float, rng: np.random.Generator
) -> None:
    deltas = rng.standard_normal((1, *LARGE))
    left = by_decile(mean_della(deltas, density=0.5, epsilon=epsilon, rescale="mergekit"), deltas[0])
    assert left[0] == pytest.approx(smallest, abs=0.02)
    assert left[-1] == pytest.approx(largest, abs=0.01)
    assert np.all(np.diff(left[[0, 2, 4, 6, 9]]) > 0)


def test_della_with_mergekits_rescaling_keeps_the_l1_norm_of_each_task(rng: np.random.Generator) -> None:
    deltas = rng.standard_normal((1, 30, 40))
    merged = della_linear(deltas, np.ones(1), rescale="mergekit")
    assert np.abs(merged).sum() == pytest.approx(np.abs(deltas).sum(), rel=1e-12)
    assert np.unique((merged / deltas[0]).round(9)).size == 2


def test_della_divides_each_kept_entry_by_its_own_probability_as_its_authors_do(rng: np.random.Generator) -> None:
    """rank_magnitude of their sparsify.py: ranks 1 … n in each row, less the least, by the range, over the window."""
    deltas, density, epsilon = rng.standard_normal((30, 400)), 0.7, 0.07
    ranks = 1 + np.argsort(np.argsort(np.abs(deltas), axis=1), axis=1)
    p = density - epsilon + (ranks - 1) / (400 - 1) * 2 * epsilon
    merged = della_linear(deltas[None], np.ones(1), density=density, epsilon=epsilon)
    kept = merged != 0
    np.testing.assert_allclose(deltas[kept] / merged[kept], p[kept], atol=0.51 / 65536)


def test_della_tells_all_ranks_apart_where_mergekit_in_bf16_cannot_beyond_256(rng: np.random.Generator) -> None:
    deltas = rng.permutation(np.arange(1.0, 2001.0)).astype(np.float32)
    cases = cases_by_rank(deltas[None], [0.5], [0.1])
    assert np.unique(cases).size == 2000


@pytest.mark.parametrize("seed", range(3))
def test_della_gives_equal_entries_equal_chances_where_a_sort_decides_elsewhere(seed: int) -> None:
    """A bf16 delta of few magnitudes; the same entries in another order keep their chances."""
    rng = np.random.default_rng(seed)
    row = np.round(rng.standard_normal(4000) * 8) / 8
    cases, order = cases_by_rank(row[None], [0.5], [0.15])[0], rng.permutation(4000)
    assert cases_by_rank(row[None, order], [0.5], [0.15])[0].tolist() == cases[order].tolist()
    assert np.unique(cases).size == np.unique(np.abs(row)).size


def test_della_with_mergekits_settings_is_its_vote_and_mean(rng: np.random.Generator) -> None:
    deltas, weights = rng.standard_normal((3, 20, 250)), np.array([0.3, 1.0, 0.5])
    rest = np.stack(
        [
            della_linear(x[None], np.ones(1), rescale="mergekit", chance=Chance(0, (key,), "w")).reshape(-1)
            for x, key in zip(deltas, "abc", strict=True)
        ]
    )
    how = {"rescale": "mergekit", "elect": "weighted", "tied": "positive", "chance": Chance(0, ("a", "b", "c"), "w")}
    merged = della(deltas, weights, **how)
    np.testing.assert_allclose(merged.reshape(-1), mergekit_ties(rest, weights, 1.0, True), rtol=1e-12)
    total = della(deltas, weights, combine="sum", **how)
    np.testing.assert_allclose(total.reshape(-1), mergekit_ties(rest, weights, 1.0, False), rtol=1e-12)


# --- Breadcrumbs -----------------------------------------------------------------------------------------------------


def test_breadcrumbs_drops_the_outlier_of_a_tensor_of_64_entries_where_mergekit_keeps_it(
    dtype: np.dtype, rng: np.random.Generator
) -> None:
    """A q_norm of head size 64: gamma n = 0.64 is rounded to 1, not down to 0."""
    deltas = rng.uniform(0.5, 1.5, (1, 64)).astype(dtype)
    deltas[0, 17] = 100
    merged = breadcrumbs(deltas, np.ones(1), density=0.9, gamma=0.01)
    assert merged[17] == 0
    assert np.count_nonzero(merged) == 58


@pytest.mark.parametrize("gamma", [0.0, 1e-9])
def test_breadcrumbs_without_outliers_is_not_an_empty_slice(gamma: float, rng: np.random.Generator) -> None:
    """mergekit up to 0.1.4 gave zeros for gamma n < 1."""
    deltas = rng.standard_normal((1, 64))
    assert np.count_nonzero(breadcrumbs(deltas, np.ones(1), density=0.9, gamma=gamma)) == 58


def test_breadcrumbs_does_not_rescale(rng: np.random.Generator) -> None:
    deltas = rng.standard_normal((1, 640))
    merged = breadcrumbs(deltas, np.ones(1), density=0.5, gamma=0.1)
    assert np.all((merged == deltas[0]) | (merged == 0))


def test_breadcrumbs_ties_with_mergekits_settings_is_its_vote_and_sum(rng: np.random.Generator) -> None:
    deltas, weights = rng.standard_normal((3, 5000)), np.array([0.3, 1.0, 0.5])
    masked = np.zeros_like(deltas)
    for row, delta in zip(masked, deltas, strict=True):
        kept = np.argsort(np.abs(delta))[int(0.19 * 5000) : int(0.99 * 5000)]
        row[kept] = delta[kept]
    how = {"density": 0.8, "gamma": 0.01, "elect": "weighted", "tied": "positive"}
    merged = breadcrumbs_ties(deltas, weights, combine="sum", **how)
    np.testing.assert_allclose(merged, mergekit_ties(masked, weights, 1.0, False), rtol=1e-12)
    normalized = breadcrumbs_ties(deltas, weights, **how)
    np.testing.assert_allclose(normalized, mergekit_ties(masked, weights, 1.0, True), rtol=1e-12)


# --- Model stock -----------------------------------------------------------------------------------------------------


def test_model_stock_of_opposing_models_is_the_base_where_others_go_3_times_backwards() -> None:
    x, y = np.eye(2)
    deltas = np.stack([x, -x, y])
    cos = -1 / 3
    assert 3 * cos / (1 + 2 * cos) == pytest.approx(-3)
    assert not model_stock(deltas, np.ones(3)).any()


@pytest.mark.parametrize("norm", [8e-4, 1e-6, 1e-12, 1.0, 1e6])
def test_model_stock_of_identical_deltas_is_the_delta_however_small(
    norm: float, dtype: np.dtype, rng: np.random.Generator
) -> None:
    """mergekit holds |d_i| |d_j| above 1e-6: t = 0.87 for a norm of 8e-4."""
    x = rng.standard_normal(64)
    x = (norm * x / np.linalg.norm(x)).astype(dtype)
    deltas = np.stack([x, x, x])
    assert interpolation_ratio(gram(deltas)) == pytest.approx(1, abs=1e-14)
    np.testing.assert_allclose(model_stock(deltas, np.ones(3)), x, rtol=1e-6 if dtype == np.float32 else 1e-12)


def test_model_stock_takes_all_pairs_and_not_neighbours_so_that_no_order_matters(rng: np.random.Generator) -> None:
    """sd-mecha takes neighbours only: t = 0.65 for two similar and two unrelated models, -0.02 re-ordered."""
    common = rng.standard_normal(20_000)
    alike = [common + 0.1 * rng.standard_normal(20_000) for _ in range(2)]
    deltas = np.stack([*alike, *rng.standard_normal((2, 20_000))])
    ratios = [interpolation_ratio(gram(deltas[list(order)])) for order in permutations(range(4))]
    assert max(ratios) - min(ratios) < 1e-14
    assert ratios[0] == pytest.approx(4 / 6 / (1 + 3 / 6), abs=0.02)


def test_model_stock_takes_the_mean_of_cosines_and_not_the_cosine_of_the_mean_angle() -> None:
    deltas = np.array([[1.0, 0.0], [1.0, 0.0], [0.5, 0.75**0.5]])
    cos = (1 + 0.5 + 0.5) / 3
    of_the_mean_angle = math.cos((0 + math.pi / 3 + math.pi / 3) / 3)
    t = interpolation_ratio(gram(deltas))
    assert t == pytest.approx(3 * cos / (1 + 2 * cos), rel=1e-14)
    assert t != pytest.approx(3 * of_the_mean_angle / (1 + 2 * of_the_mean_angle), rel=1e-3)


@pytest.mark.usefixtures("kernels")
def test_model_stock_in_bf16_keeps_the_bits_of_what_no_model_moved_where_mergekit_scales_it(
    rng: np.random.Generator,
) -> None:
    def bf16(x: npt.ArrayLike) -> npt.NDArray[np.float32]:
        return widen(narrow(np.atleast_1d(np.asarray(x, np.float32)), "BF16"), "BF16")

    base = bf16(rng.standard_normal(8192))
    moved = np.arange(8192) < 4096
    models = [bf16(base + 0.05 * moved * (rng.standard_normal(8192) + 0.4)) for _ in range(3)]
    products = gram(np.stack(models) - base)
    how = steps(np.ones(3), over="tensor", gram=products[None])
    assert how is not None
    stored = [Stored(narrow(x, "BF16"), "BF16") for x in (base, *models)]
    merged = widen(blend_stored(Slice(stored[1:], stored[0], np.dtype("f4")), how, 1.0, "BF16").raw, "BF16")
    assert (merged[~moved] == base[~moved]).all()
    assert (merged[moved] != base[moved]).mean() > 0.5
    t = bf16(interpolation_ratio(products))
    theirs = bf16(bf16(t * base) + bf16(bf16(1 - t) * base))[~moved]  # the average of equal weights is themselves
    assert (theirs != base[~moved]).mean() > 0.1


# --- Slerp -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("angle", [1.0, 0.05, 0.02, 1e-3, 1e-4])
def test_slerp_follows_the_arc_at_small_angles_where_mergekit_takes_the_line(angle: float) -> None:
    """Its threshold is a cosine of 0.9995, an angle of 0.0316; two fine-tunes of 2 % lie closer than that."""
    models = np.array([[1.0, 0.0], [math.cos(angle), math.sin(angle)]])
    half = arc(gram(models), 0.5)
    assert half == pytest.approx(1 / (2 * math.cos(angle / 2)), rel=1e-13)
    assert half[0] > 0.5
    t = 0.25
    assert slerp(models, np.ones(2), t=t) == pytest.approx([math.cos(t * angle), math.sin(t * angle)], rel=1e-7)


def test_slerp_of_two_fine_tunes_is_their_average_but_for_an_eighth_of_the_angle_squared(
    rng: np.random.Generator,
) -> None:
    base = rng.standard_normal(10_000)
    models = base + 0.02 * rng.standard_normal((2, 10_000))
    arc, line = slerp(models, np.ones(2)), linear(models, np.ones(2))
    angle = 0.02 * 2**0.5
    assert np.linalg.norm(arc - line) / np.linalg.norm(line) == pytest.approx(angle**2 / 8, rel=0.05)


# --- Other defects met -----------------------------------------------------------------------------------------------


def test_weights_that_sum_to_0_are_refused_where_mergekit_gives_minus_infinity() -> None:
    with pytest.raises(RecipeError, match="sum to 0"):
        linear(np.ones((2, 3)), np.array([1.0, -1.0]))


def test_normalising_1_and_minus_1_is_refused_where_mergekit_skips_it() -> None:
    with pytest.raises(RecipeError, match="sum to 0"):
        task_arithmetic(np.ones((2, 3)), np.array([1.0, -1.0]), normalize=True)


# --- RAM -------------------------------------------------------------------------------------------------------------


def mergekit_ram(deltas: Array, epsilon: float = 1e-5) -> Array:
    """mergekit's `ram`: an absolute threshold decides what an active entry is."""
    active = np.abs(deltas) > epsilon
    return (deltas * active).sum(0) / np.maximum(active.sum(0), 1)


@pytest.mark.parametrize("size", [1.0, 1e-3, 1e-6, 1e-12])
def test_ram_does_not_depend_on_the_size_of_the_changes_where_mergekits_threshold_does(
    size: float, rng: np.random.Generator
) -> None:
    deltas = size * np.where(rng.random((3, 2000)) < 0.3, rng.standard_normal((3, 2000)), 0)
    for method in (ram, ramplus_tl):
        np.testing.assert_allclose(
            method(deltas, np.ones(3)) / size, method(deltas / size, np.ones(3)), rtol=1e-9, atol=0
        )
    np.testing.assert_allclose(ram(deltas, np.ones(3), epsilon=1e-5), mergekit_ram(deltas), rtol=1e-12)
    if size <= 1e-6:
        assert not mergekit_ram(deltas).any()
        assert ram(deltas, np.ones(3)).any()


def test_ramplus_tl_is_mergekits_with_its_epsilon(rng: np.random.Generator) -> None:
    deltas = 1e-4 * np.where(rng.random((3, 2000)) < 0.05, rng.standard_normal((3, 2000)), 0)
    active = np.abs(deltas) > 1e-5
    count = active.sum(0)
    shared, alone = (active & (count > 1)).sum(1), (active & (count == 1)).sum(1)
    raised = 1 + 0.1 * np.clip(shared / np.maximum(alone, 1e-5), 0, 0.2)
    expected = np.where(count == 1, raised @ (deltas * active), (deltas * active).sum(0) / np.maximum(count, 1))
    assert len(set(raised.tolist())) == 3
    np.testing.assert_allclose(ramplus_tl(deltas, np.ones(3), epsilon=1e-5), expected, rtol=1e-12)


# --- SCE -------------------------------------------------------------------------------------------------------------


def mergekit_sce(deltas: Array, select_topk: float) -> Array:
    """mergekit's `sce`: equal weights below a mean square of 1e-6, and a divisor of at least 1e-6."""
    kept = deltas
    if select_topk < 1:
        variance = deltas.var(axis=0)
        chosen = np.argsort(variance)[variance.size - int(np.count_nonzero(variance) * select_topk) :]
        kept = np.zeros_like(deltas)
        kept[:, chosen] = deltas[:, chosen]
    energy = (kept**2).mean(1)
    share = np.full(len(kept), 1 / len(kept)) if energy.sum() < 1e-6 else energy / energy.sum()
    agree = np.sign(kept) == np.where(kept.sum(0) >= 0, 1.0, -1.0)
    return (share[:, None] * kept * agree).sum(0) / np.maximum((share[:, None] * agree).sum(0), 1e-6)


def test_sce_weighs_deltas_of_ordinary_size_where_mergekit_takes_them_as_equal(rng: np.random.Generator) -> None:
    deltas = rng.standard_normal((2, 20_000)) * np.array([[4e-4], [1e-4]])
    share = energy_above(0.0).whole(deltas, {})
    assert share / share.sum() == pytest.approx([0.94, 0.06], abs=0.003)
    same = np.sign(deltas[0]) == np.sign(deltas[1])
    merged = sce(deltas, np.ones(2))
    np.testing.assert_allclose(merged[same], (share @ deltas / share.sum())[same], rtol=1e-12)
    np.testing.assert_allclose(mergekit_sce(deltas, 1.0)[same], deltas.mean(0)[same], rtol=1e-12)


@pytest.mark.parametrize("size", [1.0, 1e-4, 1e-10, 1e-18])
def test_sce_does_not_depend_on_the_size_of_the_deltas(size: float, dtype: np.dtype, rng: np.random.Generator) -> None:
    deltas = rng.standard_normal((3, 2000)) * np.array([[1.0], [0.3], [0.01]])
    expected = sce(deltas, np.ones(3), select_topk=0.3)
    merged = sce((size * deltas).astype(dtype), np.ones(3), select_topk=0.3)
    np.testing.assert_allclose(merged / dtype.type(size), expected, rtol=1e-5)


@pytest.mark.parametrize("topk", [0.1, 0.5, 1.0])
def test_sce_is_mergekits_where_its_epsilons_are_idle(topk: float, rng: np.random.Generator) -> None:
    deltas = rng.standard_normal((4, 1000))
    merged = sce(deltas, np.ones(4), select_topk=topk, tied="positive")
    np.testing.assert_allclose(merged, mergekit_sce(deltas, topk), rtol=1e-12)
