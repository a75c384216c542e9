"""Rows with a length of their own: the same bytes fused and plain, and the lengths asked for."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from taskvec.ops.dora import resize_rows

Twins = Callable[[str, Callable[[], Any]], tuple[Any, Any]]


@pytest.mark.parametrize("columns", [1, 3, 15, 16, 17, 100])
def test_fused_and_plain_give_the_same_bytes(twins: Twins, rng: np.random.Generator, columns: int) -> None:
    base, change = (rng.standard_normal((7, columns)).astype(np.float32) for _ in range(2))
    sizes = (rng.random(7) + 0.5).astype(np.float32)
    fused, plain = twins("resize_rows", lambda: resize_rows(base, change.copy(), sizes))
    assert fused.tobytes() == plain.tobytes()
    np.testing.assert_allclose(np.linalg.norm(base + fused, axis=1), sizes, rtol=1e-5)


def test_a_row_without_direction_is_no_number(twins: Twins) -> None:
    base = np.float32([[1, -2], [0, 0], [1, 1]])
    change = np.float32([[-1, 2], [0, 0], [np.inf, 1]])
    sizes = np.float32([1, 0, 2])
    fused, plain = twins("resize_rows", lambda: resize_rows(base, change.copy(), sizes))
    np.testing.assert_array_equal(fused, plain)
    assert not np.isfinite(fused[:2]).any()
    assert np.isnan(fused[2, 0])
