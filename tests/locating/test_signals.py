"""Signals: gradients that are gradients, and weights that stay what they were."""

from collections.abc import Callable
from pathlib import Path
from typing import get_args

import pytest
import torch

from taskvec import NumbersError
from taskvec.evaluate.classification import Classification
from taskvec.evaluate.data import Examples, some_of
from taskvec.evaluate.model import Model
from taskvec.finetune.lessons import Lesson
from taskvec.locating.contest import put_base
from taskvec.locating.signals import FEW_STEPS, Kind, damped, fisher, of_checkpoint, signal_of
from taskvec.store import diff

Make = Callable[..., Lesson]


def loss_of(model: Model, lesson: Lesson) -> float:
    logits = Classification(lesson.name, lesson.examples, lesson.head, lesson.reading).logits(model)
    return float(torch.nn.functional.cross_entropy(logits, torch.tensor(lesson.examples.labels)))


def test_the_gradient_says_how_the_loss_changes(base: Model, lesson: Make, folder: Path) -> None:
    one = lesson("taste")
    signal = signal_of(base, one)
    assert signal.facts["loss"] == pytest.approx(loss_of(base, one), rel=1e-5)
    moved = {name: x.clone() for name, x in base.module().state_dict().items()}
    step = 1e-3 / float(torch.stack([x.square().sum() for x in signal.tensors.values()]).sum().sqrt())
    slopes = []
    for sign in (1, -1):
        tensors = {n: x + sign * step * signal.tensors[n] if n in signal.tensors else x for n, x in moved.items()}
        base.put(tensors, "moved")
        slopes.append(loss_of(base, one))
    put_base(base)
    energy = float(torch.stack([x.square().sum() for x in signal.tensors.values()]).sum())
    assert (slopes[0] - slopes[1]) / 2 == pytest.approx(-step * energy, rel=0.02)


@pytest.mark.parametrize("kind", get_args(Kind))
def test_the_weights_stay_what_they_were(base: Model, lesson: Make, kind: Kind) -> None:
    before = {name: x.clone() for name, x in base.module().state_dict().items()}
    signal = signal_of(base, lesson("taste"), kind)
    assert all(torch.equal(x, before[name]) for name, x in base.module().state_dict().items())
    assert not any(x.requires_grad for x in base.module().parameters())
    assert signal.kind == kind
    assert any(x.any() for x in signal.tensors.values())


def test_how_the_kinds_hang_together(base: Model, lesson: Make) -> None:
    one = lesson("taste")
    signals = {kind: signal_of(base, one, kind).tensors for kind in get_args(Kind)}
    information = damped(fisher(base, one))
    name = "encoder.layer.1.output.dense.weight"
    slope = signals["gradient"][name]
    assert torch.equal(signals["sign"][name], slope.sign())
    torch.testing.assert_close(signals["natural"][name] * information[name], slope)
    assert torch.equal(signals["preconditioned"][name].sign(), slope.sign())
    cosine = torch.nn.functional.cosine_similarity(signals["steps"][name].flatten(), slope.sign().flatten(), dim=0)
    assert cosine > 0.5


def test_fisher_is_the_mean_square_of_single_gradients(base: Model, lesson: Make, few: Callable[..., Examples]) -> None:
    one = lesson("taste")
    some = some_of(few("taste"), 4)
    name = "encoder.layer.0.attention.self.query.weight"
    singles = []
    for i in range(4):
        alone = Examples(kind="text", inputs=some.inputs[i : i + 1], labels=some.labels[i : i + 1], names=some.names,
                         origin="one", digest=str(i))  # fmt: skip
        singles.append(signal_of(base, Lesson("one", alone, one.head, one.reading)).tensors[name])
    found = fisher(base, Lesson("some", some, one.head, one.reading))
    torch.testing.assert_close(found[name], torch.stack(singles).square().mean(0))
    assert FEW_STEPS > 1


def test_a_checkpoint_is_its_task_vector(folder: Path) -> None:
    signal = of_checkpoint(str(folder / "base"), str(folder / "taste"))
    assert signal.kind == "checkpoint"
    tau = diff(folder / "base", folder / "taste")
    assert all(torch.equal(signal.tensors[name], tau[name]) for name in tau)


def test_weights_that_overflow(folder: Path, lesson: Make) -> None:
    broken = Model(folder / "base", device="cpu")
    with torch.no_grad():
        broken.module().encoder.layer[0].output.dense.weight.fill_(float("inf"))
    with pytest.raises(NumbersError, match=r"the gradient of .*base on .*taste-few.tsv is no number"):
        signal_of(broken, lesson("taste"))
