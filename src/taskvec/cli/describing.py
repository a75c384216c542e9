"""`taskvec methods` and `taskvec show`."""

import inspect
from typing import Any

from ..merge import METHODS, Method, find
from .show import as_json, table


def facts(method: Method) -> dict[str, Any]:
    """Return what is known of a method, in plain data."""
    return {
        "name": method.name,
        "summary": method.summary,
        "space": method.needs.space,
        "models": method.needs.models.replace(" or more", "+"),
        "weighted": method.needs.weighted,
        "random": method.needs.chance,
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
    print(f"{method.name}: {inspect.getdoc(method.function)}\n")
    print(f"Source: {method.paper}\n")
    rows = [[s.name, str(s.default), s.expected()] for s in method.settings.values()]
    if rows:
        table("settings", ["name", "default", "may be"], rows)
    return 0
