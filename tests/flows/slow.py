"""The slow way to merge: whole tensors in memory, the method's function once a tensor, torch's own rounding."""

from typing import Any

import numpy as np
import torch

import taskvec as tv
from measured import given_to
from taskvec.ops.chance import drop
from taskvec.store.bridge import TORCH_NAMES

Array = np.ndarray


def slowly(plan: tv.Plan) -> dict[str, torch.Tensor]:
    """Return what every tensor of the output must be, to the bit (rounding to nearest)."""
    shared = whole_model(plan)
    out = {}
    for unit in plan.units:
        dtype = getattr(torch, TORCH_NAMES[unit.dtype])
        reference = plan.reference.checkpoint[unit.name]
        if not unit.merged:
            out[unit.name] = reference.to(dtype)
            continue
        rows = task_rows(plan, unit)
        origin = reference.to(rows_dtype(unit)).numpy()
        extra: dict[str, Any] = {}
        if plan.method.needs.depth:
            extra["depth"] = unit.depth
        if plan.method.needs.role:
            extra["role"] = unit.role
        if plan.method.needs.chance:
            extra["chance"] = chance(plan, unit)
        extra |= given_to(plan, unit)
        stack = torch.from_numpy(rows) if unit.whole else rows
        merged = np.asarray(plan.method.function(stack, np.array(unit.weights), **unit.settings, **extra, **shared))
        if plan.space == "delta":
            step = origin.dtype.type(unit.scale) * merged
            merged = np.where(step == 0, origin, origin + step)
        out[unit.name] = torch.from_numpy(np.asarray(merged, origin.dtype).reshape(unit.shape)).to(dtype)
    return out


def rows_dtype(unit: Any) -> torch.dtype:
    return torch.float64 if unit.work == "F64" else torch.float32


def task_rows(plan: tv.Plan, unit: Any) -> Array:
    """Return the method's input for one tensor: models, or models minus base."""
    rows = [m.checkpoint[unit.name].to(rows_dtype(unit)).numpy() for m in plan.models]
    if plan.space == "delta":
        base = plan.reference.checkpoint[unit.name].to(rows_dtype(unit)).numpy()
        rows = [row if model.kind == "delta" else row - base for row, model in zip(rows, plan.models, strict=True)]
    return np.stack(rows)


def chance(plan: tv.Plan, unit: Any) -> tv.Chance:
    return tv.Chance(plan.recipe.seed, tuple(m.fingerprint for m in plan.models), unit.name)


def whole_model(plan: tv.Plan) -> dict[str, Array]:
    """Return what is found over the whole model, if anything is."""
    units = [u for u in plan.units if u.merged]
    if units[0].settings.get("scope") != "model":
        return {}
    if "threshold" in plan.method.needs.statistics:
        return {"threshold": model_thresholds(plan, units)}
    rows = [task_rows(plan, u) for u in units]
    everything = np.concatenate([x.reshape(len(x), -1) for x in rows], axis=1)
    return {name: s.whole(everything, units[0].settings) for name, s in plan.method.needs.statistics.items()}


def model_thresholds(plan: tv.Plan, units: list[Any]) -> Array:
    """Return each task's smallest kept magnitude over the whole model, by sorting all of it."""
    settings = units[0].settings
    kept, everything = "density", []
    for unit in units:
        rows = task_rows(plan, unit)
        if plan.method.needs.chance:
            kept = "trim"
            rows = drop(rows, settings["density"], chance(plan, unit), rescale=settings["rescale"])
        everything.append(np.abs(rows).reshape(len(rows), -1))
    flat = -np.sort(-np.concatenate(everything, axis=1), axis=1)
    shares = settings[kept] if isinstance(settings[kept], tuple) else (settings[kept],) * len(flat)
    at = [max(1, int(share * flat.shape[1] + 0.5)) - 1 for share in shares]
    return np.array([[0.0 if share == 1 else row[i]] for row, i, share in zip(flat, at, shares, strict=True)])
