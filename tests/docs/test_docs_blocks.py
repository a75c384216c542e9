"""What is printed runs: commands parse, recipes plan, Python gives what the comment says."""

import ast
import math
import re
import shlex

import numpy as np
import pytest

import taskvec
from taskvec.cli.app import app
from taskvec.merge import METHODS
from taskvec.recipe.mergekit import is_mergekit, translate
from taskvec.recipe.plan import make_plan
from taskvec.recipe.schema import Recipe, resolve_paths, validate
from taskvec.recipe.yaml_lines import parse
from taskvec.testing import finetuned, tiny_tensors, write_model

from .pages import DOCS, ROOT, blocks

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


def read(block) -> Recipe:
    document = parse(block.text, str(block))
    if is_mergekit(document.data):
        return translate(document)[0]
    return validate(document)


@pytest.mark.parametrize("block", blocks("yaml"), ids=str)
def test_recipes_can_be_planned(block, tmp_path):
    """On tiny models that stand where the recipe looks for them."""
    folder = tmp_path / "a" / "b"  # a recipe may look in the folders above it
    recipe = resolve_paths(read(block), folder)
    tensors = tiny_tensors(layers=4)
    tokens = {f"t{i}": i for i in range(16)}
    base = write_model(folder / (recipe.base or "base"), tensors, tokens=tokens)
    for i, entry in enumerate(recipe.models):
        place = folder / entry.model
        if place.suffix == ".tv":
            tuned = write_model(tmp_path / f"tuned{i}", finetuned(tensors, i), tokens=tokens)
            taskvec.diff(base, tuned).save(place)
        elif not place.exists():
            write_model(place, finetuned(tensors, i), tokens=tokens)
    plan = make_plan(recipe, tmp_path / "out")
    assert plan.units


@pytest.mark.parametrize("block", blocks("yaml"), ids=str)
def test_settings_shown_for_a_method_are_its_own(block):
    recipe = read(block)
    assert set(recipe.settings) <= set(METHODS[recipe.method].settings)


@pytest.mark.parametrize("name", sorted(METHODS))
def test_pages_of_methods_show_the_defaults(name):
    """The recipe on a method's page is what the method does when nothing is said."""
    (block,) = blocks("yaml", [DOCS / "methods" / f"{name}.md"])
    recipe = read(block)
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


def test_the_journal_is_what_the_specification_says(tmp_path):
    source = (ROOT / "src" / "taskvec" / "recipe" / "journal.py").read_text("utf-8")
    text = (DOCS / "formats.md").read_text("utf-8")
    for key in ("plan", "unit"):
        assert f'"{key}"' in source
        assert f'"{key}"' in text
