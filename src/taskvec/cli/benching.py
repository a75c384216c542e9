"""`taskvec bench`."""

import json as json_
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

from ..evaluate.emulated import emulated
from ..evaluate.figure import figure
from ..evaluate.results import Results, as_data
from ..evaluate.task import hashes
from ..finetune.finetune import read_note
from ..store.writer import write_whole
from ..suite.bench import Bench, clean, compare, open_bench
from ..suite.choices import choices, choose
from ..suite.competitors import competitors
from ..suite.left_out import Asked, leave_out
from ..suite.left_out_page import as_data as as_data_of_cells
from ..suite.left_out_page import left_out_table, verdicts_table
from ..suite.left_out_page import tasks_table as task_by_task
from ..suite.load import Loaded, load_suite
from ..suite.negation import CONTROL, negate
from ..suite.negation import as_data as as_data_of_negation
from ..suite.page import YARDSTICK, choices_table, markdown, methods_table, negation_table, tasks_table
from ..suite.schema import MethodEntry
from ..suite.specialists import Places, places_of, train
from ..suite.tasks import chosen
from .show import as_json, duration, progress, say, table

RESULTS = "results.json"


def opened(suite: Path, root: Path | None, device: str, silent: bool) -> Loaded:
    """Read a suite; say so where its precision is slow here."""
    loaded = load_suite(suite, root)
    slow = {emulated(loaded.suite.precision, device), emulated(loaded.suite.training.precision, device)} - {""}
    for sentence in sorted(slow) if not silent else ():
        say(f"note: {sentence}")
    return loaded


def train_suite(
    suite: Path, root: Path | None, cache: Path | None, only: Sequence[str], device: str, json: bool, quiet: bool
) -> int:
    """Train what a suite's merges start from, and print what it took."""
    loaded = opened(suite, root, device, quiet or json)
    places = places_of(loaded, cache)
    began = time.perf_counter()
    notes = train(loaded, places, device=device, only=only, progress=progress(quiet or json))
    if json:
        as_json(notes)
        return 0
    rows = [
        [n["name"], str(sum(a["examples"] for a in n["lessons"].values())), str(n["steps"]),
         f"{n['loss']['first']:.3f}", f"{n['loss']['last']:.3f}", duration(n["seconds"]), "kept" if n["found"] else ""]
        for n in notes
    ]  # fmt: skip
    table("", ["model", "examples", "steps", "loss, first tenth", "last tenth", "time", ""], rows)
    print(f"{places.folder}: trained in {duration(time.perf_counter() - began)}. Type: taskvec bench score {suite}")
    return 0


def score_suite(
    suite: Path,
    root: Path | None,
    cache: Path | None,
    only: Sequence[str],
    methods: Sequence[str],
    with_choices: bool,
    device: str,
    json: bool,
    quiet: bool,
) -> int:
    """Score everything of a suite; print its tables, and leave them beside its models."""
    loaded = opened(suite, root, device, quiet or json)
    places = places_of(loaded, cache)
    began = time.perf_counter()

    def tell(text: str) -> None:
        if not (quiet or json):
            say(text)

    entries = [MethodEntry.model_validate({"method": m}) for m in methods] if methods else loaded.suite.methods
    merges = competitors(len(chosen(loaded, only)), entries)
    clean(places)
    bench = open_bench(loaded, places, device=device, only=only, progress=progress(quiet or json))
    tell(f"base, specialists and joint training scored in {duration(time.perf_counter() - began)}")
    compare(bench, merges, tell)
    if not (places.folder / RESULTS).exists():  # a complete one stays until there is another
        _write_down(places, loaded, bench, [], began)
    found = choose(bench, choices(bench), tell) if with_choices else []
    data = _write_down(places, loaded, bench, found, began)
    for name, why in bench.left_out.items() if quiet or json else ():
        say(f"note: '{name}' is left out: {why}")
    if json:
        as_json(data)
        return 0
    _print(bench, found)
    took = duration(data["seconds"])
    print(f"\n{places.folder}/results.md, .json and .svg hold these tables; all of it took {took}.")
    return 0


def negate_suite(
    suite: Path, root: Path | None, cache: Path | None, control: str | None, only: Sequence[str], device: str,
    json: bool, quiet: bool,
) -> int:  # fmt: skip
    """Forget every task of a suite by negation; print the table, and leave it beside the suite's models."""
    loaded = opened(suite, root, device, quiet or json)
    places = places_of(loaded, cache)
    began = time.perf_counter()
    shown = progress(quiet or json)
    negation = negate(loaded, places, control=control, only=only, device=device, progress=shown)
    header, *rows = lines = negation_table(negation)
    seconds = time.perf_counter() - began
    data = {"suite": loaded.name, "seconds": seconds, **as_data_of_negation(negation)}
    title = f"# {loaded.name}: forgetting by negation"
    rule = f"α: the target's lowest validation score where {negation.before.task} keeps {100 * CONTROL:g} % of its own."
    write_whole(places.folder / "results-negation.md", f"{title}\n\n{markdown(lines)}\n\n{rule}\n")
    write_whole(places.folder / "results-negation.json", json_.dumps(data, indent=2, ensure_ascii=False) + "\n")
    if json:
        as_json(data)
        return 0
    table("", header, rows)
    print(f"{rule}\n{places.folder}/results-negation.md and .json hold this table; it took {duration(seconds)}.")
    return 0


class Tried(NamedTuple):
    """What `bench locate` tries: numbers of examples, seeds, and how many examples are scored."""

    examples: tuple[int, ...]
    seeds: int
    test: int


def locate_suite(
    suite: Path, root: Path | None, cache: Path | None, tried: Tried, only: Sequence[str], device: str, json: bool,
    quiet: bool,
) -> int:  # fmt: skip
    """Leave every task out and locate it among the others; print the tables, and leave them beside the models."""
    loaded = opened(suite, root, device, quiet or json)
    places = places_of(loaded, cache)
    began = time.perf_counter()
    asked = Asked(examples=tried.examples, seeds=tried.seeds, test=tried.test)
    tell = None if quiet or json else say
    cells = leave_out(loaded, places, asked, device=device, only=only, progress=progress(True), tell=tell)
    named = {"mean over the tasks": left_out_table(cells), "verdicts": verdicts_table(cells)}
    named |= {f"task by task, {n} examples": task_by_task(cells, n) for n in asked.examples}
    data = {
        "suite": loaded.name,
        "precision": loaded.suite.precision,
        "asked": asdict(asked),
        **as_data_of_cells(cells),
    }
    text = "\n\n".join(f"{name[0].upper()}{name[1:]}:\n\n{markdown(lines)}" for name, lines in named.items())
    write_whole(places.folder / "results-left-out.md", f"# {loaded.name}: each task left out\n\n{text}\n")
    write_whole(places.folder / "results-left-out.json", json_.dumps(data, indent=2, ensure_ascii=False) + "\n")
    if json:
        as_json(data)
        return 0
    for name, (header, *rows) in named.items():
        table(f"\n{name}", header, rows)
    took = duration(time.perf_counter() - began)
    print(f"\n{places.folder}/results-left-out.md and .json hold these tables; it took {took}.")
    return 0


def _facts(loaded: Loaded, bench: Bench, seconds: float) -> dict[str, Any]:
    return {
        "suite": loaded.name,
        "seconds": seconds,
        "precision": bench.base.precision,
        "test": hashes(bench.tests),
        "validation": hashes(bench.validation),
        "train": {t.name: read_note(Path(p)).get("lessons") for t, p in zip(bench.tests, bench.paths, strict=True)},
        "left_out": bench.left_out,
    }


def _plain(entry: dict[str, Any]) -> dict[str, Any]:
    return {key: vars(value) if hasattr(value, "low") else value for key, value in entry.items()}


def _write_down(
    places: Places, loaded: Loaded, bench: Bench, found: Sequence[dict[str, Any]], began: float
) -> dict[str, Any]:
    """Write what was found so far, so that nothing of it is lost; return it as data."""
    facts = _facts(loaded, bench, time.perf_counter() - began)
    data = {**facts, **as_data(bench.results), "choices": [_plain(entry) for entry in found]}
    parts = [f"# {loaded.name}", markdown(methods_table(bench.results))]
    parts += [markdown(choices_table(found))] if found else []
    parts.append(markdown(tasks_table(bench.results)))
    parts += [f"Left out: `{name}`: {why}" for name, why in bench.left_out.items()]
    write_whole(places.folder / "results.md", "\n\n".join(parts) + "\n")
    write_whole(places.folder / RESULTS, json_.dumps(data, indent=2, ensure_ascii=False) + "\n")
    write_whole(places.folder / "results.svg", figure(_pictured(bench.results), loaded.name))
    return data


def _pictured(results: Results) -> Results:
    """Return the rows of a picture: what merges are measured by, and the best four tuned merges."""
    fixed = [r for r in results.rows if "method" not in r.facts and not r.facts.get("choice")]
    tuned = [r for r in results.rows if r.facts.get("tuned")]
    best = sorted(tuned, key=lambda r: -sum(s.value for s in r.scores))[:4]
    return Results([*fixed, *best], results.specialists)


def _print(bench: Bench, found: Sequence[dict[str, Any]]) -> None:
    header, *rows = methods_table(bench.results)
    table("", header, rows)
    if any(row.name == YARDSTICK for row in bench.results.rows):
        print(f"gain: in points over '{YARDSTICK}', on the same examples")
    if found:
        header, *rows = choices_table(found)
        table("\ncoefficients of task_arithmetic, by data or by none", header, rows)
