"""What every method is as a function: pure, of one shape and type, the same in numpy, torch and fused kernels."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from taskvec.ops import kernels as k
from taskvec.ops.chance import Chance

from .cases import CASES, Case, every

BY_CHANCE = [case for case in CASES if case.method.needs.chance and case.method.needs.scope != "tensor"]


@every()
def test_inputs_are_not_touched_and_not_given_back(dtype: np.dtype, case: Case, rng: np.random.Generator) -> None:
    stack, weights = case.stack(rng, 30, 5, dtype=dtype), case.weights
    before, weights_before = stack.tobytes(), weights.tobytes()
    merged = case.merge(stack, weights)
    assert stack.tobytes() == before
    assert weights.tobytes() == weights_before
    assert not np.shares_memory(merged, stack)


@every()
def test_the_same_call_gives_the_same_bytes(kernels: str, case: Case, rng: np.random.Generator) -> None:
    stack = case.stack(rng, 200, dtype=np.float32)
    assert case.merge(stack).tobytes() == case.merge(stack).tobytes()


@every()
def test_shape_and_type_are_kept(dtype: np.dtype, case: Case, rng: np.random.Generator) -> None:
    for shape in ((), (0,), (1,), (7,), (3, 0, 2), (2, 3, 4), (5, 1, 1, 4)):
        merged = case.merge(case.stack(rng, *shape, dtype=dtype))
        assert merged.shape == shape
        assert merged.dtype == dtype
        assert np.isfinite(merged).all()


@every()
def test_fused_kernels_give_the_bytes_of_plain_ones(
    case: Case, monkeypatch: pytest.MonkeyPatch, rng: np.random.Generator
) -> None:
    stack, results = case.stack(rng, 71, 71, dtype=np.float32), []
    for choice in ("fused", "plain"):
        monkeypatch.setattr(k, "choice", choice)
        results.append(case.merge(stack).tobytes())
    assert results[0] == results[1]


@every()
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_torch_gives_the_bytes_of_numpy(case: Case, dtype: type, rng: np.random.Generator) -> None:
    stack = case.stack(rng, 17, 9, dtype=dtype)
    merged = case.merge(torch.from_numpy(stack))
    assert isinstance(merged, torch.Tensor)
    if case.method.needs.scope == "tensor":  # linear algebra is the library's own
        expected = case.merge(stack)
        close = 1e-4 if dtype is np.float32 else 1e-9
        np.testing.assert_allclose(merged.numpy(), expected, rtol=0, atol=close * np.abs(expected).max())
    else:
        assert merged.numpy().tobytes() == case.merge(stack).tobytes()


@every()
def test_strides_do_not_matter(kernels: str, case: Case, rng: np.random.Generator) -> None:
    stack = case.stack(rng, 20, 30, dtype=np.float32)
    strided = np.asfortranarray(stack)
    assert np.array_equal(case.merge(strided), case.merge(stack))


@every()
def test_nothing_comes_of_nothing(kernels: str, case: Case) -> None:
    merged = case.merge(np.zeros((case.tasks, 50), np.float32), gradients=0)
    assert not merged.any()


@every()
def test_tensors_of_one_entry_are_merged_like_any(kernels: str, case: Case) -> None:
    stack = np.array([0.5, -0.25, 2.0][: case.tasks], np.float32)
    assert np.asarray(case.merge(stack)).tobytes() == case.merge(stack.reshape(-1, 1)).tobytes()


@pytest.mark.parametrize("case", BY_CHANCE, ids=str)
def test_another_seed_model_or_tensor_draws_otherwise(case: Case, rng: np.random.Generator) -> None:
    stack, chance = case.stack(rng, 500), case.chance
    assert chance is not None
    others = [replace(chance, seed=9), replace(chance, keys=("x", "y", "z")), replace(chance, tensor="other")]
    results = {case.merge(stack, chance=c).tobytes() for c in (chance, *others)}
    assert len(results) == 4


@pytest.mark.parametrize("case", BY_CHANCE, ids=str)
def test_without_chance_the_seed_is_0(case: Case, rng: np.random.Generator) -> None:
    stack = case.stack(rng, 500)
    assert case.merge(stack, chance=None).tobytes() == case.merge(stack, chance=Chance(seed=0)).tobytes()


@pytest.mark.parametrize("case", [c for c in CASES if not c.method.needs.weighted], ids=str)
def test_a_method_without_weights_ignores_them(case: Case, rng: np.random.Generator) -> None:
    stack = case.stack(rng, 100)
    assert case.merge(stack, np.arange(case.tasks) - 5.5).tobytes() == case.merge(stack).tobytes()


@pytest.mark.parametrize("case", [c for c in CASES if c.method.needs.weighted], ids=str)
def test_a_method_with_weights_heeds_them(case: Case, rng: np.random.Generator) -> None:
    stack = case.stack(rng, 100)
    assert case.merge(stack, np.array([0.75, 2.0, 1.25][: case.tasks])).tobytes() != case.merge(stack).tobytes()


@every()
def test_every_setting_makes_a_difference(case: Case, rng: np.random.Generator) -> None:
    ours = {k: v for k, v in case.settings.items() if k != "scope"}  # the planner's
    if isinstance(ours.get("score"), float):
        pytest.skip("one score for all ranks nobody")
    default = replace(case, settings={k: v for k, v in case.settings.items() if k not in ours}).where_all_matters()
    case = case.where_all_matters()
    stack = case.stack(rng, 21, 22)
    if not case.method.needs.role:
        stack[1:, 4:8] = 0  # what one task changed alone
    if case.tasks == 3 and not case.method.needs.role:  # some tied votes
        stack[:, :2] = (np.sign(case.weights) * np.array([8.0, 8.0, -16.0]))[:, None, None]
    role = case.where_it_matters()
    assert (case.merge(stack, **role).tobytes() != default.merge(stack, **role).tobytes()) == bool(ours)
