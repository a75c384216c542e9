"""Fingerprints: which model is this, however it is cut into files."""

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from taskvec.store import Checkpoint, fingerprint
from taskvec.store.sample import places, sample
from taskvec.testing import tiny_tensors, write_model


def print_of(folder: Path, tensors: dict[str, np.ndarray], **how: object) -> str:
    return fingerprint(Checkpoint(write_model(folder, tensors, **how)))  # type: ignore[arg-type]


@pytest.fixture
def tensors() -> dict[str, np.ndarray]:
    return tiny_tensors(3)


def test_sharding_order_and_config_change_nothing(tmp_path: Path, tensors: dict[str, np.ndarray]) -> None:
    whole = print_of(tmp_path / "a", tensors)
    assert whole.startswith("tv1:")
    assert len(whole) == 36
    assert print_of(tmp_path / "b", tensors, shard_size=600) == whole
    assert print_of(tmp_path / "c", dict(reversed(tensors.items())), shard_size=2000) == whole
    assert print_of(tmp_path / "d", tensors, config={"hidden_size": 8}) == whole


@pytest.mark.parametrize("name", list(tiny_tensors()))
def test_any_tensor_changes_it(tmp_path: Path, tensors: dict[str, np.ndarray], name: str) -> None:
    before = print_of(tmp_path / "a", tensors)
    tensors[name].reshape(-1)[-1] += 1
    assert print_of(tmp_path / "b", tensors) != before


def test_so_do_a_name_a_shape_and_a_type(tmp_path: Path, tensors: dict[str, np.ndarray]) -> None:
    before = print_of(tmp_path / "a", tensors)
    renamed = {("x" if n == "model.norm.weight" else n): x for n, x in tensors.items()}
    reshaped = tensors | {"model.norm.weight": tensors["model.norm.weight"].reshape(2, 4)}
    prints = {
        print_of(tmp_path / "b", renamed),
        print_of(tmp_path / "c", reshaped),
        print_of(tmp_path / "d", tensors, dtype="F64"),
        before,
    }
    assert len(prints) == 4


def test_fine_tuning_a_large_tensor_is_seen_though_only_a_sample_is_read(tmp_path: Path) -> None:
    base = {"w": np.arange(100_000, dtype=np.float32)}
    tuned = {"w": base["w"] + 1}
    assert print_of(tmp_path / "a", base) != print_of(tmp_path / "b", tuned)
    checkpoint = Checkpoint(tmp_path / "a")
    assert sample(checkpoint.info("w")).size == 256


@given(st.integers(0, 10_000), st.integers(2, 6), st.integers(1, 64))
def test_places_lie_inside_do_not_overlap_and_hold_both_ends(count: int, chunks: int, chunk: int) -> None:
    found = places(count, chunks, chunk)
    assert found[0][0] == 0
    assert found[-1][1] == count
    assert all(a < b or count == 0 for a, b in found)
    assert all(x[1] <= y[0] for x, y in pairwise(found))
    assert sum(b - a for a, b in found) == min(count, chunks * chunk)
