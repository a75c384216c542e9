"""Which arithmetic runs."""

import os
import subprocess
import sys

import numba
import numpy as np
import pytest
import torch
from numba.core import event

from taskvec.ops import fused
from taskvec.ops import kernels as k


def test_fused_kernels_take_contiguous_float32_of_numpy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(k, "choice", "fused")
    assert k.fused_for(np.ones((3, 4), np.float32)) is fused
    assert k.in_use() == "fused"


@pytest.mark.parametrize(
    "other",
    [np.ones((3, 4)), np.ones((3, 4), np.float16), np.ones((4, 3), np.float32).T, torch.ones(3, 4)],
    ids=["float64", "float16", "strided", "torch"],
)
def test_anything_else_is_left_to_the_plain_ones(other: object, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(k, "choice", "fused")
    assert k.fused_for(other) is None
    assert k.fused_for(np.ones((3, 4), np.float32), other) is None


def test_plain_is_plain(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(k, "choice", "plain")
    assert k.fused_for(np.ones((3, 4), np.float32)) is None
    assert k.in_use() == "plain"


def test_without_numba_everything_is_plain() -> None:
    command = (
        "import sys; sys.modules['numba'] = None\n"
        "import importlib.util as u; find = u.find_spec\n"
        "u.find_spec = lambda name, *rest: None if name == 'numba' else find(name, *rest)\n"
        "import numpy as np; from taskvec.ops import kernels; from taskvec.merge.methods import ties\n"
        "print(kernels.in_use(), ties(np.ones((2, 3), 'f4'), np.ones(2)).tolist())"
    )
    environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run([sys.executable, "-c", command], capture_output=True, text=True, env=environment)
    assert done.stdout == "plain [1.0, 1.0, 1.0]\n", done.stderr


def test_who_asked_is_told_once_that_a_kernel_is_compiled_and_of_nobody_elses_functions(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(k, "choice", "fused")
    told = []
    k.when_compiling(lambda: told.append(1))
    numba.njit(lambda x: x + 1)(1)
    assert told == []
    for status in (event.EventStatus.START, event.EventStatus.END, event.EventStatus.START):
        event.broadcast(event.Event("numba:compile", status, data={"dispatcher": fused._blend}))
    assert told == [1]
