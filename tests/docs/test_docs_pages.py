"""Generated pages are fresh, links resolve, and everything public has a place in the docs."""

import ast
import re
from functools import cache
from pathlib import Path

import pytest

import taskvec
from golden.table import TABLE
from taskvec.cli.app import command_table
from taskvec.merge import METHODS
from taskvec.recipe.mergekit.tables import SPECS
from taskvec.recipe.schema import Override, Part, PartEntry, Recipe, Vocabulary
from taskvec.testing import finetuned, tiny_tensors, write_model

from .pages import DOCS, NOTES, PAGES, ROOT, make_docs, prose

LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")


def test_generated_pages_are_fresh():
    assert make_docs().stale() == []


def test_check_fails_on_a_stale_page(monkeypatch, capsys):
    module = make_docs()
    monkeypatch.setattr(module, "pages", lambda: {DOCS / "cli.md": "old", DOCS / "gone.md": ""})
    assert module.main(["--check"]) == 1
    said = capsys.readouterr().out
    assert "docs/cli.md is stale." in said
    assert "docs/gone.md is missing." in said


def test_unknown_arguments_are_refused(capsys):
    assert make_docs().main(["--chek"]) == 2
    assert "--check" in capsys.readouterr().err


def anchors(page: Path) -> set[str]:
    titles = re.findall(r"^#+ (.*)$", prose(page), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("page", PAGES, ids=lambda p: str(p.relative_to(ROOT)))
def test_links_resolve(page):
    for link in LINK.findall(prose(page)):
        if link.startswith(("http://", "https://")):
            continue
        name, _, anchor = link.partition("#")
        target = (page.parent / name).resolve() if name else page
        assert target.exists(), f"{link} leads nowhere"
        assert not anchor or anchor in anchors(target), f"{link}: no such heading"


@pytest.mark.parametrize("page", [p for p in PAGES if DOCS in p.parents], ids=lambda p: p.name)
def test_every_page_can_be_reached(page):
    reached, todo = set(), [ROOT / "README.md", DOCS / "index.md"]
    while todo:
        here = todo.pop()
        if here in reached or here.suffix != ".md" or not here.exists():
            continue
        reached.add(here)
        links = [link.partition("#")[0] for link in LINK.findall(prose(here)) if "://" not in link]
        todo += [(here.parent / link).resolve() for link in links if link]
    assert page in reached


@pytest.mark.parametrize("name", taskvec.__all__)
def test_public_names_are_documented(name):
    text = "".join(p.read_text("utf-8") for p in PAGES if DOCS in p.parents)
    assert re.search(rf"`{name}\b", text)


def test_commands_are_documented():
    text = (DOCS / "cli.md").read_text("utf-8")
    assert [name for name in command_table() if f"## taskvec {name}\n" not in text] == []


def test_make_targets_that_are_told_exist():
    makefile = (ROOT / "Makefile").read_text("utf-8")
    told = {t for p in PAGES for t in re.findall(r"^make (\w+)", p.read_text("utf-8"), re.MULTILINE)}
    assert {t for t in told if not re.search(rf"^{t}:", makefile, re.MULTILINE)} == set()
    assert {"test", "lint", "docs"} <= told


def test_every_method_has_notes_and_every_note_a_method():
    assert {p.stem for p in NOTES.glob("*.md")} == {*METHODS, "how-to-choose"}


def test_every_key_of_a_recipe_is_explained():
    text = (DOCS / "recipes.md").read_text("utf-8")
    assert [key for key in Recipe.model_fields if f"| `{key}" not in text] == []


@pytest.mark.parametrize(
    ("title", "kind"),
    [("Of a model", PartEntry), ("Overrides", Override), ("Of a part", Part), ("Vocabularies", Vocabulary)],
)
def test_every_key_within_a_recipe_is_explained(title, kind):
    text = (DOCS / "recipes.md").read_text("utf-8").partition(f"# {title}\n")[2].partition("\n#")[0]
    cells = " ".join(line.split(" | ")[0] for line in text.splitlines() if line.startswith("| `"))
    assert [name for name, field in kind.model_fields.items() if f"`{field.alias or name}`" not in cells] == []


def test_the_table_of_recipes_is_that_of_the_tests():
    """How many of mergekit's recipes give its numbers, and each that does not, with how far."""
    text = (DOCS / "coming-from-mergekit.md").read_text("utf-8")
    differ = {name: row.within for name, row in TABLE.items() if row.note}
    assert f"{len(TABLE) - len(differ)} of {len(TABLE)} recipes" in " ".join(text.split())
    shown = re.findall(r"^\| `([\w-]+)` \| ([\d.e-]+) \|", text, re.MULTILINE)
    assert {name: float(within) for name, within in shown} == differ


def test_every_method_of_mergekit_is_compared():
    for page in ("coming-from-mergekit.md", "recipes.md"):
        cells = re.findall(r"^\| (\[?`.*?) \|", (DOCS / page).read_text("utf-8"), re.MULTILINE)
        assert [name for name in SPECS if not any(f"`{name}`" in cell for cell in cells)] == []


def test_the_version_is_in_the_changelog():
    assert taskvec.__version__ in (ROOT / "CHANGELOG.md").read_text("utf-8")


def test_every_key_of_a_receipt_is_explained(tmp_path):
    base = tiny_tensors()
    write_model(tmp_path / "base", base, dtype="BF16")
    write_model(tmp_path / "math", finetuned(base, 1), dtype="BF16")
    recipe = Recipe.model_validate(
        {"method": "task_arithmetic", "base": str(tmp_path / "base"), "models": [{"model": str(tmp_path / "math")}]}
    )
    facts = taskvec.run(taskvec.make_plan(recipe), tmp_path / "out").facts
    text = (DOCS / "formats.md").read_text("utf-8").partition("## Receipt")[2]
    assert [key for key in keys(facts) if f"`{key}`" not in text] == []


def keys(facts: dict) -> set[str]:
    out = set(facts)
    for key, value in facts.items():
        if key in ("recipe", "files"):  # their keys are the recipe's, and names of files
            continue
        for inner in value if isinstance(value, list) else [value]:
            out |= set(inner) if isinstance(inner, dict) else set()
    return out


@cache
def texts_in_source() -> list[str]:
    """Return the constant parts of every text in the source."""
    out = []
    for path in sorted((ROOT / "src").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                out.append(node.value)
    return out


def sentences() -> list[str]:
    """Return the messages that the docs quote: code with … where names and numbers stand, ending in a stop."""
    spans = [span for page in PAGES for span in re.findall(r"`([^`\n]+)`", prose(page))]
    return sorted({span for span in spans if "…" in span and span.endswith((".", "…"))} - {"…/snapshots/…"})


@pytest.mark.parametrize("sentence", sentences())
def test_quoted_messages_are_those_of_the_code(sentence):
    source = texts_in_source()
    pieces = [piece.strip("'. ") for piece in re.split(r"…|\. ", sentence)]
    missing = [piece for piece in pieces if piece and not any(piece in text for text in source)]
    assert missing == []
