"""Diagonal estimators are what loops over single examples give."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from curvature import slow
from curvature.conftest import FAMILIES, Make, lesson_on
from taskvec import MismatchError, RecipeError
from taskvec.curvature import Estimate, Estimating, estimate
from taskvec.curvature.cotangents import of_drawn, of_every_label
from taskvec.evaluate.model import Model
from taskvec.finetune.lessons import Lesson


def diagonals(found: Estimate) -> dict[str, torch.Tensor]:
    assert all(set(parts) == {""} for parts in found.tensors.values())
    return {name: parts[""] for name, parts in found.tensors.items()}


def assert_same(found: dict[str, torch.Tensor], true: dict[str, torch.Tensor], rtol: float = 1e-9) -> None:
    assert set(found) == set(true)
    largest = max(float(x.abs().max()) for x in true.values())  # the bias of keys has gradients of rounding alone
    for name, x in true.items():
        torch.testing.assert_close(found[name].to(x.dtype), x, rtol=rtol, atol=1e-3 * rtol * largest)


@pytest.mark.parametrize("family", FAMILIES)
def test_empirical_fisher(double: Make, family: str) -> None:
    model, lesson = double(family)
    found = estimate(model, lesson, Estimating(batch=5))
    assert found.kind == "diagonal"
    assert_same(diagonals(found), slow.empirical_fisher(model, lesson))


@pytest.mark.parametrize("family", FAMILIES)
def test_in_single_precision(single: Make, double: Make, family: str) -> None:
    model, lesson = single(family)
    assert_same(diagonals(estimate(model, lesson)), slow.empirical_fisher(*double(family)), rtol=1e-5)


@pytest.mark.parametrize("family", FAMILIES)
def test_ggn(double: Make, family: str) -> None:
    model, lesson = double(family)
    assert_same(diagonals(estimate(model, lesson, Estimating(estimator="ggn"))), slow.ggn(model, lesson), rtol=1e-6)


def test_fisher_of_many_draws_is_ggn(double: Make) -> None:
    model, lesson = double("bert")
    true = diagonals(estimate(model, lesson, Estimating(estimator="ggn", examples=4)))
    apart = []
    for draws in (4, 160):
        found = diagonals(estimate(model, lesson, Estimating(estimator="fisher", examples=4, draws=draws)))
        apart.append(
            sum(float((found[n] - true[n]).abs().sum()) for n in true) / sum(float(x.sum()) for x in true.values())
        )
    assert apart[1] < 0.15
    assert apart[1] < apart[0] / 2


def test_fisher_goes_by_its_seed(double: Make) -> None:
    model, lesson = double("gpt2")
    one, same, other = (
        diagonals(estimate(model, lesson, Estimating(estimator="fisher", seed=seed, batch=batch)))[
            "transformer.h.0.mlp.c_fc.weight"
        ]
        for seed, batch in ((3, 5), (3, 2), (4, 5))
    )
    torch.testing.assert_close(one, same)
    assert not torch.allclose(one, other)


def test_labels_are_drawn_as_often_as_the_model_says() -> None:
    logits = torch.tensor([[0.0, 1.0, -1.0], [3.0, 0.0, 0.0]], dtype=torch.float64)
    grid = ((torch.arange(1000) + 0.5) / 1000).repeat(2, 1)
    labels = torch.stack([-(cotangent - logits.softmax(-1)) for cotangent, _ in of_drawn(logits, grid)])
    torch.testing.assert_close(labels.mean(0), logits.softmax(-1), atol=1e-3, rtol=0)


def test_columns_of_every_label_add_up_to_the_hessian() -> None:
    logits = torch.randn(4, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    columns = torch.stack([cotangent for cotangent, _ in of_every_label(logits)], -1)
    for z, found in zip(logits, columns @ columns.mT, strict=True):
        true = torch.autograd.functional.hessian(lambda z: -z.log_softmax(-1)[0], z)
        torch.testing.assert_close(found, true)


@pytest.mark.parametrize("family", FAMILIES)
def test_batch_fisher(double: Make, family: str) -> None:
    model, lesson = double(family)
    whole = diagonals(estimate(model, lesson, Estimating(estimator="batch_fisher", batch=100)))
    mean = slow.mean_of([slow.gradients(model, slow.loss(z, y)) for z, y in slow.alone(model, lesson)])
    assert_same(whole, {name: g**2 for name, g in mean.items()})
    single = diagonals(estimate(model, lesson, Estimating(estimator="batch_fisher", batch=1)))
    assert_same(single, slow.empirical_fisher(model, lesson))


@pytest.mark.parametrize("estimator", ["empirical_fisher", "fisher", "ggn"])
@pytest.mark.parametrize("family", FAMILIES)
def test_the_batch_does_not_matter(double: Make, family: str, estimator: str) -> None:
    model, lesson = double(family)
    one, other = (diagonals(estimate(model, lesson, Estimating(estimator=estimator, batch=batch))) for batch in (1, 7))
    assert_same(one, other)


def test_shared_layers(albert: tuple[Model, Lesson]) -> None:
    model, lesson = albert
    assert_same(diagonals(estimate(model, lesson)), slow.empirical_fisher(model, lesson))


def test_the_mean_gradient(double: Make) -> None:
    model, lesson = double("bert")
    found = estimate(model, lesson, Estimating(gradient=True, batch=5)).tensors
    true = slow.mean_of([slow.gradients(model, slow.loss(z, y)) for z, y in slow.alone(model, lesson)])
    assert_same({name: parts["gradient"] for name, parts in found.items()}, true)


def test_the_model_stays_as_it_was(single: Make) -> None:
    model, lesson = single("vit")
    before = {name: x.clone() for name, x in model.module().state_dict().items()}
    estimate(model, lesson, Estimating(gradient=True))
    module = model.module()
    assert list(module.state_dict()) == list(before)
    assert all(torch.equal(x, before[name]) for name, x in module.state_dict().items())
    assert not any(p.requires_grad or p.grad is not None for p in module.parameters())
    assert not any(inner._forward_hooks for inner in module.modules())
    assert module.config._attn_implementation == "sdpa"


def test_facts(single: Make) -> None:
    model, lesson = single("bert")
    found = estimate(model, lesson, Estimating(examples=6, seed=2))
    values = diagonals(found)
    assert found.facts["data"]["examples"] == 6
    assert found.facts["count"] == sum(x.numel() for x in values.values())
    assert found.facts["total"] == pytest.approx(sum(float(x.double().sum()) for x in values.values()))
    assert found.facts["unseen"] == ["pooler.dense.bias", "pooler.dense.weight"]
    assert found.facts["unnamed"] == []
    assert found.facts["settings"] == {"seed": 2, "gradient": False, "pooling": "mean", "tokens": 128}


def test_what_cannot_be_estimated(single: Make, folder: Path) -> None:
    model, lesson = single("bert")
    with pytest.raises(RecipeError, match=r"unknown estimator 'fishr'\. Did you mean 'fisher'"):
        Estimating(estimator="fishr")
    with pytest.raises(RecipeError, match="'draws' must be at least 1, got 0"):
        Estimating(draws=0)
    with pytest.raises(RecipeError, match="'labels' is 'sampled' or 'data', got 'true'"):
        Estimating(labels="true")
    with pytest.raises(RecipeError, match="has no labelled examples"):
        estimate(model, replace(lesson, examples=replace(lesson.examples, labels=None)))
    images, seen = single("vit")
    with pytest.raises(MismatchError, match="has no tower for texts"):
        estimate(images, lesson_on(images, lesson.examples))
    with pytest.raises(MismatchError, match="has no tower for images"):
        estimate(model, lesson_on(model, seen.examples))
