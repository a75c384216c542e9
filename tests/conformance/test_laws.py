"""What methods claim about themselves, tested for each that claims it."""

import math
from itertools import permutations

import numpy as np
import pytest

from taskvec.merge import METHODS
from taskvec.merge.matrices import role_of
from taskvec.merge.statistics import Question
from taskvec.ops.slices import Slice, blend_stored

from .cases import Case, every

LAWS = {"any_order", "homogeneous", "odd", "linear", "idempotent"}
"""A law is a test below."""


@pytest.mark.parametrize("name", METHODS)
def test_only_laws_that_are_tested_are_claimed(name: str) -> None:
    assert set(METHODS[name].laws) <= LAWS
    assert METHODS[name].laws


@every("any_order")
def test_the_order_of_the_models_does_not_matter(kernels: str, case: Case, rng: np.random.Generator) -> None:
    stack = case.stack(rng, 300, dtype=np.float32)
    first = case.merge(stack)
    for order in permutations(range(case.tasks)):
        weights, given = case.permuted(order)
        other = case.merge(stack[list(order)], weights, **given)
        np.testing.assert_allclose(other, first, rtol=1e-5, atol=1e-5 * np.abs(first).max())


@every("homogeneous")
def test_scaling_by_a_power_of_two_scales_the_result_exactly(
    kernels: str, case: Case, rng: np.random.Generator
) -> None:
    stack = case.stack(rng, 40, 7, dtype=np.float32)
    merged = case.merge(stack)
    assert merged.any()
    for power in (-12, 1, 20):
        factor = np.float32(2.0**power)
        assert case.merge(factor * stack, gradients=factor).tobytes() == (factor * merged).tobytes(), power


@every("homogeneous")
def test_turning_everything_around_turns_the_result_around(kernels: str, case: Case, rng: np.random.Generator) -> None:
    if case.settings.get("tied") == "positive":
        stack = np.abs(case.stack(rng, 300, dtype=np.float32)) + 1  # no ties
        stack *= np.sign(case.weights)[:, None].astype(np.float32)
    else:
        stack = case.stack(rng, 300, dtype=np.float32)
    assert np.array_equal(case.merge(-stack, gradients=-1), -case.merge(stack))


@every("odd")
def test_turning_a_task_vector_around_turns_the_result_around(
    kernels: str, case: Case, rng: np.random.Generator
) -> None:
    stack = case.stack(rng, 300, dtype=np.float32)
    merged = case.merge(stack)
    assert merged.any()
    assert np.array_equal(case.merge(-stack), -merged)


@every("linear")
def test_sums_and_multiples_go_through(kernels: str, case: Case, rng: np.random.Generator) -> None:
    x, y = case.stack(rng, 300, dtype=np.float32), case.stack(rng, 300, dtype=np.float32)
    through = np.float32(0.3) * case.merge(x) - np.float32(1.7) * case.merge(y)
    together = case.merge(np.float32(0.3) * x - np.float32(1.7) * y)
    np.testing.assert_allclose(together, through, rtol=1e-5, atol=2e-6 * np.abs(through).max())


@every("idempotent")
def test_merging_a_model_with_itself_gives_it_back(kernels: str, case: Case, rng: np.random.Generator) -> None:
    if case.settings.get("normalize") is False:
        weights = np.array([0.5, 0.75, -0.25][: case.tasks])
        assert weights.sum() == 1
    else:
        weights = case.weights
    one = case.stack(rng, 300, dtype=np.float32)[0]
    merged = case.merge(np.stack([one] * case.tasks), weights)
    np.testing.assert_allclose(merged, one, rtol=1e-6)


BLENDS = [case for case in every().args[1] if case.method.needs.blend]


SHAPES = ((), (1,), (173,), (1, 19), (23, 1), (29, 31), (3, 5, 7))


@pytest.mark.parametrize("case", BLENDS, ids=str)
def test_the_stream_does_what_the_method_does(kernels: str, case: Case, rng: np.random.Generator) -> None:
    for shape in SHAPES:
        _compare(case, case.stack(rng, *shape, dtype=np.float32))


def _compare(case: Case, stack: np.ndarray) -> None:
    statistics = {name: _whole(case, stack, name) for name in case.method.needs.statistics}
    role = {"role": role_of(stack.shape[1:])} if case.method.needs.role else {}
    how = case.method.needs.blend(case.weights, **case.filled, **statistics, **role)  # type: ignore[misc]
    if how is None:
        assert case.method.needs.gathers(case.filled) or case.method.needs.scope == "tensor"
        return
    assert how.weights.shape == (case.tasks,)
    assert how.weights.dtype == np.float64
    part = Slice.of(stack, case.chance)
    done = blend_stored(part, how, None, "F32")
    assert done.finite
    assert done.raw.tobytes() == case.merge(stack).tobytes()


def _whole(case: Case, stack: np.ndarray, name: str) -> np.ndarray:
    statistic = case.method.needs.statistics[name]
    rows = stack.reshape(len(stack), -1)
    columns = math.prod(stack.shape[2:]) if stack.ndim > 2 else rows.shape[1]
    search = statistic.search(Question(*rows.shape, rows.dtype, case.filled, lambda: rows[:, :0], columns=columns))
    while not search.settled:
        finite, seen = search.look(Slice.of(stack, case.chance))
        assert finite
        search.add(0, seen)
        search.end_pass()
    return search.value
