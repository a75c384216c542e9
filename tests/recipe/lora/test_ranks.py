"""Ranks by energy and by budget, against every possibility tried one by one."""

from itertools import product

import numpy as np
import pytest

from taskvec.recipe.lora.ranks import rank_by_energy, ranks_by_budget


@pytest.mark.parametrize("share", [0.05, 0.3, 0.5, 0.9, 0.99, 1.0])
def test_the_smallest_rank_that_holds_the_share(rng: np.random.Generator, share: float) -> None:
    for _ in range(20):
        values = np.sort(rng.exponential(size=rng.integers(1, 12)))[::-1]
        squares = values**2
        holds = [r for r in range(1, len(values) + 1) if squares[:r].sum() >= share * squares.sum() * (1 - 1e-12)]
        assert rank_by_energy(values, share) == holds[0]


def test_zeros_are_never_kept() -> None:
    assert rank_by_energy(np.array([2.0, 1.0, 0.0, 0.0]), 1.0) == 2
    assert rank_by_energy(np.zeros(3), 0.5) == 0
    assert ranks_by_budget([np.array([1.0, 0.0])], [1], 10) == [1]


def test_equal_costs_give_the_most_that_any_ranks_hold(rng: np.random.Generator) -> None:
    for budget in range(0, 60, 10):
        spectra = [np.sort(rng.random(3))[::-1] for _ in range(3)]
        ranks = ranks_by_budget(spectra, [10, 10, 10], budget)
        assert sum(ranks) * 10 <= budget

        def held(some: tuple[int, ...], spectra: list[np.ndarray] = spectra) -> float:
            return sum(float((s[:r] ** 2).sum()) for s, r in zip(spectra, some, strict=True))

        best = max(held(some) for some in product(range(4), repeat=3) if sum(some) * 10 <= budget)
        assert held(tuple(ranks)) == pytest.approx(best)


def test_the_largest_squares_a_byte_come_first_while_they_fit(rng: np.random.Generator) -> None:
    """Against the rule said step by step."""
    for seed in range(30):
        spectra = [np.sort(rng.random(rng.integers(1, 6)))[::-1] for _ in range(4)]
        costs, budget = [int(c) for c in rng.integers(1, 9, 4)], 5 + seed
        ranks, left, shut = [0] * 4, budget, [False] * 4
        while True:
            open_ = [i for i in range(4) if not shut[i] and ranks[i] < len(spectra[i])]
            if not open_:
                break
            best = max(open_, key=lambda i: spectra[i][ranks[i]] ** 2 / costs[i])
            if costs[best] > left:
                shut[best] = True
                continue
            ranks[best] += 1
            left -= costs[best]
        assert ranks_by_budget(spectra, costs, budget) == ranks
