"""Random statistics of model folders, and what methods are given of them, for tests of whatever heeds curvature."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

import taskvec as tv
from taskvec.merge.curvature import Measured
from taskvec.merge.matrices import role_of
from taskvec.ops.metric import Diagonal, Kronecker, Rotated
from taskvec.store.statistics import Statistics, StatisticsWriter, part_shapes

Array = np.ndarray
ESTIMATORS = {"diagonal": "fisher", "gram": "gram", "kronecker": "kfac", "eigen": "ekfac"}


def random_part(part: str, shape: tuple[int, ...], rng: np.random.Generator) -> Array:
    """Numbers that such a part may hold: positive, or a matrix that is positive definite, or a rotation."""
    if part in ("input", "output"):
        x = rng.standard_normal((shape[0], 2 * shape[0]))
        return (x @ x.T / (2 * shape[0]) + 0.1 * np.eye(shape[0])).astype(np.float32)
    if part.endswith("_vectors"):
        return np.linalg.qr(rng.standard_normal(shape))[0].astype(np.float32)
    if part == "gradient":
        return (0.01 * rng.standard_normal(shape)).astype(np.float32)
    return rng.uniform(0.1, 2.0, shape).astype(np.float32)


def random_parts(
    kind: str, name: str, shape: tuple[int, ...], rng: np.random.Generator, turned: bool = False, gradient: bool = False
) -> dict[str, Array]:
    """The parts of one weight; nothing for what is no linear layer where the kind is `gram`."""
    linear = role_of(shape, name, turned) in ("matrix", "turned")
    if not linear and kind == "gram":
        return {}
    shapes = part_shapes(kind if linear else "diagonal", shape, turned=turned, gradient=gradient)
    return {part: random_part(part, own, rng) for part, own in shapes.items()}


def write_statistics(
    folder: Path,
    model: Path,
    kind: str = "diagonal",
    /,
    *,
    seed: int = 0,
    gradient: bool = False,
    skip: tuple[str, ...] = (),
    turned: tuple[str, ...] = (),
    force: bool = False,
    **facts: Any,
) -> Path:
    """Write random statistics of a model."""
    rng = np.random.default_rng(seed)
    with tv.Checkpoint(model) as checkpoint:
        shapes = {n: t.shape for n, t in checkpoint.tensors.items() if not t.dtype.startswith(("I", "U", "B1"))}
        fingerprint = tv.fingerprint(checkpoint)
    parts = {n: random_parts(kind, n, s, rng, n in turned, gradient) for n, s in shapes.items() if n not in skip}
    shapes_of = {n: {p: x.shape for p, x in own.items()} for n, own in parts.items()}
    with StatisticsWriter(folder, kind, shapes_of, force=force) as writer:
        for name, own in parts.items():
            for part, values in own.items():
                writer.add(name, part, values)
        told = {"estimator": ESTIMATORS[kind], "model": {"path": str(model), "fingerprint": fingerprint}, "total": 7.5}
        writer.finish({**told, "data": {"origin": "made", "digest": "0", "examples": 64}, **facts})
    return folder


def with_statistics(data: Mapping[str, Any]) -> dict[str, Any]:
    """Return a recipe's data with random statistics of every model, where its method heeds them; written once."""
    needs = tv.METHODS[data["method"]].needs
    if not needs.curvature or not needs.is_curved(tv.METHODS[data["method"]].check(data.get("settings", {}))):
        return dict(data)

    def beside(model: str) -> str:
        place, kind = Path(model), needs.curvature[0]
        folder = place.parent.with_name(f"{place.parent.name}-measured") / f"{place.name}.{kind}"
        if not folder.exists() or Statistics(folder).fingerprint != tv.fingerprint(tv.Checkpoint(model)):
            write_statistics(folder, place, kind, seed=sum(place.name.encode()), force=True)
        return str(folder)

    models = [{"model": m} if isinstance(m, str) else dict(m) for m in data["models"]]
    out = {**data, "models": [{**m, "statistics": beside(m["model"])} for m in models]}
    return out | ({"statistics": beside(data["base"])} if needs.base_curvature and data.get("base") else {})


def given_to(plan: tv.Plan, unit: Any) -> dict[str, Any]:
    """Return what a method is given of the statistics of a whole tensor, read the plain way."""
    needs = plan.method.needs
    if not needs.curvature:
        return {}
    models = [*plan.models, *(plan.bases[:1] if needs.base_curvature else ())]
    known = [Statistics(m.curved.statistics.path) for m in models if m.curved]
    whole: list[Any] = [None] * len(models)
    if known and unit.name in known[0] and needs.is_curved(unit.settings):
        whole = [metric_of(one, unit) if unit.whole else one.read(unit.name).astype(unit.numpy) for one in known]
    tasks, base = whole[: len(plan.models)], whole[len(plan.models) :]
    curvature = None if tasks[0] is None else tasks if unit.whole else np.stack(tasks)
    return {"curvature": curvature, **({"base_curvature": base[0]} if base else {})}


def metric_of(statistics: Statistics, unit: Any) -> Measured:
    """Return the metric of a weight as it is stored."""

    def part(name: str) -> torch.Tensor:
        return torch.from_numpy(statistics.read(unit.name, name).astype(unit.numpy))

    turned, metric = unit.role == "turned", None
    kind = statistics.kind_of(unit.name)
    if kind == "diagonal":
        metric = Diagonal(part(""))
    elif kind == "eigen":
        q_out, q_in, values = part("output_vectors"), part("input_vectors"), part("eigenvalues")
        metric = Rotated(q_in, q_out, values.T) if turned else Rotated(q_out, q_in, values)
    else:
        outer = part("output") if kind == "kronecker" else None
        metric = Kronecker(part("input"), outer) if turned else Kronecker(outer, part("input"))
    return Measured(metric, statistics.total)
