"""A plan of a merge of adapters in plain data."""

from dataclasses import replace
from typing import Any

from ...store.dtypes import NAMES
from .sites import AdapterPlan, Site


def describe_adapter(made: AdapterPlan) -> dict[str, Any]:
    """Return a plan in plain data, for a table or JSON."""
    plan, rank = made.plan, made.adapter.rank
    width = NAMES[plan.recipe.dtype or "float32"]

    def most(site: Site) -> int:
        ranks = [task[1].rank for task in site.tasks if task]
        return min(*site.sides, sum(ranks) if site.factored else min(site.sides))

    out = [min(most(site), rank) if isinstance(rank, int) else most(site) for site in made.sites]
    loras = [replace(site.lora, rank=r) for site, r in zip(made.sites, out, strict=True)]
    layers = [
        {
            "tensor": site.unit.name,
            "shape": list(site.unit.shape),
            "ranks": [task[1].rank if task else 0 for task in site.tasks],
            "rank": r,
        }
        for site, r in zip(made.sites, out, strict=True)
    ]
    return {
        "method": plan.method.name,
        "inputs": [
            {"role": i.role, "path": i.name, "bytes": i.checkpoint.nbytes, "fingerprint": i.fingerprint}
            for i in plan.inputs
        ],
        "adapter": made.adapter.model_dump(),
        "space": "factors" if made.linear else made.adapter.space,
        "layers": layers,
        "bytes": sum(tensor.nbytes for lora in loras for tensor in lora.tensors(width)),
        "notes": plan.notes,
    }
