"""Kronecker factors and Gram matrices are what their definitions say, by loops over single examples."""

import pytest
import torch

from curvature import slow
from curvature.conftest import FAMILIES, Make
from taskvec.curvature import Estimating, estimate
from taskvec.evaluate.model import Model
from taskvec.finetune.lessons import Lesson

LINEAR = {
    "bert": {"encoder.layer.1.output.dense": "encoder.layer.1.output.dense.weight"},
    "gpt2": {"h.0.attn.c_attn": "h.0.attn.c_attn.weight", "h.1.mlp.c_proj": "h.1.mlp.c_proj.weight"},
    "vit": {},
}


def linear_of(model: Model) -> dict[str, str]:
    """Return the linear layers of a model → the names of their weights."""
    kinds = (torch.nn.Linear, type(None))
    return {
        name: f"{name}.weight"
        for name, module in model.module().named_modules()
        if isinstance(module, kinds) or type(module).__name__ == "Conv1D"
    }


def files_of(model: Model, lesson: Lesson) -> dict[str, str]:
    """Return the names of weights in the module → in the model's files."""
    from taskvec.store import Checkpoint

    with Checkpoint(model.path) as checkpoint:
        return model.places_in(checkpoint)


@pytest.mark.parametrize("family", FAMILIES)
def test_kfac(double: Make, family: str) -> None:
    model, lesson = double(family)
    found = estimate(model, lesson, Estimating(estimator="kfac", labels="data", batch=5))
    assert found.kind == "kronecker"
    seen = list(slow.layers(model, lesson, linear_of(model)))
    places = files_of(model, lesson)
    reached = [weight for weight in seen[0] if seen[0][weight][1] is not None]
    for weight in reached:
        inputs = torch.cat([one[weight][0] for one in seen])
        slopes = torch.cat([one[weight][1] for one in seen])
        parts = found.tensors[places[weight]]
        assert set(parts) == {"input", "output"}
        torch.testing.assert_close(parts["input"], inputs.T @ inputs / len(inputs))
        torch.testing.assert_close(parts["output"], slopes.T @ slopes / len(seen))
    true = slow.empirical_fisher(model, lesson)
    assert set(found.tensors) == set(true)
    others = set(true) - {places[weight] for weight in reached}
    assert len(others) > len(reached)
    for name in others:
        torch.testing.assert_close(found.tensors[name][""], true[name])


def test_kfac_of_one_example_with_one_position_is_exact(double: Make) -> None:
    """Then B ⊗ A is the outer product of the gradient with itself, so the diagonals agree entry by entry."""
    model, lesson = double("bert")
    seen = list(slow.layers(model, lesson, {"encoder.layer.0.output.dense": "w"}))
    inputs, slopes = seen[0]["w"]
    a, g = inputs[:1], slopes[:1]
    gradient = (g.T @ a).flatten()
    torch.testing.assert_close(torch.kron(g.T @ g, a.T @ a), torch.outer(gradient, gradient))


@pytest.mark.parametrize("family", FAMILIES)
def test_ekfac(double: Make, family: str) -> None:
    model, lesson = double(family)
    factors = estimate(model, lesson, Estimating(estimator="kfac", labels="data")).tensors
    found = estimate(model, lesson, Estimating(estimator="ekfac", labels="data", batch=5))
    assert found.kind == "eigen"
    single = [slow.gradients(model, slow.loss(z, y)) for z, y in slow.alone(model, lesson)]
    places = files_of(model, lesson)
    weights = [places[weight] for weight in linear_of(model).values() if places[weight] in found.tensors]
    assert weights
    for name in weights:
        parts = found.tensors[name]
        inner, outer = parts["input_vectors"], parts["output_vectors"]
        for vectors, factor in ((inner, factors[name]["input"]), (outer, factors[name]["output"])):
            torch.testing.assert_close(vectors.T @ vectors, torch.eye(len(factor), dtype=factor.dtype))
            along = vectors.T @ factor @ vectors
            torch.testing.assert_close(along, torch.diag(along.diagonal()), atol=1e-8 * float(factor.norm()), rtol=0)
        upright = [g.T if family == "gpt2" else g for g in (one[name] for one in single)]
        true = torch.stack([(outer.T @ g @ inner) ** 2 for g in upright]).mean(0)
        torch.testing.assert_close(parts["eigenvalues"], true)


def test_ekfac_has_the_trace_of_the_fisher(double: Make) -> None:
    model, lesson = double("vit")
    true = sum(float(x.sum()) for x in slow.empirical_fisher(model, lesson).values())
    found = estimate(model, lesson, Estimating(estimator="ekfac", labels="data"))
    assert found.facts["total"] == pytest.approx(true)


@pytest.mark.parametrize("family", FAMILIES)
def test_gram(double: Make, family: str) -> None:
    model, lesson = double(family)
    found = estimate(model, lesson, Estimating(estimator="gram", batch=5))
    assert found.kind == "gram"
    seen = list(slow.layers(model, lesson, linear_of(model)))
    places = files_of(model, lesson)
    assert set(found.tensors) == {places[weight] for weight in seen[0]}
    total = 0.0
    for weight in seen[0]:
        inputs = torch.cat([one[weight][0] for one in seen])
        parts = found.tensors[places[weight]]
        assert set(parts) == {"input"}
        torch.testing.assert_close(parts["input"], inputs.T @ inputs / len(inputs))
        outputs = model.module().get_parameter(weight).numel() // inputs.shape[1]
        total += outputs * float(inputs.square().sum()) / len(inputs)
    assert found.facts["total"] == pytest.approx(total)


@pytest.mark.parametrize("estimator", ["kfac", "ekfac", "gram"])
def test_the_batch_does_not_matter(double: Make, estimator: str) -> None:
    model, lesson = double("bert")
    one, other = (estimate(model, lesson, Estimating(estimator=estimator, batch=b)).tensors for b in (1, 7))
    assert set(one) == set(other)
    for name, parts in one.items():
        for part, values in parts.items():
            if not part.endswith("_vectors"):  # whose signs are free
                torch.testing.assert_close(other[name][part], values)


def test_factors_by_drawn_labels_go_by_the_seed(double: Make) -> None:
    model, lesson = double("bert")
    name = "encoder.layer.1.output.dense.weight"
    one, same, other = (
        estimate(model, lesson, Estimating(estimator="kfac", seed=seed)).tensors[name] for seed in (1, 1, 2)
    )
    assert torch.equal(one["output"], same["output"])
    assert not torch.allclose(one["output"], other["output"])
    torch.testing.assert_close(one["input"], other["input"])


def test_a_layer_that_is_used_twice(albert: tuple[Model, Lesson]) -> None:
    model, lesson = albert
    found = estimate(model, lesson, Estimating(estimator="ekfac", labels="data"))
    true = sum(float(x.sum()) for x in slow.empirical_fisher(model, lesson).values())
    assert found.facts["total"] == pytest.approx(true)
