"""Products are those with the matrices that autograd gives entry by entry."""

from dataclasses import replace

import pytest
import torch

from curvature import slow
from curvature.conftest import FAMILIES, Make
from taskvec import MismatchError, RecipeError
from taskvec.curvature import Bending
from taskvec.evaluate.data import some_of
from taskvec.ops.atoms import Atoms
from taskvec.store import Checkpoint

NAMES = {
    "bert": ("encoder.layer.0.attention.self.query.bias", "encoder.layer.1.output.LayerNorm.weight"),
    "gpt2": ("transformer.h.0.attn.c_attn.bias", "transformer.h.1.ln_2.weight"),
    "vit": ("embeddings.cls_token", "encoder.layer.0.layernorm_after.weight"),
}


def dense_hessian(model: object, lesson: object, names: tuple[str, ...]) -> torch.Tensor:
    """Return the mean Hessian over some weights, row by row, each example alone."""
    whole = []
    for logits, answer in slow.alone(model, lesson):
        parameters = weights_of(model, names)
        slopes = torch.autograd.grad(slow.loss(logits, answer), parameters, create_graph=True)
        flat = torch.cat([slope.flatten() for slope in slopes])
        rows = [torch.autograd.grad(entry, parameters, retain_graph=True) for entry in flat]
        whole.append(torch.stack([torch.cat([part.flatten() for part in row]) for row in rows]))
    return torch.stack(whole).mean(0)


def dense_ggn(model: object, lesson: object, names: tuple[str, ...]) -> torch.Tensor:
    """Return the mean of Jᵀ (diag(p) − p pᵀ) J over some weights."""
    whole = []
    for logits, _ in slow.alone(model, lesson):
        rows = [slow.gradients(model, z) for z in logits]
        jacobian = torch.stack([torch.cat([row[name].flatten() for name in names]) for row in rows])
        p = logits.detach().softmax(-1)
        whole.append(jacobian.T @ (torch.diag(p) - torch.outer(p, p)) @ jacobian)
    return torch.stack(whole).mean(0)


def weights_of(model: object, names: tuple[str, ...]) -> list[torch.Tensor]:
    with Checkpoint(model.path) as checkpoint:
        files = {file: name for name, file in model.places_in(checkpoint).items()}
    return [model.module().get_parameter(files[name]) for name in names]


@pytest.mark.parametrize("matrix", ["hessian", "ggn"])
@pytest.mark.parametrize("family", FAMILIES)
def test_products(double: Make, family: str, matrix: str) -> None:
    model, lesson = double(family)
    lesson = replace(lesson, examples=some_of(lesson.examples, 3))
    names = NAMES[family]
    shapes = [x.shape for x in weights_of(model, names)]
    chance = torch.Generator().manual_seed(3)
    v = [torch.randn(shape, generator=chance, dtype=torch.float64) for shape in shapes]
    found = Bending(model, lesson, matrix, batch=2).product(dict(zip(names, v, strict=True)), names)
    dense = (dense_hessian if matrix == "hessian" else dense_ggn)(model, lesson, names)
    true = dense @ torch.cat([x.flatten() for x in v])
    got = torch.cat([found[name].flatten() for name in names])
    torch.testing.assert_close(got, true, rtol=1e-5, atol=1e-6 * float(true.abs().max()))
    assert not any(p.requires_grad for p in model.module().parameters())


def test_a_product_reaches_all_weights(double: Make) -> None:
    model, lesson = double("bert")
    bending, (name, other) = Bending(model, lesson), NAMES["bert"]
    v, w = (torch.ones_like(x) for x in weights_of(model, (name, other)))
    there, back = bending.product({name: v})[other], bending.product({other: w})[name]
    assert float((there * w).sum()) == pytest.approx(float((back * v).sum()))  # H is symmetric
    assert not bending.product({"pooler.dense.weight": torch.ones(16, 16)})[name].any()


def test_the_metric_projected_to_atoms(double: Make) -> None:
    model, lesson = double("bert")
    name = "encoder.layer.0.attention.self.query.weight"
    chance = torch.Generator().manual_seed(1)
    u, v = (torch.linalg.qr(torch.randn(16, 3, generator=chance, dtype=torch.float64)).Q for _ in range(2))
    found = Bending(model, lesson).metric(name).on_atoms(u, v)
    basis = torch.stack([Atoms(u, v).expand(row).flatten() for row in torch.eye(3, dtype=torch.float64)], 1)
    true = basis.T @ dense_ggn(model, lesson, (name,)) @ basis
    torch.testing.assert_close(found, true, rtol=1e-5, atol=1e-6 * float(true.abs().max()))


def test_wrong(double: Make) -> None:
    model, lesson = double("bert")
    with pytest.raises(RecipeError, match="products are with 'hessian' or 'ggn', got 'fisher'"):
        Bending(model, lesson, "fisher")
    with pytest.raises(
        MismatchError, match=r"has no weight 'pooler\.dense\.weigh'.*Did you mean 'pooler\.dense\.weight'"
    ):
        Bending(model, lesson).product({"pooler.dense.weigh": torch.ones(16, 16)})
    with pytest.raises(MismatchError, match=r"is \(3,\), and the weight \(16,\)"):
        Bending(model, lesson).product({"pooler.dense.bias": torch.ones(3)})
