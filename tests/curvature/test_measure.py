"""Statistics on disk are the estimate in memory; an interrupted measurement goes on; costs are said beforehand."""

from pathlib import Path

import numpy as np
import pytest

from curvature.conftest import Make
from taskvec import OutputError, RecipeError
from taskvec.curvature import ESTIMATORS, Cost, Estimating, estimate, measure, measure_curvature
from taskvec.curvature.work import Work
from taskvec.store import Checkpoint, fingerprint
from taskvec.store.lock import only_writer
from taskvec.store.statistics import Statistics


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_what_is_written(single: Make, tmp_path: Path, estimator: str) -> None:
    model, lesson = single("gpt2")
    how = Estimating(estimator=estimator, gradient=estimator == "kfac", batch=4)
    costs: list[Cost] = []
    found = measure_curvature(model, lesson, tmp_path / "stats", how, tell=costs.append)
    true = estimate(model, lesson, how)
    with Statistics(tmp_path / "stats") as held, Checkpoint(model.path) as checkpoint:
        assert held.kind == true.kind
        assert held.fingerprint == fingerprint(checkpoint)
        assert held.names == found.names == tuple(sorted(true.tensors))
        for name, parts in true.tensors.items():
            for part, values in parts.items():
                np.testing.assert_array_equal(held.read(name, part), values.numpy())
        ours = {"seconds", "taskvec", "format", "version"}
        assert {k: v for k, v in held.facts.items() if k not in ours} == {
            k: v for k, v in true.facts.items() if k not in ours
        }
    assert costs[0].disk == sum(4 * x.numel() for parts in true.tensors.values() for x in parts.values())
    assert not list(tmp_path.glob(".*"))


class Stop(Exception):
    """Ends a measurement in the middle."""


@pytest.mark.parametrize(("estimator", "visits"), [("empirical_fisher", 2), ("ekfac", 5), ("gram", 1)])
def test_an_interrupted_measurement_goes_on(
    single: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, estimator: str, visits: int
) -> None:
    model, lesson = single("bert")
    how, out = Estimating(estimator=estimator, batch=4), tmp_path / "stats"
    whole = measure_curvature(model, lesson, tmp_path / "whole", how)
    monkeypatch.setattr(measure, "EVERY", 0.0)
    monkeypatch.setattr(measure, "SHARE", float("inf"))
    batch, seen = Work.batch, []

    def stops(self: Work, places: list[int]) -> object:
        seen.append(tuple(places))
        if self.__dict__.get("found") and sum(len(p) == 4 for p in seen) > visits:
            raise Stop
        return batch(self, places)

    with monkeypatch.context() as patch:
        patch.setattr(Work, "batch", stops)
        with pytest.raises(Stop):
            measure_curvature(model, lesson, out, how)
    assert not out.exists()
    again: list[tuple[int, ...]] = []
    monkeypatch.setattr(Work, "batch", lambda self, places: (again.append(tuple(places)), batch(self, places))[1])
    found = measure_curvature(model, lesson, out, how)
    fours = [places for places in again if len(places) == 4]
    assert len(fours) == (6 if estimator == "ekfac" else 3) - visits
    for name in whole.names:
        for part in whole.shapes(name):
            np.testing.assert_array_equal(found.read(name, part), whole.read(name, part))
    assert not list(tmp_path.glob(".*"))


def test_sums_of_other_work_are_not_taken_up(single: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model, lesson = single("bert")
    monkeypatch.setattr(measure, "EVERY", 0.0)
    monkeypatch.setattr(measure, "SHARE", float("inf"))
    with monkeypatch.context() as patch:
        patch.setattr(measure, "Assembled", lambda *_: (_ for _ in ()).throw(Stop))
        with pytest.raises(Stop):
            measure_curvature(model, lesson, tmp_path / "stats", Estimating(seed=1))
    assert list(tmp_path.glob(".stats.sums*"))
    found = measure_curvature(model, lesson, tmp_path / "stats", Estimating(seed=2))
    assert found.facts["settings"]["seed"] == 2
    assert found.total == pytest.approx(estimate(model, lesson, Estimating(seed=2)).facts["total"])


def test_what_is_there_of_the_same_work_is_kept_when_asked(single: Make, tmp_path: Path) -> None:
    model, lesson = single("bert")
    how, out = Estimating(batch=4), tmp_path / "stats"
    first = measure_curvature(model, lesson, out, how, keep=True)
    before = (out / "statistics.safetensors").stat().st_mtime_ns
    again = measure_curvature(model, lesson, out, how, keep=True)
    assert (again.facts, (out / "statistics.safetensors").stat().st_mtime_ns) == (first.facts, before)
    with pytest.raises(OutputError, match="exists"):
        measure_curvature(model, lesson, out, Estimating(batch=4, seed=1), keep=True)


def test_one_run_at_a_time(single: Make, tmp_path: Path) -> None:
    model, lesson = single("bert")
    with only_writer(tmp_path / "stats"), pytest.raises(OutputError, match="is being written by another run"):
        measure_curvature(model, lesson, tmp_path / "stats", Estimating(batch=4))
    assert not (tmp_path / "stats").exists()


def test_weights_that_were_put_in_are_not_taken_for_those_of_the_files(single: Make, tmp_path: Path) -> None:
    model, lesson = single("bert")
    model.put(dict(model.module().state_dict()), "merged")
    with pytest.raises(RecipeError, match=r"has other weights in it than its files\. Load it anew to measure it\."):
        measure_curvature(model, lesson, tmp_path / "stats", Estimating(batch=4))
    assert not list(tmp_path.iterdir())


def test_what_is_there_is_replaced_only_by_force(single: Make, tmp_path: Path) -> None:
    model, lesson = single("vit")
    out = tmp_path / "stats"
    measure_curvature(model, lesson, out)
    with pytest.raises(OutputError, match=r"stats exists\. Choose another folder, or type --force"):
        measure_curvature(model, lesson, out)
    assert measure_curvature(model, lesson, out, Estimating(estimator="gram"), force=True).kind == "gram"
    (tmp_path / "own").mkdir()
    (tmp_path / "own" / "thesis.tex").write_text("years of work")
    with pytest.raises(OutputError, match="own exists and holds no statistics"):
        measure_curvature(model, lesson, tmp_path / "own", force=True)


def test_costs(single: Make, tmp_path: Path) -> None:
    model, lesson = single("bert")
    told: list[Cost] = []
    for i, how in enumerate(
        (Estimating(estimator="ggn", batch=4, gradient=True), Estimating(estimator="gram", batch=5))
    ):
        measure_curvature(model, lesson, tmp_path / str(i), how, tell=told.append)
    labels = len(lesson.head.labels)
    assert [(c.examples, c.batches, c.forward, c.backward, c.alone) for c in told] == [
        (12, 3, 2, labels + 1, False),
        (12, 3, 1, 0, False),
    ]
