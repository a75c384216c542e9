"""mergekit's plain recipes become the right recipe of ours, number by number; the rest is refused by name."""

import re
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import pytest

import taskvec as tv
from taskvec.recipe.mergekit import translate
from taskvec.recipe.yaml_lines import parse

TIES = {"density": 1.0, "scope": "tensor", "elect": "weighted", "tied": "positive"}
DARE_TIES = {"density": 1.0, "trim": 1.0, "scope": "tensor", "elect": "weighted", "tied": "positive"}
TWO = "models:\n- {model: m0, parameters: {weight: 0.6}}\n- {model: m1, parameters: {weight: 0.4}}\n"
A, B = {"model": "m0", "weight": 0.6}, {"model": "m1", "weight": 0.4}

PLAIN: dict[str, tuple[str, dict[str, Any]]] = {
    "linear": (
        "merge_method: linear\n" + TWO + "dtype: float16\n",
        {"method": "linear", "models": [A, B], "settings": {"normalize": True}, "dtype": "float16"},
    ),
    "linear, not normalised, one weight for all": (
        "merge_method: linear\nmodels: [{model: m0}, {model: m1}]\nparameters: {weight: 0.5, normalize: false}\n",
        {
            "method": "linear",
            "models": [{"model": "m0", "weight": 0.5}, {"model": "m1", "weight": 0.5}],
            "settings": {"normalize": False},
        },
    ),
    "linear with the base among the models": (
        "merge_method: linear\nbase_model: m0\n" + TWO,
        {"method": "linear", "models": [A, B], "settings": {"normalize": True}},
    ),
    "task arithmetic with lambda": (
        "merge_method: task_arithmetic\nbase_model: base\n" + TWO + "parameters: {lambda: 0.7}\n",
        {
            "method": "task_arithmetic",
            "base": "base",
            "models": [A, B],
            "settings": {"normalize": False},
            "scale": 0.7,
        },
    ),
    "task arithmetic, normalised, negative": (
        "merge_method: task_arithmetic\nbase_model: base\nmodels:\n- {model: m0, parameters: {weight: 2}}\n"
        "- {model: m1, parameters: {weight: -1}}\nparameters: {normalize: true}\n",
        {
            "method": "task_arithmetic",
            "base": "base",
            "models": [{"model": "m0", "weight": 2}, {"model": "m1", "weight": -1}],
            "settings": {"normalize": True},
        },
    ),
    "ties as in the readme": (
        """
models:
  - model: base
  - model: m0
    parameters: {density: 0.5, weight: 0.6}
  - model: m1
    parameters: {density: [0.1, 0.4, 1], weight: [0, 0.3, 0.7, 1]}
merge_method: ties
base_model: base
parameters:
  normalize: true
  int8_mask: true
dtype: bfloat16
""",
        {
            "method": "ties",
            "base": "base",
            "models": [
                {**A, "settings": {"density": 0.5}},
                {"model": "m1", "weight": [0, 0.3, 0.7, 1], "settings": {"density": [0.1, 0.4, 1]}},
            ],
            "settings": {**TIES, "combine": "mean"},
            "dtype": "bfloat16",
        },
    ),
    "ties, not normalised, one density for all": (
        "merge_method: ties\nbase_model: base\n" + TWO + "parameters: {normalize: false, density: 0.3, lambda: 1.2}\n",
        {
            "method": "ties",
            "base": "base",
            "models": [A, B],
            "settings": {**TIES, "combine": "sum", "density": 0.3},
            "scale": 1.2,
        },
    ),
    "dare_ties": (
        "merge_method: dare_ties\nbase_model: base\n" + TWO + "parameters: {density: 0.53, int8_mask: true}\n",
        {
            "method": "dare_ties",
            "base": "base",
            "models": [A, B],
            "settings": {**DARE_TIES, "combine": "sum", "density": 0.53, "rescale": True},
        },
    ),
    "dare_linear without rescaling, stored in another type than calculated in": (
        "merge_method: dare_linear\nbase_model: base\n"
        + TWO
        + "parameters: {density: 0.5, rescale: false}\ndtype: float32\nout_dtype: bfloat16\n",
        {
            "method": "dare_linear",
            "base": "base",
            "models": [A, B],
            "settings": {"density": 0.5, "rescale": False},
            "dtype": "bfloat16",
        },
    ),
    "breadcrumbs": (
        "merge_method: breadcrumbs\nbase_model: base\n" + TWO + "parameters: {density: 0.9, gamma: 1e-2}\n",
        {
            "method": "breadcrumbs",
            "base": "base",
            "models": [A, B],
            "settings": {"density": 0.9, "gamma": 0.01},
        },
    ),
    "breadcrumbs with gamma per model": (
        "merge_method: breadcrumbs\nbase_model: base\nmodels:\n- {model: m0, parameters: {weight: 1, gamma: 0.05}}\n"
        "- {model: m1, parameters: {weight: 1}}\n",
        {
            "method": "breadcrumbs",
            "base": "base",
            "models": [{"model": "m0", "settings": {"gamma": 0.05}}, {"model": "m1"}],
            "settings": {"density": 1.0, "gamma": 0.01},
        },
    ),
    "model_stock": (
        "merge_method: model_stock\nbase_model: base\nmodels: [{model: m0}, {model: m1}]\n"
        "parameters: {filter_wise: false}\ntokenizer_source: base\n",
        {"method": "model_stock", "base": "base", "models": [{"model": "m0"}, {"model": "m1"}]},
    ),
    "slerp: the base is the first end": (
        "merge_method: slerp\nbase_model: m1\nmodels: [{model: m0}, {model: m1}]\nparameters: {t: 0.3}\n",
        {"method": "slerp", "models": [{"model": "m1"}, {"model": "m0"}], "settings": {"t": 0.3}},
    ),
    "slerp: the base is not listed": (
        "merge_method: slerp\nbase_model: base\nmodels: [{model: m0}]\nparameters: {t: [0, 1]}\ntokenizer_source: m0\n",
        {
            "method": "slerp",
            "models": [{"model": "base"}, {"model": "m0"}],
            "settings": {"t": [0, 1]},
            "tokenizer": "m0",
        },
    ),
    "slerp with filters": (
        """
models:
  - model: m0
  - model: m1
merge_method: slerp
base_model: m0
parameters:
  t:
    - filter: self_attn
      value: [0, 0.5, 0.3, 0.7, 1]
    - filter: mlp
      value: [1, 0.5, 0.7, 0.3, 0]
    - value: 0.5
dtype: float16
""",
        {
            "method": "slerp",
            "models": [{"model": "m0"}, {"model": "m1"}],
            "settings": {"t": 0.5},
            "overrides": [
                {"match": "*mlp*", "settings": {"t": [1, 0.5, 0.7, 0.3, 0]}},
                {"match": "*self_attn*", "settings": {"t": [0, 0.5, 0.3, 0.7, 1]}},
            ],
            "dtype": "float16",
        },
    ),
    "a filter on one model's weight": (
        """
merge_method: task_arithmetic
base_model: base
models:
- model: m0
  parameters:
    weight:
    - {filter: mlp, value: 0.5}
    - {filter: "*", value: 0}
- model: m1
  parameters: {weight: 0.4}
""",
        {
            "method": "task_arithmetic",
            "base": "base",
            "models": [{"model": "m0", "weight": 0}, B],
            "settings": {"normalize": False},
            "overrides": [{"match": "*mlp*", "weights": [0.5, 0.4]}],
        },
    ),
    "filters on a shared density and on lambda": (
        """
merge_method: dare_linear
base_model: base
models: [{model: m0, parameters: {weight: 1}}]
parameters:
  density: [{filter: self_attn, value: 0.2}, {value: 0.4}]
  lambda: [{filter: layers.0., value: 2}, {value: 1}]
""",
        {
            "method": "dare_linear",
            "base": "base",
            "models": [{"model": "m0"}],
            "settings": {"density": 0.4, "rescale": True},
            "overrides": [
                {"match": "*self_attn*", "settings": {"density": 0.2}},
                {"match": "*layers.0.*", "scale": 2},
            ],
        },
    ),
}


def translated(text: str) -> tuple[tv.Recipe, list[str]]:
    return translate(parse(text, "r.yaml"))


@pytest.mark.parametrize("name", PLAIN)
def test_plain_recipes(name: str) -> None:
    text, expected = PLAIN[name]
    recipe, _ = translated(text)
    assert recipe == tv.Recipe.model_validate(expected)
    assert recipe.model_dump(exclude_defaults=True) == tv.Recipe.model_validate(expected).model_dump(
        exclude_defaults=True
    )


def their_value(setting: Any, name: str, depth: float) -> Any:
    """What a parameter is for a tensor, by mergekit's rule; None where no filter matches."""
    if isinstance(setting, dict):
        setting = [setting]
    if not isinstance(setting, list):
        return setting
    if any(isinstance(x, dict) for x in setting):
        for condition in setting:
            if condition.get("filter") in (None, "*") or condition["filter"] in name:
                return their_value(condition["value"], name, depth)
        return None
    at = depth * (len(setting) - 1)
    low = int(at)
    high = min(len(setting) - 1, low + 1)
    return (1 - (at - low)) * setting[low] + (at - low) * setting[high]


def their_number(data: dict[str, Any], key: str, default: Any, model: str | None, name: str) -> Any:
    layer = re.search(r"layers\.(\d+)\.", name)
    depth = int(layer[1]) / 4 if layer else 0
    own = next((m.get("parameters") or {} for m in data["models"] if m["model"] == model), {})
    for place in (own, data.get("parameters") or {}):
        if key in place and (value := their_value(place[key], name, depth)) is not None:
            return value
    return default


MORE = {
    "filters of one parameter that overlap, and a model that falls back to the shared one": """
merge_method: ties
base_model: base
models:
- model: m0
  parameters:
    weight: [{filter: layers.1, value: 0.1}, {filter: mlp, value: 0.2}]
- model: m1
  parameters: {weight: [1, 2]}
parameters:
  weight: [3, 4]
  density: [{filter: up_proj, value: 0.7}, {filter: layers.1, value: [0.2, 0.4]}, {value: 0.5}]
""",
    "two parameters whose filters overlap": """
merge_method: breadcrumbs
base_model: base
models: [{model: m0, parameters: {weight: 1}}, {model: m1, parameters: {weight: 2, density: 0.3}}]
parameters:
  gamma: [{filter: self_attn, value: 0.1}]
  density: [{filter: q_proj, value: 0.25}]
  lambda: [{filter: q_proj.weight, value: 3}]
""",
    "a filter that comes after a value for all is never reached": """
merge_method: dare_ties
base_model: base
models: [{model: m0, parameters: {weight: [{value: 1}, {filter: mlp, value: 9}]}}]
parameters: {density: [{filter: norm, value: 1}, {filter: "*", value: 0.5}, {filter: mlp, value: 0.1}]}
""",
    "a filter is text, no glob": """
merge_method: dare_linear
base_model: base
models: [{model: m0, parameters: {weight: [{filter: "model.", value: 2}, {value: 1}]}}]
""",
}
DEFAULTS = {"density": 1.0, "gamma": 0.01}


@pytest.mark.parametrize("name", [*MORE, *(n for n, (text, _) in PLAIN.items() if "base_model: base" in text)])
def test_every_tensor_gets_the_numbers_that_mergekit_gives_it(family: Path, name: str) -> None:
    text = MORE.get(name) or PLAIN[name][0]
    data = parse(text, "r").data
    recipe, _ = translated(text)
    there = {key: str(family / key) for key in ("base", "m0", "m1")}
    models = [m.model_copy(update={"model": there[m.model]}) for m in recipe.models]
    moved = {"models": models, "base": recipe.base and there[recipe.base], "tokenizer": "base"}
    plan = tv.make_plan(recipe.model_copy(update=moved))
    names = [Path(m.name).name for m in plan.models]
    assert plan.units
    for unit in plan.units:
        if tv.METHODS[recipe.method].needs.weighted:
            expected = tuple(their_number(data, "weight", None, model, unit.name) for model in names)
            assert unit.weights == pytest.approx(expected)
        for key in {"density", "gamma", "t"} & set(unit.settings):
            theirs = [their_number(data, key, DEFAULTS.get(key), model, unit.name) for model in names]
            ours = unit.settings[key]
            assert (list(ours) if isinstance(ours, tuple) else [ours] * len(names)) == pytest.approx(theirs)
        if recipe.base:
            assert unit.scale == pytest.approx(their_number(data, "lambda", 1.0, None, unit.name))


def test_a_filter_is_text_in_which_nothing_is_a_wildcard() -> None:
    recipe, _ = translated(
        "merge_method: slerp\nbase_model: a\nmodels: [{model: a}, {model: b}]\n"
        "parameters: {t: [{filter: 'h[0-9]?*', value: 0.1}, {value: 0.2}]}\n"
    )
    assert [fnmatchcase(n, recipe.overrides[0].match) for n in ("x.h[0-9]?*.y", "x.h1ab.y")] == [True, False]


HEAD = "merge_method: ties\nbase_model: base\n" + TWO
REFUSED: list[tuple[str, int, str]] = [
    (HEAD + "slices: []\n", 6, r"mergekit's 'slices' is not supported yet\."),
    ("merge_method: slerp\nslices:\n- sources: []\n", 2, r"mergekit's 'slices' is not supported yet\."),
    (HEAD + "modules: {}\n", 6, r"mergekit's 'modules' is not supported yet\."),
    (HEAD + "tokenizer: {source: union}\n", 6, r"mergekit's 'tokenizer' is not supported yet\."),
    (HEAD + "chat_template: auto\n", 6, r"mergekit's 'chat_template' is not supported yet\."),
    (HEAD + "tokenizer_source: union\n", 6, r"mergekit's 'tokenizer_source: union' is not supported yet\."),
    (HEAD + "parameter: {}\n", 6, r"unknown key 'parameter'\. Did you mean 'parameters'\?"),
    ("merge_method: zipper\n" + TWO, 1, r"mergekit's method 'zipper' is not supported yet\. Supported: "),
    ("merge_method: passthrough\n" + TWO, 1, r"mergekit's method 'passthrough' is not supported yet\."),
    ("merge_method: dare_tie\n" + TWO, 1, r"mergekit's method 'dare_tie' .* Did you mean 'dare_ties'\?"),
    ("merge_method: ties\n" + TWO, 1, r"'ties' needs 'base_model'\."),
    ("merge_method: ties\nbase_model: base\n", 1, r"'models' must list the models to merge\."),
    ("merge_method: linear\nmodels: [a, b]\n", 2, r"each of 'models' must have a 'model'\."),
    ("merge_method: linear\nmodels: [{model: a, weight: 1}]\n", 2, r"unknown key 'weight'\."),
    ("merge_method: linear\nmodels: [{model: a}]\n", 2, r"'a' has no 'weight', which 'linear' needs\."),
    ("merge_method: linear\nmodels: [{model: a+lora}]\n", 2, r"'a\+lora' adds an adapter, which is not supported yet"),
    (HEAD + "parameters: {densty: 0.3}\n", 6, r"'ties' has no parameter 'densty'\. Did you mean 'density'\?"),
    (HEAD + "parameters: {epsilon: 0.3}\n", 6, r"'ties' has no parameter 'epsilon'\."),
    (HEAD + "parameters: {rescale: true}\n", 6, r"'rescale' with 'ties' is not supported yet\."),
    ("merge_method: linear\n" + TWO + "parameters: {rescale: true}\n", 5, r"'linear' has no parameter 'rescale'\."),
    (HEAD + "parameters: [1]\n", 6, r"'parameters' must be a mapping"),
    (HEAD + "parameters: {density: 1.5}\n", 6, r"'density' must be in \(0, 1\], got 1\.5\."),
    (HEAD + "parameters: {density: half}\n", 6, r"'density' must be a number, got 'half'\."),
    (HEAD + "parameters:\n  normalize: [{filter: mlp, value: false}, {value: true}]\n", 7, r"'normalize' must be tru"),
    (HEAD + "parameters: {density: [{filter: mlp}]}\n", 6, r"a filter of 'density' has no 'value'\."),
    (HEAD + "parameters: {density: [{filtre: mlp, value: 1}]}\n", 6, r"unknown key 'filtre'.* Did you mean 'filter'"),
    (HEAD + "dtype: int8\n", 6, r"'dtype' .*, got 'int8'\."),
    (HEAD + "dtype: float32\nout_dtype: int8\n", 7, r"'dtype' .*, got 'int8'\."),
    ("merge_method: linear\nmodels:\n- {model: a, parameters: {density: 1}}\n", 3, r"'linear' has no parameter 'den"),
    ("merge_method: linear\nbase_model: z\n" + TWO, 2, r"'base_model' is not among 'models', and 'linear' has no"),
    ("merge_method: linear\n" + TWO + "parameters: {lambda: 2}\n", 5, r"'linear' has no parameter 'lambda'\."),
    (
        "merge_method: breadcrumbs\nbase_model: b\n" + TWO + "parameters: {normalize: true}\n",
        6,
        r"'normalize' with 'breadcrumbs' is not supported yet\.",
    ),
    (
        "merge_method: model_stock\nbase_model: b\nmodels: [{model: x}, {model: y}]\nparameters: {filter_wise: true}\n",
        4,
        r"mergekit's 'filter_wise' is not supported yet\.",
    ),
    (
        "merge_method: model_stock\nbase_model: b\nmodels:\n- {model: x, parameters: {weight: 1}}\n- {model: y}\n",
        4,
        r"'model_stock' has no parameter 'weight'\.",
    ),
    ("merge_method: slerp\nbase_model: x\nmodels: [{model: x}, {model: y}]\n", 1, r"'slerp' needs the parameter 't'\."),
    (
        "merge_method: slerp\nbase_model: x\nmodels: [{model: x}, {model: y}]\n"
        "parameters:\n  t:\n  - {filter: mlp, value: 1}\n",
        5,
        r"'t' has filters but no value for the other tensors\.",
    ),
    (
        "merge_method: ties\nbase_model: b\nmodels:\n- model: x\n  parameters:\n    weight: 1\n"
        "    density: [{filter: mlp, value: 0.5}, {value: 1}]\n",
        7,
        r"a filter on a model's own 'density' is not sup",
    ),
    (
        "merge_method: linear\nmodels:\n- model: x\n  parameters:\n    weight: [{filter: mlp, value: 0.5}]\n",
        5,
        r"'weight' has filters but no value for the other tensors\.",
    ),
    (
        "merge_method: linear\nmodels:\n- model: x\n  parameters: {weight: [{filter: mlp, value: 0.5}, {value: 1}]}\n"
        "- model: y\n  parameters: {weight: [{filter: attn, value: 0.5}, {value: 1}]}\n",
        6,
        r"models whose weights have different filters are not supported yet\.",
    ),
]


@pytest.mark.parametrize(("text", "line", "message"), REFUSED)
def test_what_is_not_supported_is_refused_by_name_and_line(text: str, line: int, message: str) -> None:
    with pytest.raises(tv.RecipeError, match=rf"r\.yaml:{line}: {message}"):
        translated(text)


class TestNotes:
    def test_a_key_without_effect_is_said_once(self) -> None:
        _, notes = translated(HEAD + "parameters: {int8_mask: true}\n")
        assert [n for n in notes if "int8_mask" in n] == ["'int8_mask' has no effect here: masks take no memory."]

    @pytest.mark.parametrize(("name", "text"), [(n, t) for n, (t, _) in PLAIN.items()])
    def test_where_definitions_differ_it_is_said(self, name: str, text: str) -> None:
        recipe, notes = translated(text)
        differs = recipe.method not in ("linear", "task_arithmetic")
        assert any(n.startswith(f"{recipe.method}: ") for n in notes) == differs
        assert any("arithmetic is float32" in n for n in notes)


class TestPaths:
    """mergekit takes paths from where it is started; so do we if they are there, else from the recipe's folder."""

    TEXT = "merge_method: linear\n" + TWO

    def test_beside_the_recipe(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        (tmp_path / "recipes").mkdir()
        (tmp_path / "recipes" / "r.yaml").write_text(self.TEXT)
        monkeypatch.chdir(tmp_path)
        recipe, _ = tv.load_recipe("recipes/r.yaml")
        assert [m.model for m in recipe.models] == ["recipes/m0", "recipes/m1"]

    def test_in_the_working_folder(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        for folder in ("recipes", "m0", "m1"):
            (tmp_path / folder).mkdir()
        (tmp_path / "recipes" / "r.yaml").write_text(self.TEXT)
        monkeypatch.chdir(tmp_path)
        recipe, _ = tv.load_recipe("recipes/r.yaml")
        assert [m.model for m in recipe.models] == ["m0", "m1"]
