"""The shapes in signatures are enforced while tests run (and only then)."""

import subprocess
import sys

import numpy as np
import pytest
from jaxtyping import TypeCheckError

from taskvec.merge.methods import task_arithmetic, ties
from taskvec.ops.combine import weighted_sum
from taskvec.ops.select import keep_between


def test_a_weight_too_few_is_refused() -> None:
    with pytest.raises(TypeCheckError, match="weights"):
        weighted_sum(np.ones((3, 4)), np.ones(2))


def test_weights_of_two_dimensions_are_refused() -> None:
    with pytest.raises(TypeCheckError, match="weights"):
        task_arithmetic(np.ones((2, 4)), np.ones((2, 1)))


def test_integers_are_refused() -> None:
    with pytest.raises(TypeCheckError, match="deltas"):
        ties(np.ones((2, 4), np.int64), np.ones(2))


def test_a_threshold_a_task_is_what_a_mask_takes() -> None:
    with pytest.raises(TypeCheckError, match="low"):
        keep_between(np.ones((2, 4)), np.ones(3))


def test_a_setting_of_another_type_is_refused() -> None:
    with pytest.raises(TypeCheckError, match="elect"):
        ties(np.ones((2, 4)), np.ones(2), elect="majority")  # type: ignore[arg-type]


def unchecked(code: str) -> str:
    """What code prints in a process where nothing enforces shapes."""
    imports = "import sys, numpy as np; from taskvec.merge.methods import *; from taskvec.ops.combine import *\n"
    done = subprocess.run([sys.executable, "-c", imports + code], capture_output=True, text=True)
    return (done.stdout or done.stderr).strip().splitlines()[-1]


def test_users_pay_nothing_for_it() -> None:
    assert unchecked("weighted_sum(np.ones((3, 4)), np.ones(3)); print('beartype' in sys.modules)") == "False"
    assert unchecked("print('jaxtyping' in sys.modules)") == "False"


@pytest.mark.parametrize(
    ("call", "said"),
    [
        ("ties(x[:2], np.ones(3))", "3 weights for 2 tasks"),
        ("task_arithmetic(x, np.ones(2))", "2 weights for 3 tasks"),
        ("dare_linear(x, np.ones(3), density=(0.5, 0.5))", "2 densities for 3 tasks"),
        ("breadcrumbs(x, np.ones(3), band=np.ones((2, 2)))", "2 lower ends for 3 tasks"),
        ("elect_and_average(x, np.ones(4))", "4 weights for 3 tasks"),
    ],
)
@pytest.mark.parametrize("kind", ["f4", "f8"])
def test_numbers_that_are_not_one_a_task_are_refused_without_it_too(call: str, said: str, kind: str) -> None:
    """Compiled kernels do not check bounds."""
    assert unchecked(f"x = np.ones((3, 4), '{kind}'); {call}") == f"ValueError: {said}"
