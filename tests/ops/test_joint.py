"""Joint spaces of low-rank changes: lossless, small, and those of the papers."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from reference.core import core
from reference.knots import knots
from taskvec.ops.joint import core_space, knots_space, product_norm, refactored

Factors = tuple[list[np.ndarray], list[np.ndarray]]
SHAPES: dict[str, tuple[int, int, tuple[int, ...]]] = {
    "wide": (9, 40, (2, 3)),
    "tall": (40, 9, (2, 3, 1)),
    "more ranks than rows": (6, 30, (4, 5)),
    "more ranks than either side": (5, 7, (4, 5, 3)),
    "one": (8, 8, (3,)),
    "one has nothing": (12, 10, (3, 0, 2)),
}


def factors(shape: str, seed: int = 0) -> Factors:
    rows, columns, ranks = SHAPES[shape]
    rng = np.random.default_rng(seed)
    bs = [rng.standard_normal((rows, r)) * (t + 1) for t, r in enumerate(ranks)]
    return bs, [rng.standard_normal((r, columns)) for r in ranks]


def ties_like(stack: np.ndarray) -> np.ndarray:
    """Keep, of each task, what is larger than its mean magnitude; a rule that no rotation leaves alone."""
    size = np.abs(stack)
    return np.where(size > size.mean(axis=(1, 2), keepdims=True), stack, 0).sum(axis=0)


@pytest.mark.parametrize("shape", SHAPES)
def test_core_gives_every_change_back(shape: str) -> None:
    bs, as_ = factors(shape)
    left, cores, right = core_space(bs, as_)
    for b, a, m in zip(bs, as_, cores, strict=True):
        np.testing.assert_allclose(left @ m @ right.T, b @ a, atol=1e-12)
    for basis in (left, right):
        assert basis.shape[1] == min(basis.shape[0], sum(SHAPES[shape][2]))
        np.testing.assert_allclose(basis.T @ basis, np.eye(basis.shape[1]), atol=1e-12)


@pytest.mark.parametrize("shape", SHAPES)
def test_knots_gives_every_change_back(shape: str) -> None:
    bs, as_ = factors(shape)
    basis, blocks = knots_space(bs, as_)
    for b, a, block in zip(bs, as_, blocks, strict=True):
        np.testing.assert_allclose(basis @ block, b @ a, atol=1e-12)
    np.testing.assert_allclose(basis.T @ basis, np.eye(basis.shape[1]), atol=1e-12)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("method", [ties_like, lambda stack: stack.sum(axis=0), lambda stack: np.median(stack, axis=0)])
def test_the_papers_step_by_step(shape: str, method: Callable[[np.ndarray], np.ndarray]) -> None:
    bs, as_ = factors(shape)
    left, cores, right = core_space(bs, as_)
    np.testing.assert_allclose(left @ method(cores) @ right.T, core(bs, as_, method), atol=1e-10)
    basis, blocks = knots_space(bs, as_)
    np.testing.assert_allclose(basis @ method(blocks), knots(bs, as_, method), atol=1e-10)


def test_equal_adapters_share_their_directions() -> None:
    bs, as_ = factors("one")
    assert core_space(bs * 3, as_ * 3).cores.shape == (3, 3, 3)
    assert knots_space(bs * 3, as_ * 3).basis.shape == (8, 3)


def test_nothing_at_all() -> None:
    bs, as_ = [np.zeros((4, 2))] * 2, [np.zeros((2, 5))] * 2
    assert core_space(bs, as_).cores.shape == (2, 0, 0)
    assert knots_space(bs, as_).blocks.shape == (2, 0, 5)


@pytest.mark.parametrize("space", [core_space, knots_space])
def test_torch(space: Any) -> None:
    bs, as_ = factors("wide")
    mine = space([torch.from_numpy(b) for b in bs], [torch.from_numpy(a) for a in as_])
    for x, y in zip(mine, space(bs, as_), strict=True):
        np.testing.assert_allclose(abs(x.numpy()), abs(y), atol=1e-12)


def test_products() -> None:
    bs, as_ = factors("wide")
    left, right = np.hstack([*bs, 1e-9 * bs[0][::-1]]), np.vstack([*as_, as_[0][:, ::-1]])
    u, s, v = refactored(left, right)
    np.testing.assert_allclose(u * s @ v.T, left @ right, atol=1e-12)
    assert len(s) == 7  # what is a billionth is still there
    np.testing.assert_allclose(s[:5], np.linalg.svd(left @ right, compute_uv=False)[:5])
    assert product_norm(left, right) == pytest.approx(np.linalg.norm(left @ right))
    assert len(refactored(np.zeros((3, 2)), np.zeros((2, 4))).s) == 0
