"""Entries that compete."""

import numpy as np
import pytest
import torch

from reference.pcb import pcb as loop
from taskvec.merge.methods import pcb
from taskvec.merge.methods.pcb import CONTEST

from .inputs import flat


@pytest.mark.parametrize("tasks", [1, 2, 4])
@pytest.mark.parametrize(("ratio", "clip"), [(0.1, 0.0001), (0.05, 0.02), (0.9, 0.1), (1.0, 0.0), (1e-9, 0.5)])
def test_matches_the_slow_loop(
    dtype: np.dtype, tasks: int, ratio: float, clip: float, rng: np.random.Generator
) -> None:
    deltas = rng.standard_normal((tasks, 7, 31)).astype(dtype)
    weights = np.array([0.5, -1.0, 2.0, 1.0][:tasks])
    expected = np.reshape(loop(flat(deltas.astype(np.float64)), weights.tolist(), ratio=ratio, clip=clip), (7, 31))
    merged = pcb(deltas, weights, ratio=ratio, clip=clip)
    assert merged.dtype == dtype
    np.testing.assert_allclose(merged, expected, rtol=1e-9 if dtype == np.float64 else 1e-3, atol=3e-5)


@pytest.mark.parametrize("shape", [(), (0,), (1,), (2,), (3, 0)])
def test_small_tensors(dtype: np.dtype, shape: tuple[int, ...], rng: np.random.Generator) -> None:
    deltas = rng.standard_normal((3, *shape)).astype(dtype)
    expected = loop(flat(deltas.astype(np.float64)), [1.0] * 3, ratio=0.5, clip=0.1)
    np.testing.assert_allclose(pcb(deltas, np.ones(3), ratio=0.5, clip=0.1).reshape(-1), expected, rtol=1e-4)


def test_as_many_are_kept_as_were_asked_for(dtype: np.dtype, rng: np.random.Generator) -> None:
    deltas = rng.standard_normal((1, 1000)).astype(dtype)
    for ratio in (0.05, 0.1, 0.5, 1.0):
        assert np.count_nonzero(pcb(deltas, np.ones(1), ratio=ratio)) == 1000 * ratio


def test_what_opposes_the_sum_is_never_kept(rng: np.random.Generator) -> None:
    deltas = rng.standard_normal((3, 2000))
    merged = pcb(deltas, np.ones(3), ratio=1.0)
    assert np.array_equal(np.sign(merged), np.sign(deltas.sum(0)))


def test_equal_entries_share_one_fate(dtype: np.dtype) -> None:
    deltas = np.array([[1.0, -1.0, 1.0, 1.0, 0.0]], dtype)
    assert pcb(deltas, np.ones(1), ratio=0.2).tolist() == [1.0, -1.0, 1.0, 1.0, 0.0]


def test_over_the_whole_model_the_tensor_of_large_deltas_wins(rng: np.random.Generator) -> None:
    large, small = 25 * rng.standard_normal((2, 1000)), rng.standard_normal((2, 1000))
    contest = CONTEST.whole(np.concatenate([large, small], axis=1), {"ratio": 0.1, "clip": 0.0})
    assert not pcb(small, np.ones(2), contest=contest).any()
    assert pcb(large, np.ones(2), contest=contest).any()
    assert pcb(small, np.ones(2)).any()


# --- Where others disagree -------------------------------------------------------------------------------------------


def authors(deltas: np.ndarray, ratio: float, clip: float) -> np.ndarray:
    """The authors' code: tanh of the product, the threshold's own entry not kept, and no special cases."""

    def edge(x: torch.Tensor, low: float, high: float) -> torch.Tensor:
        d, by_size = x.shape[1], torch.sort(x, dim=1)[0]
        return torch.clamp(x, by_size[:, int(d * low), None], by_size[:, int(d * (1 - high) - 1), None])

    def stretch(x: torch.Tensor) -> torch.Tensor:
        low, high = x.min(1, keepdim=True)[0], x.max(1, keepdim=True)[0]
        return (x - low) / (high - low)

    taus = torch.from_numpy(deltas)
    sizes = edge(taus.abs(), clip, clip)
    score = torch.exp(len(taus) * stretch(sizes) ** 2) * torch.tanh(taus * taus.sum(0))
    beta = stretch(edge(score, 1 - ratio, 0.0))
    return ((taus.sign() * sizes * beta).sum(0) / torch.clamp(beta.sum(0), min=1e-12)).numpy()


@pytest.mark.parametrize("size", [1e-2, 1e-3, 1e-4])
def test_it_is_the_authors_code_at_the_size_of_ordinary_deltas(size: float, rng: np.random.Generator) -> None:
    """At most one entry a task is on the other side: theirs gives the last one that is kept a share of 0."""
    deltas = size * rng.standard_normal((3, 10_000))
    merged, theirs = pcb(deltas, np.ones(3), ratio=0.1, clip=0.01), authors(deltas, 0.1, 0.01)
    kept = (merged != 0) & (theirs != 0)
    assert np.count_nonzero((merged != 0) != (theirs != 0)) <= 3
    assert np.count_nonzero(kept) > 1000
    np.testing.assert_allclose(merged[kept], theirs[kept], rtol=2e-2)


@pytest.mark.parametrize("size", [1e-12, 1e-3, 1.0, 1e3])
def test_the_size_of_the_deltas_does_not_matter_where_tanh_saturates(size: float, rng: np.random.Generator) -> None:
    deltas = rng.standard_normal((3, 2000))
    np.testing.assert_allclose(pcb(size * deltas, np.ones(3)) / size, pcb(deltas, np.ones(3)), rtol=1e-6, atol=1e-9)
    if size > 1:
        assert not np.allclose(authors(size * deltas, 0.1, 0.01) / size, authors(deltas, 0.1, 0.01), rtol=0.1)
