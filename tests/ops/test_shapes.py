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


def test_users_pay_nothing_for_it() -> None:
    command = (
        "import sys, numpy as np; from taskvec.ops.combine import weighted_sum;"
        "weighted_sum(np.ones((3, 4)), np.ones(4)); print('beartype' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", command], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
