"""RAM, with lone changes raised."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from reference.ram import ramplus as loop
from taskvec.merge.methods import ram, ramplus_tl
from taskvec.merge.methods.ramplus_tl import COUNTS, factors

from .inputs import Array, assert_agree, flat, stacks

SHARES = st.sampled_from([0.0, 0.1, 0.5, 1.0, 3.0])


@given(stacks(), SHARES, SHARES, st.sampled_from([0.0, 0.125, 1.0]))
def test_matches_the_slow_loop(dtype: np.dtype, stack: Array, r: float, alpha: float, epsilon: float) -> None:
    deltas = stack.astype(dtype)
    merged = ramplus_tl(deltas, np.ones(len(stack)), r=r, alpha=alpha, epsilon=epsilon)
    expected = loop(flat(stack), r=r, alpha=alpha, epsilon=epsilon)
    assert_agree(merged, expected, deltas, (1 + r * alpha) * np.abs(stack).sum(0))


@pytest.mark.parametrize("settings", [{"r": 0.0}, {"alpha": 0.0}])
def test_without_a_rescale_it_is_ram(settings: dict[str, float], dtype: np.dtype, rng: np.random.Generator) -> None:
    deltas = np.where(rng.random((3, 500)) < 0.2, rng.standard_normal((3, 500)), 0).astype(dtype)
    merged = ramplus_tl(deltas, np.ones(3), **settings)
    assert merged.tobytes() == ram(deltas, np.ones(3)).tobytes()


def test_counts_over_the_whole_model_raise_all_tensors_alike(rng: np.random.Generator) -> None:
    """The first tensor has lone changes only and would not be raised by itself; the second shares all."""
    alone, shared = np.array([[2.0, 0.0], [0.0, 4.0]]), np.array([[1.0], [1.0]])
    counts = COUNTS.whole(np.concatenate([alone, shared], axis=1), {"epsilon": 0.0})
    assert counts.tolist() == [[1, 1], [1, 1]]
    assert factors(counts, 0.5, 1.0) == [1.5, 1.5]
    assert ramplus_tl(alone, np.ones(2), r=0.5, alpha=1.0).tolist() == [2.0, 4.0]
    assert ramplus_tl(alone, np.ones(2), r=0.5, alpha=1.0, counts=counts).tolist() == [3.0, 6.0]
