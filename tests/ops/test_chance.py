"""Random words from (seed, model, tensor, entry) alone, and what is dropped by them."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from reference.della import cases as slow_cases
from reference.philox import word
from taskvec.ops.blend import Blend, RankedDrop, blend
from taskvec.ops.chance import RESOLUTION, Chance, cases_by_rank, drop, keep_chance, words

from .samples import SIZES, floats32

Twins = Callable[[str, Callable[[], Any]], tuple[Any, Any]]


@pytest.mark.parametrize("n", SIZES)
@pytest.mark.parametrize("rescale", [True, False], ids=["rescaled", "as is"])
def test_drop_gives_the_same_bytes_fused_and_plain(
    twins: Twins, rng: np.random.Generator, n: int, rescale: bool
) -> None:
    stack, chance = floats32(rng, 3, n), Chance(seed=5, keys=("a", "b", "c"), tensor="w", start=7)
    for density in (0.1, (0.5, 1.0, 1e-9), 1.0):
        fused, plain = twins("draw", lambda density=density: drop(stack, density, chance, rescale=rescale))
        assert fused.tobytes() == plain.tobytes()


@given(st.text(max_size=8), st.integers(0, 1 << 40), st.integers(0, 70))
def test_words_are_those_of_philox(stream: str, start: int, count: int) -> None:
    assert words(stream, start, count).tolist() == [word(stream, start + i) for i in range(count)]


@given(st.integers(0, 300), st.integers(0, 100), st.integers(0, 100))
def test_a_slice_has_the_words_of_the_whole(start: int, skip: int, count: int) -> None:
    whole = Chance(seed=1, keys=("a",), tensor="w", start=start).words(0, skip + count)
    later = Chance(seed=1, keys=("a",), tensor="w", start=start + skip).words(0, count)
    assert later.tolist() == whole[skip:].tolist()


def test_words_depend_on_the_model_and_not_on_its_place() -> None:
    first = Chance(seed=1, keys=("math", "code"), tensor="w")
    second = Chance(seed=1, keys=("code", "law", "math"), tensor="w")
    assert first.words(0, 50).tolist() == second.words(2, 50).tolist()
    assert first.words(1, 50).tolist() == second.words(0, 50).tolist()


@pytest.mark.parametrize(
    "other",
    [
        Chance(seed=2, keys=("math",), tensor="w"),
        Chance(seed=1, keys=("code",), tensor="w"),
        Chance(seed=1, keys=("math",), tensor="v"),
        Chance(seed=1, keys=("math",), tensor="w", start=1),
    ],
    ids=["seed", "model", "tensor", "offset"],
)
def test_words_depend_on(other: Chance) -> None:
    one = Chance(seed=1, keys=("math",), tensor="w").words(0, 4000).astype(np.float64)
    two = other.words(0, 4000).astype(np.float64)
    assert abs(np.corrcoef(one, two)[0, 1]) < 0.1


def test_words_are_uniform() -> None:
    drawn = words("uniform", 0, 1 << 18)
    counts = np.bincount(drawn >> 8, minlength=256)
    chi_square = ((counts - 1024.0) ** 2 / 1024).sum()
    assert chi_square < 255 + 5 * (2 * 255) ** 0.5


@pytest.mark.parametrize("rows", [1, 3])
def test_drop_does_to_a_slice_what_it_does_to_the_whole(kernels: str, rng: np.random.Generator, rows: int) -> None:
    stack = rng.standard_normal((rows, 5000)).astype(np.float32)
    whole = drop(stack, 0.3, Chance(seed=4, tensor="w"))
    for start, stop in ((0, 17), (17, 2048), (2048, 5000)):
        part = drop(np.ascontiguousarray(stack[:, start:stop]), 0.3, Chance(seed=4, tensor="w", start=start))
        assert part.tobytes() == np.ascontiguousarray(whole[:, start:stop]).tobytes()


def test_drop_divides_by_the_chance_it_drew_with(kernels: str) -> None:
    density = 0.1  # which is not a multiple of 1/65536
    kept = drop(np.ones((1, 4000), np.float32), density, Chance())
    p = keep_chance(density) / RESOLUTION
    assert p != density
    assert np.unique(kept).tolist() == [0.0, float(np.float32(1) / np.float32(p))]


def test_an_entry_is_kept_exactly_where_its_word_is_below_the_chance(kernels: str) -> None:
    chance = Chance(seed=8, tensor="w")
    drawn = chance.words(0, 40).tolist()
    for i, at in enumerate(drawn):
        for kept_of in (at, at + 1):
            kept = drop(np.ones((1, 40), np.float32), kept_of / RESOLUTION, chance, rescale=False)[0]
            assert kept.tolist() == [float(w < kept_of) for w in drawn]
            assert kept[i] == (kept_of > at)


def test_the_share_kept_is_the_density(kernels: str) -> None:
    n, density = 200_000, 0.1
    kept = np.count_nonzero(drop(np.ones((1, n), np.float32), density, Chance(seed=2)))
    assert abs(kept - n * density) < 5 * (n * density * (1 - density)) ** 0.5


def test_masks_of_two_tasks_are_independent() -> None:
    a, b = drop(np.ones((2, 100_000)), 0.5, Chance(), rescale=False)
    assert abs(np.mean(a * b) - 0.25) < 5 * (0.1875 / 100_000) ** 0.5


def test_density_a_task(kernels: str) -> None:
    kept = drop(np.ones((2, 10_000), np.float32), (0.1, 0.9), Chance(), rescale=False).mean(axis=1)
    assert kept == pytest.approx([0.1, 0.9], abs=0.02)


@pytest.mark.parametrize("density", [0.99999, 1 - 1e-12])
def test_only_a_density_of_one_keeps_all(density: float) -> None:
    assert keep_chance(density) < RESOLUTION
    assert keep_chance(1.0) == RESOLUTION


@given(st.floats(1e-300, 1))
def test_a_chance_is_the_nearest_step_and_never_none(density: float) -> None:
    assert 1 <= keep_chance(density) <= RESOLUTION
    assert abs(keep_chance(density) - density * RESOLUTION) <= 1


# --- By rank ---------------------------------------------------------------------------------------------------------


@given(
    st.lists(st.integers(-6, 6).map(lambda k: k / 4), min_size=1, max_size=30),
    st.integers(1, 5),
    st.floats(0.01, 1),
    st.floats(0, 1),
)
def test_cases_are_those_of_the_slow_loop(row: list[float], rows: int, density: float, reach: float) -> None:
    stack = np.array([[row[k:] + row[:k] for k in range(rows)]])
    expected = [slow_cases(r, density, reach) for r in stack[0].tolist()]
    assert cases_by_rank(stack, [density], [reach])[0].tolist() == expected


def test_equal_magnitudes_have_equal_chances_wherever_they_stand(rng: np.random.Generator) -> None:
    row = np.round(4 * rng.standard_normal(500)) / 4
    cases = cases_by_rank(row[None], [0.5], [0.4])[0]
    for size in np.unique(np.abs(row)):
        assert np.unique(cases[np.abs(row) == size]).size == 1
    order = rng.permutation(500)
    assert cases_by_rank(row[order][None], [0.5], [0.4])[0].tolist() == cases[order].tolist()


def test_the_mean_chance_is_the_density_and_the_ends_are_its_reach(rng: np.random.Generator) -> None:
    p = cases_by_rank(rng.standard_normal((1, 20, 301)), [0.6], [0.3]) / RESOLUTION
    assert p.mean(axis=-1) == pytest.approx(0.6, abs=1e-5)
    assert p.min(axis=-1) == pytest.approx(0.3, abs=1e-5)
    assert p.max(axis=-1) == pytest.approx(0.9, abs=1e-5)


@pytest.mark.parametrize(("density", "reach", "lowest", "highest"), [(0.1, 0.5, 1, 39322), (0.9, 0.5, 26214, 65536)])
def test_chances_beyond_the_ends_stay_at_the_ends(density: float, reach: float, lowest: int, highest: int) -> None:
    cases = cases_by_rank(np.arange(1.0, 102.0)[None], [density], [reach])
    assert (cases.min(), cases.max()) == (lowest, highest)


def rows_of(kind: str, rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """Rows of one sort: of many bits, of few, of equal ones, far apart, and with what is no number."""
    x = rng.standard_normal((2, *shape)).astype(np.float32)
    if kind == "few bits":
        return np.round(x * 16) / np.float32(16)
    if kind == "zeros":
        return np.where(rng.random(x.shape) < 0.2, x, np.float32(0))
    if kind == "far apart":
        return (x * np.exp2(rng.integers(-120, 120, x.shape))).astype(np.float32)
    if kind == "an outlier":
        x[..., :1] = 1e30
    if kind == "denormal":
        return (x * np.float32(1e-42)).astype(np.float32)
    if kind == "nan":
        x[rng.random(x.shape) < 0.1] = np.nan
        x[rng.random(x.shape) < 0.1] = -np.inf
    return x


@pytest.mark.parametrize("kind", ["many bits", "few bits", "zeros", "far apart", "an outlier", "denormal", "nan"])
@pytest.mark.parametrize("shape", [(1,), (5, 1), (7, 3), (40, 96), (9, 97), (3, 2, 500), (4097,), (2, 5000)], ids=str)
def test_ranks_are_the_same_fused_and_plain(
    twins: Twins, rng: np.random.Generator, shape: tuple[int, ...], kind: str
) -> None:
    stack, chance = rows_of(kind, rng, shape), Chance(seed=5, keys=("a", "b"), tensor="w", start=7)
    for divisor in (None, np.array([1.0, 0.3])):
        how = Blend(np.array([1.0, 0.5]), RankedDrop([0.5, 0.8], [0.5, 0.1], divisor))
        with np.errstate(invalid="ignore"):
            fused, plain = twins("blend_rows", lambda how=how: blend(stack, how, chance))
        assert fused.tobytes() == plain.tobytes()
