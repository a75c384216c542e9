"""Where a vector lies among known ones, against other solvers, every active set, and the conditions of optimality."""

import itertools
import json
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from taskvec.errors import NumbersError, RecipeError
from taskvec.ops import active_set
from taskvec.ops.locate import locate, reference_share
from taskvec.ops.location import Location

Floats = npt.NDArray[np.float64]
SETS = ("span", "affine", "cone", "simplex")


def among(vectors: Floats, target: Floats, **options: Any) -> Location:
    return locate(vectors @ vectors.T, target @ vectors.T, (target * target).sum(axis=-1), **options)


@st.composite
def problems(draw: st.DrawFn) -> tuple[Floats, Floats]:
    """Small whole numbers: many are dependent, equal, opposite, zero, or at right angles to the target."""
    tasks, entries = draw(st.integers(1, 6)), draw(st.integers(1, 5))
    whole = st.integers(-3, 3).map(float)
    return draw(arrays(np.float64, (tasks, entries), elements=whole)), draw(arrays(np.float64, entries, elements=whole))


def smooth(seed: int, tasks: int = 5, entries: int = 9) -> tuple[Floats, Floats]:
    rng = np.random.default_rng(seed)
    vectors = rng.standard_normal((tasks, entries)) * rng.uniform(0.1, 10, (tasks, 1)) + rng.standard_normal(entries)
    return vectors, rng.uniform(-0.3, 0.6, tasks) @ vectors + rng.standard_normal(entries)


# Other ways to the same points


@pytest.mark.parametrize("seed", range(20))
def test_the_span_is_that_of_least_squares(seed: int) -> None:
    vectors, target = smooth(seed)
    expected, (left,), *_ = np.linalg.lstsq(vectors.T, target)
    found = among(vectors, target).span
    np.testing.assert_allclose(found.coefficients, expected, rtol=1e-8, atol=1e-10)
    assert found.residual == pytest.approx(left / (target @ target), rel=1e-8)


@pytest.mark.parametrize("tasks", [1, 2, 10, 60])
def test_the_cone_is_that_of_scipy(tasks: int) -> None:
    optimize = pytest.importorskip("scipy.optimize")
    for seed in range(5):
        vectors, target = smooth(seed, tasks, tasks + 5)
        expected, left = optimize.nnls(vectors.T, target)
        found = among(vectors, target).cone
        np.testing.assert_allclose(found.coefficients, expected, rtol=1e-7, atol=1e-9)
        assert found.residual == pytest.approx(left**2 / (target @ target), rel=1e-8)


@pytest.mark.parametrize("seed", range(5))
def test_no_point_that_scipy_finds_in_the_simplex_is_nearer(seed: int) -> None:
    optimize = pytest.importorskip("scipy.optimize")
    vectors, target = smooth(seed)
    limits = {"type": "eq", "fun": lambda c: c.sum() - 1}
    result = optimize.minimize(
        lambda c: ((target - c @ vectors) ** 2).sum(),
        np.full(5, 0.2),
        jac=lambda c: -2 * vectors @ (target - c @ vectors),
        method="SLSQP",
        bounds=[(0, None)] * 5,
        constraints=limits,
        options={"ftol": 1e-10, "maxiter": 1000},
    )
    found = among(vectors, target).simplex
    assert result.success
    assert found.residual * (target @ target) <= result.fun * (1 + 1e-8)
    np.testing.assert_allclose(found.coefficients, result.x, atol=1e-4)


def best_of_all_active_sets(vectors: Floats, target: Floats, whole: bool) -> float:
    """Return the least squared distance over all sets of vectors whose own best coefficients are positive."""
    least = np.inf if whole else float(target @ target)
    for size in range(1, len(vectors) + 1):
        for chosen in itertools.combinations(vectors, size):
            some = np.array(chosen)
            if whole:
                rest = np.linalg.lstsq((some[1:] - some[0]).T, target - some[0])[0]
                c = np.concatenate([[1 - rest.sum()], rest])
            else:
                c = np.linalg.lstsq(some.T, target)[0]
            if (c >= -1e-12).all():
                least = min(least, float(((target - c @ some) ** 2).sum()))
    return least


@given(problems())
def test_no_active_set_is_better(problem: tuple[Floats, Floats]) -> None:
    vectors, target = problem
    energy = float(target @ target)
    found = among(vectors, target)
    if energy:
        for name, whole in (("cone", False), ("simplex", True)):
            distance = float(getattr(found, name).residual) * energy
            assert distance == pytest.approx(best_of_all_active_sets(vectors, target, whole), abs=1e-7)


# Conditions of optimality


def check_optimal(vectors: Floats, target: Floats, found: Location) -> None:
    gram = vectors @ vectors.T
    energies = np.diag(gram)
    largest = np.sqrt(energies.max())
    c = found.cone.coefficients
    slope = gram @ c + found.ridge * energies * c - vectors @ target
    scale = 1e-10 * np.sqrt(energies) * (np.sqrt(target @ target) + np.sqrt(energies) @ np.abs(c))
    assert (c >= 0).all()
    assert (slope >= -scale).all()
    assert (np.abs(slope[c > 0]) <= scale[c > 0]).all()
    c = found.simplex.coefficients
    s = energies.mean() or 1.0
    slope = gram @ c + found.hull_ridge * (energies + s) * c - vectors @ target
    bound = 1e-10 * (largest + np.sqrt(s)) * (np.sqrt(target @ target) + largest + np.sqrt(s))
    assert (c >= 0).all()
    assert c.sum() == pytest.approx(1, abs=1e-12)
    assert np.ptp(slope[c > 0]) <= bound
    assert (slope >= slope[c > 0].max() - bound).all()


@given(problems())
def test_cone_and_simplex_fulfil_their_conditions(problem: tuple[Floats, Floats]) -> None:
    check_optimal(*problem, among(*problem))


@given(problems())
def test_one_by_one_they_do_so_too(problem: tuple[Floats, Floats]) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(active_set, "GUESSES", 0)
        check_optimal(*problem, among(*problem))


@pytest.mark.parametrize("spread", [0.0, 1e-3, 1e-7])
def test_many_vectors_that_hardly_differ(spread: float, rng: np.random.Generator) -> None:
    vectors = rng.standard_normal(200) + spread * rng.standard_normal((80, 200))
    target = vectors[:7].mean(axis=0) + 0.1 * rng.standard_normal(200)
    found = among(vectors, target)
    check_optimal(vectors, target, found)
    assert found.rank == (1 if spread in (0.0, 1e-7) else 80)
    assert (found.ridge > 0) == (spread in (0.0, 1e-7))


@pytest.mark.parametrize("seed", [98, 110])
def test_a_gain_below_the_last_digit_of_the_distance_is_still_taken(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(seed)
    vectors = rng.standard_normal((26, 28)) * 10 ** rng.uniform(-6, 6, (26, 1))
    target = rng.standard_normal(28)
    monkeypatch.setattr(active_set, "GUESSES", 0)
    check_optimal(vectors, target, among(vectors, target))


def test_where_exchanging_blocks_does_not_settle_one_by_one_does(
    rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    vectors, target = smooth(3, 40, 60)
    expected = among(vectors, target)
    monkeypatch.setattr(active_set, "GUESSES", 0)
    found = among(vectors, target)
    for name in ("cone", "simplex"):
        ours, theirs = getattr(found, name).coefficients, getattr(expected, name).coefficients
        np.testing.assert_allclose(ours, theirs, atol=1e-11)
        assert ((ours > 0) == (theirs > 0)).all()


# Properties


@given(problems())
def test_a_smaller_set_explains_no_more(problem: tuple[Floats, Floats]) -> None:
    found = among(*problem)
    share = {name: float(getattr(found, name).explained) for name in SETS}
    if not np.isnan(share["span"]):
        assert -1e-12 <= share["cone"] <= share["span"] + 1e-7 <= 1 + 2e-7
        assert share["simplex"] <= share["cone"] + 1e-7
        assert share["simplex"] <= share["affine"] + 1e-7
        assert share["affine"] <= share["span"] + 1e-7


@settings(max_examples=15)
@given(st.integers(0, 1000), st.floats(1e-8, 1e8))
def test_span_and_cone_do_not_mind_the_scale(seed: int, scale: float) -> None:
    vectors, target = smooth(seed)
    before, after = among(vectors, target, scale_free=True), among(vectors, scale * target, scale_free=True)
    for name in ("span", "cone"):
        np.testing.assert_allclose(getattr(after, name).explained, getattr(before, name).explained, rtol=1e-9)
        ours, theirs = getattr(after, name).coefficients, getattr(before, name).coefficients
        np.testing.assert_allclose(ours, scale * theirs, rtol=1e-6, atol=1e-10 * scale)
    np.testing.assert_allclose(after.mixture, before.mixture, rtol=1e-6, atol=1e-10)
    assert after.verdict == before.verdict


def test_a_longer_known_vector_has_a_smaller_coefficient() -> None:
    vectors, target = smooth(0)
    factors = np.array([1.0, 1e-6, 1e6, 3.0, 0.5])
    before, after = among(vectors, target), among(vectors * factors[:, None], target)
    assert after.ridge == 0
    np.testing.assert_allclose(after.span.coefficients * factors, before.span.coefficients, rtol=1e-8)
    np.testing.assert_allclose(after.cone.coefficients * factors, before.cone.coefficients, rtol=1e-8)


@settings(max_examples=15)
@given(st.integers(0, 1000), st.permutations(range(5)))
def test_the_order_of_the_vectors_changes_nothing(seed: int, order: list[int]) -> None:
    vectors, target = smooth(seed)
    before, after = among(vectors, target), among(vectors[order], target)
    for name in SETS:
        ours, theirs = getattr(after, name).coefficients, getattr(before, name).coefficients
        np.testing.assert_allclose(ours, theirs[order], rtol=1e-7, atol=1e-9)
    np.testing.assert_allclose(after.among, before.among[order], atol=1e-9)


@settings(max_examples=15)
@given(st.integers(0, 1000))
def test_a_rotation_changes_nothing(seed: int) -> None:
    vectors, target = smooth(seed)
    turn = np.linalg.qr(np.random.default_rng(seed + 1).standard_normal((9, 9)))[0]
    before, after = among(vectors, target), among(vectors @ turn, target @ turn)
    for name in SETS:
        np.testing.assert_allclose(
            getattr(after, name).coefficients, getattr(before, name).coefficients, rtol=1e-6, atol=1e-8
        )


def test_targets_and_groups_at_once_are_each_on_its_own(rng: np.random.Generator) -> None:
    vectors, targets = rng.standard_normal((3, 4, 20)), rng.standard_normal((5, 3, 20))
    grams, products = vectors @ vectors.transpose(0, 2, 1), np.einsum("gte,bge->bgt", vectors, targets)
    entries, reference = np.array([20, 30, 40]), np.linspace(0.1, 1, 15).reshape(5, 3)
    energies = (targets**2).sum(-1)
    many = locate(grams, products, energies, entries=entries, reference=reference)
    assert many.batch == (5, 3)
    assert many[2].batch == (3,)
    assert many[1:3, 0].batch == (2,)
    for b, g in itertools.product(range(5), range(3)):
        one = locate(grams[g], products[b, g], energies[b, g], entries=entries[g], reference=reference[b, g])
        assert_same(many[b, g].facts(), one.facts())


def assert_same(ours: dict[str, Any], theirs: dict[str, Any]) -> None:
    assert ours.keys() == theirs.keys()
    for name, value in ours.items():
        if isinstance(value, dict):
            assert_same(value, theirs[name])
        elif value is None or isinstance(value, str):
            assert value == theirs[name]
        else:
            np.testing.assert_allclose(value, theirs[name], rtol=1e-9, atol=1e-12)


def test_one_gram_serves_many_targets_and_groups_add_up(rng: np.random.Generator) -> None:
    vectors, targets = rng.standard_normal((4, 30)), rng.standard_normal((7, 30))
    whole = among(vectors, targets)
    parts = [(vectors[:, a:b], targets[:, a:b]) for a, b in ((0, 11), (11, 30))]
    gram, products = sum(v @ v.T for v, _ in parts), sum(t @ v.T for v, t in parts)
    summed = locate(gram, products, sum((t * t).sum(-1) for _, t in parts))
    np.testing.assert_allclose(summed.cone.coefficients, whole.cone.coefficients, atol=1e-12)
    assert whole.rank.tolist() == [4] * 7


def test_a_point_in_the_hull_is_found_again(rng: np.random.Generator) -> None:
    vectors, weights = rng.standard_normal((6, 50)), np.array([0.5, 0.0, 0.3, 0.0, 0.0, 0.2])
    found = among(vectors, weights @ vectors)
    for name in SETS:
        np.testing.assert_allclose(getattr(found, name).coefficients, weights, atol=1e-12)
        assert 0 <= getattr(found, name).residual < 1e-12
    scaled = among(vectors, 7 * weights @ vectors)
    np.testing.assert_allclose(scaled.mixture, weights, atol=1e-12)
    assert scaled.scale == pytest.approx(7)


# Vectors of zeros, equal ones, a single one


@pytest.mark.parametrize("which", range(4))
def test_a_known_vector_is_itself(which: int, rng: np.random.Generator) -> None:
    vectors = rng.standard_normal((4, 30))
    found = among(vectors, vectors[which], entries=30)
    for name in SETS:
        np.testing.assert_allclose(getattr(found, name).coefficients, np.eye(4)[which], atol=1e-12)
    assert found.verdict == "retrieve"
    assert found.cosines[which] == pytest.approx(1)


def test_equal_vectors_share_what_one_would_have(rng: np.random.Generator) -> None:
    vectors, target = rng.standard_normal((3, 30)), rng.standard_normal(30) + 1
    once, twice = among(vectors, target), among(vectors[[0, 0, 1, 2]], target)
    assert twice.rank == 3
    assert once.ridge == 0 < twice.ridge < 1e-9
    assert twice.among[:2] == pytest.approx([1, 1])
    for name in SETS:
        c = getattr(twice, name).coefficients
        assert c[0] == pytest.approx(c[1])
        np.testing.assert_allclose([c[0] + c[1], *c[2:]], getattr(once, name).coefficients, atol=1e-7)


def test_one_vector() -> None:
    found = locate([[4.0]], [2.0], 4.0)
    coefficients = [float(getattr(found, name).coefficients[0]) for name in SETS]
    assert coefficients == pytest.approx([0.5, 1, 0.5, 1])
    assert (found.span.explained, found.simplex.explained) == pytest.approx((0.25, 0), abs=1e-12)
    assert (found.among.tolist(), found.among_spread) == ([0], 0)


def test_a_vector_of_zeros_is_the_origin_of_the_hull_and_no_direction() -> None:
    vectors, target = np.array([[2.0, 0.0], [0.0, 0.0]]), np.array([0.5, 1.0])
    found = among(vectors, target)
    assert found.span.coefficients.tolist() == found.cone.coefficients.tolist() == [0.25, 0]
    np.testing.assert_allclose([found.affine.coefficients, found.simplex.coefficients], [[0.25, 0.75]] * 2)
    assert (found.rank, found.ridge, found.hull_ridge) == (1, 0, 0)
    assert found.among[0] == 0
    assert np.isnan(found.among[1])


def test_nothing_but_zeros_explains_nothing() -> None:
    found = among(np.zeros((3, 5)), np.ones(5), entries=5)
    assert (found.rank, found.span.explained, found.simplex.explained, found.among_mean) == (0, 0, 0, 0)
    assert found.verdict == "learn"


def test_a_target_of_zeros_has_no_verdict(rng: np.random.Generator) -> None:
    found = among(rng.standard_normal((3, 5)), np.zeros(5))
    assert found.span.coefficients.tolist() == found.cone.coefficients.tolist() == [0, 0, 0]
    assert found.simplex.coefficients.sum() == pytest.approx(1)
    assert (found.verdict, found.reason) == ("undecided", "the target is a vector of zeros")
    assert found.facts()["span"]["explained"] is None


def test_a_ridge_that_is_asked_for_shrinks() -> None:
    found = locate(np.diag([1.0, 4.0]), [1.0, 4.0], 5.0, ridge=1.0)
    assert found.ridge == 1
    np.testing.assert_allclose(found.span.coefficients, [0.5, 0.5])
    assert found.span.explained == pytest.approx(0.75)


# Chance


def test_a_random_direction_has_explained_what_is_foretold() -> None:
    rng = np.random.default_rng(0)
    vectors, targets = rng.standard_normal((4, 25)), rng.standard_normal((20_000, 25))
    basis = np.linalg.qr(vectors.T)[0]
    shares = ((targets @ basis) ** 2).sum(1) / (targets**2).sum(1)
    found = among(vectors, targets[0], entries=25)
    assert found.random_mean == 4 / 25
    assert shares.mean() == pytest.approx(float(found.random_mean), rel=0.02)
    assert shares.std() == pytest.approx(float(found.random_spread), rel=0.02)


def test_each_vector_among_the_others_is_located_as_if_it_were_new(rng: np.random.Generator) -> None:
    vectors = rng.standard_normal((6, 12)) + 0.7 * rng.standard_normal(12)
    found = among(vectors, vectors[0])
    alone = [among(np.delete(vectors, i, axis=0), vectors[i]).span.explained for i in range(6)]
    np.testing.assert_allclose(found.among, alone, rtol=1e-9)
    assert found.among_mean == pytest.approx(np.mean(alone))
    assert found.among_spread == pytest.approx(np.std(alone, ddof=1))


def test_a_vector_drawn_like_the_known_ones_has_explained_what_they_have(rng: np.random.Generator) -> None:
    spectrum = np.geomspace(1, 0.01, 60)
    known, new = (rng.standard_normal((n, 60)) * spectrum for n in (20, 200))
    found = among(known, new)
    assert found.span.explained.mean() == pytest.approx(float(found.among_mean[0]), abs=0.03)
    assert found.among_mean[0] > 2 * 20 / 60


# Verdicts


def orthonormal(tasks: int = 3, entries: int = 40) -> Floats:
    return np.eye(entries)[:tasks]


@pytest.mark.parametrize(
    ("target", "verdict", "said"),
    [
        ([1.0, 0.0, 0.0, 0.0], "retrieve", r"the simplex explains 1 of it, 1 of what a known task has \(1\); 0.9 is"),
        ([0.4, 0.3, 0.3, 0.1], "retrieve", "the simplex explains 0.971"),
        ([0.5, 0.5, 0.0, 0.2], "retrieve", "the simplex explains 0.926"),
        ([2.0, 0.0, 0.0, 0.0], "recombine", "the simplex explains 0.75"),
        ([-1.0, 0.0, 0.0, 0.0], "recombine", "the span explains 1 of it"),
        ([0.5, -0.5, 0.0, 0.0], "recombine", "the simplex explains 0.25"),
        ([0.8, 0.0, 0.0, 0.6], "recombine", "the span explains 0.64 of it, 0.64 of what a known task has"),
        ([0.5, 0.0, 0.0, 1.0], "learn", "the span explains 0.2 of it, 0.2 of what a known task has .*; 0.5 is asked"),
        ([0.0, 0.0, 0.0, 1.0], "learn", "the span explains 0 of it, which is nothing"),
    ],
)
def test_what_to_do(target: list[float], verdict: str, said: str) -> None:
    vector = np.zeros(40)
    vector[[0, 1, 2, 3]] = target
    found = among(orthonormal(), vector)
    assert found.verdict == verdict
    assert_matches(said, found)


def assert_matches(said: str, found: Location) -> None:
    with pytest.raises(AssertionError, match=said):
        raise AssertionError(str(found.reason))


def share_of(span: float, entries: int | None, **options: Any) -> Location:
    """Locate a vector of which the cone and the span explain the same share; it is long, as gradients are."""
    return locate(np.eye(3), [1e4 * span**0.5, 0.0, 0.0], 1e8, entries=entries, scale_free=True, **options)


@pytest.mark.parametrize(
    ("share", "verdict"), [(0.02, "retrieve"), (0.0181, "retrieve"), (0.0179, "recombine"), (0.0099, "learn")]
)
def test_a_gradient_is_measured_by_what_a_known_task_has_explained(share: float, verdict: str) -> None:
    found = share_of(share, 10_000_000, reference=0.02)
    assert found.verdict == verdict
    assert found.inside == pytest.approx(share / 0.02, rel=1e-4)
    assert share_of(share, 10_000_000).verdict == "learn"


def test_chance_is_taken_off_before_it_is_measured() -> None:
    chance = 3 / 300
    halfway = (chance + 0.1) / 2
    assert share_of(halfway * 1.01, 300, reference=0.1).verdict == "recombine"
    assert share_of(halfway * 0.99, 300, reference=0.1).verdict == "learn"


def test_a_share_that_chance_has_too_is_nothing_known() -> None:
    found = share_of(0.03, 300, reference=0.06, enough=0.01)
    assert found.verdict == "learn"
    assert_matches("the span explains 0.03 of it, and a random direction 0.01 ± 0.0081", found)


@pytest.mark.parametrize("reference", [0.04, 0.0])
def test_where_a_known_task_would_be_taken_for_chance_nothing_is_decided(reference: float) -> None:
    found = share_of(0.03, 300, reference=reference)
    assert found.verdict == "undecided"
    assert np.isnan(found.inside)
    assert_matches(f"a known task would have {reference:.3g} explained, and a random direction 0.01", found)


def test_vectors_that_fill_the_space_say_nothing() -> None:
    assert among(np.eye(3), np.ones(3), entries=3).verdict == "undecided"
    assert share_of(0.5, 3, reference=np.nan).reason == "what a known task would have explained is not known"


def test_more_than_a_known_task_must_be_in_the_hull_too() -> None:
    gram, products = np.eye(3), [0.2, -0.2, 0.0]
    assert locate(gram, products, 1.0, reference=0.04, scale_free=True).verdict == "recombine"
    assert locate(gram, np.abs(products), 1.0, reference=0.04, scale_free=True).verdict == "retrieve"


def test_the_edges_are_inside() -> None:
    assert share_of(0.01, None, reference=0.02).verdict == "recombine"
    assert share_of(0.02, None, reference=0.02, tolerance=0.0).verdict == "retrieve"
    assert share_of(1.0, None, tolerance=0.0, enough=1.0).verdict == "retrieve"


def test_the_reference_is_what_known_tasks_have_explained(rng: np.random.Generator) -> None:
    vectors = rng.standard_normal((2, 8, 100))
    probes = vectors + 3 * rng.standard_normal((2, 8, 100))
    products, energies = np.einsum("gpe,gte->pgt", probes, vectors), (probes**2).sum(-1).T
    grams = vectors @ vectors.transpose(0, 2, 1)
    shares = locate(grams, products, energies).span.explained
    np.testing.assert_allclose(reference_share(grams, products, energies), np.median(shares, axis=0))
    assert (reference_share(grams, products, energies, 0.25) < np.median(shares, axis=0)).all()
    energies[0, 0], products[0, 0] = 0, 0
    np.testing.assert_allclose(reference_share(grams, products, energies)[0], np.median(shares[1:, 0]))
    assert np.isnan(reference_share(np.eye(2), np.zeros((2, 2)), np.zeros(2)))


def test_of_a_noisy_target_the_share_of_its_task_vector_is_estimated() -> None:
    rng = np.random.default_rng(1)
    vectors = rng.standard_normal((8, 50_000))
    new = rng.uniform(0, 1, (20, 8)) @ vectors + 1.5 * rng.standard_normal((20, 50_000))

    def noisy(x: Floats) -> Floats:
        return x + 5 * np.linalg.norm(x, axis=1, keepdims=True) / 50_000**0.5 * rng.standard_normal(x.shape)

    probes, target = noisy(vectors), noisy(new)
    reference = reference_share(vectors @ vectors.T, probes @ vectors.T, (probes**2).sum(1))
    found = among(vectors, target, reference=reference, entries=50_000, scale_free=True)
    assert reference == pytest.approx(1 / 26, rel=0.1)
    np.testing.assert_allclose(found.inside, among(vectors, new).span.explained, atol=0.1)


def test_facts_are_plain_json(rng: np.random.Generator) -> None:
    found = among(rng.standard_normal((3, 10)), np.stack([rng.standard_normal(10), np.zeros(10)]))
    facts = json.loads(json.dumps(found.facts(), allow_nan=False))
    assert facts["span"]["explained"][1] is None
    assert facts["verdict"] == found.verdict.tolist()
    assert facts["mixture"][0] == pytest.approx(found.mixture[0].tolist())
    assert isinstance(found[0].facts()["rank"], int)


# Bad input

EYE = np.eye(2)
B = [0.5, 0.5]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((np.ones((2, 3)), B, 1.0), r"gram has shape \(2, 3\), but its last two sides must be equal"),
        ((np.ones(3), B, 1.0), r"gram has shape \(3,\), but its last two sides"),
        ((np.ones((0, 0)), np.ones(0), 1.0), r"gram has shape \(0, 0\)"),
        (("gram", B, 1.0), "gram is not an array of numbers"),
        ((EYE, [0.5], 1.0), r"products has shape \(1,\), but its last side must be 2"),
        ((EYE, 0.5, 1.0), r"products has shape \(\), but its last side must be 2"),
        ((EYE, [B, B, B], [1.0, 1.0]), "their groups and targets differ; put targets before groups"),
        ((np.stack([EYE] * 3), [B, B], 1.0), "their groups and targets differ"),
    ],
)
def test_shapes_that_do_not_fit(arguments: Any, said: str) -> None:
    with pytest.raises(RecipeError, match=said):
        locate(*arguments)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((np.array([[1.0, np.nan], [0.0, 1.0]]), B, 1.0), r"gram holds nan at \[0, 1\]"),
        ((EYE, [0.5, np.inf], 1.0), r"products holds inf at \[1\]"),
        ((EYE, B, np.nan), r"energy holds nan at \[\]"),
        ((EYE, B, -1.0), "energy holds -1, but a squared length cannot be negative"),
        ((np.array([[1.0, 0.5], [0.4, 1.0]]), B, 1.0), "gram is not symmetric: an entry and its mirror image are 0.1"),
        ((-EYE, B, 1.0), "gram has -1 on its diagonal"),
        ((np.array([[1.0, 2.0], [2.0, 1.0]]), B, 1.0), "gram has a cosine above 1"),
        ((np.array([[0.0, 0.1], [0.1, 1.0]]), B, 1.0), "gram has a cosine above 1"),
        ((1.9 * np.eye(3) - 0.9, [0.1] * 3, 1.0), "gram has an eigenvalue of -0.42 times its largest"),
        (
            (EYE, [[0.5, 0.5], [0.5, 2.0]], 1.0),
            "the product of target 1 with vector 1 is 2, but their lengths allow 1 ",
        ),
        ((EYE, [0.9, 0.9], 1.0), "the known vectors would explain 1.62 of a target"),
    ],
)
def test_numbers_that_are_no_inner_products(arguments: Any, said: str) -> None:
    with pytest.raises(NumbersError, match=said):
        locate(*arguments)


def test_products_in_float32_of_vectors_that_hardly_differ_need_a_ridge(rng: np.random.Generator) -> None:
    vectors = rng.standard_normal(500) + 3e-4 * rng.standard_normal((40, 500))
    target = vectors[:5].mean(axis=0) + 0.3 * rng.standard_normal(500)
    vectors, target = (x.astype(np.float32).astype(np.float64) for x in (vectors, target))
    exact, products = among(vectors, target).span, target @ vectors.T
    gram = (vectors @ vectors.T).astype(np.float32)
    with pytest.raises(NumbersError, match="summed in float64, or vectors that hardly differ need a ridge=1e-4"):
        locate(gram, products, target @ target)
    ridged = locate(gram, products, target @ target, ridge=1e-4).span
    assert ridged.explained == pytest.approx(exact.explained, abs=0.02)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"ridge": -1.0}, "ridge is -1.0, but must be 0 or more"),
        ({"ridge": np.nan}, "ridge is nan"),
        ({"tolerance": 1.0}, "tolerance is 1.0, but must be at least 0 and below 1"),
        ({"enough": 0.0}, "enough is 0.0, but must be above 0 and at most 1"),
        ({"reference": 1.5}, "reference is 1.5, but it is a share"),
        ({"reference": [0.5, 0.5]}, r"reference has shape \(2,\), but the targets have shape \(\)"),
        ({"entries": 1}, "entries is 1, but the known vectors have 2 directions"),
        ({"entries": 2.5}, "entries is 2.5"),
        ({"entries": [2, 3]}, r"entries has shape \(2,\)"),
    ],
)
def test_settings_that_make_no_sense(options: dict[str, Any], said: str) -> None:
    with pytest.raises(RecipeError, match=said):
        locate(EYE, B, 1.0, **options)


def test_a_reference_of_one_probe_without_a_side_or_of_no_quantile() -> None:
    with pytest.raises(RecipeError, match="without a side for probes"):
        reference_share(EYE, B, 1.0)
    with pytest.raises(RecipeError, match="quantile is 2, but must be between 0 and 1"):
        reference_share(EYE, [B], [1.0], 2)
