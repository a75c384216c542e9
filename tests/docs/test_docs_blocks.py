"""What is printed runs: commands parse, recipes plan, Python gives what the comment says."""

import ast
import json
import math
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

import taskvec
from measured import write_statistics
from taskvec.cli.app import app
from taskvec.evaluate.heads import Head
from taskvec.merge import METHODS
from taskvec.recipe.load import inputs_of
from taskvec.recipe.lora.sites import plan_adapter
from taskvec.recipe.mergekit import is_mergekit, translate
from taskvec.recipe.plan import make_plan
from taskvec.recipe.schema import Recipe, validate
from taskvec.recipe.write import as_yaml
from taskvec.recipe.yaml_lines import parse_all
from taskvec.store.statistics import NEEDED, PARTS, Statistics
from taskvec.suite import schema as suites
from taskvec.testing import finetuned, tiny_tensors, write_adapter, write_model

from .pages import DOCS, ROOT, Block, blocks

SUITES = [block for block in blocks("yaml") if re.search(r"^tasks:", block.text, re.MULTILINE)]
RECIPES = [block for block in blocks("yaml") if block not in SUITES]
OTHERS = ("make", "pip", "python", "git", "cd", "hf")
"""First words of commands that are not ours."""


def commands() -> list[tuple[str, str]]:
    """Return (where, command) of every line of every bash block, and of every table cell that is a command."""
    out = []
    for block in blocks("bash"):
        lines = block.text.replace("\\\n", " ").splitlines()
        out += [(str(block), line.strip()) for line in lines if line.strip() and not line.lstrip().startswith("#")]
    for page in ("coming-from-mergekit.md", "methods/index.md", "recipes.md"):
        spans = re.findall(r"`(taskvec [a-z]+ [^`\n]*)`", (DOCS / page).read_text("utf-8"))
        out += [(page, span) for span in spans]
    return out


def words(command: str) -> list[str]:
    """Return the words of a command, up to what the shell does with its output."""
    lexer = shlex.shlex(command, posix=True, punctuation_chars="|>&;")
    lexer.whitespace_split, lexer.commenters = True, "#"
    found = list(lexer)
    end = next((i for i, word in enumerate(found) if word[0] in "|>&;"), len(found))
    return found[:end]


@pytest.mark.parametrize(("where", "command"), commands())
def test_commands_parse(where, command):
    program, *arguments = words(command)
    if program != "taskvec":
        assert program in OTHERS, f"{where}: {program} is neither ours nor known"
        return
    app.parse_args(arguments, exit_on_error=False, print_error=False)


def test_a_wrong_command_does_not_parse():
    for wrong in ("merge recipe.yaml -o x --densty 0.2", "mrege recipe.yaml -o x", "merge recipe.yaml", "show"):
        with pytest.raises(Exception, match=r"(?i)unknown|requires"):
            app.parse_args(wrong.split(), exit_on_error=False, print_error=False)


def read(block: Block) -> list[Recipe]:
    """Return the recipes of a block, in our form; of most blocks one."""
    documents = parse_all(block.text, str(block))
    return [translate(d)[0] if is_mergekit(d.data) else validate(d) for d in documents]


def the_one(block: Block) -> Recipe:
    (recipe,) = read(block)
    return recipe


def larger(layers: int) -> dict[str, np.ndarray]:
    """Return the tensors of a tiny model that has all kinds of matrices which recipes speak of."""
    out = tiny_tensors(layers=layers)
    for i in range(layers):
        out[f"model.layers.{i}.self_attn.o_proj.weight"] = out[f"model.layers.{i}.self_attn.q_proj.weight"].T.copy()
        out[f"model.layers.{i}.mlp.down_proj.weight"] = out[f"model.layers.{i}.mlp.up_proj.weight"].T.copy()
    return out


def statistics_in(recipe: Recipe) -> Iterator[tuple[str, str, str]]:
    """Yield what has statistics in a recipe, where they lie, and a kind that its method can use."""
    named = [(entry.model, entry.statistics) for entry in recipe.models] + [(str(recipe.base), recipe.statistics)]
    for model, where in named:
        if where:
            yield model, where, METHODS[recipe.method].needs.curvature[0]


class Family:
    """Tiny models that stand where recipes look for them, related to each other."""

    def __init__(self, folder: Path, recipes: list[Recipe]) -> None:
        self.folder = folder
        ranges = [str(entry.layers) for r in recipes for part in r.parts for entry in part.models]
        self.tensors = larger(max(3, *(int(n) for text in ranges for n in re.findall(r"\d+", text)), 3) + 1)
        self.rules = {text: how for r in recipes if r.vocabulary for text, how in r.vocabulary.tokens.items()}
        self.grown = any(r.vocabulary for r in recipes)
        made = {r.name for r in recipes}
        names = dict.fromkeys(name for r in recipes for text in inputs_of(r) for name in text.split("+"))
        others = [r.tokenizer for r in recipes if r.tokenizer != "base"]
        self.names = [name for name in dict.fromkeys([*names, *others]) if name not in made]
        self.base = next((r.base.split("+")[0] for r in recipes if r.base), self.names[0])
        self.statistics = {model: (where, kind) for r in recipes for model, where, kind in statistics_in(r)}

    def write(self) -> None:
        """Write them all: what is called so is a task vector or an adapter, all else is a model."""
        self.model(self.base, 0)
        for seed, name in enumerate(self.names, 1):
            place = self.folder / name
            if place.suffix == ".tv":
                tuned = self.model(f"tuned{seed}", seed)
                taskvec.diff(self.folder / self.base, tuned).save(place)
            elif "lora" in name:
                write_adapter(place, self.factors(seed))
            elif not place.exists():
                self.model(name, seed)
        for model, (statistics, kind) in self.statistics.items():
            write_statistics(self.folder / statistics, self.folder / model, kind)

    def model(self, name: str, seed: int) -> Path:
        """Write a fine-tune (of seed 0 the base), with rows for tokens of its own where vocabularies are united."""
        rows = ["".join(pair) for pair in zip("abcdefghijklmnop", "qrstuvwxyzabcdef", strict=True)]
        own = [*self.asked(name), f"<{Path(name).name}>"] if self.grown else []
        tensors = finetuned(self.tensors, seed) if seed else dict(self.tensors)
        for tensor in ("model.embed_tokens.weight", "lm_head.weight"):
            tensors[tensor] = np.pad(tensors[tensor], ((0, len(own)), (0, 0)), constant_values=0.5)
        tokens = {text: row for row, text in enumerate([*rows, *own])}
        return write_model(self.folder / name, tensors, tokens=tokens, config={"vocab_size": len(tokens)})

    def asked(self, name: str) -> Iterator[str]:
        """Yield the tokens that a recipe takes from a model."""
        for text, how in self.rules.items():
            source = how.get("source")
            if source == name:
                yield text
            elif isinstance(source, dict) and source.get("model") == name and "token" in source:
                yield source["token"]

    def factors(self, seed: int) -> dict[str, np.ndarray]:
        """Return the tensors of a LoRA."""
        out = {}
        for name, x in self.tensors.items():
            if "q_proj" in name:
                rng, stem = np.random.default_rng(seed), f"base_model.model.{name.removesuffix('.weight')}"
                out[f"{stem}.lora_A.weight"] = rng.standard_normal((2, x.shape[1])).astype(np.float32)
                out[f"{stem}.lora_B.weight"] = np.full((x.shape[0], 2), 0.01, np.float32)
        return out


@pytest.mark.parametrize("block", RECIPES, ids=str)
def test_recipes_can_be_planned(block, tmp_path):
    """On tiny models that stand where the recipe looks for them; recipes before the last are run."""
    folder = tmp_path / "a" / "b"  # a recipe may look in the folders above it
    folder.mkdir(parents=True)
    (folder / "recipe.yaml").write_text(block.text, "utf-8")
    Family(folder, read(block)).write()
    loaded = taskvec.load_recipes(folder / "recipe.yaml")
    if loaded[-1].recipe.adapter:
        assert plan_adapter(loaded[-1].recipe, tmp_path / "out").sites
    elif loaded[-1].recipe.unmeasured:  # planned once its models are measured
        assert Path(loaded[-1].recipe.curvature.tasks).is_relative_to(folder)
    elif len(loaded) > 1:
        receipt = taskvec.run_series(loaded, tmp_path / "out", make_plan)
        assert receipt.facts["tensors"]["merged"]
    else:
        assert make_plan(loaded[0].recipe, tmp_path / "out").units


@pytest.mark.parametrize("block", SUITES, ids=str)
def test_files_of_tasks_are_understood(block):
    (document,) = parse_all(block.text, str(block))
    assert suites.validate(document).tasks


@pytest.mark.parametrize("block", RECIPES, ids=str)
def test_settings_shown_for_a_method_are_its_own(block):
    for recipe in read(block):
        assert set(recipe.settings) <= set(METHODS[recipe.method].settings)


def test_the_import_that_is_shown_is_what_is_printed():
    """On the page about recipes, the block after mergekit's."""
    found = blocks("yaml", [DOCS / "recipes.md"])
    at = next(i for i, block in enumerate(found) if "merge_method:" in block.text)
    assert as_yaml(the_one(found[at])) == found[at + 1].text


@pytest.mark.parametrize("name", sorted(METHODS))
def test_pages_of_methods_show_the_defaults(name):
    """The recipe on a method's page is what the method does when nothing is said."""
    block, *_ = blocks("yaml", [DOCS / "methods" / f"{name}.md"])  # notes may show more
    recipe = the_one(block)
    assert METHODS[name].check(recipe.settings) == METHODS[name].check({})
    assert recipe.scale == 1


@pytest.mark.parametrize("name", sorted(METHODS))
def test_python_on_pages_of_methods(name):
    (block,) = blocks("python", [DOCS / "methods" / f"{name}.md"])
    tree = ast.parse(block.text)
    space: dict = {}
    exec(compile(ast.Module(tree.body[:-1], []), str(block), "exec"), space)
    last = tree.body[-1]
    assert isinstance(last, ast.Expr)
    shown = "\n".join(line[2:] for line in block.text.splitlines() if line.startswith("# "))
    assert repr(eval(compile(ast.Expression(last.value), str(block), "eval"), space)) == shown


def test_the_fingerprint_is_what_the_specification_computes(tmp_path):
    (block,) = [b for b in blocks("python", [DOCS / "formats.md"]) if "def fingerprint" in b.text]
    space: dict = {}
    exec(block.text, space)
    tensors = tiny_tensors(hidden=24, vocab=40)
    tensors |= {"steps": np.arange(5), "flag": np.array(True), "none": np.zeros((0, 3), np.float32)}
    path = write_model(tmp_path / "base", tensors, dtype="BF16", dtypes={"lm_head.weight": "F32"}, shard_size=3000)
    checkpoint = taskvec.Checkpoint(path)
    stored = {n: (i.dtype, i.shape, checkpoint.raw(n).tobytes()) for n, i in checkpoint.tensors.items()}
    assert any(math.prod(shape) > 256 for _, shape, _ in stored.values())
    assert space["fingerprint"](stored) == taskvec.fingerprint(checkpoint)


def test_the_metadata_is_what_the_specification_says(tmp_path):
    tensors = tiny_tensors()
    base = write_model(tmp_path / "base", tensors)
    tuned = write_model(tmp_path / "math", finetuned(tensors, 1))
    found = taskvec.Checkpoint(taskvec.diff(base, tuned).save(tmp_path / "math.tv")).metadata
    table = (DOCS / "formats.md").read_text("utf-8").partition("**Metadata.**")[2].partition("**Tensors.**")[0]
    assert sorted(re.findall(r"^\| `([\w.]+)` \|", table, re.MULTILINE)) == sorted(found)


def test_the_head_is_what_the_specification_says(tmp_path):
    head = Head(kind="cosine", labels=("no", "yes"), weight=np.eye(2, 4, dtype=np.float32))
    head.save(tmp_path / "head.safetensors")
    found = taskvec.Checkpoint(tmp_path / "head.safetensors")
    text = (DOCS / "formats.md").read_text("utf-8").partition("## The head")[2].partition("\n## ")[0]
    named = set(re.findall(r"^\| `([\w.]+)` \|", text, re.MULTILINE))
    assert named == {*found.metadata, *json.loads(found.metadata["taskvec.note"]), "weight", "bias", "projection"}


def test_statistics_are_what_the_specification_says(tmp_path):
    model = write_model(tmp_path / "m", tiny_tensors())
    facts = {"count": 1, "head": "", "settings": {}, "stability": 1.0, "seconds": 1.0}
    found = Statistics(write_statistics(tmp_path / "s", model, "eigen", gradient=True, **facts))
    text = (DOCS / "formats.md").read_text("utf-8").partition("## Statistics")[2].partition("\n## ")[0]
    assert set(re.findall(r"^\| `(\w+)` \| M", text, re.MULTILINE)) == set(found.facts)
    assert set(re.findall(r"^\| `(\w+)` \| MUST", text, re.MULTILINE)) == {"format", "version", *NEEDED}
    kinds = dict(re.findall(r"^\| `(\w+)` \| (`W[^|]*) \|", text, re.MULTILINE))
    assert {kind: tuple(re.findall(r"`W#?(\w*)`", parts)) for kind, parts in kinds.items()} == dict(PARTS)
    assert "`W#gradient`" in text


def test_the_journal_is_what_the_specification_says(tmp_path):
    source = (ROOT / "src" / "taskvec" / "recipe" / "journal.py").read_text("utf-8")
    text = (DOCS / "formats.md").read_text("utf-8")
    for key in ("plan", "unit"):
        assert f'"{key}"' in source
        assert f'"{key}"' in text
