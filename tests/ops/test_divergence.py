"""The divergence of softmaxes."""

from collections.abc import Callable

import numpy as np
import pytest

from reference.arcee_fusion import divergence as loop
from taskvec.ops.divergence import row_divergence


@pytest.mark.parametrize("size", [1e-12, 1e-6, 0.1, 1.0, 30.0])
def test_it_has_13_digits_at_any_size_of_the_change(dtype: np.dtype, size: float, rng: np.random.Generator) -> None:
    base = rng.standard_normal((2, 18)).astype(dtype)
    tuned = (base + size * rng.standard_normal((2, 18))).astype(dtype)
    expected = [loop(t.tolist(), b.tolist()) for t, b in zip(tuned, base, strict=True)]
    np.testing.assert_allclose(row_divergence(base, tuned), expected, rtol=1e-12, atol=0)


def test_small_changes_give_half_their_variance(dtype: np.dtype, rng: np.random.Generator) -> None:
    base = np.zeros((2, 4000), dtype)
    tuned = (1e-5 * rng.standard_normal((2, 4000)) + 1.0).astype(dtype)
    np.testing.assert_allclose(row_divergence(base, tuned), tuned.astype(np.float64).var(1) / 2, rtol=1e-4)


def test_no_change_and_a_shift_give_0(dtype: np.dtype, rng: np.random.Generator) -> None:
    base = np.round(64 * rng.standard_normal((3, 50))).astype(dtype) / 64
    assert not row_divergence(base, base).any()
    assert np.all(row_divergence(base, base + dtype.type(0.5)) < 1e-30)


def test_huge_weights_do_not_overflow(dtype: np.dtype) -> None:
    base = np.array([[1e30, -1e30, 0.0], [1e4, 0.0, -1e4]], dtype)
    assert np.isfinite(row_divergence(base, -base)).all()


@pytest.mark.parametrize("shape", [(0, 5), (3, 1), (5, 15), (2, 16), (9, 1000), (70, 513)])
@pytest.mark.parametrize("size", [1e-3, 2.0])
def test_fused_and_plain_give_the_same_bytes(
    twins: Callable[..., tuple[np.ndarray, np.ndarray]], shape: tuple[int, int], size: float, rng: np.random.Generator
) -> None:
    base = rng.standard_normal(shape).astype(np.float32)
    tuned = (base + size * rng.standard_normal(shape)).astype(np.float32)
    if not base.size:
        assert row_divergence(base, tuned).shape == (0,)
        return
    fused, plain = twins("divergence", lambda: row_divergence(base, tuned))
    assert fused.tobytes() == plain.tobytes()


def test_rows_do_not_depend_on_their_neighbours(kernels: str, rng: np.random.Generator) -> None:
    base, tuned = rng.standard_normal((2, 300, 77)).astype(np.float32)
    parts = [row_divergence(base[a : a + 9].copy(), tuned[a : a + 9].copy()) for a in range(0, 300, 9)]
    assert np.concatenate(parts).tobytes() == row_divergence(base, tuned).tobytes()
