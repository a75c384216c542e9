"""mergekit's plain recipes, as recipes of ours. What is not supported is refused by name, never ignored."""

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
    "dare_ties": {"density": 1.0, "trim": 1.0, "elect": "weighted", "tied": "positive"},
    "dare_linear": {"density": 1.0},
    "breadcrumbs": {"density": 1.0, "gamma": 0.01},
}
NORMALIZE = {"linear": True, "task_arithmetic": False, "ties": True, "dare_ties": False, "dare_linear": False,
             "breadcrumbs": False}  # fmt: skip
NUMBERS = {"ties": ("density",), "dare_ties": ("density",), "dare_linear": ("density",), "slerp": ("t",),
           "breadcrumbs": ("density", "gamma")}  # fmt: skip
NO_LAMBDA = ("linear", "slerp", "model_stock")
BASE_IS_A_MODEL = ("slerp",)


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
        self.notes: list[str] = []

    def run(self) -> tuple[Recipe, list[str]]:
        self._check_keys()
        name = self.data["merge_method"]
        shared = self.data.get("parameters") or {}
        entries = self._models(name)
        out: dict[str, Any] = {
            "method": name,
            "models": [{"model": m["model"], "weight": self._weight(name, i, m, shared)} for i, m in entries],
            "settings": self._settings(name, entries, shared),
            "dtype": self.data.get("out_dtype") or self.data.get("dtype"),
        }
        for (_, m), ours in zip(entries, out["models"], strict=True):
            ours["settings"] = {
                key: _plain(value)
                for key, value in (m.get("parameters") or {}).items()
                if key in NUMBERS.get(name, ()) and _plain(value) is not None
            }
        if METHODS[name].needs.space == "delta":
            out["base"] = self.data.get("base_model")
        out["overrides"] = self._overrides(name, entries, shared)
        if "lambda" in shared and name not in NO_LAMBDA:
            out["scale"] = self._last(shared["lambda"])
        out["tokenizer"] = self._tokenizer()
        self._note_definitions(name)
        return validate(Document(out, self.document.name, {})), self.notes

    def _refuse(self, path: Path, message: str) -> RecipeError:
        return RecipeError(f"{self.document.at(path)}: {message}")

    def _check_keys(self) -> None:
        for key in self.data:
            if key in NOT_YET:
                raise self._refuse((key,), f"mergekit's '{key}' is not supported yet.")
            if key not in TOP:
                raise self._refuse((key,), f"unknown key '{key}'.{suggest(key, TOP)}")
        name = self.data["merge_method"]
        if name not in METHODS:
            raise self._refuse(
                ("merge_method",),
                f"mergekit's method {name!r} is not supported yet.{suggest(name, METHODS)} "
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
            self._check_parameters(name, entry.get("parameters"), ("models", i, "parameters"))
        self._check_parameters(name, self.data.get("parameters"), ("parameters",))

    def _check_parameters(self, name: str, parameters: Any, path: Path) -> None:
        known = {"weight", *NUMBERS.get(name, ()), *WITHOUT_EFFECT}
        if path == ("parameters",):
            known |= {"normalize"} if name in NORMALIZE else set()
            known |= {"lambda"} if name not in NO_LAMBDA else set()
            known |= {"rescale"} if name.startswith("dare") else set()
            known |= {"filter_wise"} if name == "model_stock" else set()
        for key, value in (parameters or {}).items():
            if key not in known:
                raise self._refuse((*path, key), f"'{name}' has no parameter '{key}'.{suggest(key, known)}")
            if key == "filter_wise" and value:
                raise self._refuse((*path, key), "mergekit's 'filter_wise' is not supported yet.")
            if key in WITHOUT_EFFECT:
                self.notes.append(f"'{key}' has no effect here: masks take no memory.")

    def _models(self, name: str) -> list[tuple[int, dict[str, Any]]]:
        base = self.data.get("base_model")
        entries = list(enumerate(self.data["models"]))
        if METHODS[name].needs.space == "delta":
            if not base:
                raise self._refuse((), f"'{name}' needs 'base_model'.")
            return [(i, m) for i, m in entries if m["model"] != base]
        if name in BASE_IS_A_MODEL and base:
            first = [(i, m) for i, m in entries if m["model"] == base] or [(-1, {"model": base})]
            return first + [(i, m) for i, m in entries if m["model"] != base]
        return entries

    def _weight(self, name: str, i: int, entry: dict[str, Any], shared: dict[str, Any]) -> Any:
        if not METHODS[name].needs.weighted:
            return 1.0
        value = (entry.get("parameters") or {}).get("weight", shared.get("weight"))
        if value is None:
            raise self._refuse(("models", i), f"{entry['model']!r} has no 'weight', which '{name}' needs.")
        return self._last(value)

    def _settings(self, name: str, entries: list[tuple[int, dict[str, Any]]], shared: dict[str, Any]) -> dict[str, Any]:
        del entries
        out = dict(DEFAULTS.get(name, {}))
        normalize = shared.get("normalize", NORMALIZE.get(name))
        if name in ("linear", "task_arithmetic"):
            out["normalize"] = normalize
        elif name in ("ties", "dare_ties"):
            out["combine"] = "mean" if normalize else "sum"
        elif normalize:
            raise self._refuse(("parameters", "normalize"), f"'normalize' with '{name}' is not supported yet.")
        if "rescale" in shared:
            out["rescale"] = shared["rescale"]
        for key in NUMBERS.get(name, ()):
            if key in shared:
                out[key] = self._last(shared[key])
        return out

    def _last(self, value: Any) -> Any:
        """Return the value that holds where no filter applies; 1 where nothing is said of that."""
        if not _conditional(value):
            return value
        rest = [c.get("value") for c in _conditions(value) if c.get("filter") in (None, "*")]
        return rest[0] if rest else 1.0

    def _overrides(self, name: str, entries: list[tuple[int, dict[str, Any]]], shared: dict[str, Any]) -> list[Any]:
        filters: dict[str, None] = {}
        places: list[dict[str, Any]] = [shared, *((m.get("parameters") or {}) for _, m in entries)]
        for place in places:
            for value in place.values():
                for condition in _conditions(value):
                    if condition.get("filter") not in (None, "*"):
                        filters.setdefault(condition["filter"])
        # mergekit takes the first filter that matches; ours the last override. Hence the reversal.
        return [self._override(name, f, entries, shared) for f in reversed(filters)]

    def _override(self, name: str, f: str, entries: list[tuple[int, dict[str, Any]]], shared: dict[str, Any]) -> Any:
        out: dict[str, Any] = {"match": f"*{f}*"}
        settings = {k: _under(shared[k], f) for k in NUMBERS.get(name, ()) if k in shared and _conditional(shared[k])}
        for _, m in entries:
            if odd := [k for k, v in (m.get("parameters") or {}).items() if _conditional(v) and k != "weight"]:
                raise self._refuse(("models",), f"a filter on a model's own '{odd[0]}' is not supported yet.")
        if settings:
            out["settings"] = settings
        weights = [(m.get("parameters") or {}).get("weight", shared.get("weight")) for _, m in entries]
        if METHODS[name].needs.weighted and any(_conditional(w) for w in weights):
            out["weights"] = [_under(w, f) for w in weights]
        if _conditional(shared.get("lambda")):
            out["scale"] = _under(shared["lambda"], f)
        return out

    def _tokenizer(self) -> str:
        source = self.data.get("tokenizer_source")
        if source in (None, "base"):
            return "base"
        if source == "union" or not isinstance(source, str):
            raise self._refuse(("tokenizer_source",), f"mergekit's 'tokenizer_source: {source}' is not supported yet.")
        return source

    def _note_definitions(self, name: str) -> None:
        notes = {
            "ties": "entries that tie exactly at the threshold are all kept; mergekit keeps an arbitrary part of them.",
            "dare_linear": "kept entries are divided by their probability; mergekit restores each tensor's L1 norm.",
            "dare_ties": "kept entries are divided by their probability; mergekit restores each tensor's L1 norm.",
            "breadcrumbs": "gamma·n is rounded to the nearest count; mergekit rounds down.",
            "model_stock": "the ratio is clamped to [0, 1] and free of scale; mergekit's is neither.",
            "slerp": "the arc is taken at any angle; mergekit takes the straight line above a cosine of 0.9995.",
        }
        if name in notes:
            self.notes.append(f"{name}: {notes[name]}")
        self.notes.append("arithmetic is float32 whatever 'dtype' says; 'dtype' (or 'out_dtype') is what is stored.")


def _conditions(value: Any) -> list[dict[str, Any]]:
    if isinstance(value, dict):
        return [value]
    return [v for v in value if isinstance(v, dict)] if isinstance(value, list) else []


def _conditional(value: Any) -> bool:
    return bool(_conditions(value))


def _plain(value: Any) -> Any:
    return None if _conditional(value) else value


def _under(value: Any, f: str) -> Any:
    """Return what a value is for names that a filter matches."""
    if not _conditional(value):
        return value
    for condition in _conditions(value):
        if condition.get("filter") in (None, "*", f):
            return condition["value"]
    return 1.0
