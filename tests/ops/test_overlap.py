"""Who changed what."""

import numpy as np

from taskvec.ops.overlap import average_changed, overlaps


def test_an_entry_is_changed_beyond_epsilon_and_not_at_it(dtype: np.dtype) -> None:
    stack = np.array([[0.5, -0.5, 0.75, 0.0], [0.0, 0.75, -0.75, 0.0]], dtype)
    assert average_changed(stack, 0.5).tolist() == [0.0, 0.75, 0.0, 0.0]
    assert overlaps(stack, 0.5).tolist() == [[1, 0], [1, 1]]


def test_counts_of_parts_add_up(dtype: np.dtype, rng: np.random.Generator) -> None:
    rows = np.where(rng.random((4, 999)) < 0.3, rng.standard_normal((4, 999)), 0).astype(dtype)
    parts = overlaps(rows[:, :400]) + overlaps(rows[:, 400:])
    assert np.array_equal(parts, overlaps(rows))
    assert np.array_equal(parts.sum(1), np.count_nonzero(rows, axis=1))
