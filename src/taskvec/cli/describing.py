"""`taskvec methods` and `taskvec show`."""

import inspect
import re
import sys
from typing import Any

from ..merge import METHODS, Method, find
from ..recipe.curved_checks import ESTIMATORS
from .show import as_json, table, width, wrapped

LABEL = re.compile(r"[A-Z]\w*: +")
"""How a paragraph of a method's documentation begins, e.g. `Shape: `."""


def facts(method: Method) -> dict[str, Any]:
    """Return what is known of a method, in plain data."""
    return {
        "name": method.name,
        "summary": method.summary,
        "space": method.needs.space,
        "models": method.needs.models.replace(" or more", "+"),
        "weighted": method.needs.weighted,
        "random": method.needs.chance,
        "statistics": list(method.needs.curvature),
        "passes": 2 if method.needs.searches(method.check({})) else 1,
        "settings": {s.name: {"default": s.default, "expected": s.expected()} for s in method.settings.values()},
        "paper": method.paper,
    }


def methods(json: bool) -> int:
    """Print the table of methods."""
    rows = [facts(METHODS[name]) for name in sorted(METHODS)]
    if json:
        as_json(rows)
        return 0
    columns = ["method", "merges", "models", "passes", "what it does"]
    table("", columns, [[r["name"], r["space"], r["models"], str(r["passes"]), r["summary"]] for r in rows])
    return 0


def show(name: str, json: bool) -> int:
    """Print one method's documentation."""
    method = find(name)
    if json:
        as_json(facts(method))
        return 0
    print(fitted(f"{method.name}: {inspect.getdoc(method.function)}\n\nSource: {method.paper}\n", width(sys.stdout)))
    print()
    if method.needs.curvature:
        print(wrapped(_statistics(method), width(sys.stdout), "", "") + "\n")
    rows = [[s.name, str(s.default), s.expected()] for s in method.settings.values()]
    if rows:
        table("settings", ["name", "default", "may be"], rows)
    return 0


def _statistics(method: Method) -> str:
    """Say which statistics a method needs, and what makes them."""
    kinds = ", ".join(f"{kind} (--estimator {ESTIMATORS[kind]})" for kind in method.needs.curvature)
    whose = "every model and of the base" if method.needs.base_curvature else "every model"
    return f"Statistics of {whose}, made by `taskvec curvature`: {kinds}."


def fitted(text: str, columns: int) -> str:
    r"""Return a method's documentation with its paragraphs and formulas broken where they are too wide.

    >>> print(fitted("Zero: an entry that nobody kept\n      comes out as 0.", 30))
    Zero: an entry that nobody
          kept comes out as 0.
    """
    blocks: list[list[str]] = []
    for line in text.splitlines():
        if blocks and _continues(line, blocks[-1]):
            blocks[-1].append(line)
        else:
            blocks.append([line])
    return "\n".join(_fitted_block(block, columns) for block in blocks)


def _continues(line: str, block: list[str]) -> bool:
    """Tell whether a line goes on with a paragraph: it stands deeper, or has no depth and begins nothing."""
    head, depth = block[0], len(line) - len(line.lstrip())
    if not line or not head or head.startswith(">>>") or head.endswith(":"):
        return False
    begins = LABEL.match(line) or line.startswith(">>>")
    return depth > len(head) - len(head.lstrip()) or not (depth or head[0] == " " or begins)


def _fitted_block(block: list[str], columns: int) -> str:
    head = block[0].lstrip()
    if max(map(len, block)) <= columns or head.startswith(">>>"):
        return "\n".join(block)
    depth = len(block[0]) - len(head)
    label = LABEL.match(head)
    later = " " * (len(label[0]) if label and not depth else depth + 4 if depth else 0)
    if len(block) == 1 and depth and (remark := re.search(r" {3,}(?=\S)", head)):
        return "\n".join([
            wrapped(head[: remark.start()], columns, " " * depth, later),
            wrapped(head[remark.end() :], columns, later, later),
        ])  # fmt: skip
    return wrapped(" ".join([head, *(line.strip() for line in block[1:])]), columns, " " * depth, later)
