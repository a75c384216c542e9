"""mergekit's plain recipes, as recipes of ours. What is not supported is refused by name, never ignored."""

from glob import escape
from typing import Any

from ..errors import RecipeError
from ..merge import METHODS
from ..merge.registry import suggest
from .schema import Recipe, validate
from .yaml_lines import Document, Path

TOP = ("merge_method", "models", "base_model", "parameters", "dtype", "out_dtype", "tokenizer_source")
NOT_YET = ("slices", "modules", "tokenizer", "chat_template")
WITHOUT_EFFECT = ("int8_mask",)
DEFAULTS: dict[str, dict[str, Any]] = {
    "ties": {"density": 1.0, "scope": "tensor", "elect": "weighted", "tied": "positive"},
    "dare_ties": {"density": 1.0, "trim": 1.0, "scope": "tensor", "elect": "weighted", "tied": "positive"},
    "dare_linear": {"density": 1.0},
    "breadcrumbs": {"density": 1.0, "gamma": 0.01},
}
NORMALIZE = {"linear": True, "task_arithmetic": False, "ties": True, "dare_ties": False, "dare_linear": False,
             "breadcrumbs": False}  # fmt: skip
NUMBERS = {"ties": ("density",), "dare_ties": ("density",), "dare_linear": ("density",), "slerp": ("t",),
           "breadcrumbs": ("density", "gamma")}  # fmt: skip
NO_LAMBDA = ("linear", "slerp", "model_stock")
BASE_IS_A_MODEL = ("slerp",)
RESCALES = ("dare_linear", "dare_ties")

Chain = list[tuple[str | None, Any]]
"""(filter, value) in the order of precedence; the last has no filter and holds for every other tensor."""


def is_mergekit(data: Any) -> bool:
    """Tell a recipe in mergekit's form."""
    return isinstance(data, dict) and "merge_method" in data


def translate(document: Document) -> tuple[Recipe, list[str]]:
    """Return the same merge as a recipe of ours, and notes where the result will differ from mergekit's.

    Raises:
        RecipeError: a key, method or parameter that is unknown or not supported yet; with file and line.
    """
    return _Translation(document).run()


class _Translation:
    def __init__(self, document: Document) -> None:
        self.document = document
        self.data: dict[str, Any] = document.data
        self.name = self.data["merge_method"]
        self.notes: list[str] = []
        self.lines: dict[Path, int] = {}

    def run(self) -> tuple[Recipe, list[str]]:
        self._check_keys()
        needs = METHODS[self.name].needs
        entries = self._models()
        out: dict[str, Any] = {"method": self.name, "overrides": [], "tokenizer": self._tokenizer()}
        out["models"] = [{"model": m["model"], "settings": self._own(at, i, m)} for at, (i, m) in enumerate(entries)]
        out["settings"] = self._flags()
        for key in NUMBERS.get(self.name, ()):
            self._number(key, out)
        if "lambda" in self._parameters():
            self._lambda(out)
        if needs.weighted:
            self._weights(entries, out)
        if needs.takes_base and self.data.get("base_model"):
            out["base"] = self.data["base_model"]
        stored = "out_dtype" if self.data.get("out_dtype") else "dtype"
        out["dtype"] = self.data.get(stored)
        self._stands(("dtype",), (stored,))
        self._note_definitions()
        return validate(Document(out, self.document.name, self.lines)), self.notes

    def _refuse(self, path: Path, message: str) -> RecipeError:
        return RecipeError(f"{self.document.at(path)}: {message}")

    def _stands(self, ours: Path, theirs: Path) -> None:
        """Remember the line of what a key of ours came from, for the messages of our own checks."""
        self.lines[ours] = int(self.document.at(theirs).rpartition(":")[2])

    def _parameters(self, entry: dict[str, Any] | None = None) -> dict[str, Any]:
        return (self.data if entry is None else entry).get("parameters") or {}

    def _check_keys(self) -> None:
        for key in self.data:
            if key in NOT_YET:
                raise self._refuse((key,), f"mergekit's '{key}' is not supported yet.")
            if key not in TOP:
                raise self._refuse((key,), f"unknown key '{key}'.{suggest(key, TOP)}")
        if self.name not in METHODS:
            raise self._refuse(
                ("merge_method",),
                f"mergekit's method {self.name!r} is not supported yet.{suggest(self.name, METHODS)} "
                f"Supported: {', '.join(sorted(METHODS))}.",
            )
        if not isinstance(self.data.get("models"), list) or not self.data["models"]:
            raise self._refuse((), "'models' must list the models to merge.")
        for i, entry in enumerate(self.data["models"]):
            if not isinstance(entry, dict) or not isinstance(entry.get("model"), str):
                raise self._refuse(("models", i), "each of 'models' must have a 'model'.")
            if unknown := [key for key in entry if key not in ("model", "parameters")]:
                raise self._refuse(("models", i, unknown[0]), f"unknown key '{unknown[0]}'.")
            if "+" in entry["model"]:
                raise self._refuse(("models", i), f"{entry['model']!r} adds an adapter, which is not supported yet.")
            self._check_parameters(entry.get("parameters"), ("models", i, "parameters"))
        self._check_parameters(self.data.get("parameters"), ("parameters",))

    def _check_parameters(self, parameters: Any, path: Path) -> None:
        if not isinstance(parameters or {}, dict):
            raise self._refuse(path, f"'parameters' must be a mapping from names to values, got {parameters!r}.")
        known = {*NUMBERS.get(self.name, ()), *WITHOUT_EFFECT}
        known |= {"weight"} if METHODS[self.name].needs.weighted else set()
        if path == ("parameters",):
            known |= {"normalize"} if self.name in NORMALIZE else set()
            known |= {"lambda"} if self.name not in NO_LAMBDA else set()
            known |= {"rescale"} if self.name in NORMALIZE and self.name != "linear" else set()
            known |= {"filter_wise"} if self.name == "model_stock" else set()
        for key, value in (parameters or {}).items():
            if key not in known:
                raise self._refuse((*path, key), f"'{self.name}' has no parameter '{key}'.{suggest(key, known)}")
            if key == "filter_wise" and value:
                raise self._refuse((*path, key), "mergekit's 'filter_wise' is not supported yet.")
            note = f"'{key}' has no effect here: masks take no memory."
            if key in WITHOUT_EFFECT and note not in self.notes:
                self.notes.append(note)

    def _models(self) -> list[tuple[int, dict[str, Any]]]:
        """Return the models that are merged, and at which place of theirs each stands."""
        base = self.data.get("base_model")
        entries = list(enumerate(self.data["models"]))
        if METHODS[self.name].needs.space == "delta":
            if not base:
                raise self._refuse((), f"'{self.name}' needs 'base_model'.")
            return [(i, m) for i, m in entries if m["model"] != base]
        if base and self.name in BASE_IS_A_MODEL:
            first = [(i, m) for i, m in entries if m["model"] == base] or [(-1, {"model": base})]
            return first + [(i, m) for i, m in entries if m["model"] != base]
        if base and all(m["model"] != base for _, m in entries):
            raise self._refuse(
                ("base_model",),
                f"'base_model' is not among 'models', and '{self.name}' has no other use for a base. Remove it.",
            )
        return entries

    def _own(self, at: int, i: int, entry: dict[str, Any]) -> dict[str, Any]:
        """Return a model's own settings."""
        own = {key: value for key, value in self._parameters(entry).items() if key in NUMBERS.get(self.name, ())}
        for key, value in own.items():
            path = ("models", i, "parameters", key)
            if self._conditions(path, value)[0] != (None, value):
                raise self._refuse(path, f"a filter on a model's own '{key}' is not supported yet.")
            self._stands(("models", at, "settings", key), path)
        return own

    def _flags(self) -> dict[str, Any]:
        """Return the settings that are one for all tensors."""
        out = dict(DEFAULTS.get(self.name, {}))
        normalize = self._flag("normalize", NORMALIZE.get(self.name, False))
        if self.name in ("linear", "task_arithmetic"):
            out["normalize"] = normalize
        elif self.name in ("ties", "dare_ties"):
            out["combine"] = "mean" if normalize else "sum"
        elif normalize:
            raise self._not_yet_with("normalize")
        rescale = self._flag("rescale", self.name in RESCALES)
        if self.name in RESCALES:
            out["rescale"] = rescale
        elif rescale:
            raise self._not_yet_with("rescale")
        return out

    def _flag(self, key: str, default: bool) -> bool:
        value = self._parameters().get(key, default)
        if not isinstance(value, bool):
            raise self._refuse(("parameters", key), f"'{key}' must be true or false, got {value!r}.")
        return value

    def _not_yet_with(self, key: str) -> RecipeError:
        return self._refuse(("parameters", key), f"'{key}' with '{self.name}' is not supported yet.")

    def _chain(self, key: str, default: Any, *places: Path) -> Chain:
        """Return what a parameter is under which filter, from the places that may say it, the nearest first.

        mergekit takes the first filter that occurs in a tensor's name, then looks in the next place.
        """
        chain: Chain = []
        for place in places:
            entry = None if len(place) == 1 else self.data["models"][place[1]]
            if (value := self._parameters(entry).get(key)) is not None:
                chain += self._conditions((*place, key), value)
        chain += [] if default is None else [(None, default)]
        for at, (name, _) in enumerate(chain):
            if name is None:
                return chain[: at + 1]
        if chain:
            where = next(p for p in places if self.document.lines.get((*p, key)))
            raise self._refuse((*where, key), f"'{key}' has filters but no value for the other tensors.")
        return []

    def _conditions(self, path: Path, value: Any) -> Chain:
        items = value if isinstance(value, list) else [value]
        if not any(isinstance(item, dict) for item in items):
            return [(None, value)]
        out: Chain = []
        for item in items:
            given = item if isinstance(item, dict) else {}
            if odd := [key for key in given if key not in ("filter", "value")]:
                raise self._refuse(path, f"unknown key '{odd[0]}'.{suggest(odd[0], ('filter', 'value'))}")
            if "value" not in given:
                raise self._refuse(path, f"a filter of '{path[-1]}' has no 'value'.")
            out.append((None if given.get("filter") in (None, "*") else str(given["filter"]), given["value"]))
        return out

    def _number(self, key: str, out: dict[str, Any]) -> None:
        chain = self._chain(key, DEFAULTS.get(self.name, {}).get(key), ("parameters",))
        if not chain:
            raise self._refuse((), f"'{self.name}' needs the parameter '{key}'.")
        out["settings"][key] = chain[-1][1]
        self._stands(("settings", key), ("parameters", key))
        for name, value in reversed(chain[:-1]):
            self._stands(("overrides", len(out["overrides"])), ("parameters", key))
            out["overrides"].append({"match": _glob(name), "settings": {key: value}})

    def _lambda(self, out: dict[str, Any]) -> None:
        chain = self._chain("lambda", 1.0, ("parameters",))
        out["scale"] = chain[-1][1]
        self._stands(("scale",), ("parameters", "lambda"))
        for name, value in reversed(chain[:-1]):
            self._stands(("overrides", len(out["overrides"])), ("parameters", "lambda"))
            out["overrides"].append({"match": _glob(name), "scale": value})

    def _weights(self, entries: list[tuple[int, dict[str, Any]]], out: dict[str, Any]) -> None:
        chains = [self._chain("weight", None, ("models", i, "parameters"), ("parameters",)) for i, _ in entries]
        filters: list[str | None] = []
        for at, ((i, entry), chain) in enumerate(zip(entries, chains, strict=True)):
            if not chain:
                raise self._refuse(("models", i), f"{entry['model']!r} has no 'weight', which '{self.name}' needs.")
            mine = [name for name, _ in chain[:-1]]
            if mine and filters and mine != filters:
                raise self._refuse(
                    ("models", i, "parameters", "weight"),
                    "models whose weights have different filters are not supported yet.",
                )
            filters = mine or filters
            out["models"][at]["weight"] = chain[-1][1]
            self._stands(("models", at, "weight"), ("models", i, "parameters", "weight"))
        # mergekit takes the first filter that matches; ours the last override. Hence the reversal.
        for at, name in reversed(list(enumerate(filters))):
            weights = [chain[at if len(chain) > 1 else -1][1] for chain in chains]
            out["overrides"].append({"match": _glob(name), "weights": weights})

    def _tokenizer(self) -> str:
        source = self.data.get("tokenizer_source")
        if source in (None, "base"):
            return "base"
        if source == "union" or not isinstance(source, str):
            raise self._refuse(("tokenizer_source",), f"mergekit's 'tokenizer_source: {source}' is not supported yet.")
        return source

    def _note_definitions(self) -> None:
        notes = {
            "ties": "entries that tie exactly at the threshold are all kept, mergekit keeps an arbitrary part of "
            "them; a negative weight negates its task, which mergekit's normalisation undoes.",
            "dare_linear": "kept entries are divided by their probability; mergekit restores each tensor's L1 norm.",
            "dare_ties": "kept entries are divided by their probability; mergekit restores each tensor's L1 norm.",
            "breadcrumbs": "the gamma·n largest entries are always dropped, gamma·n rounded to the nearest count; "
            "mergekit rounds down, and drops fewer where density + gamma exceeds 1.",
            "model_stock": "the ratio is clamped to [0, 1] and free of scale; mergekit's is neither.",
            "slerp": "the arc is taken at any angle; mergekit takes the straight line above a cosine of 0.9995.",
        }
        if self.name in notes:
            self.notes.append(f"{self.name}: {notes[self.name]}")
        self.notes.append("arithmetic is float32 whatever 'dtype' says; 'dtype' (or 'out_dtype') is what is stored.")


def _glob(name: str | None) -> str:
    """Return the glob of all names that hold a filter's text."""
    return f"*{escape(name or '')}*"
