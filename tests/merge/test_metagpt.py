"""Shares of squared norms."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from reference.metagpt import metagpt as loop
from taskvec.merge.methods import metagpt, task_arithmetic
from taskvec.merge.methods.metagpt import coefficients
from taskvec.ops.gram import gram

from .inputs import Array, assert_agree, flat, stacks


@given(stacks(tasks=st.integers(2, 5)))
def test_matches_the_slow_loop(dtype: np.dtype, stack: Array) -> None:
    deltas = stack.astype(dtype)
    merged = metagpt(deltas, np.ones(len(stack)))
    assert_agree(merged, loop(flat(stack)), deltas, np.abs(stack).sum(0))


def test_the_shares_minimise_the_bound_that_they_come_from(rng: np.random.Generator) -> None:
    """Eq. 13 for orthogonal vectors: Σ_t |τ_t|² (Σ_(k≠t) λ_k² |τ_k|² + (1 - λ_t)² |τ_t|²)."""
    squares = rng.uniform(0.1, 4, 5)

    def bound(shares: Array) -> float:
        return float(
            sum(
                squares[t]
                * (np.sum(shares**2 * squares) - shares[t] ** 2 * squares[t] + (1 - shares[t]) ** 2 * squares[t])
                for t in range(5)
            )
        )

    best = coefficients(np.diag(squares))
    for _ in range(200):
        assert bound(best) <= bound(best + 0.01 * rng.standard_normal(5))


def test_the_scope_model_takes_the_norms_of_all_tensors_together(rng: np.random.Generator) -> None:
    first, second = rng.standard_normal((2, 30)) * [[1.0], [3.0]], rng.standard_normal((2, 10))
    whole = gram(first) + gram(second)
    merged = metagpt(second, np.ones(2), gram=whole)
    squares = np.array([np.sum(first[t] ** 2) + np.sum(second[t] ** 2) for t in range(2)])
    np.testing.assert_allclose(merged, task_arithmetic(second, squares / squares.sum()), rtol=1e-13)


def test_task_vectors_of_zeros_give_zeros() -> None:
    assert not metagpt(np.zeros((3, 4)), np.ones(3)).any()


def test_a_task_vector_of_zeros_counts_nothing(rng: np.random.Generator) -> None:
    x = rng.standard_normal(40)
    assert np.array_equal(metagpt(np.stack([x, 0 * x]), np.ones(2)), x)
