"""Arrays of any library."""

import numpy as np
import pytest
import torch

from taskvec.ops.arrays import namespace, per_task


@pytest.mark.parametrize("shape", [(), (4,), (4, 5, 6)])
def test_a_number_a_task_meets_a_stack_of_any_shape(shape: tuple[int, ...]) -> None:
    stack = np.ones((3, *shape), np.float32)
    spread = per_task(np.array([1.0, 2.0, 3.0]), stack)
    assert spread.dtype == np.float32
    assert (spread * stack).reshape(3, -1)[:, 0].tolist() == [1, 2, 3]
    assert (spread * stack).shape == stack.shape


def test_torch_meets_torch() -> None:
    spread = per_task(np.array([1.0, 2.0]), torch.ones(2, 3, dtype=torch.float64))
    assert isinstance(spread, torch.Tensor)
    assert spread.dtype == torch.float64
    assert spread.shape == (2, 1)


def test_libraries_do_not_mix() -> None:
    with pytest.raises(TypeError, match="Multiple namespaces"):
        namespace(np.ones(2), torch.ones(2))
