"""The product of two thin factors: the same bytes fused and plain, whole and in parts; against numpy in float64."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from taskvec.ops import low_rank as module
from taskvec.ops.low_rank import low_rank

Twins = Callable[[str, Callable[[], Any]], tuple[Any, Any]]
SHAPES = [(1, 1, 1), (1, 3, 40), (7, 5, 16), (13, 4, 33), (6, 64, 100), (25, 2, 15), (12, 16, 48)]


def factors(rng: np.random.Generator, rows: int, rank: int, columns: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    left, right = rng.standard_normal((rows, rank)), rng.standard_normal((rank, columns))
    return left.astype(np.float32), right.astype(np.float32), np.full((rows, columns), np.nan, np.float32)


@pytest.mark.parametrize("shape", SHAPES)
def test_fused_and_plain_give_the_same_bytes(twins: Twins, rng: np.random.Generator, shape: tuple[int, ...]) -> None:
    left, right, out = factors(rng, *shape)
    left[0, 0] = -0.0
    fused, plain = twins("low_rank", lambda: low_rank(left, right, 0.3, out.copy()))
    assert fused.tobytes() == plain.tobytes()
    exact = 0.3 * left.astype(np.float64) @ right.astype(np.float64)
    np.testing.assert_allclose(fused, exact, rtol=1e-5, atol=1e-6)


def test_nan_and_inf_come_through(twins: Twins, rng: np.random.Generator) -> None:
    left, right, out = factors(rng, 7, 3, 20)
    left[1, 2], right[0, 5], right[1, 5:7], left[5, 0] = np.nan, np.inf, -np.inf, 0
    fused, plain = twins("low_rank", lambda: low_rank(left, right, 1.0, out.copy()))
    np.testing.assert_array_equal(fused, plain)
    assert np.isnan(fused[1]).all()
    assert np.isinf(fused[0, 6])
    assert np.isnan(fused[5, 5])


def test_an_entry_does_not_depend_on_what_is_beside_it(kernels: str, rng: np.random.Generator) -> None:
    left, right, out = factors(rng, 20, 5, 70)
    whole = low_rank(left, right, 1.7, out)
    for rows, columns in [(slice(3, 4), slice(0, 70)), (slice(2, 19), slice(9, 50)), (slice(0, 8), slice(69, 70))]:
        part = np.ascontiguousarray(right[:, columns])
        alone = low_rank(left[rows], part, 1.7, np.empty_like(whole[rows, columns], order="C"))
        assert alone.tobytes() == whole[rows, columns].tobytes()


def test_the_plain_way_cuts_long_rows_and_many_rows(
    monkeypatch: pytest.MonkeyPatch, twins: Twins, rng: np.random.Generator
) -> None:
    monkeypatch.setattr(module, "BLOCK", 8)
    for shape in [(30, 3, 2), (3, 3, 30)]:
        left, right, out = factors(rng, *shape)
        fused, plain = twins("low_rank", lambda a=left, b=right, c=out: low_rank(a, b, 1.0, c.copy()))
        assert fused.tobytes() == plain.tobytes()
