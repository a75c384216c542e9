"""`taskvec merge` and `taskvec plan`."""

import sys
from pathlib import Path
from threading import Thread
from typing import Any

from ..errors import RecipeError
from ..ops import kernels
from ..recipe.load import load_recipe
from ..recipe.merge import check_output, run
from ..recipe.plan import Plan, describe, make_plan
from ..recipe.probe import estimate
from ..recipe.schema import Recipe, validate
from ..recipe.yaml_lines import Document, parse
from ..store.layout import parse_size
from .show import as_json, duration, progress, size, table


def recipe_from(
    sources: list[Path], method: str | None, base: Path | None, changes: list[str]
) -> tuple[Recipe, list[str]]:
    """Return the recipe that the command line names or spells out, with changes applied, and notes on it."""
    if method is None:
        if len(sources) != 1 or sources[0].is_dir():
            raise RecipeError("give one recipe file, or --method with models, e.g. taskvec merge recipe.yaml -o out")
        if base is not None:
            raise RecipeError("--base goes with --method; a recipe names its own. Type --set base=… to change it.")
        recipe, notes = load_recipe(sources[0])
        data = recipe.data
    else:
        data, notes = {"method": method, "models": [{"model": str(s)} for s in sources]}, []
        if base is not None:
            data["base"] = str(base)
    for change in changes:
        _set(data, change)
    return validate(Document(data, "command line" if method else str(sources[0]), {})), notes


def _set(data: dict[str, Any], change: str) -> None:
    path, equals, text = change.partition("=")
    if not equals:
        raise RecipeError(f"--set {change!r} is not of the form key=value, e.g. --set settings.density=0.3.")
    value = parse(text, f"--set {path}").data
    *parents, last = path.split(".")
    place: Any = data
    try:
        for key in parents:
            place = place[int(key)] if isinstance(place, list) else place.setdefault(key, {})
        place[int(last) if isinstance(place, list) else last] = value
    except (LookupError, ValueError, TypeError, AttributeError) as exc:
        raise RecipeError(f"--set {change!r}: the recipe has no place '{path}'.") from exc


def _plan(recipe: Recipe, out: Path | None, memory: str, threads: int | None, slice_: int) -> Plan:
    return make_plan(recipe, out, memory=parse_size(memory), threads=threads, slice_=slice_)


def merge(
    recipe: Recipe,
    notes: list[str],
    out: Path,
    force: bool,
    restart: bool,
    memory: str,
    threads: int | None,
    slice_: int,
    json: bool,
    quiet: bool,
) -> int:
    """Plan, run, and say what was done."""
    loading = Thread(target=_load_kernels, args=(quiet,), daemon=True)
    loading.start()  # while the plan reads headers and samples
    made = _plan(recipe, out, memory, threads, slice_)
    if not quiet:
        for note in [*notes, *made.notes]:
            print(f"note: {note}", file=sys.stderr)
    loading.join()
    receipt = run(made, out, force=force, restart=restart, progress=progress(quiet or json))
    if json:
        as_json(receipt.facts)
    elif not quiet:
        _say_receipt(receipt.folder, receipt.facts)
    return 0


def _load_kernels(quiet: bool) -> None:
    if kernels.in_use() == "plain":
        note = "several times faster with numba: pip install 'taskvec[fast]'"
    elif _compiled():
        note = ""
    else:
        note = "compiling the kernels, once after an install; this takes about ten seconds"
    if note and not quiet:
        print(f"note: {note}", file=sys.stderr)
    kernels.prepare()


def _compiled() -> bool:
    """Tell whether the kernels were compiled since they were installed."""
    fused = kernels.fused_for()
    if fused is None:
        return True
    installed = Path(str(fused.__file__)).stat().st_mtime
    kept = Path(fused.compiled_in()).glob("fused._blend-*.nbi")
    return any(file.stat().st_mtime >= installed for file in kept)


def _say_receipt(folder: Path, facts: dict[str, Any]) -> None:
    rounding, moved = facts["rounding"], facts["bytes"]
    print(
        f"{folder}: {facts['tensors']['merged']} tensors merged by {facts['method']}, "
        f"{len(facts['tensors']['copied'])} copied; read {size(moved['read'])}, wrote {size(moved['written'])} "
        f"in {duration(facts['seconds'])}, {size(facts['memory']['peak_anonymous'])} of memory."
    )
    print(
        f"Storing as {rounding['dtype']} (rounded to {rounding['mode']}) lost {rounding['lost']:.2%} "
        f"of the merged task vector."
    )
    if rounding["lost"] > 0.1:
        print("That is much. To keep it: --set dtype=float32.")


def plan(
    recipe: Recipe, notes: list[str], out: Path | None, memory: str, threads: int | None, slice_: int, json: bool
) -> int:
    """Print the plan."""
    made = _plan(recipe, out, memory, threads, slice_)
    if out is not None:
        check_output(out)
    facts = describe(made)
    facts["notes"] = [*notes, *facts["notes"]]
    facts["time"] = estimate(made, out)
    if json:
        as_json(facts)
        return 0
    rows = [[i["role"], i["path"], size(i["bytes"]), i["fingerprint"]] for i in facts["inputs"]]
    table(f"{facts['method']}: {len(made.models)} models", ["", "input", "size", "fingerprint"], rows)
    near = [[k["model"], f"{k['cosine']:.4f}", f"{k['relative_norm']:.2%}"] for k in facts["kinship"]]
    table("\nhow near to " + made.reference.name, ["model", "cosine", "distance / norm"], near)
    t, b = facts["tensors"], facts["bytes"]
    print(f"\ntensors  {t['merged']} merged, {t['copied']} copied, stored as {', '.join(facts['dtypes'])}")
    print(f"reads    {size(b['read'])} in {facts['passes']} pass{'es' if facts['passes'] > 1 else ''} over the inputs")
    print(f"writes   {size(b['written'])} in {len(facts['files'])} file{'s' if len(facts['files']) > 1 else ''}")
    m = facts["memory"]
    print(f"memory   {size(m['peak'])} at most (limit {size(m['limit'])}), {facts['threads']} threads")
    e = facts["time"]
    print(f"time     about {duration(e['seconds'])} (probe: reads {size(e['read'])}/s, writes {size(e['write'])}/s)")
    for note in facts["notes"]:
        print(f"note: {note}")
    return 0
