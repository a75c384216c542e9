"""The table of recipes in mergekit's form, in the shapes that people publish, against mergekit's own numbers.

`scripts/make_golden.py` computed the numbers once, from the same models and recipes; `table.py` says what must be
equal. Recipes are run in float32 on both sides, whatever type they ask for.
"""

import hashlib
import json
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from fnmatch import fnmatchcase
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import yaml
from safetensors import safe_open
from safetensors.numpy import load_file

from taskvec.cli.app import app
from taskvec.cli.exits import run as run_command
from taskvec.ops.floats import widen
from taskvec.recipe.load import load_recipe
from taskvec.recipe.merge import run
from taskvec.recipe.plan import make_plan
from taskvec.recipe.schema import Recipe
from taskvec.store.checkpoint import Checkpoint
from taskvec.store.sidecars import token_ids

from .models import PLAIN, by_token, in_float32, write_family
from .table import STORED, TABLE, TOLERANCE

HERE = Path(__file__).parent
NUMBERS = HERE / "numbers"
COUNTED = ("num_hidden_layers", "vocab_size")

Tensors = dict[str, npt.NDArray[np.floating]]


@dataclass(frozen=True)
class Golden:
    """What mergekit made of a recipe."""

    tensors: Tensors
    facts: dict[str, Any]


@dataclass(frozen=True)
class Result:
    """What we made of a recipe, and the notes we gave."""

    folder: Path
    notes: str


class Kitchen:
    """The folder with all models, where recipes are run, each once."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.fingerprint = write_family(folder)
        self.done: dict[str, Result] = {}

    def result(self, name: str) -> Result:
        """Run a recipe in float32."""
        if name not in self.done:
            self.done[name] = self.run(in_float32(recipe(name)), name)
        return self.done[name]

    def run(self, text: str, name: str) -> Result:
        """Run a recipe that lies beside the models; one of several documents by the command."""
        path, out = self.folder / f"{name}.yml", self.folder / f"out-{name}"
        path.write_text(text, "utf-8")
        if sum(document is not None for document in yaml.safe_load_all(text)) == 1:
            loaded, notes = load_recipe(path)
            plan = make_plan(loaded, out)
            run(plan, out)
            return Result(out, "\n".join([*notes, *plan.notes]))
        with redirect_stdout(StringIO()) as said, redirect_stderr(said):
            status = run_command(app, ["merge", str(path), "-o", str(out)], debug=False)
        assert status == 0, said.getvalue()
        return Result(out, said.getvalue())


@pytest.fixture(scope="session")
def kitchen(tmp_path_factory: pytest.TempPathFactory) -> Kitchen:
    return Kitchen(tmp_path_factory.mktemp("golden"))


def recipe(name: str) -> str:
    return (HERE / "recipes" / f"{name}.yml").read_text("utf-8")


def golden(name: str) -> Golden:
    path = NUMBERS / f"{name}.safetensors"
    with safe_open(path, "np") as file:
        return Golden(load_file(path), json.loads(file.metadata()["golden"]))


def tokens(folder: Path) -> dict[str, int]:
    """Return token → row of a model folder."""
    ids = token_ids(folder)
    assert ids is not None, "the result has no tokenizer"
    return ids


def tensors(folder: Path) -> Tensors:
    """Return all tensors of a model folder, in float32, rows by token as in the numbers."""
    checkpoint = Checkpoint(folder)
    found = {name: (checkpoint.raw(name), info) for name, info in checkpoint.tensors.items()}
    values = {name: widen(raw, info.dtype, np.float32).reshape(info.shape) for name, (raw, info) in found.items()}
    return by_token(values, tokens(folder))


def errors(ours: Tensors, theirs: Tensors) -> dict[str, float]:
    """Return for each tensor the largest difference, in shares of its largest weight (0 / 0 = 0)."""
    assert {n: x.shape for n, x in ours.items()} == {n: x.shape for n, x in theirs.items()}
    out = {}
    for name, x in theirs.items():
        far = np.abs(ours[name].astype(np.float64) - x).max()
        out[name] = float(far / scale if (scale := np.abs(x).max()) else (np.inf if far else 0.0))
    return out


@pytest.mark.parametrize("name", TABLE, scope="class")
class TestEveryRecipe:
    """One after the other, so that each is run once."""

    def test_numbers(self, name: str, kitchen: Kitchen) -> None:
        row, theirs, ours = TABLE[name], golden(name), kitchen.result(name)
        found = errors(tensors(ours.folder), theirs.tensors)
        far = {n: e for n, e in found.items() if not e <= TOLERANCE}
        if not row.note:
            assert far == {}
            return
        assert far, "all tensors are equal: the row must say so"
        assert {
            n: e for n, e in far.items() if not (e <= row.within and any(fnmatchcase(n, p) for p in row.where))
        } == {}
        assert row.note in ours.notes

    def test_configuration(self, name: str, kitchen: Kitchen) -> None:
        folder, theirs = kitchen.result(name).folder, golden(name).facts
        config = json.loads((folder / "config.json").read_text("utf-8"))
        assert [config[key] for key in COUNTED] == [theirs[key] for key in COUNTED]
        assert sorted(tokens(folder)) == theirs["tokens"]


def test_keys_that_stand_where_mergekit_does_not_look_change_nothing(kitchen: Kitchen) -> None:
    """A form that is often published: mergekit makes the same of it as of the plain recipe."""
    text = in_float32(recipe("model-stock")) + "normalize: false\nint8_mask: true\nembed_slerp: true\n"
    found = kitchen.run(text, "model-stock-with-more-at-the-top")
    assert "'normalize', 'int8_mask' and 'embed_slerp' have no effect here, as in mergekit." in found.notes
    assert max(errors(tensors(found.folder), tensors(kitchen.result("model-stock").folder)).values()) == 0


@pytest.mark.parametrize("name", ["tokenizer-union", "tokenizer-rules", "tokenizer-of-the-base"])
def test_tokens_of_the_base_keep_their_rows(name: str, kitchen: Kitchen) -> None:
    ids = tokens(kitchen.result(name).folder)
    assert [ids[token] for token in PLAIN] == list(range(len(PLAIN)))


@pytest.mark.parametrize("name", [name for name in TABLE if "chat_template:" in recipe(name)])
def test_chat_template(name: str, kitchen: Kitchen) -> None:
    template, expected = chat_template(kitchen.result(name).folder), golden(name).facts.get("chat_template")
    assert template
    assert expected is None or template.strip() == expected.strip()


@pytest.mark.parametrize(("key", "value"), [("chat_template", "chatml"), ("vocabulary", "union")])
def test_a_tokenizer_that_has_no_effect_is_told(key: str, value: str, kitchen: Kitchen) -> None:
    models = [str(kitchen.folder / name) for name in ("math", "roleplay" if key == "vocabulary" else "code")]
    other = str(kitchen.folder / "chatml")
    plan = make_plan(Recipe.model_validate({"method": "linear", "models": models, "tokenizer": other, key: value}))
    assert plan.vocabulary is not None
    assert f"'tokenizer: {other}' has no effect: '{key}' writes the tokenizer anew." in "\n".join(plan.notes)


def chat_template(folder: Path) -> str | None:
    """Return the chat template of a model folder, from whichever file has it."""
    if (path := folder / "chat_template.jinja").is_file():
        return path.read_text("utf-8")
    settings: dict[str, Any] = json.loads((folder / "tokenizer_config.json").read_text("utf-8"))
    return settings.get("chat_template")


@pytest.mark.parametrize("name", STORED)
def test_stored_as_asked(name: str, kitchen: Kitchen) -> None:
    dtype, half_step = STORED[name]
    out = kitchen.run(recipe(name), f"{name}-as-it-stands").folder
    assert {info.dtype for info in Checkpoint(out).tensors.values()} == {dtype}
    ours = tensors(out)
    for tensor, x in golden(name).tensors.items():
        bound = half_step * np.abs(x) + TOLERANCE * np.abs(x).max()
        assert (np.abs(ours[tensor] - x) <= bound).all(), tensor


def test_the_table_holds_every_recipe() -> None:
    assert sorted(TABLE) == sorted(path.stem for path in (HERE / "recipes").iterdir())
    assert sorted(TABLE) == sorted(path.stem for path in NUMBERS.iterdir())


@pytest.mark.parametrize("name", TABLE)
def test_numbers_belong_to_these_recipes_and_models(name: str, kitchen: Kitchen) -> None:
    """If this fails, run scripts/make_golden.py: a recipe or the models changed after the numbers were computed."""
    facts = golden(name).facts
    assert facts["mergekit"] == "0.1.5"
    assert facts["models"] == kitchen.fingerprint
    assert facts["recipe"] == hashlib.sha256(recipe(name).encode()).hexdigest()[:16]
