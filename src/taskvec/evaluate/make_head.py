"""How heads come to be: from the names of the labels, from class means, by ridge regression, by training."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import MismatchError, RecipeError
from .data import Examples
from .features import Reading, features, pooling_of, ready, ready_texts, text_features
from .heads import Head, encoder_of
from .model import Model

if TYPE_CHECKING:
    import torch

TEMPERATURE = 20.0
"""Cosines with label names are multiplied by this: the scale of sentence encoders' own training."""

MEANS_TEMPERATURE = 60.0
"""Cosines with class means are multiplied by this. Means of one encoder's vectors lie close together (their mean cosine
is 0.98 for CIFAR-10 under Vision-8's base), so answers become sure, and fine-tuning against them learns, at a larger
scale only."""


def from_label_names(
    base: Model,
    labels: Sequence[str],
    reading: Reading,
    *,
    templates: Sequence[str] = ("{}",),
    texts: Mapping[str, str | Sequence[str]] | None = None,
    scale: float | None = None,
) -> Head:
    """Return the frozen head that the base's own text tower makes of the labels.

        w_c = mean over templates p and texts n of label c of e(p(n)) / |e(p(n))|,  then normalised
        logits = scale · W f / |f|

    CLIP's zero-shot classifier; for a sentence encoder the tower is the encoder itself. It is never trained, so base,
    specialists and merges are measured against the same directions.

    Args:
        base: the pretrained model.
        labels: the names, in the order of their numbers.
        reading: how texts become vectors.
        templates: each has one `{}`, where the name goes.
        texts: label → what to embed instead of its name (in lower case, its underscores as spaces): a text or several.
        scale: the temperature's inverse; CLIP's own for CLIP, else 20.

    Source: Radford et al. 2021, arXiv:2103.00020, §3.1.4; Ilharco et al. 2023, arXiv:2212.04089, §2.

    Raises:
        MismatchError: the model has no text tower.
        RecipeError: a template without `{}`, or texts for a label that does not exist, or none for one that does.
    """
    _check_templates(templates)
    if not labels:
        raise RecipeError("the task has no labels, so no head can be made of them. Type 'labels: [first, second]'.")
    for name in texts or {}:
        if name not in labels:
            raise RecipeError(f"'texts' names the label '{name}', which the task does not have. It has {list(labels)}.")
        if not (texts or {})[name]:
            raise RecipeError(f"'texts' says nothing for the label '{name}'. Give a text, or leave it out.")
    rows = []
    for label in labels:
        said = (texts or {}).get(label, label.replace("_", " ").lower())
        words = [said] if isinstance(said, str) else list(said)
        vectors = _unit(_text_vectors(base, [t.replace("{}", w) for t in templates for w in words], reading))
        rows.append(_unit(vectors.mean(0)))
    pooling = pooling_of(base, reading)
    made = {"how": "label names", "templates": list(templates), "base": base.content}
    return Head(
        kind="cosine", labels=tuple(labels), weight=np.stack([r.numpy() for r in rows]), scale=_scale(base, scale),
        pooling=pooling, encoder=encoder_of(base), projection=_visual_projection(base), made=made,
    )  # fmt: skip


def from_class_means(base: Model, train: Examples, reading: Reading, *, scale: float | None = None) -> Head:
    """Return the frozen head of the classes' mean directions under the base.

    w_c = mean of f(x) / |f(x)| over the training examples x of class c, then normalised;  `scale` is 60 by default
    """
    scale = MEANS_TEMPERATURE if scale is None else scale
    vectors, labels = _unit(_vectors(base, train, reading)), _labels(train)
    rows = np.stack([_unit(vectors[labels == c].mean(0)).numpy() for c in range(len(train.names))])
    return Head(
        kind="cosine", labels=train.names, weight=rows, scale=scale, pooling=pooling_of(base, reading),
        encoder=encoder_of(base), made={"how": "class means", "base": base.content, "train": train.digest},
    )  # fmt: skip


def by_ridge(base: Model, train: Examples, reading: Reading, *, ridge: float = 1e-2) -> Head:
    """Return the linear probe that fits one-hot labels best by least squares, in closed form.

        W, b = argmin Σ_x |W f(x) + b − y(x)|² + λ |W|²,    λ = ridge · tr(cov) / width · examples
        W = (Σ (f − f̄)(f − f̄)ᵀ + λ I)⁻¹ Σ (f − f̄)(y − ȳ)ᵀ,   b = ȳ − W f̄

    Edge: λ follows the vectors' own scale, so encoders of any scale take the same `ridge`.
    """
    import torch

    if ridge <= 0:
        raise RecipeError(f"'ridge' must be above 0, got {ridge}.")
    f = _vectors(base, train, reading).double()
    y = torch.nn.functional.one_hot(torch.from_numpy(_labels(train)), len(train.names)).double()
    f0, y0 = f.mean(0), y.mean(0)
    scatter = (f - f0).T @ (f - f0)
    penalty = ridge * scatter.diagonal().mean() * torch.eye(len(scatter), dtype=f.dtype)
    weight = torch.linalg.solve(scatter + penalty, (f - f0).T @ (y - y0)).T
    made = {"how": "ridge", "ridge": ridge, "base": base.content, "train": train.digest}
    return _linear_head(base, train, reading, weight, y0 - weight @ f0, made)


def by_training(base: Model, train: Examples, reading: Reading, *, decay: float = 1e-3, steps: int = 200) -> Head:
    """Return the linear probe of multinomial logistic regression, by L-BFGS on the whole training split.

        min over W, b of  mean cross-entropy of W (f(x) − f̄)/σ + b  +  decay/2 · |W|²

    The vectors are centred and divided by one number σ, which is folded into W and b afterwards.
    """
    import torch

    f, y = _vectors(base, train, reading), torch.from_numpy(_labels(train))
    f0, spread = f.mean(0), f.std() + 1e-12
    x = (f - f0) / spread
    weight = torch.zeros(len(train.names), x.shape[1], requires_grad=True)
    bias = torch.zeros(len(train.names), requires_grad=True)
    optimiser = torch.optim.LBFGS([weight, bias], max_iter=steps, line_search_fn="strong_wolfe")

    def closure() -> "torch.Tensor":
        optimiser.zero_grad()
        loss = torch.nn.functional.cross_entropy(x @ weight.T + bias, y) + decay / 2 * weight.square().sum()
        loss.backward()  # type: ignore[no-untyped-call]
        return loss

    optimiser.step(closure)  # type: ignore[no-untyped-call]
    w = weight.detach() / spread
    made = {"how": "trained", "decay": decay, "steps": steps, "base": base.content, "train": train.digest}
    return _linear_head(base, train, reading, w, bias.detach() - w @ f0, made)


def of_checkpoint(model: Model, labels: Sequence[str], reading: Reading) -> Head:
    """Return the linear head that a fine-tuned classifier's own folder holds (`score.*` or `classifier.*`).

    Raises:
        MismatchError: it holds none of the two, or one with another number of labels.
    """
    from ..store import Checkpoint

    with Checkpoint(model.path) as checkpoint:
        name = next((n for n in ("score.weight", "classifier.weight") if n in checkpoint), None)
        if name is None:
            raise MismatchError(f"{model.name} holds no head: neither 'score.weight' nor 'classifier.weight'.")
        weight = checkpoint[name].float().numpy()
        bias_name = name.replace("weight", "bias")
        bias = checkpoint[bias_name].float().numpy() if bias_name in checkpoint else None
    if len(weight) != len(labels):
        raise MismatchError(f"{model.name} holds a head of {len(weight)} labels, and the task has {len(labels)}.")
    return Head(
        kind="linear", labels=tuple(labels), weight=weight, bias=bias, pooling=pooling_of(model, reading),
        encoder=encoder_of(model), made={"how": "checkpoint", "model": model.content},
    )  # fmt: skip


def _linear_head(
    base: Model, train: Examples, reading: Reading, weight: "torch.Tensor", bias: "torch.Tensor", made: dict[str, Any]
) -> Head:
    return Head(
        kind="linear", labels=train.names, weight=weight.float().numpy(), bias=bias.float().numpy(),
        pooling=pooling_of(base, reading), encoder=encoder_of(base), made=made,
    )  # fmt: skip


def _check_templates(templates: Sequence[str]) -> None:
    for template in templates:
        if template.count("{}") != 1:
            raise RecipeError(f"the template '{template}' must hold one '{{}}', where the label's name goes.")
    if not templates:
        raise RecipeError("'templates' is empty. Type e.g. 'template: \"a photo of a {}.\"'.")


def _text_vectors(base: Model, texts: Sequence[str], reading: Reading) -> "torch.Tensor":
    if not (hasattr(base.config, "text_config") or getattr(base.config, "vocab_size", None)):
        raise MismatchError(
            f"{base.name} has no tower for texts, so label names make no head. Type 'head: {{kind: class_means}}'."
        )
    return text_features(base, ready_texts(base, texts, reading), reading)


def _visual_projection(base: Model) -> Any:
    layer = getattr(base.module(), "visual_projection", None)
    return None if layer is None else layer.weight.detach().float().cpu().numpy()


def _scale(base: Model, scale: float | None) -> float:
    own = getattr(base.module(), "logit_scale", None)
    if scale is not None or own is None:
        return TEMPERATURE if scale is None else scale
    return float(own.detach().float().exp())


def _vectors(base: Model, train: Examples, reading: Reading) -> "torch.Tensor":
    labels = _labels(train)
    if missing := [name for c, name in enumerate(train.names) if not (labels == c).any()]:
        raise RecipeError(f"{train.origin} has no example of '{missing[0]}', so no head can be made of it.")
    return features(base, ready(base, train, reading), reading)


def _labels(train: Examples) -> Any:
    if train.labels is None or not train.names:
        raise RecipeError(f"{train.origin} has no labels, so no head can be made of it.")
    return np.asarray(train.labels, dtype=np.int64)


def _unit(x: "torch.Tensor") -> "torch.Tensor":
    from torch.nn.functional import normalize

    return normalize(x, dim=-1)
