"""The entries whose change stands out."""

import numpy as np
import pytest
import torch

from reference.arcee_fusion import arcee_fusion as loop
from reference.arcee_fusion import importance
from taskvec.merge.methods import arcee_fusion
from taskvec.merge.methods.arcee_fusion import IMPORTANCE, divergence_of, scores


def pair(rng: np.random.Generator, dtype: np.dtype, *shape: int, size: float = 1e-3) -> np.ndarray:
    """A base and a fine-tune of it."""
    base = 0.02 * rng.standard_normal(shape)
    return np.stack([base, base + size * rng.standard_normal(shape)]).astype(dtype)


def scored(models: np.ndarray) -> np.ndarray:
    """The importance of each entry of two matrices."""
    rows, columns = models.reshape(2, -1), models.shape[2]
    return scores(rows, divergence_of(rows, columns), columns).reshape(models.shape[1:])


@pytest.mark.parametrize("size", [1e-6, 1e-3, 8.0])
@pytest.mark.parametrize("shape", [(5, 7), (1, 20)])
def test_matches_the_slow_loop(dtype: np.dtype, shape: tuple[int, int], size: float, rng: np.random.Generator) -> None:
    models = pair(rng, dtype, *shape, size=size)
    assert np.array_equal(arcee_fusion(models, np.ones(2)), loop(models[0].tolist(), models[1].tolist()))


@pytest.mark.parametrize("size", [1e-7, 1e-3, 3.0])
def test_scores_have_all_the_digits_of_their_type(dtype: np.dtype, size: float, rng: np.random.Generator) -> None:
    models = pair(rng, dtype, 3, 12, size=size)
    expected = importance(models[1].tolist(), models[0].tolist())
    got = scored(models)
    np.testing.assert_allclose(got, expected, rtol=1e-11 if dtype == np.float64 else 3e-7)


def test_every_entry_is_one_of_the_two_models(dtype: np.dtype, rng: np.random.Generator) -> None:
    models = pair(rng, dtype, 60, 50)
    merged = arcee_fusion(models, np.ones(2))
    tuned = merged == models[1]
    assert np.array_equal(merged[~tuned], models[0][~tuned])
    assert 0.03 < tuned.mean() < 0.3


def test_rows_that_moved_unevenly_come_first(rng: np.random.Generator) -> None:
    """A shift of a whole row does not move its softmax."""
    models = pair(rng, np.dtype("f8"), 20, 50, size=1e-4)
    models[1, 3] = models[0, 3] + 5e-3
    models[1, 7] = models[0, 7] + 1e-3 * rng.standard_normal(50)
    taken = (arcee_fusion(models, np.ones(2)) == models[1]).mean(1)
    assert taken[3] == 0
    assert taken[7] > 0.9


def test_rows_of_one_entry_have_no_softmax_that_moves(dtype: np.dtype, rng: np.random.Generator) -> None:
    models = pair(rng, dtype, 30, 1)
    assert np.array_equal(arcee_fusion(models, np.ones(2)), models[1])


def test_a_tensor_that_hardly_changed_is_taken_whole(dtype: np.dtype, rng: np.random.Generator) -> None:
    models = pair(rng, dtype, 8, 50)
    models[1, :7] = models[0, :7]
    assert np.array_equal(arcee_fusion(models, np.ones(2)), models[1])


@pytest.mark.parametrize("shape", [(6, 4, 5), (120,), (6, 20)])
def test_a_row_is_what_shares_a_first_index(shape: tuple[int, ...], rng: np.random.Generator) -> None:
    models = pair(rng, np.dtype("f8"), 120)
    rows = models.reshape(2, shape[0] if len(shape) > 1 else 1, -1)
    merged = arcee_fusion(models.reshape(2, *shape), np.ones(2))
    assert merged.tobytes() == arcee_fusion(rows, np.ones(2)).tobytes()


def test_quartiles_are_entries_of_the_scores(rng: np.random.Generator) -> None:
    models = pair(rng, np.dtype("f8"), 10, 10)
    by_size = np.sort(scored(models), axis=None)
    assert IMPORTANCE.whole(models, {})[:3].tolist() == by_size[[24, 49, 74]].tolist()


# --- Where others disagree -------------------------------------------------------------------------------------------


def mergekit_divergence(models: torch.Tensor) -> torch.Tensor:
    """mergekit's, in the precision of the models."""
    base, tuned = models
    p, q = torch.softmax(tuned, -1) + 1e-8, torch.softmax(base, -1) + 1e-8
    return (p * torch.log(p / q)).sum(-1)


def spearman(x: np.ndarray, y: np.ndarray) -> float:
    """The correlation of ranks."""
    return float(np.corrcoef(x.argsort().argsort(), y.argsort().argsort())[0, 1])


def test_the_score_is_not_float_noise_where_mergekits_is(rng: np.random.Generator) -> None:
    models = pair(rng, np.dtype("f4"), 300, 512, size=4e-4)
    truth = mergekit_divergence(torch.from_numpy(models).to(torch.float64)).numpy()
    ours = scored(models).max(1) / np.abs(models[1] - models[0]).max(1)
    theirs = mergekit_divergence(torch.from_numpy(models)).numpy()
    assert (truth > 0).all()
    assert spearman(ours, truth) > 0.999
    assert spearman(theirs, truth) < 0.8
    assert (theirs < 0).mean() > 0.02


def test_it_is_mergekits_in_float64_and_without_its_sample(rng: np.random.Generator) -> None:
    models = pair(rng, np.dtype("f8"), 100, 64, size=1e-3)
    score = np.abs(models[1] - models[0]) * mergekit_divergence(torch.from_numpy(models)).numpy()[:, None]
    by_size = np.sort(score, axis=None)
    q1, median, q3 = by_size[(np.array([0.25, 0.5, 0.75]) * (score.size - 1)).astype(int)]
    taken = score >= median + 1.5 * (q3 - q1)
    ours = arcee_fusion(models, np.ones(2)) == models[1]
    assert np.count_nonzero(taken != ours) <= 2  # the 1e-8 that it adds to the probabilities
