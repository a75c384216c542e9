"""Inner products from one pass, in each metric."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

import encoders
from taskvec import MismatchError, NumbersError, RecipeError
from taskvec.evaluate.model import Model
from taskvec.finetune.lessons import Lesson
from taskvec.locating import products as module
from taskvec.locating.known import Known, known_models
from taskvec.locating.place import place
from taskvec.locating.products import products_of
from taskvec.locating.signals import Signal, damped, fisher, of_checkpoint, signal_of

Make = Callable[..., Lesson]


def dense(known: Known, signal: Signal) -> tuple[list[str], dict[str, np.ndarray]]:
    """Return names, and (task + 1, entries) rows of each tensor."""
    names = [n for n in signal.tensors if any(v[n].any() for v in known.vectors.values())]
    rows = {n: torch.stack([*(v[n] for v in known.vectors.values()), signal.tensors[n]]).flatten(1) for n in names}
    return names, {n: x.double().numpy() for n, x in rows.items()}


@pytest.mark.parametrize("metric", ["euclidean", "tensors", "fisher"])
def test_as_of_whole_vectors(
    known: Known, base: Model, lesson: Make, metric: module.Metric, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "SLICE", 100)
    one = lesson("place")
    signal = signal_of(base, one)
    weights = damped(fisher(base, one)) if metric == "fisher" else None
    found = products_of(known, [signal], metric, weights)
    names, rows = dense(known, signal)
    gram, products, energy = np.zeros((3, 3)), np.zeros(3), 0.0
    for name in names:
        x, s = rows[name][:3], rows[name][3]
        w = weights[name].flatten().double().numpy() if weights else np.ones(x.shape[1])
        if metric == "tensors":
            typical = np.mean((x**2).sum(1))
            x, s = x / np.sqrt(typical), s / np.sqrt((s**2).sum())
        gram, products, energy = gram + (x * w) @ x.T, products + (x * w) @ s, energy + (s * w) @ s
    np.testing.assert_allclose(found.gram.sum(0), gram, rtol=1e-9)
    np.testing.assert_allclose(found.products[:, 0].sum(0), products, rtol=1e-6)
    np.testing.assert_allclose(found.energy.sum(), energy, rtol=1e-9)
    whole = np.stack([torch.cat([v[n].flatten() for n in v]).double().numpy() for v in known.vectors.values()])
    np.testing.assert_allclose(found.plain, whole @ whole.T, rtol=1e-9)
    assert found.entries.sum() == sum(rows[name].shape[1] for name in names)
    assert found.groups == ("outside of layers", "encoder.layer.0", "encoder.layer.1")


def test_fewer_tasks_and_signals_are_parts_of_all(known: Known, base: Model, lesson: Make) -> None:
    signals = [signal_of(base, lesson(task)) for task in ("taste", "pets")]
    every = products_of(known, signals)
    some = every.among(("noise", "taste")).of_signals([1])
    alone = products_of(known.without("pets"), signals[1:])
    np.testing.assert_allclose(some.gram[:, ::-1, ::-1], alone.gram, rtol=1e-12)
    np.testing.assert_allclose(some.products[:, :, ::-1], alone.products, rtol=1e-9)
    np.testing.assert_allclose(some.energy, alone.energy)


def test_norms_are_those_of_whole_vectors(known: Known, base: Model, lesson: Make) -> None:
    signal = signal_of(base, lesson("taste"))
    name = "encoder.layer.0.output.dense.weight"
    found = products_of(known, [Signal("odd", {name: signal.tensors[name]})])
    assert found.entries.sum() == signal.tensors[name].numel()
    norms = [sum(float(v[n].double().square().sum()) for n in v) ** 0.5 for v in known.vectors.values()]
    np.testing.assert_allclose(place(known, found).norms, norms, rtol=1e-6)


def test_what_no_model_changes_is_left_out(folder: Path, base: Model, lesson: Make, tmp_path: Path) -> None:
    name = "encoder.layer.1.output.dense.weight"
    encoders.changed(folder / "base", tmp_path / "part", seed=0, size=0.0)
    tensors = load_file(tmp_path / "part" / "model.safetensors")
    save_file({**tensors, name: tensors[name] + 0.1}, tmp_path / "part" / "model.safetensors", {"format": "pt"})
    signal = signal_of(base, lesson("taste"))
    known = known_models(str(folder / "base"), [str(tmp_path / "part")])
    found = products_of(known, [signal])
    assert found.energy.sum() == pytest.approx(float(signal.tensors[name].square().sum()), rel=1e-5)
    assert found.entries.tolist() == [0, 0, signal.tensors[name].numel()]
    assert list(place(known, found).groups) == ["encoder.layer.1"]


def test_what_has_no_direction_is_told_apart(folder: Path, known: Known, base: Model, lesson: Make) -> None:
    here, signal = str(folder / "base"), signal_of(base, lesson("taste"))
    with pytest.raises(MismatchError, match="'base', the only known model, is equal to the base"):
        products_of(known_models(here, [here]), [signal])
    with pytest.raises(MismatchError, match=r"the checkpoint .*base is equal to the base .* so it lies nowhere"):
        products_of(known, [of_checkpoint(here, here)])
    nothing = Signal("gradient", {name: 0 * x for name, x in signal.tensors.items()})
    with pytest.raises(MismatchError, match="the examples' signal is zero in every tensor that a known model changes"):
        products_of(known, [nothing])


def test_a_model_equal_to_the_base_is_never_nearest(folder: Path) -> None:
    here = str(folder / "base")
    away = of_checkpoint(here, str(folder / "taste")).tensors
    known = known_models(here, [here, str(folder / "taste")])
    found = place(known, products_of(known, [Signal("gradient", {n: -away[n] for n in away})]))
    assert found.overall.cosines[1] < 0 and found.nearest == "taste"
    assert found.zeros == ("base",) and found.weights.tolist() == [0, 0]


def test_refusals(known: Known, base: Model, lesson: Make) -> None:
    signal = signal_of(base, lesson("taste"))
    with pytest.raises(RecipeError, match="the metric 'fisher' needs the Fisher information"):
        products_of(known, [signal], "fisher")
    with pytest.raises(MismatchError, match=r"the signal has none of the tensors of 'taste', e.g. 'embeddings"):
        products_of(known, [Signal("odd", {"w": torch.ones(2)})])
    name = "encoder.layer.0.output.dense.weight"
    with pytest.raises(MismatchError, match=rf"'{name}' is \(2,\) in the signal and \(16, 32\) in 'taste'"):
        products_of(known, [Signal("odd", {name: torch.ones(2)})])
    broken = {n: x * (float("nan") if n == name else 1) for n, x in signal.tensors.items()}
    with pytest.raises(NumbersError, match=f"the tensor '{name}' of the signal holds NaN or Inf"):
        products_of(known, [Signal("odd", broken)])
