"""From mergekit's form to ours, parameter by parameter."""

from collections.abc import Sequence
from typing import Any

from ...merge import METHODS
from ...merge.registry import suggest
from ..schema import TYPES, VOCABULARY_RULES, Recipe, meant_type, validate
from ..yaml_lines import Document, Path
from .conditions import UNSAID, Chain, chain, glob, moved, names_layers
from .reading import KNOWN, MODEL, SLICE, TOKENIZER, TOP, Group, Reader, Source
from .tables import EVERYWHERE, SPECS, Parameter, Spec

Said = dict[str, Any]

FLOAT32 = "arithmetic is float32 whatever 'dtype' says; 'dtype' (or 'out_dtype') is what is stored."


def translate(document: Document) -> tuple[Recipe, list[str]]:
    """Return the same merge as a recipe of ours, and notes where the result will differ from mergekit's.

    Raises:
        RecipeError: a key, method or parameter that is unknown or not supported; with file and line.
    """
    return _Translation(document).run()


class _Translation:
    def __init__(self, document: Document) -> None:
        self.document = document
        self.read = Reader(document)
        self.name = str(document.data["merge_method"])
        self.lines: dict[Path, int] = {}

    def run(self) -> tuple[Recipe, list[str]]:
        groups = self.read.groups()
        if self.name not in SPECS:
            raise self.read.refuse(
                ("merge_method",),
                f"mergekit has no method {self.name!r}.{suggest(self.name.lower(), SPECS)} Known: {', '.join(SPECS)}.",
            )
        self.spec: Spec = SPECS[self.name]
        self.needs = METHODS[self.spec.name or self.name].needs
        out: Said = {"method": self.spec.name or self.name, "overrides": []}
        base = self._base(groups)
        if base and self.spec.base == "base" and self.needs.takes_base:
            out["base"] = base
        if self.read.layered:
            out["stack"] = self._stack(groups, out.get("base"))
            del out["overrides"]
        else:
            self._fill(out, (), groups[0], self._in_order(groups[0]), (0, 0, 0))
        self._others(out, groups, base)
        self._note_passed()
        if self.spec.note:
            self.read.note(f"{self.name}: {self.spec.note}")
        self.read.note(FLOAT32)
        return validate(Document(out, self.document.name, self.lines)), self.read.notes

    def _stands(self, ours: Path, theirs: Path) -> None:
        """Remember the line of what a key of ours came from, for the messages of our own checks."""
        self.lines[ours] = int(self.document.at(theirs).rpartition(":")[2])

    def _base(self, groups: Sequence[Group]) -> str | None:
        bases = [group.base for group in groups]
        if bases[0] is None and self.spec.base == "base" and self.needs.space == "delta":
            raise self.read.refuse((), f"'{self.name}' needs 'base_model'.")
        if self.spec.base == "base" and self.needs.takes_base and None in bases and any(bases):
            group = groups[bases.index(None)]
            raise self.read.refuse(group.path, "a slice has no base, and another has one. Give a 'base_model' for all.")
        if bases[0] is None and self.spec.base == "first":
            self.read.note(f"'{self.name}' has no base_model here; the first model stands for it.")
        return self.read.base or bases[0]

    def _in_order(self, group: Group) -> list[Source]:
        """Return the models that are merged, a base among models first: it lends its config and tokenizer."""
        sources, base = list(group.sources), group.base
        if base is None:
            return sources
        mine = [s for s in sources if s.model == base]
        others = [s for s in sources if s.model != base]
        if self.spec.base == "base":
            return others
        if not mine and not self.read.layered and self.name != "passthrough":
            mine = [Source(base, None, ({}, ("base_model",)), ("base_model",))]
        return mine + others

    def _stack(self, groups: Sequence[Group], base: Any) -> list[Said]:
        parts: list[Said] = []
        ends: dict[str | None, int] = {}
        for p, group in enumerate(groups):
            sources = self._in_order(group)
            part: Said = {"overrides": [], **({"tower": group.tower} if group.tower else {})}
            if not sources:
                raise self.read.refuse(group.path, "a slice has no model beside the base. Add one, or use passthrough.")
            spans = [s.layers for s in sources]
            start = ends.get(group.tower, 0)
            first, last = spans[0] or (0, 0)
            self._fill(part, ("stack", p), group, sources, (first, last, start))
            own = next((s.layers for s in group.sources if s.model == group.base), None)
            if base and group.base != base:
                part["base"] = group.base
            if base and own and own != spans[0]:
                part["base_layers"] = _range(own)
            ends[group.tower] = start + last - first
            if not part["overrides"]:
                del part["overrides"]
            parts.append(part)
        return parts

    def _note_ends(self, groups: Sequence[Group], vocabulary: bool) -> None:
        """Say where what lies outside the layers will differ from mergekit's."""
        towers = {group.tower: [g for g in groups if g.tower == group.tower] for group in groups}
        if any(len(mine[0].sources) < len(mine[-1].sources) for mine in towers.values()):
            self.read.note(
                "norm and head are merged from all models of the last slice; mergekit takes no more of them than the "
                "first slice has."
            )
        if vocabulary and len({frozenset(s.model for s in group.sources) for group in groups}) > 1:
            self.read.note(
                "a token that a model of a slice lacks takes its row from the models of all slices; mergekit looks in "
                "this slice only, and fills with zeros."
            )

    def _fill(self, out: Said, at: Path, group: Group, sources: Sequence[Source], layers: tuple[int, int, int]) -> None:
        """Write a group's models and numbers into a recipe or a part of a stack."""
        self._check_parameters(group, sources)
        out["models"] = [{"model": s.model} for s in sources]
        for k, source in enumerate(sources):
            if source.layers is not None:
                out["models"][k]["layers"] = _range(source.layers)
        out["settings"] = dict(self.spec.settings)
        for key, parameter in self.spec.parameters.items():
            if parameter.each:
                self._each(key, parameter, out, at, group, sources, layers[2])
            else:
                self._shared(key, parameter, out, at, group)
        if self.spec.weighted:
            required = UNSAID
            self._each("weight", Parameter(lambda v: {}, required, True), out, at, group, sources, layers[2])
        if self.name == "nuslerp":
            out["settings"]["over"] = self._over(group)
        if not out["settings"]:
            del out["settings"]

    def _check_parameters(self, group: Group, sources: Sequence[Source]) -> None:
        for parameters, path in (*group.parameters, *(s.parameters for s in group.sources)):
            own = len(path) > 1 and path[-3:-2] in (("models",), ("sources",))
            for key in parameters:
                if key in KNOWN and key not in EVERYWHERE:
                    self.read.passed[key] = None
                    continue
                if key not in EVERYWHERE:
                    known = {*self.spec.parameters, "weight"}
                    raise self.read.refuse(
                        (*path, key), f"'{self.name}' has no parameter '{key}'.{suggest(key, known or EVERYWHERE)}"
                    )
                nuslerp = self.name == "nuslerp" and key.startswith("nuslerp_")
                if key == "int8_mask":
                    self.read.note("'int8_mask' has no effect here: masks take no memory.")
                elif not self._takes(key):
                    self.read.note(f"'{key}' has no effect on '{self.name}', as in mergekit.")
                elif own and key != "weight" and (nuslerp or not self.spec.parameters[key].each):
                    self.read.note(f"'{key}' under a model has no effect, as in mergekit: it is one for all models.")

    def _takes(self, key: str) -> bool:
        """Tell whether a parameter is one of the method's."""
        nuslerp = self.name == "nuslerp" and key.startswith("nuslerp_")
        return key in self.spec.parameters or nuslerp or (key == "weight" and self.spec.weighted)

    def _note_passed(self) -> None:
        """Tell of all keys that stand where mergekit does not look, and where each would count."""
        keys = list(self.read.passed)
        if not keys:
            return
        counts = {
            "under 'parameters'": [key for key in keys if self._takes(key)],
            "at the top of the recipe": [key for key in keys if key in TOP],
            "in 'sources' of 'slices'": [key for key in keys if key in SLICE],
            "in an entry of 'models'": [key for key in keys if key in MODEL],
            "under 'tokenizer'": [key for key in keys if key in TOKENIZER],
        }
        hints = [
            f"{_listed(mine) if len(keys) > 1 else 'it'} count{'s' * (len(mine) == 1)} {place} only"
            for place, mine in counts.items()
            if mine
        ]
        end = f": {'; '.join(hints)}." if hints else "."
        self.read.note(f"{_listed(keys)} {'has' if len(keys) == 1 else 'have'} no effect here, as in mergekit{end}")

    def _values(self, parameter: Parameter, found: Chain, path: Path) -> Chain:
        if not parameter.flag:
            return [(name, _numbers(value)) for name, value in found]
        return [(name, self._flag(value, path)) for name, value in found]

    def _flag(self, value: Any, path: Path) -> bool:
        word = str(value).lower()
        if word not in FLAGS:
            raise self.read.refuse(path, f"'{path[-1]}' must be true or false, got {value!r}.")
        return FLAGS[word]

    def _shared(self, key: str, parameter: Parameter, out: Said, at: Path, group: Group) -> None:
        default = UNSAID if parameter.required else parameter.default
        found = chain(self.document, key, default, group.parameters)
        if not found:
            raise self.read.refuse((), f"'{self.name}' needs the parameter '{key}'.")
        where = next(((*path, key) for given, path in group.parameters if key in given), ())
        found = self._values(parameter, found, where)
        self._say(parameter, found, where, out, at)

    def _say(self, parameter: Parameter, found: Chain, where: Path, out: Said, at: Path) -> None:
        said = parameter.say(found[-1][1]) if found[-1][1] is not None else {}
        if said.get("scale") != 1:
            _add(out, said)
        for name in (*said, *said.get("settings", ())):
            self._stands((*at, "settings", name) if name != "scale" else (*at, name), where)
        for name, value in reversed(found[:-1]):
            if piece := parameter.say(value):
                self._stands((*at, "overrides", len(out["overrides"])), where)
                out["overrides"].append({"match": glob(name), **piece})

    def _each(
        self,
        key: str,
        parameter: Parameter,
        out: Said,
        at: Path,
        group: Group,
        sources: Sequence[Source],
        to: int,
    ) -> None:
        """Say a parameter that each model may have its own value of."""
        default = parameter.default
        shared = [(given, path) for given, path in group.parameters if key in given]
        if key != "weight" and self.needs.models == "1":
            source = sources[0]
            found = self._chain_of(key, default, source, group, to)
            own: Path = (*(source.parameters[1] if key in source.parameters[0] else at), key)
            self._say(parameter, found, own, out, at)
            return
        if key != "weight" and not any(key in s.parameters[0] for s in sources):
            found = chain(self.document, key, default, group.parameters)
            if not (self.read.layered and names_layers(found)):  # these are the models' own layers
                where: Path = (*shared[0][1], key) if shared else ()
                self._say(parameter, self._values(parameter, found, where), where, out, at)
                return
        chains = [self._chain_of(key, default, s, group, to) for s in sources]
        for k, (source, found) in enumerate(zip(sources, chains, strict=True)):
            if not found:
                raise self.read.refuse(
                    source.path,
                    f"{source.model!r} has no 'weight', which '{self.name}' needs. Type 'parameters: {{weight: …}}'.",
                )
            entry, own = out["models"][k], (*source.parameters[1], key)
            value = found[-1][1]
            if key == "weight":
                entry["weight"] = value
                self._stands((*at, "models", k, "weight"), own)
            elif key in source.parameters[0] or shared:
                entry.setdefault("settings", {}).update(parameter.say(value).get("settings", {}))
                self._stands((*at, "models", k, "settings", key), own)
            elif default is not None:
                _add(out, parameter.say(default))
        self._filters(key, parameter, chains, out)

    def _chain_of(self, key: str, default: Any, source: Source, group: Group, to: int) -> Chain:
        found = chain(self.document, key, default, (source.parameters, *group.parameters))
        found = [(name, _numbers(value)) for name, value in found]
        first, end = source.layers or (0, 10**9)
        return found if source.layers is None else moved(found, first, end - 1, to)

    def _filters(self, key: str, parameter: Parameter, chains: Sequence[Chain], out: Said) -> None:
        """Say what holds for some tensors. mergekit takes the first filter, ours the last override: hence reversed."""

        def say(name: str | None, values: Sequence[Any]) -> None:
            if key == "weight":
                out["overrides"].append({"match": glob(name), "weights": list(values)})
            else:
                each = [{} if v is None else parameter.say(v)["settings"] for v in values]
                out["overrides"].append({"match": glob(name), "each": each})

        names = [[name for name, _ in found[:-1]] for found in chains]
        if all(n == names[0] for n in names):
            for i in reversed(range(len(names[0]))):
                say(names[0][i], [found[i][1] for found in chains])
            return
        for k, found in enumerate(chains):
            for name, value in reversed(found[:-1]):
                say(name, [value if j == k else None for j in range(len(chains))])

    def _over(self, group: Group) -> str:
        """Return along what 'nuslerp' turns: its two flags, whose names read the other way round."""
        flags = []
        for key, default in (("nuslerp_flatten", True), ("nuslerp_row_wise", False)):
            found = chain(self.document, key, default, group.parameters)
            if len(found) > 1:
                raise self.read.refuse(group.path, f"a filter on '{key}' is not supported.")
            flags.append(self._flag(found[0][1], (*group.parameters[0][1], key)))
        return "tensor" if flags[0] else "column" if flags[1] else "row"

    def _others(self, out: Said, groups: Sequence[Group], base: str | None) -> None:
        data = self.document.data
        types = [self._type(key) for key in ("out_dtype", "dtype") if data.get(key)]
        out["dtype"] = types[0] if types else None
        for key in ("chat_template", "name"):
            if data.get(key) is not None:
                out[key] = data[key]
                self._stands((key,), (key,))
        vocabulary = self._vocabulary()
        if self.read.layered:
            self._note_ends(groups, bool(vocabulary))
        if data.get("random_seed") is not None:
            self.read.note("'random_seed' is the seed here; mergekit takes one from its command line only.")
            out["seed"] = data["random_seed"]
            self._stands(("seed",), ("random_seed",))
        stack = out.get("stack")
        elsewhere = base if base and "base" not in out and stack and _models(stack)[0] != base else None
        if vocabulary:
            out["vocabulary"] = vocabulary
            if elsewhere and vocabulary["rule"] == "base":
                vocabulary["rule"] = elsewhere  # ours is the first model
        elif elsewhere and data.get("chat_template"):
            out["vocabulary"] = elsewhere
        elif elsewhere:
            out["tokenizer"] = elsewhere

    def _type(self, key: str) -> str:
        """Return a stored type. mergekit knows them by torch's names, with 'torch.' or without."""
        given = self.document.data[key]
        name = str(given).removeprefix("torch.")
        if name not in TYPES:
            *before, last = TYPES
            raise self.read.refuse(
                (key,), f"'{key}' must be {', '.join(before)} or {last}, got {given!r}.{meant_type(given)}"
            )
        return name

    def _vocabulary(self) -> Said | None:
        data = self.document.data
        if data.get("tokenizer") is not None and data.get("tokenizer_source") is not None:
            raise self.read.refuse(("tokenizer",), "give either 'tokenizer' or 'tokenizer_source', not both.")
        if (source := data.get("tokenizer_source")) is not None:
            self._stands(("vocabulary",), ("tokenizer_source",))
            return {"rule": self._rule(source, ("tokenizer_source",)), "keep_padding": False}
        given = data.get("tokenizer")
        if given is None:
            return None
        if not isinstance(given, dict):
            raise self.read.refuse(("tokenizer",), f"'tokenizer' must be a mapping with a 'source', got {given!r}.")
        self.read.check_keys(given, TOKENIZER, ("tokenizer",))
        self._stands(("vocabulary",), ("tokenizer",))
        out: Said = {"rule": self._rule(given.get("source", "union"), ("tokenizer", "source")), "keep_padding": False}
        if given.get("tokens"):
            out["tokens"] = {text: self._token(text, how) for text, how in given["tokens"].items()}
        if given.get("pad_to_multiple_of"):
            out["pad_to_multiple_of"] = given["pad_to_multiple_of"]
        return out

    def _rule(self, source: Any, path: Path) -> str:
        if isinstance(source, str) and source in VOCABULARY_RULES:
            return source
        if isinstance(source, str) and source.startswith("model:"):  # older versions of mergekit's
            raise self.read.refuse(
                path, f"'{path[-1]}: {source}' is no model. Type '{source.removeprefix('model:').strip()}'."
            )
        return self.read.reference(source, path)

    def _token(self, text: str, how: Any) -> Any:
        path: Path = ("tokenizer", "tokens", text)
        if not isinstance(how, dict):
            raise self.read.refuse(path, f"the rule of {text!r} must be a mapping with a 'source', got {how!r}.")
        source = how.get("source")
        if isinstance(source, dict) and "kind" in source:
            if "model" in source:
                source = {**source, "model": self.read.reference(source["model"], path)}
        elif source is not None:
            source = self.read.reference(source, path)
        return {**how, **({"source": source} if source is not None else {})}


def _listed(keys: Sequence[str]) -> str:
    *before, last = [f"'{key}'" for key in keys]
    return f"{', '.join(before)} and {last}" if before else last


def _models(parts: Sequence[Said]) -> list[str]:
    return [entry["model"] for part in parts for entry in part["models"]]


FLAGS = dict.fromkeys(("true", "1", "1.0", "yes", "y", "on", "t"), True)
FLAGS |= dict.fromkeys(("false", "0", "0.0", "no", "n", "off", "f"), False)


def _numbers(value: Any) -> Any:
    """Return numbers for words that mergekit reads as numbers."""
    if isinstance(value, list):
        return [_numbers(v) for v in value]
    if isinstance(value, str):
        try:
            return float(value)
        except ValueError:
            return value
    return value


def _add(out: Said, said: Said) -> None:
    for key, value in said.items():
        if key == "settings":
            out["settings"] = {**out.get("settings", {}), **value}
        else:
            out[key] = value


def _range(layers: tuple[int, int]) -> str:
    """Return [first, after the last] as a range with both ends.

    >>> _range((0, 8)), _range((3, 4)), _range((5, 5))
    ('0-7', '3', 'none')
    """
    first, end = layers
    return "none" if first == end else str(first) if end == first + 1 else f"{first}-{end - 1}"
