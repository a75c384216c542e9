"""mergekit's plain recipes become the right recipe of ours, number by number; the rest is refused by name."""

import re
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import pytest

import taskvec as tv
from taskvec.recipe.mergekit import translate
from taskvec.recipe.mergekit.conditions import moved
from taskvec.recipe.yaml_lines import parse
from taskvec.testing import tiny_tensors, write_model

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
            "settings": {k: v for k, v in TIES.items() if k != "density"} | {"combine": "mean"},
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
        {
            "method": "model_stock",
            "base": "base",
            "models": [{"model": "m0"}, {"model": "m1"}],
            "vocabulary": {"rule": "base", "keep_padding": False},
        },
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
            "vocabulary": {"rule": "m0", "keep_padding": False},
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
            "overrides": [{"match": "*mlp*", "weights": [0.5, None]}],
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
    moved = {"models": models, "base": recipe.base and there[recipe.base], "tokenizer": "base", "vocabulary": None}
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


def test_an_empty_filter_holds_for_all() -> None:
    recipe, _ = translated(
        "merge_method: slerp\nbase_model: a\nmodels: [{model: a}, {model: b}]\n"
        "parameters: {t: [{filter: mlp, value: 0.1}, {filter: '', value: 0.2}, {value: 0.3}]}\n"
    )
    assert recipe.settings == {"t": 0.2}
    assert [o.match for o in recipe.overrides] == ["*mlp*"]


def test_a_seed_in_the_recipe_is_the_seed() -> None:
    recipe, notes = translated(HEAD + "random_seed: 7\n")
    assert recipe.seed == 7
    assert any(note.startswith("'random_seed' is the seed here") for note in notes)


def test_a_filter_is_text_in_which_nothing_is_a_wildcard() -> None:
    recipe, _ = translated(
        "merge_method: slerp\nbase_model: a\nmodels: [{model: a}, {model: b}]\n"
        "parameters: {t: [{filter: 'h[0-9]?*', value: 0.1}, {value: 0.2}]}\n"
    )
    assert [fnmatchcase(n, recipe.overrides[0].match) for n in ("x.h[0-9]?*.y", "x.h1ab.y")] == [True, False]


HEAD = "merge_method: ties\nbase_model: base\n" + TWO
REFUSED: list[tuple[str, int, str]] = [
    (
        HEAD + "slices: [{sources: [{model: a, layer_range: [0, 1]}]}]\n",
        1,
        r"'models' must .*, got 'models' and 'slices'",
    ),
    ("merge_method: slerp\nslices:\n- sources: []\n", 3, r"each of 'slices' must have 'sources'\."),
    (
        "merge_method: slerp\nslices:\n- sources: [{model: a}]\n",
        3,
        r"'layer_range' must be \[first, after the last\], got",
    ),
    ("merge_method: slerp\nslices:\n- {surces: []}\n", 3, r"each of 'slices' must have 'sources'"),
    (
        "merge_method: linear\nmodules: {default: {}}\n",
        2,
        r"the module 'default' must have either 'models' or 'slices'",
    ),
    ("merge_method: linear\nmodules: [a]\n", 2, r"'modules' must map names to models or slices, got \['a'\]\."),
    (
        HEAD + "tokenizer: {source: union}\ntokenizer_source: base\n",
        6,
        r"give either 'tokenizer' or 'tokenizer_source'",
    ),
    (HEAD + "tokenizer: {sauce: union}\n", 6, r"unknown key 'sauce'\. Did you mean 'source'\?"),
    (HEAD + "tokenizer: {tokens: {a: b}}\n", 6, r"the rule of 'a' must be a mapping with a 'source', got 'b'\."),
    ("merge_method: dare_tie\n" + TWO, 1, r"mergekit has no method 'dare_tie'\. Did you mean 'dare_ties'\?"),
    ("merge_method: linear\nmodels: [{model: {pth: a}}]\n", 2, r"unknown key 'pth'\. Did you mean 'path'\?"),
    ("merge_method: linear\nmodels: [{model: 7}]\n", 2, r"'model' must be a path or a hub id, got 7\."),
    (HEAD + "parameters: {normalize: often}\n", 6, r"'normalize' must be true or false, got 'often'\."),
    (HEAD + "parameter: {}\n", 6, r"unknown key 'parameter'\. Did you mean 'parameters'\?"),
    (
        HEAD + "allow: [unrelated]\n",
        6,
        r"'allow' is a key of our own form\. Type --set 'allow=…' on the command line\.",
    ),
    ("merge_method: ties\n" + TWO, 1, r"'ties' needs 'base_model'\."),
    ("merge_method: ties\nbase_model: base\n", 1, r"'models' must list the models to merge\."),
    ("merge_method: linear\nmodels: [a, b]\n", 2, r"each of 'models' must have a 'model'\."),
    ("merge_method: linear\nmodels: [{model: a, wieght: 1}]\n", 2, r"unknown key 'wieght'\. Did you mean 'weight'\?"),
    (HEAD + "normalise: true\n", 6, r"unknown key 'normalise'\. Did you mean 'normalize'\?"),
    (
        "merge_method: linear\nmodels: [{model: a, weight: 1}]\n",
        2,
        r"'a' has no 'weight', which 'linear' needs\. Type 'parameters: {weight: …}'\.",
    ),
    ("merge_method: linear\nmodels: [{model: a}]\n", 2, r"'a' has no 'weight', which 'linear' needs\."),
    (HEAD + "parameters: {densty: 0.3}\n", 6, r"'ties' has no parameter 'densty'\. Did you mean 'density'\?"),
    (HEAD + "parameters: [1]\n", 6, r"'parameters' must be a mapping"),
    (HEAD + "parameters: {density: 1.5}\n", 6, r"'density' must be in \(0, 1\], got 1\.5\."),
    (HEAD + "parameters: {density: half}\n", 6, r"'density' must be a number, got 'half'\."),
    (HEAD + "parameters: {density: [{filter: mlp}]}\n", 6, r"a filter of 'density' has no 'value'\."),
    (HEAD + "parameters: {density: [{filtre: mlp, value: 1}]}\n", 6, r"unknown key 'filtre'.* Did you mean 'filter'"),
    (HEAD.replace("ties", "TIES"), 1, r"mergekit has no method 'TIES'\. Did you mean 'ties'\?"),
    (HEAD + "dtype: int8\n", 6, r"'dtype' .*, got 'int8'\.$"),
    (HEAD + "dtype: fp16\n", 6, r"'dtype' must be float32, .* or float64, got 'fp16'\. Did you mean 'float16'\?"),
    (HEAD + "dtype: bf16\n", 6, r"'dtype' .*, got 'bf16'\. Did you mean 'bfloat16'\?"),
    (HEAD + "dtype: float32\nout_dtype: fp32\n", 7, r"'out_dtype' .*, got 'fp32'\. Did you mean 'float32'\?"),
    (HEAD + "dtype: bf16\nout_dtype: float32\n", 6, r"'dtype' .*, got 'bf16'\. Did you mean 'bfloat16'\?"),
    (HEAD + "tokenizer_source: model:./m0\n", 6, r"'tokenizer_source: model:\./m0' is no model\. Type '\./m0'\."),
    (HEAD + "tokenizer:\n  source: model:m0\n", 7, r"'source: model:m0' is no model\. Type 'm0'\."),
    ("merge_method: slerp\nbase_model: x\nmodels: [{model: x}, {model: y}]\n", 1, r"'slerp' needs the parameter 't'\."),
    (
        "merge_method: slerp\nbase_model: x\nmodels: [{model: x}, {model: y}]\n"
        "parameters:\n  t:\n  - {filter: mlp, value: 1}\n",
        5,
        r"'t' has filters but no value for the other tensors\.",
    ),
    (
        "merge_method: linear\nmodels:\n- model: x\n  parameters:\n    weight: [{filter: mlp, value: 0.5}]\n",
        5,
        r"'weight' has filters but no value for the other tensors\.",
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
        for folder in ("recipes/m0", "recipes/m1"):
            (tmp_path / folder).mkdir(parents=True)
        (tmp_path / "recipes" / "r.yaml").write_text(self.TEXT)
        monkeypatch.chdir(tmp_path)
        recipe, _ = tv.load_recipe("recipes/r.yaml")
        assert [m.model for m in recipe.models] == ["recipes/m0", "recipes/m1"]

    @pytest.mark.parametrize(
        ("typed", "message"),
        [
            (
                "./cod",
                r"^recipes/r\.yaml: 'cod' does not exist in the working folder, and 'm0' and 'cod' do not exist in the "
                r"recipe's folder recipes\. All must be in one of the two\.$",
            ),
            ("./org/cod", r"^recipes/r\.yaml: '\./org/cod' does not exist in the working folder, and 'm0' and "),
            ("/org/cod", r"^/org/cod does not exist\. Give a \.safetensors file"),
        ],
    )
    def test_a_wrong_path_is_named_and_no_right_one(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, typed: str, message: str
    ) -> None:
        (tmp_path / "recipes").mkdir()
        write_model(tmp_path / "m0", tiny_tensors())
        (tmp_path / "recipes" / "r.yaml").write_text(self.TEXT.replace("model: m1", f"model: {typed}"))
        monkeypatch.chdir(tmp_path)
        recipe, _ = tv.load_recipe("recipes/r.yaml")
        with pytest.raises(tv.StoreError, match=message):
            tv.make_plan(recipe)

    def test_a_path_beside_a_recipe_is_no_name_of_the_hub(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (tmp_path / "recipes").mkdir()
        (tmp_path / "recipes" / "ours.yaml").write_text("method: linear\nmodels: [./m0, org/model]\n")
        monkeypatch.chdir(tmp_path)
        recipe, _ = tv.load_recipe("recipes/ours.yaml")
        assert [m.model for m in recipe.models] == ["./recipes/m0", "org/model"]
        with pytest.raises(tv.StoreError, match=r"^recipes/m0 does not exist\. Give a \.safetensors file"):
            tv.make_plan(recipe)

    def test_in_the_working_folder(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        for folder in ("recipes", "m0", "m1"):
            (tmp_path / folder).mkdir()
        (tmp_path / "recipes" / "r.yaml").write_text(self.TEXT)
        monkeypatch.chdir(tmp_path)
        recipe, _ = tv.load_recipe("recipes/r.yaml")
        assert [m.model for m in recipe.models] == ["m0", "m1"]

    def test_adapters_and_names_of_the_hub_in_the_working_folder(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        for folder in ("recipes", "m0", "lora", "sub/m1"):
            (tmp_path / folder).mkdir(parents=True)
        text = self.TEXT.replace("model: m0", "model: m0+lora").replace("model: m1", "model: org/model")
        (tmp_path / "recipes" / "r.yaml").write_text(text)
        monkeypatch.chdir(tmp_path)
        recipe, _ = tv.load_recipe("recipes/r.yaml")
        assert [m.model for m in recipe.models] == ["m0+lora", "org/model"]
        (tmp_path / "r.yaml").write_text(self.TEXT.replace("model: m1", "model: sub/m1"))
        monkeypatch.chdir(tmp_path / "sub")
        recipe, _ = tv.load_recipe("../r.yaml")
        assert [m.model for m in recipe.models] == ["../m0", "../sub/m1"]


@pytest.mark.parametrize("name", ["bfloat16", "torch.bfloat16"])
def test_names_of_types_that_mergekit_knows(name: str) -> None:
    assert translated(HEAD + f"dtype: {name}\n")[0].dtype == "bfloat16"
    assert translated(HEAD + f"dtype: float32\nout_dtype: {name}\n")[0].dtype == "bfloat16"


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ("tokenizer_source: unoin\n", "r.yaml:6: 'tokenizer_source: unoin'"),
        ("tokenizer:\n  source: unoin\n", "r.yaml:7: 'source: unoin'"),
        ("tokenizer_source: Union\n", "r.yaml:6: 'tokenizer_source: Union'"),
    ],
)
def test_a_misspelt_vocabulary_is_no_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, more: str, said: str
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("r.yaml").write_text(HEAD + more)
    message = f"{said} is neither a rule nor a model. Did you mean 'union'?"
    with pytest.raises(tv.RecipeError, match=f"^{re.escape(message)}$"):
        tv.load_recipe("r.yaml")
    (tmp_path / "unoin").mkdir()
    (tmp_path / "Union").mkdir()
    assert tv.load_recipe("r.yaml")[0].vocabulary is not None


@pytest.mark.parametrize("key", ["experts: [{source_model: m0}]", "gate_mode: hidden"])
def test_a_recipe_of_mergekit_moe_is_called_so(tmp_path: Path, key: str) -> None:
    path = tmp_path / "moe.yaml"
    path.write_text(f"base_model: base\n{key}\ndtype: bfloat16\n")
    message = f"{path}:1: this is a recipe of mergekit-moe, which has no counterpart here."
    with pytest.raises(tv.RecipeError, match=f"^{re.escape(message)}$"):
        tv.load_recipe(path)


class TestWordsOfTheFile:
    """What is found wrong when the models are opened is told in the words, file and line of the recipe."""

    def refused(self, family: Path, monkeypatch: pytest.MonkeyPatch, text: str, message: str) -> None:
        (family / "r.yaml").write_text(text)
        monkeypatch.chdir(family)
        recipe, _ = tv.load_recipe("r.yaml")
        with pytest.raises(tv.RecipeError, match=message):
            tv.make_plan(recipe)

    @pytest.mark.parametrize(
        ("text", "hint"),
        [
            ("self_atn", " Did you mean 'self_attn'?"),
            ("layers.2.mlq", " Did you mean 'layers.2.mlp'?"),
            ("zzz", ""),
            ("a[0]", ""),
        ],
    )
    def test_a_filter(self, family: Path, monkeypatch: pytest.MonkeyPatch, text: str, hint: str) -> None:
        recipe = (
            "merge_method: slerp\nbase_model: ./m0\nmodels: [{model: ./m0}, {model: ./m1}]\n"
            f"parameters:\n  t:\n  - {{filter: '{text}', value: 0.1}}\n  - {{value: 0.5}}\n"
        )
        message = f"r.yaml:6: the filter '{text}' matches no tensor.{hint}"
        self.refused(family, monkeypatch, recipe, f"^{re.escape(message)}$")

    def test_a_range_of_layers(self, family: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        text = (
            "merge_method: passthrough\nslices:\n- sources: [{model: ./m0, layer_range: [0, 5]}]\n"
            "- sources: [{model: ./m1, layer_range: [0, 40]}]\n"
        )
        message = r"^r\.yaml:4: 'layer_range: \[0, 40\]' reaches outside m1, which has 5 layers \('model\.layers\.0' to"
        self.refused(family, monkeypatch, text, message)

    def test_an_override_of_our_own_form(self, family: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        head = "method: ties\nbase: ./base\nmodels: [./m0, ./m1]\noverrides:\n"
        self.refused(
            family, monkeypatch, head + "- {match: '*.mpl.*', scale: 2}\n", r"^r\.yaml:5: the override 'match: \*\.mpl"
        )
        self.refused(
            family,
            monkeypatch,
            head + "- {layers: 3-9, scale: 2}\n",
            r"^r\.yaml:5: 'layers: 3-9' reaches outside base,",
        )

    def test_where_a_recipe_was_typed_is_no_part_of_it(self) -> None:
        text = "merge_method: linear\n" + TWO
        one, two = (translate(parse(text, name))[0] for name in ("a.yaml", "b.yaml"))
        assert one == two
        assert (one.origin.file, two.origin.file) == ("a.yaml", "b.yaml")
        assert "origin" not in one.data


SLICES = """
merge_method: slerp
base_model: a
slices:
- sources:
  - {model: a, layer_range: [0, 4]}
  - {model: b, layer_range: [0, 4]}
  parameters: {t: 0.3}
- sources:
  - {model: b, layer_range: [3, 5]}
  - {model: a, layer_range: [4, 6]}
parameters: {t: [{filter: layers.4.mlp, value: 1}, {value: [0, 1]}]}
"""


class TestSlices:
    def test_a_stack(self) -> None:
        recipe, _ = translated(SLICES)
        expected = {
            "method": "slerp",
            "stack": [
                {"models": [{"model": "a", "layers": "0-3"}, {"model": "b", "layers": "0-3"}], "settings": {"t": 0.3}},
                {
                    "models": [{"model": "a", "layers": "4-5"}, {"model": "b", "layers": "3-4"}],
                    "settings": {"t": [0, 1]},
                    "overrides": [{"match": "*layers.4.mlp*", "settings": {"t": 1}}],
                },
            ],
        }
        assert recipe == tv.Recipe.model_validate(expected)

    def test_filters_on_a_models_own_layers_follow_them(self) -> None:
        recipe, _ = translated(
            "merge_method: linear\nslices:\n- sources: [{model: a, layer_range: [0, 2], parameters: {weight: 1}}]\n"
            "- sources:\n  - model: a\n    layer_range: [1, 3]\n"
            "    parameters: {weight: [{filter: layers.2., value: 7}, {filter: layers.9., value: 8}, {value: 1}]}\n"
        )
        (override,) = recipe.stack[1].overrides
        assert (override.match, override.weights) == ("*layers.3.*", [7])

    @pytest.mark.parametrize(
        ("text", "found"),
        [
            ("layers.1", ["layers.20.", "layers.29.", "layers.30.", "layers.31."]),
            ("layers.2.mlp", ["layers.21.mlp"]),
            (".2.", [".21."]),
            ("2.mlp", [".21.mlp", ".31.mlp"]),
            ("11.mlp", [".30.mlp"]),
            ("layers.13.", []),
            ("block.experts.3.w1", ["block.experts.3.w1"]),
            ("layers.3.block.experts.2.w1", ["layers.22.block.experts.2.w1"]),
            ("w1", ["w1"]),
        ],
    )
    def test_parts_of_a_number_are_those_of_every_layer_that_has_them(self, text: str, found: list[str]) -> None:
        assert moved([(text, 1), (None, 2)], 1, 12, 20) == [*((name, 1) for name in found), (None, 2)]

    def test_a_filter_for_all_models_means_each_ones_own_layers(self) -> None:
        recipe, _ = translated(
            "merge_method: ties\nbase_model: b\nslices:\n"
            "- sources: [{model: b, layer_range: [0, 1]}, {model: a, layer_range: [0, 1]}]\n"
            "- sources: [{model: b, layer_range: [1, 3]}, {model: a, layer_range: [2, 4]},"
            " {model: c, layer_range: [1, 3]}]\n"
            "parameters: {weight: 1, density: [{filter: layers.2., value: 0.2}, {value: 1}]}\n"
        )
        found = [(o.match, o.each) for o in recipe.stack[1].overrides]
        assert found == [("*layers.1.*", [{"density": 0.2}, {}]), ("*layers.2.*", [{}, {"density": 0.2}])]

    @pytest.mark.parametrize(
        ("more", "said"),
        [
            ("", {"tokenizer": "b"}),
            ("tokenizer_source: base\n", {"vocabulary": {"rule": "b", "keep_padding": False}}),
            ("tokenizer: {source: base}\n", {"vocabulary": {"rule": "b", "keep_padding": False}}),
            ("tokenizer_source: union\n", {"vocabulary": {"rule": "union", "keep_padding": False}}),
            ("chat_template: chatml\n", {"vocabulary": "b", "chat_template": "chatml"}),
        ],
    )
    def test_a_base_that_is_not_the_first_model_lends_its_tokenizer(self, more: str, said: dict[str, Any]) -> None:
        recipe, _ = translated(
            "merge_method: passthrough\nbase_model: b\nslices:\n- sources: [{model: a, layer_range: [0, 1]}]\n"
            f"- sources: [{{model: b, layer_range: [1, 2]}}]\n{more}"
        )
        stack = [{"models": [{"model": "a", "layers": "0"}]}, {"models": [{"model": "b", "layers": "1"}]}]
        assert recipe == tv.Recipe.model_validate({"method": "passthrough", "stack": stack, **said})

    def test_the_recipes_base_stands_before_that_of_the_first_slice(self) -> None:
        source = "{model: %s, layer_range: [0, 1], parameters: {weight: 1}}"
        sources = f"sources: [{source % 'a'}, {source % 'b'}, {source % 'c'}]"
        recipe, _ = translated(
            f"merge_method: task_arithmetic\nbase_model: b\nslices:\n- {sources}\n  base_model: c\n- {sources}\n"
        )
        assert (recipe.base, [part.base for part in recipe.stack]) == ("b", ["c", None])

    def test_where_the_ends_differ_it_is_said(self) -> None:
        def notes(first: str, last: str, more: str = "") -> list[str]:
            slices = "".join(
                f"- sources: [{', '.join(f'{{model: {m}, layer_range: [0, 1]}}' for m in models)}]\n"
                for models in (first, last)
            )
            text = f"merge_method: linear\nparameters: {{weight: 1}}\nslices:\n{slices}{more}"
            return [n for n in translated(text)[1] if "slice" in n]

        assert notes("ab", "ba", "tokenizer_source: union\n") == []
        assert notes("ab", "a") == []
        (fewer,) = notes("a", "ab")
        assert fewer.startswith("norm and head are merged from all models of the last slice")
        (rows,) = notes("ab", "ac", "tokenizer_source: union\n")
        assert rows.startswith("a token that a model of a slice lacks takes its row from the models of all slices")

    def test_one_base_or_none(self) -> None:
        source = "{model: %s, layer_range: [0, 1], parameters: {weight: 1}}"
        sources = f"sources: [{source % 'a'}, {source % 'b'}]"
        with pytest.raises(tv.RecipeError, match=r"r\.yaml:3: a slice has no base, and another has one\."):
            translated(f"merge_method: nuslerp\nslices:\n- {sources}\n- {sources}\n  base_model: c\n")

    def test_the_base_of_a_slice(self) -> None:
        source = "{model: %s, layer_range: [%d, %d], parameters: {weight: 1}}"
        recipe, _ = translated(
            "merge_method: task_arithmetic\nbase_model: b\nslices:\n"
            f"- sources: [{source % ('a', 0, 1)}, {source % ('b', 2, 3)}]\n"
            f"- sources: [{source % ('a', 0, 1)}, {source % ('c', 0, 1)}]\n  base_model: c\n"
            f"- sources: [{source % ('a', 0, 0)}]\n"
        )
        assert recipe.base == "b"
        assert [(p.base, p.base_layers, p.models[0].layers) for p in recipe.stack] == [
            (None, "2", "0"),
            ("c", None, "0"),
            (None, None, "none"),
        ]

    def test_modules_are_towers(self) -> None:
        recipe, _ = translated(
            "merge_method: linear\nparameters: {weight: 1}\n"
            "modules:\n  text_model: {models: [{model: a}, {model: b}]}\n"
            "  vision_model: {slices: [{sources: [{model: a, layer_range: [0, 2]}]}]}\n"
        )
        assert [(p.tower, [(m.model, m.layers) for m in p.models]) for p in recipe.stack] == [
            ("text_model", [("a", None), ("b", None)]),
            ("vision_model", [("a", "0-1")]),
        ]


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("a", "a"),
        ("{path: a, revision: v2}", "a@v2"),
        ("{model: {path: a}, lora: b}", "a+b"),
        ("{model: a, lora: {path: b, revision: r}}", "a+b@r"),
        ("{model: {model: {path: a}}, override_architecture: X}", "a"),
    ],
)
def test_references(given: str, expected: str) -> None:
    recipe, _ = translated(f"merge_method: linear\nmodels: [{{model: {given}, parameters: {{weight: 1}}}}]\n")
    assert recipe.models[0].model == expected


def test_a_parameter_that_mergekit_passes_over_is_said_to_have_no_effect() -> None:
    recipe, notes = translated(
        "merge_method: model_stock\nbase_model: b\nmodels: [{model: x, parameters: {weight: 2, filter_wise: true}}]\n"
        "parameters: {normalize: true}\n"
    )
    assert (recipe.settings, recipe.models[0].weight) == ({}, 1)
    for key in ("weight", "normalize"):
        assert f"'{key}' has no effect on 'model_stock', as in mergekit." in notes
    assert "'filter_wise' under a model has no effect, as in mergekit: it is one for all models." in notes


@pytest.mark.parametrize(
    ("text", "place", "more"),
    [
        (HEAD, "{model: m0, ", "weight: 0.1, "),
        (HEAD, "{model: m1, ", "density: 0.3, "),
        (HEAD, "models:", "normalize: false\n"),
        (HEAD, "models:", "scale: 3\n"),
        (SLICES, "{model: b, layer_range: [3, 5]", "weight: 0.2, "),
        (SLICES, "parameters: {t: 0.3}", "lambda: 0.2\n  "),
    ],
)
def test_a_parameter_in_the_wrong_place_has_no_effect_and_that_is_said(text: str, place: str, more: str) -> None:
    """mergekit passes over it in silence."""
    assert text.count(place) == 1
    added = place.replace("{", "{" + more) if place.startswith("{") else more + place
    recipe, notes = translated(text.replace(place, added))
    assert recipe == translated(text)[0]
    key = more.partition(":")[0]
    (note,) = [n for n in notes if n.startswith(f"'{key}' has no effect here, as in mergekit")]
    counts = key in ("weight", "density", "normalize") and recipe.method == "ties"
    assert note.endswith(": it counts under 'parameters' only.") == counts


MODEL_STOCK = "merge_method: model_stock\nbase_model: base\nmodels: [{model: m0}, {model: m1}]\n"
PASSED = "no effect here, as in mergekit"


@pytest.mark.parametrize(
    ("head", "more", "note"),
    [
        (MODEL_STOCK, "normalize: false\nint8_mask: true\n", f"'normalize' and 'int8_mask' have {PASSED}."),
        (HEAD, "embed_slerp: true\n", f"'embed_slerp' has {PASSED}."),
        (HEAD, "parameters: {embed_slerp: true}\n", f"'embed_slerp' has {PASSED}."),
        (
            HEAD,
            "t: 0.5\nweight: 1\ndensity: 0.5\n",
            f"'t', 'weight' and 'density' have {PASSED}: 'weight' and 'density' count under 'parameters' only.",
        ),
        (
            HEAD,
            "parameters: {tokenizer_source: base}\n",
            f"'tokenizer_source' has {PASSED}: it counts at the top of the recipe only.",
        ),
        (
            HEAD.replace("{model: m0", "{model: m0, layer_range: [0, 9]"),
            "density: 0.5\n",
            f"'density' and 'layer_range' have {PASSED}: "
            "'density' counts under 'parameters' only; 'layer_range' counts in 'sources' of 'slices' only.",
        ),
    ],
)
def test_keys_in_the_wrong_place_are_told_together_and_where_they_would_count(head: str, more: str, note: str) -> None:
    recipe, notes = translated(head + more)
    assert recipe == translated(HEAD if head.startswith("merge_method: ties") else head)[0]
    assert [n for n in notes if "here, as in mergekit" in n] == [note]


@pytest.mark.parametrize("key", ["dtype", "out_dtype"])
def test_a_type_under_parameters_has_no_effect_and_that_is_said(key: str) -> None:
    recipe, notes = translated(HEAD + f"parameters: {{{key}: bfloat16, density: 0.5}}\n")
    assert (recipe.dtype, recipe.settings["density"]) == (None, 0.5)
    (note,) = [n for n in notes if n.startswith(f"'{key}'")]
    assert note == f"'{key}' has no effect here, as in mergekit: it counts at the top of the recipe only."


def test_vocabularies() -> None:
    recipe, _ = translated(
        HEAD
        + "tokenizer:\n  source: {path: m0}\n  pad_to_multiple_of: 8\n  tokens:\n    <a>: {source: m1, force: true}\n"
        "    <b>: {source: {kind: model_token, model: {path: m0}, token: c}}\n    <d>: {source: {kind: zero}}\n"
    )
    assert recipe.vocabulary is not None
    assert recipe.vocabulary.model_dump() == {
        "rule": "m0",
        "pad_to_multiple_of": 8,
        "keep_padding": False,
        "tokens": {
            "<a>": {"source": "m1", "force": True},
            "<b>": {"source": {"kind": "model_token", "model": "m0", "token": "c"}},
            "<d>": {"source": {"kind": "zero"}},
        },
    }
    assert translated(HEAD + "tokenizer_source: union\n")[0].vocabulary == recipe.vocabulary.model_copy(
        update={"rule": "union", "tokens": {}, "pad_to_multiple_of": None}
    )
