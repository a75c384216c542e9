"""Figures against what they mean: projections, shares counted by hand, and what chance does to a count."""

import numpy as np
import pytest

from taskvec.diagnose import figures
from taskvec.diagnose.report import Matrix

from .made import group_of, group_with


class TestFromInnerProducts:
    def test_cosines_of_a_zero_vector_are_zero(self) -> None:
        group = group_with(np.array([[4.0, 2, 0], [2, 4, 0], [0, 0, 0]]))
        np.testing.assert_allclose(figures.cosines(group), [[1, 0.5, 0], [0.5, 1, 0], [0, 0, 0]])
        assert figures.mean_cosine(group) == pytest.approx(0.5)
        assert figures.zero_vectors(group).tolist() == [False, False, True]
        assert figures.nearest(group) == [(1, 0.5), (0, 0.5), None]

    def test_without_a_pair_there_is_no_mean_cosine(self) -> None:
        assert np.isnan(figures.mean_cosine(group_with(np.diag([1.0, 0.0]))))

    def test_relative_change(self) -> None:
        assert figures.relative_change(group_with(np.diag([4.0, 9.0]), 16.0)).tolist() == [0.5, 0.75]
        assert figures.relative_change(group_with(np.diag([4.0, 0.0]), 0.0)).tolist() == [np.inf, 0]

    def test_share_in_the_others_span_is_a_projection(self, rng: np.random.Generator) -> None:
        x = rng.standard_normal((4, 30)) + 0.5
        found = figures.in_span(group_with(x @ x.T))
        inverse = np.linalg.inv(x @ x.T)
        np.testing.assert_allclose(found, 1 - 1 / (np.diag(x @ x.T) * np.diag(inverse)), rtol=1e-9)
        for t in range(4):
            others = np.delete(x, t, axis=0).T
            inside = others @ np.linalg.lstsq(others, x[t], rcond=None)[0]
            assert found[t] == pytest.approx(inside @ inside / (x[t] @ x[t]), rel=1e-9)

    def test_share_in_the_others_span_where_the_gram_matrix_is_singular(self, rng: np.random.Generator) -> None:
        x = rng.standard_normal((3, 30))
        x = np.stack([x[0], x[0], x[1], 2 * x[0] - x[1], x[2], 0 * x[0]])
        found = figures.in_span(group_with(x @ x.T))
        np.testing.assert_allclose(found[:4], 1, rtol=1e-9)
        assert 0 < found[4] < 0.5
        assert found[5] == 0

    def test_one_model_has_no_others(self) -> None:
        assert figures.in_span(group_with(np.eye(1))).tolist() == [0]

    def test_near_copies_and_near_opposites(self) -> None:
        x = np.array([[1.0, 0], [2, 0.01], [-1, 0], [0, 1]])
        group = group_with(x @ x.T)
        assert [(i, j) for i, j, _ in figures.near_copies(group)] == [(0, 1)]
        assert [(i, j, round(c, 3)) for i, j, c in figures.near_opposites(group)] == [(0, 2, -1), (1, 2, -1)]


class TestFromCounts:
    def test_shares_counted_by_hand(self) -> None:
        tasks = np.array([[5.0, 4, 3, 0, 1], [-5, 4, -3, 2, 0]])
        group = group_of(tasks, kept=0.4)
        assert figures.sign_conflict(group).value[0, 1] == pytest.approx(2 / 3)
        assert figures.trimmed_conflict(group).value[0, 1] == pytest.approx(1 / 2)
        assert figures.overlap(group).value.tolist() == [[1, 1], [1, 1]]
        assert figures.sign_conflict(group).error[0, 1] == 0  # every entry was seen

    def test_a_share_of_nothing_is_no_number(self) -> None:
        group = group_of(np.array([[1.0, 0], [0, 0]]))
        assert np.isnan(figures.sign_conflict(group).value[0, 1])
        assert np.isnan(figures.overlap(group).value[0, 1])
        assert np.isnan(figures.mean_pair(figures.overlap(group).value))

    def test_the_error_of_a_sampled_count_is_that_of_chance(self, rng: np.random.Generator) -> None:
        """Of 300 tensors of 130 blocks, half of which are looked at, two thirds lie within one error."""
        from dataclasses import replace

        entries, seen = 4000, 2000
        inside = 0
        for _ in range(300):
            signs = rng.permutation(entries) < 1000  # a quarter of all is of opposite sign
            whole = group_of(np.ones((2, 8)))
            opposite = int(signs[:seen].sum())
            counts = replace(
                whole.counts,
                sampled=seen,
                nonzero=np.full((2, 2), seen, np.int64),
                opposite=np.array([[0, opposite], [opposite, 0]]),
            )
            share = figures.sign_conflict(replace(whole, entries=entries, counts=counts))
            inside += abs(share.value[0, 1] - 0.25) <= share.error[0, 1]
        assert 0.6 < inside / 300 < 0.76

    def test_overlap_of_unrelated_vectors_is_that_of_chance(self, rng: np.random.Generator) -> None:
        share = figures.overlap(group_of(rng.standard_normal((2, 60000)), kept=0.2))
        assert share.value[0, 1] == pytest.approx(0.2 / 1.8, abs=0.01)


class TestRounding:
    def test_what_bf16_loses(self) -> None:
        tasks = np.array([[2.0**-10, 0, 1], [0, 0, 1]])
        group = group_of(tasks, np.ones(3), out="BF16")
        np.testing.assert_allclose(figures.lost(group.rounding), [2.0**-20 / (1 + 2.0**-20), 0, 2.0**-22], rtol=1e-5)
        assert figures.gone(group.rounding).tolist() == [0.5, 0, 0.5]

    def test_nothing_is_lost_of_nothing(self) -> None:
        group = group_of(np.zeros((2, 3)), np.ones(3), out="BF16")
        assert figures.lost(group.rounding).tolist() == [0, 0, 0]
        assert figures.gone(group.rounding).tolist() == [0, 0, 0]


def test_figures_of_a_matrix() -> None:
    angles = np.array([[[1.0, 1], [1, 0]], [[1, 0], [1, 1]]])
    matrix = Matrix(
        "w", (4, 4), np.array([[2.0, 1], [0, 0]]), np.array([8.0, 0]), np.zeros(2), angles, angles, 3.0, 6.0
    )
    assert figures.stable_rank(matrix).tolist() == [2, 0]
    assert figures.shared_subspace(matrix.left).tolist() == [[1, 0.5], [0.5, 1]]
    assert figures.interference(matrix) == 0.5
