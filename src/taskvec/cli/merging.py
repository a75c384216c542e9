"""`taskvec merge` and `taskvec plan`."""

import sys
from collections.abc import Sequence
from pathlib import Path
from threading import Thread
from typing import Any

from ..errors import RecipeError
from ..merge import METHODS, Method
from ..ops import kernels
from ..progress import Progress
from ..recipe.load import SUFFIXES, Loaded, load_recipes, uses
from ..recipe.merge import continued
from ..recipe.plan import Plan, describe, make_plan
from ..recipe.probe import estimate
from ..recipe.schema import Recipe, validate
from ..recipe.series import check_place, run_series, step_folder
from ..recipe.yaml_lines import Document, parse
from ..store.layout import parse_size
from .adapters import planned_adapter, say_adapter
from .measured import found, measured
from .show import as_json, duration, progress, say, size, table


def recipes_from(sources: list[Path], method: str | None, base: Path | None, changes: list[str]) -> list[Loaded]:
    """Return the recipes that the command line names or spells out, with changes applied to the last one."""
    if method is None:
        if len(sources) == 2 and sources[0].suffix in SUFFIXES:
            one, two = sources
            raise RecipeError(f"one recipe, got {one} and {two}. If {two} is the output, type: {one} -o {two}.")
        if len(sources) != 1 or sources[0].is_dir():
            raise RecipeError("give one recipe file, or --method with models, e.g. taskvec merge recipe.yaml -o out")
        if base is not None:
            raise RecipeError("--base goes with --method; a recipe names its own. Type --set base=… to change it.")
        *before, last = load_recipes(sources[0])
        data, notes = last.recipe.data, last.notes
    else:
        before, data, notes = [], {"method": method, "models": [{"model": str(s)} for s in sources]}, []
        if base is not None:
            data["base"] = str(base)
    for change in changes:
        set_key(data, change)
    recipe = validate(Document(data, "command line" if method else str(sources[0]), {}))
    if method is not None:
        _check_base(METHODS[recipe.method], recipe)
    return [*before, Loaded(recipe, notes)]


def _check_base(method: Method, recipe: Recipe) -> None:
    """Refuse what the plan would refuse, in the words of the command line."""
    if method.needs.space == "delta" and recipe.base is None:
        raise RecipeError(
            f"'{method.name}' merges task vectors and needs the base they start from. Type --base ./base."
        )
    if method.needs.space == "weight" and recipe.base is not None:
        raise RecipeError(
            f"'{method.name}' merges whole models and takes no base. Remove --base, or name it as a model."
        )


def set_key(data: dict[str, Any], change: str) -> None:
    """Change one key as `--set key=value` says.

    Raises:
        RecipeError: not of that form, or no such place.
    """
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


def _plan(
    recipe: Recipe, out: Path | None, memory: str, threads: int | None, slice_: int, shown: Progress | None = None
) -> Plan:
    return make_plan(recipe, out, memory=parse_size(memory), threads=threads, slice_=slice_, progress=shown)


def merge(
    loaded: list[Loaded],
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
    loading = Thread(target=load_kernels, args=(quiet,), daemon=True)

    def planned(recipe: Recipe, folder: Path) -> Plan:
        recipe = measured(recipe, quiet, json)
        if loading.ident is None:
            loading.start()  # while the plan reads headers and samples; not before the output's place is found free
        shown = beginning() if recipe.choice else None
        return _plan(recipe, folder, memory, threads, slice_, shown)

    def beginning() -> Progress:
        if loading.ident is not None:  # an adapter's merge needs few of them, or none
            loading.join()  # only here: a refusal of the plan need not wait for the kernels
        shown: Progress = progress(quiet or json)
        return shown

    def tell(text: str) -> None:
        if not quiet:
            say(f"note: {text}")

    receipt = run_series(
        loaded,
        out,
        planned,
        force=force,
        restart=restart,
        progress=beginning,
        tell=tell,
    )
    if json:
        as_json(receipt.facts)
    elif not quiet:
        told = say_adapter if loaded[-1].recipe.adapter else say_receipt
        told(receipt.folder, receipt.facts)
    return 0


def load_kernels(quiet: bool) -> None:
    """Load the compiled kernels, and say what this takes or what is missing."""

    def note(text: str) -> None:
        if not quiet:
            say(f"note: {text}")

    if kernels.in_use() == "plain":
        note("several times faster with numba: pip install 'taskvec[fast]'")
    kernels.when_compiling(lambda: note("compiling kernels, once after an install; each takes a few seconds"))
    kernels.prepare()


def say_receipt(folder: Path, facts: dict[str, Any]) -> None:
    """Say what a merge did."""
    rounding, moved = facts["rounding"], facts["bytes"]
    print(
        f"{folder}: {facts['tensors']['merged']} tensors merged by {facts['method']}, "
        f"{len(facts['tensors']['copied'])} copied; read {size(moved['read'])}, wrote {size(moved['written'])} "
        f"in {duration(facts['seconds'])}, {size(facts['memory']['peak_anonymous'])} of memory."
    )
    print(
        f"Storing as {rounding['dtype']} (rounded to {rounding['mode']}) lost {rounding['lost']:.2%} "
        f"of {rounding['of']}."
    )
    if rounding["lost"] > 0.1:
        print("That is much. To keep it: --set dtype=float32.")


def plan(loaded: list[Loaded], out: Path | None, memory: str, threads: int | None, slice_: int, json: bool) -> int:
    """Print the plan; of recipes that build on each other those that can be planned before others have run."""
    names = {one.recipe.name for one in loaded if one.recipe.name} if len(loaded) > 1 else set()
    ready = [one for one in loaded if not names & uses(one)]
    if out is not None:
        check_place(loaded, out)
    facts = [_planned(one, out, one is loaded[-1], memory, threads, slice_, json) for one in ready]
    if json:
        as_json(facts if len(loaded) > 1 else facts[0])
    elif len(ready) < len(loaded):
        print(f"\n{len(loaded) - len(ready)} of {len(loaded)} recipes use what others make, and are planned then.")
    return 0


def _planned(
    one: Loaded, out: Path | None, last: bool, memory: str, threads: int | None, slice_: int, quiet: bool
) -> dict[str, Any]:
    """Return the plan in plain data, and print it unless `quiet`."""
    if one.recipe.adapter:
        return planned_adapter(one, out, quiet)
    recipe, said, whole = found(one.recipe)
    if not whole:
        return _not_measured(one, said, quiet)
    if recipe.choice:
        load_kernels(quiet)
    made = _plan(recipe, out, memory, threads, slice_, progress(quiet))
    unfinished = continued(made, out if last else step_folder(out, str(one.recipe.name))) if out else []
    facts = describe(made)
    facts["notes"] = [*one.notes, *said, *facts["notes"], *unfinished]
    facts["time"] = estimate(made, out)
    if not quiet:
        _print_plan(made, facts)
    return facts


def _not_measured(one: Loaded, said: Sequence[str], quiet: bool) -> dict[str, Any]:
    """Say what a merge measures before it can be planned."""
    notes = [*one.notes, *said]
    if not quiet:
        print(f"{one.recipe.method}: {len(one.recipe.models)} models; planned once their statistics are measured.")
        for note in notes:
            say(f"note: {note}", sys.stdout)
    return {"method": one.recipe.method, "measured": False, "notes": notes}


def _print_plan(made: Plan, facts: dict[str, Any]) -> None:
    rows = [[i["role"], i["path"], size(i["bytes"]), i["fingerprint"]] for i in facts["inputs"]]
    table(f"{facts['method']}: {len(made.models)} models", ["", "input", "size", "fingerprint"], rows)
    near = [[k["model"], f"{k['cosine']:.4f}", f"{k['relative_norm']:.2%}"] for k in facts["kinship"]]
    if near:
        table("\nhow near to " + made.reference.name, ["model", "cosine", "distance / norm"], near)
    t, b = facts["tensors"], facts["bytes"]
    print(f"\ntensors  {t['merged']} merged, {t['copied']} copied, stored as {', '.join(facts['dtypes'])}")
    print(f"reads    {size(b['read'])} in {facts['passes']} pass{'es' if facts['passes'] > 1 else ''} over the inputs")
    print(f"writes   {size(b['written'])} in {len(facts['files'])} file{'s' if len(facts['files']) > 1 else ''}")
    m = facts["memory"]
    print(f"memory   {size(m['peak'])} at most (limit {size(m['limit'])}), {facts['threads']} threads")
    e = facts["time"]
    speed = f"reads {size(e['read'])}/s, writes {size(e['write'])}/s"
    print(f"time     {duration(e['seconds'])} or more, which the disk takes alone (probe: {speed})")
    for note in facts["notes"]:
        say(f"note: {note}", sys.stdout)
