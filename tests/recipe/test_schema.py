"""Our own recipe: every key, every refusal with its line, and the JSON schema beside it."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import taskvec as tv
from taskvec.recipe.schema import json_schema, validate
from taskvec.recipe.write import as_yaml
from taskvec.recipe.yaml_lines import parse

Load = Callable[[str], tuple[tv.Recipe, list[str]]]

EVERYTHING = r"""
method: breadcrumbs
base: ./base
models:
  - model: ./math
    weight: 0.6
    settings: {density: 0.3}
    statistics: stats/math
  - model: /abs/code
    weight: [0, 0.5, 1]
  - model: ./chat
    rename: [{from: 'transformer\.', to: 'model.'}]
    task: talk
settings:
  density: [0.2, 0.4]
  gamma: 1e-3
scale: 0.7
overrides:
  - match: "*.mlp.*"
    layers: 0-3
    weights: [1, 0, [0.5, 1]]
    settings: {gamma: 0}
    scale: [1, 2]
  - weights: [null, 2, null]
    each: [{}, {density: 0.1}, {}]
  - layers: 7
    scale: 0
ignore: ["lm_head.*", "*.bias"]
dtype: bfloat16
rounding: stochastic
seed: 42
statistics: stats/base
curvature: {tasks: tasks.yaml, estimator: ggn, examples: 100, batch: 8, draws: 2, seed: 3, labels: data, gradient: true}
nonfinite: pass
allow: [unrelated, tokenizers, hashes]
tokenizer: ./math
vocabulary: union
chat_template: chatml
name: everything
adapter: {rank: 0.9, space: knots}
report: false
output:
  shard_size: 2 GiB
"""

STACKED = """
method: slerp
stack:
  - models:
      - model: ./math
        layers: 0-3
        weight: 0.5
      - org/model
    settings: {t: 0.5}
    tower: model
    overrides: [{match: "*mlp*", settings: {t: 0.1}}]
  - models: [{model: ./math, layers: 4}, {model: org/model, layers: 4-4}]
vocabulary:
  rule: ./math
  tokens: {"<a>": {source: ./math, force: true}, "<b>": {source: {kind: zero}}}
  pad_to_multiple_of: 8
"""


def test_every_key(typed: Load, tmp_path: Path) -> None:
    recipe, notes = typed(EVERYTHING)
    assert notes == []
    assert recipe.model_dump() == {
        "method": "breadcrumbs",
        "base": str(tmp_path / "base"),
        "models": [
            {
                "model": str(tmp_path / "math"),
                "weight": 0.6,
                "settings": {"density": 0.3},
                "rename": [],
                "statistics": str(tmp_path / "stats/math"),
                "task": None,
            },
            {
                "model": "/abs/code",
                "weight": [0, 0.5, 1],
                "settings": {},
                "rename": [],
                "statistics": None,
                "task": None,
            },
            {
                "model": str(tmp_path / "chat"),
                "weight": 1.0,
                "settings": {},
                "rename": [{"from_": r"transformer\.", "to": "model."}],
                "statistics": None,
                "task": "talk",
            },
        ],
        "stack": [],
        "statistics": str(tmp_path / "stats/base"),
        "curvature": {
            "tasks": str(tmp_path / "tasks.yaml"),
            "estimator": "ggn",
            "examples": 100,
            "batch": 8,
            "draws": 2,
            "seed": 3,
            "labels": "data",
            "gradient": True,
        },
        "settings": {"density": [0.2, 0.4], "gamma": 1e-3},
        "scale": 0.7,
        "overrides": [
            {
                "match": "*.mlp.*",
                "layers": "0-3",
                "weights": [1, 0, [0.5, 1]],
                "settings": {"gamma": 0},
                "each": None,
                "scale": [1, 2],
            },
            {
                "match": "*",
                "layers": None,
                "weights": [None, 2, None],
                "settings": {},
                "each": [{}, {"density": 0.1}, {}],
                "scale": None,
            },
            {"match": "*", "layers": 7, "weights": None, "settings": {}, "each": None, "scale": 0},
        ],
        "ignore": ["lm_head.*", "*.bias"],
        "dtype": "bfloat16",
        "rounding": "stochastic",
        "seed": 42,
        "nonfinite": "pass",
        "allow": ["unrelated", "tokenizers", "hashes"],
        "tokenizer": str(tmp_path / "math"),
        "vocabulary": {"rule": "union", "tokens": {}, "pad_to_multiple_of": None, "keep_padding": True},
        "chat_template": "chatml",
        "name": "everything",
        "adapter": {"rank": 0.9, "space": "knots"},
        "report": False,
        "output": {"shard_size": 2 * 2**30},
    }


def test_all_keys_are_in_that_recipe() -> None:
    """So that a key added to the schema is added to the test above."""
    assert {k for k in tv.Recipe.model_fields if not re.search(rf"^{k}:", EVERYTHING, re.MULTILINE)} == {"stack"}


def test_a_stack(typed: Load, tmp_path: Path) -> None:
    recipe, _ = typed(STACKED)
    math = str(tmp_path / "math")
    first, second = recipe.parts
    assert [(m.model, m.layers, m.weight) for m in first.models] == [(math, "0-3", 0.5), ("org/model", None, 1.0)]
    assert (first.settings, first.tower, first.overrides[0].settings) == ({"t": 0.5}, "model", {"t": 0.1})
    assert [m.layers for m in second.models] == [4, "4-4"]
    assert recipe.vocabulary is not None
    assert (recipe.vocabulary.rule, recipe.vocabulary.pad_to_multiple_of) == (math, 8)
    assert recipe.vocabulary.tokens["<a>"] == {"source": math, "force": True}


def test_defaults(typed: Load) -> None:
    recipe, _ = typed("method: linear\nmodels: [./a, ./b]\n")
    assert recipe.base is None
    assert [m.weight for m in recipe.models] == [1.0, 1.0]
    assert (recipe.scale, recipe.dtype, recipe.rounding, recipe.seed) == (1.0, None, "nearest", 0)
    assert (recipe.nonfinite, recipe.allow, recipe.tokenizer) == ("refuse", [], "base")
    assert recipe.output.shard_size == 5_000_000_000


def test_paths_are_taken_from_the_recipes_folder_and_home(
    typed: Load, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", "/home/ada")
    recipe, _ = typed("method: linear\nmodels: [a, ../b, ~/c]\n")
    assert [m.model for m in recipe.models] == [str(tmp_path / "a"), str(tmp_path / "../b"), "/home/ada/c"]


def test_it_survives_being_written_and_read_again(typed: Load) -> None:
    recipe, _ = typed(EVERYTHING)
    assert tv.Recipe.model_validate(json.loads(json.dumps(recipe.model_dump(mode="json")))) == recipe


HEAD = "method: ties\nbase: b\nmodels: [x, y]\n"
REFUSED: list[tuple[str, int, str]] = [
    ("metod: ties\nmodels: [x]\n", 1, r"unknown key 'metod'\. Did you mean 'method'\? Known: method, base"),
    ("models: [x]\n", 1, r"'method' is missing\. Type e\.g\. 'method: ties'\."),
    ("method: ties\n", 1, r"'models' is missing\. Type e\.g\. 'models: \[\./math, \./code\]'\."),
    ("method: tise\nmodels: [x]\n", 1, r"unknown merge method 'tise'\. Did you mean 'ties'\? Known: .*bread"),
    ("method: zipper\nmodels: [x]\n", 1, r"unknown merge method 'zipper'\. Known: "),
    ("method: 5\nmodels: [x]\n", 1, r"'method' .*string, got 5\."),
    ("method: ties\nmodels: x\n", 2, r"'models' .*list, got 'x'\."),
    ("method: ties\nmodels: []\n", 1, r"'models' is missing\."),
    ("method: ties\nmodels: [x]\nstack: [{models: [x]}]\n", 1, r"give either 'models' or 'stack', not both\."),
    ("method: ties\nstack: [{models: [{modle: x}]}]\n", 2, r"unknown key 'modle'\. Did you mean 'model'\? Known: .*"),
    ("method: ties\nstack: [{modles: [x]}]\n", 2, r"unknown key 'modles'\. Did you mean 'models'\? Known: "),
    ("method: ties\nmodels:\n- x\n- {modle: y}\n", 4, r"unknown key 'modle'\. Did you mean 'model'\?"),
    ("method: ties\nmodels:\n- {weight: 1}\n", 3, r"'model' is missing\. Type e\.g\. 'model: \./math'\."),
    ("method: ties\nmodels:\n- x\n- 7\n", 4, r"'1' .*, got 7\."),
    ("method: ties\nmodels:\n- {model: x, weight: much}\n", 3, r"'weight' must be a number, or a list of n"),
    ("method: ties\nmodels:\n- {model: x, weight: []}\n", 3, r"'weight' must be a number, or a list"),
    ("method: ties\nmodels:\n- {model: x, weight: [1, no]}\n", 3, r"'weight' must be a number, or a list"),
    ("method: ties\nmodels:\n- {model: x, weight: true}\n", 3, r"'weight' must be a number.*, got True"),
    ("method: ties\nmodels:\n- {model: x, weight: .nan}\n", 3, r"'weight' must be a number.*, got nan"),
    ("method: ties\nmodels:\n- {model: x, weight: .inf}\n", 3, r"'weight' must be a number.*, got inf"),
    (HEAD + "scale: .nan\n", 4, r"'scale' must be a number"),
    (HEAD + "scale: -.inf\n", 4, r"'scale' must be a number"),
    (HEAD + "dtype: bf16\n", 4, r"'dtype' .*, got 'bf16'\. Did you mean 'bfloat16'\?$"),
    (HEAD + "dtype: int8\n", 4, r"'dtype' .*'float32', 'float16', 'bfloat16' or 'float64', got 'int8'\."),
    (HEAD + "rounding: down\n", 4, r"'rounding' .*'nearest' or 'stochastic', got 'down'\."),
    (HEAD + "nonfinite: ignore\n", 4, r"'nonfinite' .*'refuse' or 'pass', got 'ignore'\."),
    (HEAD + "seed: -1\n", 4, r"'seed' .*greater than or equal to 0, got -1\."),
    (HEAD + "seed: 1.5\n", 4, r"'seed' .*integer.*, got 1\.5\."),
    (HEAD + "allow: [everything]\n", 4, r"'0' .*'unrelated', 'tokenizers' or 'hashes', got 'everything'\."),
    (HEAD + "ignore: lm_head\n", 4, r"'ignore' .*list, got 'lm_head'\."),
    (HEAD + "output:\n  shard_sizes: 1GB\n", 5, r"unknown key 'shard_sizes'\. Did you mean 'shard_size'\? K"),
    (HEAD + "output:\n  shard_size: big\n", 5, r"'shard_size' 'big' is not a size\. Type a number of bytes"),
    (HEAD + "overrides:\n- mach: x\n", 5, r"unknown key 'mach'\. Did you mean 'match'\? Known: match, layers"),
    (HEAD + "settings: {density: {a: 1}}\n", 4, r"'density' must be a number, or a list of numbers"),
    (HEAD + "settings: 3\n", 4, r"'settings' .*dictionary, got 3\."),
    ("- method: ties\n", 1, r"expected keys such as 'method' and 'models', got \["),
    ("ties\n", 1, r"expected keys such as 'method' and 'models', got 'ties'"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "line", "message"), REFUSED)
def test_refusals_have_file_and_line(typed: Load, text: str, line: int, message: str) -> None:
    with pytest.raises(tv.RecipeError, match=rf"recipe\.yaml:{line}: {message}"):
        typed(text)


SETTINGS: list[tuple[str, int, str]] = [
    (HEAD + "settings:\n  densty: 0.3\n", 5, r"'ties' has no setting 'densty'\. Did you mean 'density'\? K"),
    (HEAD + "settings: {density: 1.5}\n", 4, r"'density' must be in \(0, 1\], got 1\.5\."),
    (HEAD + "settings: {density: 0}\n", 4, r"'density' must be in \(0, 1\], got 0"),
    (HEAD + "settings: {density: [0.5, 1.5]}\n", 4, r"'density' must be in \(0, 1\], got 1\.5\."),
    (HEAD + "settings: {density: half}\n", 4, r"'density' must be a number, got 'half'\."),
    (HEAD + "settings: {density: true}\n", 4, r"'density' must be a number, got True\."),
    (HEAD + "settings: {scope: tensors}\n", 4, r"'scope' must be one of model, tensor, got 'tensors'\. Did"),
    (HEAD + "settings:\n\n  elect: sun\n", 6, r"'elect' must be one of sum, weighted, count, got 'sun'\."),
    (HEAD + "settings: {elect: 3}\n", 4, r"'elect' must be one of sum, weighted, count, got 3\."),
    ("method: linear\nmodels: [x]\nsettings: {normalize: 1}\n", 3, r"'normalize' must be true or false, got"),
    ("method: linear\nmodels: [x]\nsettings: {normalize: [1, 0]}\n", 3, r"'normalize' must be true or f"),
    (HEAD + "overrides:\n- match: '*'\n  settings:\n    dens: 1\n", 7, r"'ties' has no setting 'dens'\. D"),
    ("method: ties\nbase: b\nmodels:\n- model: x\n  settings: {densty: 1}\n", 5, r"'ties' has no setting"),
    ("method: ties\nbase: b\nmodels:\n- model: x\n  settings: {density: 7}\n", 5, r"'density' must be in"),
    ("method: ties\nbase: b\nmodels:\n- model: x\n  settings:\n    scope: tensor\n", 6, r"'scope' is one for"),
    ("method: model_stock\nbase: b\nmodels: [x, y]\nsettings: {t: 1}\n", 4, r"'model_stock' has no setting"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "line", "message"), SETTINGS)
def test_so_do_settings_of_the_method(typed: Load, text: str, line: int, message: str) -> None:
    with pytest.raises(tv.RecipeError, match=rf"recipe\.yaml:{line}: {message}"):
        typed(text)


def test_everything_that_is_wrong_is_said_at_once(typed: Load) -> None:
    with pytest.raises(tv.RecipeError, match="unknown key") as caught:
        typed("method: ties\nmodels: [x]\ndtyp: f\nseed: x\noutput: {size: 1}\n")
    lines = [line.split("recipe.yaml:")[1] for line in str(caught.value).splitlines()]
    assert sorted(line[:7] for line in lines) == ["3: unkn", "4: 'see", "5: unkn"]


class TestJsonSchema:
    """What editors are told must be what the parser takes. (No validator is needed: the few words are read here.)"""

    schema: dict[str, Any] = json.loads(json_schema())

    def accepts(self, value: Any, schema: dict[str, Any]) -> bool:
        if "$ref" in schema:
            schema = self.schema["$defs"][schema["$ref"].rsplit("/")[-1]]
        if "anyOf" in schema:
            return any(self.accepts(value, s) for s in schema["anyOf"])
        if "enum" in schema and value not in schema["enum"]:
            return False
        kinds = schema.get("type", [])
        of = {
            "object": dict, "array": list, "string": str, "integer": int, "number": (int, float),
            "boolean": bool, "null": type(None),
        }  # fmt: skip
        for kind in [kinds] if isinstance(kinds, str) else kinds:
            if isinstance(value, of[kind]) and (kind == "boolean" or not isinstance(value, bool)):
                return self.inside(value, schema)
        return not kinds

    def inside(self, value: Any, schema: dict[str, Any]) -> bool:
        if "oneOf" in schema and sum(self.inside(value, one) for one in schema["oneOf"]) != 1:
            return False
        if isinstance(value, dict):
            named, others = schema.get("properties", {}), schema.get("additionalProperties", True)
            if any(key not in value for key in schema.get("required", [])):
                return False
            for key, inner in value.items():
                if key not in named and others is False:
                    return False
                if not self.accepts(inner, named.get(key, others if isinstance(others, dict) else {})):
                    return False
        if isinstance(value, list):
            if len(value) < schema.get("minItems", 0):
                return False
            return all(self.accepts(x, schema.get("items", {})) for x in value)
        return not (isinstance(value, int | float) and value < schema.get("minimum", value))

    @pytest.mark.parametrize(
        "text",
        [
            EVERYTHING,
            STACKED,
            "method: linear\nmodels: [a, b]",
            "method: slerp\nmodels:\n- model: a\n- b\nsettings: {t: [0, 1]}",
            HEAD + "settings: {scope: tensor, density: 0.5}",
            HEAD + "output: {shard_size: 1000}",
            "method: task_arithmetic\nbase: b\nmodels: [x]\nsettings: {normalize: true}",
        ],
    )
    def test_it_accepts_what_the_parser_accepts(self, typed: Load, text: str) -> None:
        typed(text)
        assert self.accepts(parse(text, "r").data, self.schema)

    @pytest.mark.parametrize(
        "text",
        [
            "metod: ties\nmodels: [x]",
            "models: [x]",
            "method: ties",
            "method: tise\nmodels: [x]",
            "method: ties\nmodels: x",
            "method: ties\nmodels: []",
            "method: ties\nmodels: [{modle: y}]",
            "method: ties\nmodels: [{model: x, weight: much}]",
            HEAD + "dtype: int8",
            HEAD + "seed: -1",
            HEAD + "allow: [all]",
            HEAD + "output: {shard_sizes: 1GB}",
            HEAD + "overrides: [{mach: x}]",
            HEAD + "settings: {density: {a: 1}}",
        ],
    )
    def test_it_refuses_what_the_parser_refuses(self, typed: Load, text: str) -> None:
        with pytest.raises(tv.RecipeError, match=r"recipe\.yaml:\d"):
            typed(text)
        assert not self.accepts(parse(text, "r").data, self.schema)

    def test_every_key_is_explained(self) -> None:
        for definition in (self.schema, *self.schema["$defs"].values()):
            for name, key in definition["properties"].items():
                assert key.get("description") or "$ref" in key, name

    def test_it_says_what_it_is(self) -> None:
        assert self.schema["$schema"] == "https://json-schema.org/draft/2020-12/schema"
        assert self.schema["properties"]["method"]["enum"] == sorted(tv.METHODS)


class TestLoad:
    def test_a_missing_file(self, tmp_path: Path) -> None:
        with pytest.raises(tv.RecipeError, match=r"nowhere\.yaml does not exist\.$"):
            tv.load_recipe(tmp_path / "nowhere.yaml")

    def test_a_missing_file_beside_one_of_nearly_its_name(self, tmp_path: Path) -> None:
        (tmp_path / "recipe.yml").touch()
        with pytest.raises(tv.RecipeError, match=r"recipe\.yaml does not exist\. Did you mean 'recipe\.yml'\?$"):
            tv.load_recipe(tmp_path / "recipe.yaml")
        with pytest.raises(tv.RecipeError, match=r"merges does not exist\. Give a YAML file, or use --method"):
            tv.load_recipe(tmp_path / "merges")

    def test_a_file_of_another_kind_is_refused_in_one_sentence(self, tmp_path: Path) -> None:
        (tmp_path / "config.json").write_text('{"model_type": "x", "vocab_size": 8, "layers": 2, "dtype": "float32"}')
        match = (
            r"config\.json is no recipe: it has no 'method', and nothing of ours is called 'model_type', 'vocab_size', "
            r"'layers'\. A recipe has e\.g\. 'method: ties', 'base: …' and 'models: …'\.$"
        )
        with pytest.raises(tv.RecipeError, match=match):
            tv.load_recipe(tmp_path / "config.json")
        (tmp_path / "list.json").write_text(json.dumps(["model"] * 100))
        with pytest.raises(tv.RecipeError, match=r"'method' and 'models', got \['model'.{40,60}…\.$"):
            tv.load_recipe(tmp_path / "list.json")

    def test_what_is_known_is_listed_once(self, tmp_path: Path) -> None:
        (tmp_path / "r.yaml").write_text("method: ties\nmodels: [{model: x, a: 1, b: 1}]\nc: 1\nd: 1\n")
        with pytest.raises(tv.RecipeError) as caught:
            tv.load_recipe(tmp_path / "r.yaml")
        lines = str(caught.value).splitlines()
        assert [line.partition(":")[2].partition(" Known:")[0] for line in lines] == [
            f"{line}: unknown key '{key}'." for line, key in ((2, "a"), (2, "b"), (3, "c"), (4, "d"))
        ]
        assert [" Known: " in line for line in lines] == [True, False, True, False]

    def test_a_fence_that_was_copied_along(self, tmp_path: Path) -> None:
        for text, line in (("```yaml\nmethod: ties\n```\n", 1), ("method: ties\nmodels: [x]\n```\n", 3)):
            (tmp_path / "r.yaml").write_text(text)
            match = (
                rf"r\.yaml:{line}: '```' is a fence of Markdown, and no YAML\. Remove this line and the other fence\."
            )
            with pytest.raises(tv.RecipeError, match=match):
                tv.load_recipe(tmp_path / "r.yaml")

    def test_a_folder(self, tmp_path: Path) -> None:
        with pytest.raises(tv.RecipeError, match="is not a recipe file"):
            tv.load_recipe(tmp_path)

    def test_a_file_that_is_no_text(self, tmp_path: Path) -> None:
        (tmp_path / "r.yaml").write_bytes(b"method: \xff\xfe\x80")
        with pytest.raises(tv.RecipeError, match=r"r\.yaml is not text"):
            tv.load_recipe(tmp_path / "r.yaml")


WORDS = [
    "1e5",
    "1e-5",
    "no",
    "007",
    "0x10",
    "1_000",
    "12:30",
    "null",
    "~",
    "true",
    "2024-01-01",
    ".5",
    "-",
    "#",
    "a: b",
]


@pytest.mark.parametrize("word", WORDS)
def test_words_are_written_so_that_they_are_read_as_words(word: str) -> None:
    recipe = tv.Recipe.model_validate({"method": "linear", "models": ["./a", word], "name": word, "ignore": [word]})
    assert validate(parse(as_yaml(recipe), "r")) == recipe
