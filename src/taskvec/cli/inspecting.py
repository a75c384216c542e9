"""`taskvec inspect`."""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from ..diagnose import Group, Report, figures
from ..diagnose.facts import facts
from ..diagnose.mergeability import MERGES, SAID, Mergeability
from ..errors import OutputError, RecipeError
from ..recipe.curved_inspecting import Normalise, check_statistics, with_statistics
from ..recipe.inspecting import check_count, inspect_recipe
from ..recipe.schema import validate
from ..recipe.yaml_lines import Document
from ..store.layout import parse_size
from .merging import load_kernels, set_key
from .show import as_json, duration, progress, say, size, table

MAY_CHANGE = ("ignore", "allow", "models", "vocabulary", "tokenizer")
"""Keys of a recipe that say what is read; all others say how it is merged."""


def inspect(
    base: Path,
    models: list[str],
    page: Path | None,
    spectra: int,
    stats: Sequence[Path],
    rank: int,
    normalise: Normalise,
    dtype: str | None,
    kept: float,
    changes: Sequence[str],
    memory: str | None,
    threads: int | None,
    force: bool,
    json: bool,
    quiet: bool,
) -> int:
    """Measure how models relate, and say it: as tables, as JSON, as a page."""
    check_page(page, force)
    data: dict[str, Any] = {"method": "task_arithmetic", "base": str(base), "models": [{"model": m} for m in models]}
    for change in changes:
        if change.partition("=")[0].partition(".")[0] not in MAY_CHANGE:
            raise RecipeError(f"--set {change!r} is about a merge; here it may set {', '.join(MAY_CHANGE)}.")
        set_key(data, change)
    if dtype is not None:
        data["dtype"] = dtype
    if isinstance(data["models"], list):  # what is none, the schema tells better
        check_count(len(data["models"]))
        check_statistics(len(data["models"]), len(stats), rank, normalise)
        data = with_statistics(data, stats) if stats else data
    recipe = validate(Document(data, "command line", {}))
    load_kernels(quiet or json)
    room = parse_size(memory) if memory else None
    shown = progress(quiet or json)
    report = inspect_recipe(
        recipe, kept=kept, spectra=spectra, rank=rank, normalise=normalise, threads=threads, memory=room, progress=shown
    )
    if page:
        from ..diagnose.page import write_page

        write_page(report, page)
    tell(report, page, json, quiet)
    return 0


def check_page(page: Path | None, force: bool) -> None:
    """Refuse a page that cannot be written, or is there already, before anything is read."""
    if page is None:
        return
    if page.suffix.lower() not in (".html", ".htm"):
        raise RecipeError(f"--report writes a web page, got {str(page)!r}. Give it a name that ends in .html.")
    if page.is_dir() or not page.absolute().parent.is_dir():
        raise OutputError(f"{page} cannot be written: there is no folder {page.parent}, or {page} is one itself.")
    if page.exists() and not force:
        raise OutputError(f"{page} exists. Type --force to replace it, or another name.")


def tell(report: Report, page: Path | None, json: bool, quiet: bool) -> None:
    """Print a report."""
    from ..diagnose.advice import advise

    advice = advise(report)
    if json:
        as_json(facts(report) | {"advice": [asdict(one) for one in advice]})
        return
    if quiet:
        return
    _print_models(report)
    _print_groups("\nby kind", ["kind"], [([g.kind], g) for g in report.by_kind()])
    layers = [([g.stack or "other", "" if g.layer is None else str(g.layer)], g) for g in report.by_layer()]
    _print_groups("\nby layer", ["stack", "layer"], layers)
    if report.mergeability:
        _print_expected(report.mergeability)
    print()
    for one in advice:
        print(f"- {one.text}")
    print(f"\nread {size(report.read_bytes)} in {duration(report.seconds)}; {_looked_at(report)}.")
    for note in report.notes:
        say(f"note: {note}")
    if page:
        print(f"{page}: the same as pictures.")


def _looked_at(report: Report) -> str:
    total = report.total
    return f"signs and rounding are of {total.counts.sampled / max(total.entries, 1):.0%} of the entries"


def _print_models(report: Report) -> None:
    total = report.total
    inside, change, lost = figures.in_span(total), figures.relative_change(total), figures.lost(total.rounding)
    rows = []
    for t, name in enumerate(report.models):
        near = figures.nearest(total)[t]
        nearest = [report.models[near[0]], f"{near[1]:.3f}"] if near else ["", ""]
        rows.append([name, f"{total.norms[t]:.4g}", _share(change[t]), _share(inside[t]), _share(lost[t]), *nearest])
    rows.append(["their average", "", "", "", _share(lost[-1]), "", ""])
    lost_at = f"lost at {report.dtype}"
    columns = ["model", "norm", "of the base's", "in the others' span", lost_at, "nearest", "cosine"]
    table(f"{len(report.models)} models on {report.base}", columns, rows)


def _print_groups(title: str, first: list[str], groups: Sequence[tuple[list[str], Group]]) -> None:
    rows = [[*names, str(g.tensors), *_figures(g)] for names, g in groups]
    columns = ["tensors", "change", "opposite signs", "of the largest", "overlap", "mean cosine"]
    table(title, [*first, *columns], rows)


def _figures(group: Group) -> list[str]:
    change = figures.relative_change(group)
    shares = (figures.sign_conflict(group), figures.trimmed_conflict(group), figures.overlap(group))
    means = [figures.mean_pair(share.value) for share in shares]
    return [_share(float(np.mean(change))), *map(_share, means), _number(figures.mean_cosine(group))]


def _print_expected(verdict: Mergeability) -> None:
    """Say for each task what three merges are expected to cost, and the sums behind it."""
    merges = [verdict.total.expected(which) for which in MERGES]
    columns = ["task", "gain", *(f"{SAID[m.which]}, scale {m.scale:.2f}" for m in merges)]
    rows = []
    for t, name in enumerate(verdict.models):
        cells = [f"{m.excess[t]:.3g} ({m.shares[t]:.0%})" for m in merges]
        rows.append([name, f"{merges[0].gains[t]:.3g}", *cells])
    means = [f"{m.excess.mean():.3g} ({m.shares.mean():.0%})" for m in merges]
    rows.append(["mean", f"{merges[0].gains.mean():.3g}", *means])
    table(f"\nexpected excess loss, by {verdict.estimator}", columns, rows)
    sums = verdict.total.all
    print(
        f"η = {sums.eta:.3g} of F(flat) = {sums.variance('flat'):.3g} ({sums.relative_eta:.2%}); "
        f"V_S = {sums.variance('curved'):.3g}, R_S = {sums.residual_energy:.3g}"
    )


def _share(value: float) -> str:
    return f"{value:.2%}" if np.isfinite(value) else "-"


def _number(value: float) -> str:
    return f"{value:.3f}" if np.isfinite(value) else "-"
