"""The files around the weights: index, config, tokenizer, model card, receipt."""

import json
import platform
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .._version import __version__
from ..ops.kernels import in_use
from ..store.card import card
from ..store.catalogued import catalogued
from ..store.config import part_of, restacked
from ..store.dtypes import LONG_NAMES, is_float
from ..store.formats.announced import cleaned
from ..store.formats.config import read_config
from ..store.hashes import sha256
from ..store.pack import packed
from ..store.sidecars import config_text, copy_sidecars
from ..store.writer import sync_folder, write_whole
from .depth import Depth
from .inputs import Pool
from .journal import NAME as JOURNAL
from .journal import Journal
from .planned import Plan, tokenizer_folder
from .write import as_yaml

if TYPE_CHECKING:
    from .run import Stream
    from .sinks import Files

REPORT = "report.html"


@dataclass(frozen=True)
class Told:
    """What a merge tells of its inputs: the figures for the receipt, and the page; no page where it failed."""

    facts: dict[str, Any]
    page: str | None


LIBRARIES = {"diffusion_pytorch_model": "diffusers", "open_clip_model": "open_clip"}
"""Which library calls its files of weights so."""


def write_folder(
    plan: Plan,
    folder: Path,
    name: str,
    state: "Stream",
    sink: "Files",
    seconds: float,
    report: Told | None = None,
) -> dict[str, Any]:
    """Write everything but the weights into the staged folder, and return the receipt (with the report, if any)."""
    model = plan.reference.checkpoint
    copy_sidecars(model.folder, tokenizer_folder(plan), folder)
    if plan.vocabulary:
        plan.vocabulary.write(folder)
    for index, text in plan.layout.indices().items():
        write_whole(folder / index, text)
    _write_configs(plan, folder)
    rounding = rounding_report(plan, sink.journal)
    facts = receipt(plan, state, sink.journal.resumed, rounding, seconds)
    if report:
        facts["report"] = report.facts
        if report.page is not None:
            write_whole(folder / REPORT, report.page)
    write_whole(folder / "README.md", _card(plan, name, rounding))
    facts["files"] = _files(plan, folder, sink.hasher.join())
    write_whole(folder / "receipt.json", json.dumps(facts, indent=2, ensure_ascii=False) + "\n")
    (folder / JOURNAL).unlink()
    sync_folder(folder)
    return facts


def _write_configs(plan: Plan, folder: Path) -> None:
    """Write the model's config, or that of each component, with the dtype that is stored."""
    model = plan.reference.checkpoint
    for part in model.stems:
        config = cleaned(read_config(model.folder / part)) if part and model.folder else _config(plan)
        if config:
            write_whole(folder / part / "config.json", config_text(config, _stored_dtype(plan, part)))


def _config(plan: Plan) -> dict[str, Any]:
    """Return the reference's config, with as many layers as the stack has, and a head of its own where it has one."""
    config, listed = plan.reference.checkpoint.config, Pool(plan.bases, plan.listed)
    stacks = Depth(plan.reference.checkpoint.tensors).layers
    for tower in plan.towers:
        alone = [part_of(config, prefix) for prefix in stacks].count(part_of(config, tower.prefix)) == 1
        configs = [listed[number].checkpoint.config for number, _ in tower.order]
        order = [layer for _, layer in tower.order]
        config = restacked(config, tower.prefix, stacks.get(tower.prefix, 0), order, configs, alone=alone)
    return {**config, "tie_word_embeddings": False} if plan.unties else config


def _stored_dtype(plan: Plan, part: str = "") -> str | None:
    """Return the float type that most stored entries have, of the whole model or of a component."""
    counts: dict[str, int] = {}
    for unit in plan.units:
        if is_float(unit.dtype) and unit.name.startswith(part):
            counts[unit.dtype] = counts.get(unit.dtype, 0) + unit.count
    return LONG_NAMES[max(counts, key=lambda code: counts[code])] if counts else None


def rounding_report(plan: Plan, journal: Journal) -> dict[str, Any]:
    """Return how much of the merged task vector the stored type lost: |stored - merged| / |merged - reference|.

    The reference is the base or, without one, the first model; `of` says so in words. Tensors that hardly moved lose
    most; the worst are listed.
    """
    lines = journal.finished.values()
    lost, moved = sum(line["lost"] for line in lines), sum(line["moved"] for line in lines)
    worst = sorted((_ratio(x["lost"], x["moved"]), x["unit"]) for x in lines if x["moved"] > 0)[::-1][:5]
    return {
        "dtype": _stored_dtype(plan),
        "mode": plan.recipe.rounding,
        "lost": _ratio(lost, moved),
        "of": "the merged task vector" if plan.base else f"what changed from {_title(plan.reference.name)}",
        "task_vector_norm": moved**0.5 if isfinite(moved) else None,
        "worst": [{"tensor": name, "lost": ratio} for ratio, name in worst],
    }


def _ratio(lost: float, moved: float) -> float:
    """Return √(lost / moved); 0 where nothing moved, and where NaN or Inf passed and nothing can be said."""
    ratio = (lost / moved) ** 0.5 if moved > 0 else 0.0
    return float(ratio) if isfinite(ratio) else 0.0


def receipt(plan: Plan, state: "Stream", resumed: bool, rounding: dict[str, Any], seconds: float) -> dict[str, Any]:
    """Return what was done, with what, and what it took."""
    return {
        "taskvec": __version__,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "method": plan.method.name,
        "paper": plan.method.paper,
        "recipe": plan.recipe.written,
        "plan": plan.digest(),
        "seed": plan.recipe.seed,
        "inputs": [
            {
                "role": i.role,
                "kind": i.kind,
                "path": i.name,
                "fingerprint": i.fingerprint,
                "bytes": i.checkpoint.nbytes,
                **({"statistics": i.curved.facts} if i.curved else {}),
            }
            for i in plan.inputs
        ],
        "kinship": [{"model": k.model, "cosine": k.cosine, "relative_norm": k.relative_norm} for k in plan.kinship],
        "choice": asdict(plan.choice) if plan.choice else None,
        "notes": plan.notes,
        "tensors": {
            "merged": sum(u.merged for u in plan.units),
            "copied": [u.name for u in plan.units if not u.merged],
        },
        "rounding": rounding,
        "bytes": {"read": state.bytes_read, "written": plan.layout.nbytes},
        "seconds": round(seconds, 3),
        "resumed": resumed,
        "memory": {"peak_anonymous": state.peak, "planned": plan.budget.peak},
        "threads": plan.budget.threads,
        "versions": versions(),
    }


def versions() -> dict[str, str]:
    """Return the versions of what takes part in the arithmetic."""
    out = {"python": platform.python_version(), "kernels": in_use()}
    for package in ("numpy", "numba", "torch", "transformers"):
        try:
            out[package] = version(package)
        except PackageNotFoundError:
            continue
    return out


def _files(plan: Plan, folder: Path, hashes: dict[str, str]) -> dict[str, Any]:
    out = {f.name: {"bytes": f.nbytes, "sha256": hashes[f.name]} for f in plan.layout.files}
    for path in sorted(p for p in folder.rglob("*") if p.is_file()):
        name = str(path.relative_to(folder))
        if name not in out and name != JOURNAL:
            out[name] = {"bytes": path.stat().st_size, "sha256": sha256(path)}
    return out


def _card(plan: Plan, name: str, rounding: dict[str, Any]) -> str:
    recipe = as_yaml(plan.recipe)
    facts = [
        f"{len(plan.models)} models" + (f" on the base `{_title(plan.base.name)}`" if plan.base else ""),
        f"stored as {rounding['dtype']}, rounded to {rounding['mode']}; rounding lost {rounding['lost']:.2%} of "
        f"{rounding['of']}",
    ]
    if plan.curvature:
        facts.append(_curvature_fact(plan))
    names = list(dict.fromkeys(_title(i.name) for i in plan.inputs))
    library = next((LIBRARIES[s] for s in plan.reference.checkpoint.stems.values() if s in LIBRARIES), "transformers")
    return card(title=name, base_models=names, method=plan.method.name, recipe=recipe, facts=facts, library=library)


def _curvature_fact(plan: Plan) -> str:
    """Say by which curvature models were merged."""
    measured = [i.curved.statistics for i in plan.listed if i.curved]
    examples = sorted({str((one.facts.get("data") or {}).get("examples", "unknown")) for one in measured})
    return (
        f"heeds curvature: `{measured[0].estimator}` ({measured[0].kind}) of {' or '.join(examples)} examples a model"
    )


def _title(path: str) -> str:
    """Return what to call a model: its hub id where it has one, else the folder's own name."""
    resolved = Path(path).resolve()
    if packed(path) or catalogued(path):
        return resolved.name
    if not resolved.exists():
        return path.partition("@")[0]  # a name of the hub
    for part in resolved.parts:
        if part.startswith("models--"):
            return part.removeprefix("models--").replace("--", "/")
    return resolved.name
