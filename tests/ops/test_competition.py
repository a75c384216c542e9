"""Scores and what is made of them."""

import numpy as np

from taskvec.ops.competition import AT_ONCE, shares_above, standing


def test_slices_give_the_scores_of_the_whole(dtype: np.dtype, rng: np.random.Generator) -> None:
    rows = rng.standard_normal((3, AT_ONCE + 777)).astype(dtype)
    low, high = np.array([0.1, 0.2, 0.0]), np.array([1.0, 2.0, 0.5])
    whole = standing(rows, low, high)
    for cut in (1, 500, AT_ONCE):
        parts = [standing(rows[:, a:b].copy(), low, high) for a, b in ((0, cut), (cut, None))]
        assert np.concatenate(parts, axis=1).tobytes() == whole.tobytes()


def test_scores_are_roots_of_products(rng: np.random.Generator) -> None:
    rows = rng.standard_normal((2, 500))
    low, high = np.zeros(2), np.abs(rows).max(1)
    score = np.exp(2 * (np.abs(rows) / high[:, None]) ** 2) * rows * rows.sum(0)
    np.testing.assert_allclose(standing(rows, low, high), np.sqrt(np.maximum(score, 0)), rtol=1e-12)


def test_shares_lie_between_0_and_1(rng: np.random.Generator) -> None:
    root = np.abs(rng.standard_normal(500))
    shares = shares_above(root, 0.5, float(root.max()))
    assert shares.max() == 1
    assert np.array_equal(shares > 0, root > 0.5)


def test_where_nothing_stands_out_all_that_reach_the_top_count() -> None:
    assert shares_above(np.array([2.0, 2.0, 1.0]), 2.0, 2.0).tolist() == [1.0, 1.0, 0.0]
    assert shares_above(np.zeros(2), 0.0, 0.0).tolist() == [0.0, 0.0]
