"""What 'The same by another name' says is so: each row of the table, on random task vectors."""

import re
from collections.abc import Callable

import numpy as np
import pytest

import taskvec as tv
from taskvec.merge import METHODS

from .pages import NOTES

rng = np.random.default_rng(0)
D, BASE = rng.standard_normal((3, 6, 7)), rng.standard_normal((6, 7))
THETA, W, ONE = BASE + D, np.array([0.5, 0.3, 0.2]), np.ones(3)
EQUALLY_LONG = D / np.linalg.norm(D.reshape(3, -1), axis=1)[:, None, None]
TWO = EQUALLY_LONG[:2]
SQUARES = (D**2).sum(axis=(1, 2))
SHARES = SQUARES / SQUARES.sum()
MIDDLE = tv.slerp(TWO, ONE[:2], t=0.5)
WITH_BASE = np.concatenate([THETA, BASE[None]])

Pair = Callable[[], tuple[np.ndarray, np.ndarray]]
SAME: list[Pair] = [
    lambda: (tv.model_soup(THETA, ONE), tv.linear(THETA, ONE)),
    lambda: (tv.ema(THETA, ONE, decay=0.8), tv.linear(THETA, np.array([0.64, 0.16, 0.2]))),
    lambda: (BASE + tv.task_arithmetic(D, W), tv.linear(THETA, W)),
    lambda: (BASE + tv.task_arithmetic(D, W / 2), tv.linear(WITH_BASE, np.array([*(W / 2), 0.5]))),
    lambda: (tv.expo(D[:1], ONE[:1], alpha=0.3), 1.3 * tv.task_arithmetic(D[:1], ONE[:1])),
    lambda: (tv.metagpt(D, ONE), tv.task_arithmetic(D, SHARES)),
    lambda: (tv.nuslerp(THETA[:2], np.array([0.7, 0.3])), tv.slerp(THETA[:2], ONE[:2], t=0.3)),
    lambda: (tv.multislerp(TWO, ONE[:2]), MIDDLE),
    lambda: (tv.karcher(TWO, ONE[:2]), MIDDLE),
    lambda: (tv.dare_linear(D, W, density=1.0), tv.task_arithmetic(D, W)),
    lambda: (tv.consensus_ta(D, W, tall=0.0, k=1.0), tv.task_arithmetic(D, W)),
    lambda: (tv.dare_ties(D, W, density=1.0, trim=0.4), tv.ties(D, W, density=0.4)),
    lambda: (tv.della_linear(D, W, epsilon=0.0), tv.dare_linear(D, W, density=0.5)),
    lambda: (tv.della(D, W, epsilon=0.0), tv.dare_ties(D, W, density=0.5, trim=1.0)),
    lambda: (tv.magnitude_prune(D, W, density=0.4), tv.breadcrumbs(D, W, density=0.4, gamma=0.0)),
    lambda: (tv.breadcrumbs_ties(D, W, density=0.4, gamma=0.0), tv.ties(D, W, density=0.4)),
    lambda: (tv.sce(D, ONE), tv.ties(D, SHARES, density=1.0)),
    lambda: (tv.ramplus_tl(D, ONE, r=0.0), tv.ram(D, ONE)),
]


@pytest.mark.parametrize("pair", SAME)
def test_the_same_by_another_name(pair):
    one, other = pair()
    np.testing.assert_allclose(one, other, rtol=1e-6, atol=1e-9)


def test_every_method_that_is_named_is_one():
    text = (NOTES / "how-to-choose.md").read_text("utf-8")
    named = {name for line in text.splitlines() if line.startswith("|") for name in re.findall(r"`([a-z_]+)`", line)}
    known = {"greedy_soup", "alpha", "best", "base", "scale"}
    assert named - known <= METHODS.keys() | {"trim"}
