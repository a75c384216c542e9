"""What an extraction says of itself: extraction.json."""

import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from ..._version import __version__
from ...store.sample import fingerprint
from ..finish import versions
from .decompose import Decomposed
from .options import Options
from .pair import Pair


def report(
    pair: Pair,
    options: Options,
    made: Sequence[Decomposed],
    moved: Mapping[str, float],
    whole: Sequence[str],
    errors: Mapping[str, float],
    costs: Mapping[str, int],
    began: float,
) -> dict[str, Any]:
    """Return what was made of which models, and what it lacks.

    Args:
        pair: the models.
        options: what was asked for.
        made: every layer, with its rank.
        moved: how far each tensor that is no layer has moved.
        whole: what is stored as it is.
        errors: of each layer with factors.
        costs: bytes that one rank of each layer takes.
        began: when the work began.
    """
    rest = {name: norm for name, norm in moved.items() if name not in whole}
    rest |= {one.layer.name: one.norm for one in made if one.norm and not one.rank}
    total = sum(one.norm**2 for one in made) + sum(norm**2 for norm in moved.values())
    kept = [one for one in made if one.rank]
    lost = sum((errors[one.layer.name] * one.norm) ** 2 for one in kept)
    left = sum(norm**2 for norm in rest.values())
    return {
        "taskvec": __version__,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "base": {"path": pair.names["base"], "fingerprint": fingerprint(pair.base)},
        "finetuned": {"path": pair.names["tuned"], "fingerprint": fingerprint(pair.identity)},
        "options": options.data,
        "layers": [_layer(one, errors[one.layer.name], costs[one.layer.name]) for one in kept],
        "unchanged": [one.layer.name for one in made if not one.norm],
        "whole": list(whole),
        "rest": [
            {"tensor": name, "norm": norm, "share": norm / total**0.5}
            for name, norm in sorted(rest.items(), key=lambda item: -item[1])
        ],
        "excluded": [name for name in pair.base.tensors if pair.excluded(name)],
        "error": {
            "of_layers": (lost / sum(one.norm**2 for one in kept)) ** 0.5,
            "of_everything": ((lost + left) / total) ** 0.5,
        },
        "notes": _notes(pair, made),
        "seconds": round(time.monotonic() - began, 3),
        "versions": versions(),
    }


def _layer(one: Decomposed, error: float, cost: int) -> dict[str, Any]:
    return {
        "tensor": one.layer.name,
        "shape": list(one.layer.shape),
        "kind": "embedding" if one.layer.embedding else "linear",
        "rank": one.rank,
        "norm": one.norm,
        "error": error,
        "best": min(one.best(), error),  # a small rest of large squares is known to half the digits
        "bytes": one.rank * cost,
    }


def _notes(pair: Pair, made: Sequence[Decomposed]) -> list[str]:
    return [
        f"'{one.layer.module}' is tied to the output head, which takes the same change (ensure_weight_tying). PEFT "
        f"computes with that as it should; its merge_and_unload (0.21) adds the change twice."
        for one in made
        if one.rank and pair.twin(one.layer.name)
    ]
