"""Write the generated pages of docs/, or with --check say which are stale (exit status 1).

    python scripts/make_docs.py
    python scripts/make_docs.py --check

Generated: docs/methods/index.md and a page a method, docs/cli.md, docs/api.md, docs/recipe.schema.json. What people
write by hand for the pages of methods lies in docs/methods/_notes/.
"""

import inspect
import io
import re
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console

import taskvec
from taskvec.cli.app import app, command_table
from taskvec.errors import TaskVecError
from taskvec.merge import METHODS, Method
from taskvec.merge.registry import Setting
from taskvec.recipe.curved_checks import ESTIMATORS
from taskvec.recipe.schema import json_schema

ROOT = Path(__file__).resolve().parent.parent
DOCS = ROOT / "docs"
NOTES = DOCS / "methods" / "_notes"
HELP_WIDTH = 110

BY_HAND = {
    "METHODS": "The table of merge methods: name → `Method`.",
    "__version__": "The version of the package, as text.",
}
"""Public names that are plain values and carry no docstring."""

LAWS = {
    "any_order": "Listing the models in another order gives the same merge, up to the rounding of float32 sums.",
    "idempotent": "Merging a model with itself gives that model.",
    "homogeneous": "Task vectors c times as long, c > 0, give a merged task vector c times as long.",
    "odd": "The opposite task vector gives the opposite merged task vector.",
    "linear": "The merge of sums is the sum of the merges.",
}

STATUSES = {
    0: "done",
    1: "a bug of ours; a traceback is printed",
    2: "the recipe or the command asks for something that does not exist or cannot be done",
    3: "a file cannot be read or written, or files do not belong together",
    4: "the numbers themselves are wrong: NaN, Inf, an overflow",
    130: "interrupted (Ctrl-C); the same command continues, or says that it starts anew",
}


@dataclass
class Docstring:
    """A method's docstring, taken apart."""

    summary: str
    formula: str = ""
    remarks: dict[str, str] = field(default_factory=dict)
    arguments: dict[str, str] = field(default_factory=dict)
    example: str = ""


def take_apart(function: Any) -> Docstring:
    """Split a docstring into its summary, formula, `Label: text` remarks, arguments and example."""
    blocks = (inspect.getdoc(function) or "").split("\n\n")
    out = Docstring(_joined(blocks[0]))
    for block in blocks[1:]:
        if block.startswith(">>>"):
            out.example = block
        elif block.startswith("Args:"):
            out.arguments = _labelled(inspect.cleandoc(block.removeprefix("Args:")))
        elif block.startswith("    "):
            out.formula = inspect.cleandoc(block)
        else:
            out.remarks |= _labelled(block)
    return out


def _labelled(text: str) -> dict[str, str]:
    """Return label → text of lines such as `Label: text`, whose further lines are indented."""
    out: dict[str, str] = {}
    label = ""
    for line in text.splitlines():
        if match := re.match(r"(\w+):\s+(.*)", line):
            label = match[1]
            out[label] = match[2]
        else:
            out[label] = f"{out[label]} {line.strip()}"
    return out


def _joined(text: str) -> str:
    return " ".join(text.split())


def method_page(method: Method) -> str:
    """Return the page of one method."""
    doc = take_apart(method.function)
    lines = [f"# {method.name}", "", doc.summary, "", f"Source: {method.paper}.", ""]
    lines += ["```text", doc.formula, "```", ""]
    lines += [f"- **{label}:** {text}" for label, text in doc.remarks.items()]
    lines += ["", "## What it needs", "", *(f"- {line}" for line in _needs(method)), ""]
    lines += ["## Settings", "", *_settings(method, doc), ""]
    lines += ["## What is promised", "", *(f"- `{law}`: {LAWS[law]}" for law in method.laws)]
    lines += [f"- {WHOLE_BYTES if method.needs.scope == 'tensor' else BYTES}", ""]
    lines += ["## In a recipe", "", "```yaml", *_recipe(method), "```", ""]
    lines += ["## From the shell", "", "```bash", _shell(method), "```", ""]
    lines += ["## In Python", "", "```python", *_imports(method, doc.example), ""]
    lines += [_example(doc.example), "```", ""]
    lines += ["numpy arrays and torch tensors are both taken.", ""]
    lines += ["## Same name elsewhere", "", (NOTES / f"{method.name}.md").read_text("utf-8").strip(), ""]
    return _page(lines)


BYTES = "Slices, shards and threads do not change a byte of the result."
WHOLE_BYTES = (
    "Slices and shards do not change a byte of the result. The library of linear algebra, and how many threads it has "
    "for a matrix, may change it by a rounding."
)


USED = {
    "Measured": "from taskvec.merge.curvature import Measured",
    "Diagonal": "from taskvec.ops.metric import Diagonal",
    "Kronecker": "from taskvec.ops.metric import Kronecker",
}
"""Names that examples use beside the method's own, and where they are from."""


def _imports(method: Method, example: str) -> list[str]:
    used = [line for name, line in USED.items() if f"{name}(" in example]
    return ["import numpy as np", f"from taskvec import {method.name}", *used]


def _example(text: str) -> str:
    """Turn a doctest into code, with what it prints as comments."""
    out = []
    for line in text.splitlines():
        if line.startswith((">>> ", "... ")):
            out.append(line[4:])
        else:
            out.append(f"# {line}")
    return "\n".join(line for line in out if line != "import numpy as np")


def _needs(method: Method) -> list[str]:
    needs = method.needs
    if needs.space == "delta":
        space = "It merges **task vectors** (fine-tuned minus base): it needs a `base`."
        space += "" if needs.curvature else " A model may be a saved `.tv` file."
    elif needs.space == "either":
        space = "With a `base` it merges **task vectors** (fine-tuned minus base), without one **whole models**."
    else:
        space = "It merges **whole models**: no `base`, no `scale`, no `.tv` files."
    models = f"It takes {needs.models} model{'' if needs.models == '1' else 's'}."
    weights = "Each model may have a `weight`." if needs.weighted else "No weights: a `weight` is refused."
    reads = (
        "Before they are merged, the inputs are read to find " + " and ".join(f"`{n}`" for n in needs.statistics) + "."
        if needs.statistics
        else "The inputs are read once."
        if needs.scope != "tensor"
        else "A model's matrix is read whenever its turn comes: once, or twice where the docs say so."
    )
    chance = "It draws random numbers from the recipe's `seed`." if needs.chance else "Nothing in it is random."
    memory = {
        "entry": "Any slice of a tensor will do, so memory does not grow with the model.",
        "row": "It works on whole rows, as many at a time as memory allows, so memory does not grow with the model.",
        "tensor": _whole(method),
    }[needs.scope]
    return [space, models, weights, *_statistics(method), reads, chance, memory]


def _statistics(method: Method) -> list[str]:
    """Say which statistics measured on data it needs."""
    needs = method.needs
    if not needs.curvature:
        return []
    kinds = " or ".join(f"`{kind}`" for kind in needs.curvature)
    estimators = ", ".join(f"`--estimator {ESTIMATORS[kind]}`" for kind in needs.curvature)
    whose = "every model and of the base" if needs.base_curvature else "every model"
    return [
        f"It needs [statistics](../recipes.md#statistics-of-models) of {whose}, measured on data: of the kind {kinds} "
        f"(`taskvec curvature`, {estimators})."
    ]


def _whole(method: Method) -> str:
    needs, usual = method.needs, method.check({})
    grows = needs.holds(9, 64, 64, usual) > 1.5 * needs.holds(2, 64, 64, usual)
    how = "all models at once" if grows else "one model after the other"
    size = "the largest matrix and the number of models" if grows else "the largest matrix"
    return f"It takes whole matrices, {how}: memory grows with {size}."


def _settings(method: Method, doc: Docstring) -> list[str]:
    if not method.settings:
        return ["None."]
    rows = ["| setting | default | may be | what it does |", "| --- | --- | --- | --- |"]
    for setting in method.settings.values():
        meaning = doc.arguments[setting.name].rstrip(".")
        rows.append(f"| `{setting.name}` | `{_yaml(setting.default)}` | {_may_be(setting)} | {meaning} |")
    return rows


def _may_be(setting: Setting) -> str:
    where = "; for all models or under each" if setting.per_task else ""
    return setting.expected() + where


def _yaml(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _recipe(method: Method) -> list[str]:
    lines = [f"method: {method.name}"]
    delta, weighted = method.needs.takes_base, method.needs.weighted
    lines += ["base: ./base"] if delta else []
    lines += ["models:"]
    for name in _folders(method):
        lines += [f"  - model: ./{name}", *(["    weight: 1.0"] if weighted else [])]
        lines += [f"    statistics: ./stats/{name}"] if method.needs.curvature else []
    lines += ["statistics: ./stats/base"] if method.needs.base_curvature else []
    if method.settings:
        lines += ["settings:", *(f"  {s.name}: {_yaml(s.default)}" for s in method.settings.values())]
    return lines + (["scale: 1.0"] if delta else [])


def _folders(method: Method) -> tuple[str, ...]:
    return ("math", "code")[: method.needs.tasks.stop - 1]


def _shell(method: Method) -> str:
    if method.needs.curvature:
        return "taskvec merge recipe.yaml -o merged"
    base = " --base ./base" if method.needs.takes_base else ""
    models = " ".join(f"./{name}" for name in _folders(method))
    first = next(iter(method.settings.values()), None)
    change = f" --set settings.{first.name}={_yaml(first.default)}" if first else ""
    return f"taskvec merge --method {method.name}{base} {models} -o merged{change}"


def methods_page() -> str:
    """Return the table of methods, and how to choose."""
    lines = ["# Merge methods", "", "| method | merges | models | passes | what it does |"]
    lines += ["| --- | --- | --- | --- | --- |"]
    for name in sorted(METHODS):
        m = METHODS[name]
        space = {"delta": "task vectors", "weight": "models", "either": "either"}[m.needs.space]
        passes = 2 if m.needs.searches(m.check({})) else 1
        lines.append(f"| [{name}]({name}.md) | {space} | {m.needs.models} | {passes} | {m.summary} |")
    lines += ["", "The same table in the shell: `taskvec methods`; one method in full: `taskvec show ties`.", ""]
    lines += [(NOTES / "how-to-choose.md").read_text("utf-8").strip()]
    return _page(lines)


def cli_page() -> str:
    """Return every command's --help, and the exit statuses."""
    lines = ["# The command line", "", "What `taskvec --help` and every command's `--help` print.", ""]
    lines += ["```text", help_of([]), "```", ""]
    for name in command_table():
        lines += [f"## taskvec {name}", "", "```text", help_of(name.split()), "```", ""]
    lines += ["## Exit statuses", "", "| status | meaning | exceptions |", "| --- | --- | --- |"]
    for status, meaning in STATUSES.items():
        names = ", ".join(f"`{c.__name__}`" for c in _errors() if c.exit_status == status and status > 1)
        lines.append(f"| {status} | {meaning} | {names or '–'} |")
    lines += ["", "Messages go to the error stream, one sentence or two, without a traceback.", ""]
    lines += ["## Environment", "", "| variable | what it does |", "| --- | --- |"]
    lines += ["| `TASKVEC_DEBUG=1` | prints the traceback of every error |"]
    lines += ["| `TASKVEC_KERNELS=plain` | does not use the compiled kernels; the result is the same bytes, later |"]
    return _page(lines)


def help_of(command: list[str]) -> str:
    """Return what --help prints, whatever the terminal."""
    text = io.StringIO()
    console = Console(file=text, width=HELP_WIDTH, color_system=None, force_terminal=False, legacy_windows=False)
    app.help_print(command, console=console)
    return "\n".join(line.rstrip() for line in text.getvalue().strip().splitlines())


def _errors() -> list[type[TaskVecError]]:
    found = [getattr(taskvec, name) for name in taskvec.__all__]
    return [x for x in found if inspect.isclass(x) and issubclass(x, TaskVecError)]


def api_page() -> str:
    """Return the table of public names."""
    errors = {c.__name__ for c in _errors()}
    rest = [n for n in taskvec.__all__ if n not in errors and n not in METHODS]
    lines = ["# Python", "", "`import taskvec as tv`. What is not listed here may change without notice.", ""]
    lines += ["## Functions and classes", "", "| name | what it is |", "| --- | --- |"]
    lines += [f"| `{_call(name)}` | {_first_sentence(name)} |" for name in rest]
    lines += ["", "## Merge methods", "", "Functions of arrays; see [their pages](methods/index.md).", ""]
    lines += ["| name | what it does |", "| --- | --- |"]
    lines += [f"| [`{n}`](methods/{n}.md) | {_first_sentence(n)} |" for n in taskvec.__all__ if n in METHODS]
    lines += ["", "## Exceptions", "", "| name | exit status | what it means |", "| --- | --- | --- |"]
    lines += [f"| `{c.__name__}` | {c.exit_status} | {_first_sentence(c.__name__)} |" for c in _errors()]
    return _page(lines)


def _call(name: str) -> str:
    value = getattr(taskvec, name)
    if not inspect.isfunction(value):
        return name
    parameters = inspect.signature(value).parameters.values()
    shown, starred = [], False
    for p in parameters:
        if p.kind is p.KEYWORD_ONLY and not starred:
            shown.append("*")
            starred = True
        default = "…" if callable(p.default) else repr(p.default)
        shown.append(p.name if p.default is p.empty else f"{p.name}={default}")
    return f"{name}({', '.join(shown)})"


def _first_sentence(name: str) -> str:
    if name in BY_HAND:
        return BY_HAND[name]
    text = _joined((inspect.getdoc(getattr(taskvec, name)) or "").split("\n\n")[0])
    return re.split(r"(?<=\.)\s", text)[0].replace("|", "\\|")


def _page(lines: list[str]) -> str:
    return "\n".join(lines).rstrip() + "\n"


def pages() -> dict[Path, str]:
    """Return path → text of everything that is generated."""
    out = {DOCS / "methods" / f"{name}.md": method_page(METHODS[name]) for name in sorted(METHODS)}
    out[DOCS / "methods" / "index.md"] = methods_page()
    out[DOCS / "cli.md"] = cli_page()
    out[DOCS / "api.md"] = api_page()
    out[DOCS / "recipe.schema.json"] = json_schema()
    return out


def stale() -> list[str]:
    """Return what is wrong with the generated pages on disk, a line each."""
    wanted = pages()
    out = []
    for path, text in wanted.items():
        if not path.is_file():
            out.append(f"{path.relative_to(ROOT)} is missing.")
        elif path.read_text("utf-8") != text:
            out.append(f"{path.relative_to(ROOT)} is stale.")
    orphans = [p for p in sorted((DOCS / "methods").glob("*.md")) if p not in wanted]
    return out + [f"{p.relative_to(ROOT)} is of no method." for p in orphans]


def main(arguments: list[str]) -> int:
    """Write the pages, or check them."""
    if arguments not in ([], ["--check"]):
        print(f"unknown arguments {' '.join(arguments)!r}. Known: --check.", file=sys.stderr)
        return 2
    if arguments:
        wrong = stale()
        print("\n".join([*wrong, "Type: python scripts/make_docs.py"] if wrong else ["docs are fresh."]))
        return 1 if wrong else 0
    for path, text in pages().items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, "utf-8")
        print(path.relative_to(ROOT))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
