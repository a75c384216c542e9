"""What every test gets: shapes enforced, a seeded generator, both kinds of kernels, and a calm hypothesis."""

import os
from collections.abc import Callable
from importlib.util import find_spec
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, settings
from jaxtyping import install_import_hook

from taskvec.ops import kernels as taskvec_kernels

if find_spec("numba"):
    import taskvec.ops.fused  # before the hook: numba compiles plain functions only

install_import_hook(
    ["taskvec.ops", "taskvec.merge.methods", "taskvec.merge.statistics"],
    "beartype.beartype(conf=beartype.BeartypeConf(is_pep484_tower=True))",
)

settings.register_profile(
    "taskvec",
    deadline=None,  # the first call of a kernel may compile it
    max_examples=40,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
settings.load_profile("taskvec")


def pytest_configure() -> None:
    """Give each of several workers one thread of torch: they fill the cores, and threads that wait for others spin."""
    if "PYTEST_XDIST_WORKER" in os.environ:
        os.environ.setdefault("OMP_NUM_THREADS", "1")


@pytest.fixture
def rng() -> np.random.Generator:
    """Random numbers, the same in every run."""
    return np.random.default_rng(20240229)


@pytest.fixture(params=["fused", "plain"])
def kernels(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Run the test with the fused kernels, and again without."""
    monkeypatch.setattr(taskvec_kernels, "choice", request.param)
    assert taskvec_kernels.in_use() == request.param, "these tests need numba"
    return str(request.param)


@pytest.fixture(params=["float64", "float32 plain", "float32 fused"])
def dtype(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> np.dtype:
    """Run the test in each precision, and float32 with both kinds of kernels."""
    name, _, choice = request.param.partition(" ")
    monkeypatch.setattr(taskvec_kernels, "choice", choice or "plain")
    assert taskvec_kernels.in_use() == (choice or "plain"), "these tests need numba"
    return np.dtype(name)


@pytest.fixture
def twins(monkeypatch: pytest.MonkeyPatch) -> Callable[[str, Callable[[], Any]], tuple[Any, Any]]:
    """Call something with the fused kernels and without; return both results.

    `name` is the kernel that must have run the first time, and must not have run the second time.
    """

    def both(name: str, call: Callable[[], Any]) -> tuple[Any, Any]:
        fused = taskvec.ops.fused
        real, runs = getattr(fused, name), []

        def spy(*args: Any, **more: Any) -> Any:
            runs.append(taskvec_kernels.choice)
            return real(*args, **more)

        results = []
        for choice in ("fused", "plain"):
            with monkeypatch.context() as patch:
                patch.setattr(taskvec_kernels, "choice", choice)
                patch.setattr(fused, name, spy)
                results.append(call())
        assert runs, f"fused.{name} never ran"
        assert set(runs) == {"fused"}, f"fused.{name} ran under 'plain'"
        return results[0], results[1]

    return both
