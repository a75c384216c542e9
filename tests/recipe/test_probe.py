"""The estimate of time, and what the plan costs: a short look at the disk."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

import taskvec as tv
from taskvec.recipe import probe
from taskvec.recipe.memory import anonymous_bytes


def test_seconds_follow_from_bytes_and_rates(
    planned: Callable[..., tv.Plan], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(probe, "PROBE", 1_000_000)
    plan = planned("ties")
    estimate = probe.estimate(plan, tmp_path / "not" / "yet" / "there")
    assert estimate["seconds"] == pytest.approx(
        plan.bytes_read / estimate["read"] + plan.layout.nbytes / estimate["write"]
    )
    assert list(tmp_path.iterdir()) == []


def test_where_nothing_may_be_written_only_reading_counts(
    planned: Callable[..., tv.Plan], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "access", lambda *args: False)
    estimate = probe.estimate(planned("ties"), tmp_path)
    assert estimate["write"] == 0
    assert estimate["seconds"] > 0


def test_anonymous_memory_is_counted() -> None:
    before = anonymous_bytes()
    held = bytearray(os.urandom(1)) * 50_000_000
    assert 45_000_000 < anonymous_bytes() - before < 80_000_000
    assert len(held) == 50_000_000
