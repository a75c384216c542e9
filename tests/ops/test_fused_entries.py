"""What tasks do at one entry, in fused kernels: the bytes of the plain operations, NaN and Inf too."""

from collections.abc import Callable
from typing import Any, Literal

import numpy as np
import pytest

from taskvec.merge.methods import nuslerp
from taskvec.merge.statistics import Gram
from taskvec.ops.combine import sum_by_parts
from taskvec.ops.competition import combine_shares, standing
from taskvec.ops.gram import BLOCK, ExactSum, grams_of
from taskvec.ops.overlap import average_changed, overlaps
from taskvec.ops.spread import differing, keep_apart, spread

from .samples import SIZES, floats32

Twins = Callable[[str, Callable[[], Any]], tuple[Any, Any]]


def same(twins: Twins, name: str, call: Callable[[], np.ndarray]) -> None:
    fused, plain = twins(name, call)
    assert fused.dtype == plain.dtype and fused.shape == plain.shape
    nan = np.isnan(plain)  # their signs and payloads are nobody's
    assert np.array_equal(np.isnan(fused), nan)
    assert fused[~nan].tobytes() == plain[~nan].tobytes()


@pytest.fixture(params=[(n, odd) for n in SIZES for odd in (False, True)], ids=str)
def rows(request: pytest.FixtureRequest, rng: np.random.Generator) -> np.ndarray:
    """Four tasks; some entries are 0, some equal in all tasks, and where it is odd some are NaN or Inf."""
    n, odd = request.param
    rows = np.where(rng.random((4, n)) < 0.2, 0, floats32(rng, 4, n)).astype(np.float32)
    rows[:, ::7] = rows[0, ::7]
    if odd:
        rows[1, ::5], rows[2, ::11], rows[3, 1::13] = np.nan, np.inf, -np.inf
    return rows


@pytest.mark.filterwarnings("ignore:invalid value:RuntimeWarning", "ignore:overflow:RuntimeWarning")
def test_spread(twins: Twins, rows: np.ndarray) -> None:
    same(twins, "spread", lambda: spread(rows))
    same(twins, "differing", lambda: np.array(differing(rows)))
    for least in (0.5, 1e-30, np.inf):
        same(twins, "keep_apart", lambda least=least: keep_apart(rows, least))


@pytest.mark.filterwarnings("ignore:invalid value:RuntimeWarning")
@pytest.mark.parametrize("epsilon", [0.0, 0.1, 1.0])
def test_changes(twins: Twins, rows: np.ndarray, epsilon: float) -> None:
    same(twins, "overlaps", lambda: overlaps(rows, epsilon))
    for alone in (None, [1.0, 1.1, 0.7, 2.0]):
        same(twins, "average_changed", lambda alone=alone: average_changed(rows, epsilon, alone))


@pytest.mark.filterwarnings("ignore:invalid value:RuntimeWarning", "ignore:overflow:RuntimeWarning")
def test_competition(twins: Twins, rows: np.ndarray) -> None:
    low, high = np.array([0.0, 0.1, 0.5, 0.5]), np.array([1.0, 2.0, 0.5, 3.0])
    same(twins, "standing", lambda: standing(rows, low, high))
    roots, clip = standing(rows, low, high), np.stack([low, high], axis=1)
    ends = np.array([[0.1, 1.0], [0.5, 0.5], [0.0, 0.0], [1.0, 3.0]])
    same(twins, "combine_shares", lambda: combine_shares(rows, roots, np.array([1.0, -2.0, 0.3, 0.0]), clip, ends))


@pytest.mark.parametrize("over", ["row", "column"])
@pytest.mark.parametrize("columns", [1, 3, 1000, BLOCK + 5])
@pytest.mark.parametrize(("start", "n"), [(0, 7000), (BLOCK, 2 * BLOCK + 77), (3 * BLOCK, 1)])
def test_inner_products_of_parts(
    twins: Twins, over: Literal["row", "column"], columns: int, start: int, n: int, rng: np.random.Generator
) -> None:
    stack = floats32(rng, 2, n)
    parts = (start + n - 1) // columns + 1 if over == "row" else columns

    def matrices() -> np.ndarray:
        held = ExactSum(2, 2, parts)
        for first, term in grams_of(stack, start, columns, over):
            held.add(first, term)
        return held.value

    same(twins, "part_grams", matrices)


@pytest.mark.parametrize("by_row", [True, False])
@pytest.mark.parametrize(("start", "columns"), [(0, 1), (2, 3), (999, 1000), (0, 9000)])
def test_sums_by_parts(
    twins: Twins, rows: np.ndarray, by_row: bool, start: int, columns: int, rng: np.random.Generator
) -> None:
    factors = rng.standard_normal((-(-(start + rows.shape[1]) // columns) if by_row else columns, 4))
    rows[~np.isfinite(rows)] = 0
    same(twins, "sum_by_parts", lambda: sum_by_parts(rows, factors, start, columns, by_row))


@pytest.mark.parametrize("over", ["row", "column"])
@pytest.mark.parametrize("shape", [(5, 1), (1, 5), (37, 11), (6, 2, 3)])
def test_arcs_of_any_slices_are_those_of_the_whole(
    over: Literal["row", "column"], shape: tuple[int, ...], rng: np.random.Generator
) -> None:
    stack = rng.standard_normal((2, *shape))
    whole, columns = nuslerp(stack, np.array([1.0, 2.0]), over=over), int(np.prod(shape[1:]))
    gram = Gram(over=lambda _: over).whole(stack, {"over": over})
    flat = stack.reshape(2, -1)
    parts = [
        nuslerp(flat[:, at : at + 7], np.array([1.0, 2.0]), over=over, gram=gram, place=(at, columns))
        for at in range(0, flat.shape[1], 7)
    ]
    assert np.concatenate(parts).tobytes() == whole.reshape(-1).tobytes()
