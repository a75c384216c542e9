"""The page is whole, stands alone, says names as names, and its figures are drawn."""

import json
import re
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import replace
from html import escape, unescape
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from taskvec.diagnose.page import render, write_page
from taskvec.diagnose.page_parts.colours import DARK, LIGHT, STEPS, between, contrast, ink, rgb
from taskvec.diagnose.page_parts.svg import shortened
from taskvec.diagnose.report import Report
from taskvec.errors import OutputError, RecipeError

from .reports import report
from .verdicts import judged, verdict

VOID = {"meta", "br", "hr", "img", "input", "link"}
ALWAYS = {"advice", "models", "relations", "change", "conflict", "rounding", "groups", "how"}
FIGURES = {"cosines", "map", "tree", "overlap", "change", "kinds", "signs", "between", "pairs", "lost", "gone"}
OF_SPECTRA = {"spectrum-0", "ranks", "angles", "interference"}
OF_CURVATURE = {"excess", "eta"}

HARD: dict[str, Callable[[np.random.Generator], Report]] = {
    "two models": lambda rng: report(rng, names="ab", layers=1, kinds=("q",), outside=False),
    "forty models": lambda rng: report(rng, names=[f"m{t}" for t in range(40)], layers=1, kinds=("q",), spectra=1),
    "a hundred layers": lambda rng: report(rng, names="ab", layers=100, kinds=("q",)),
    "no layers": lambda rng: report(rng, layers=0),
    "spectra": lambda rng: report(rng, spectra=3),
    "one direction": lambda rng: report(rng, spectra=1, layers=1),
    "a zero vector": lambda rng: report(rng, zeros=(1,), spectra=2),
    "all zero": lambda rng: report(rng, zeros=(0, 1, 2), spectra=2),
    "curvature": lambda rng: judged(rng, verdict(rng)),
    "curvature of forty": lambda rng: judged(rng, verdict(rng, [f"m{t}" for t in range(40)], layers=1), layers=1),
    "curvature of zeros": lambda rng: judged(rng, verdict(rng, zeros=(0, 1, 2)), zeros=(0, 1, 2)),
    "long names": lambda rng: report(rng, names=["x" * 200 + "1", "x" * 200 + "2"], base="/b" * 300),
}


class Outline(HTMLParser):
    """Tags that are open, and everything that has an id, a figure's name or a reference."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.ids: list[str] = []
        self.tags: set[str] = set()
        self.labelled: list[str] = []
        self.references: list[str] = []
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        found = dict(attributes)
        self.tags.add(tag)
        if tag not in VOID:
            self.open.append(tag)
        if found.get("id"):
            self.ids.append(str(found["id"]))
        if found.get("role") == "img":
            self.labelled.append(str(found["aria-labelledby"]))
        self.references += [str(found[key]) for key in ("href", "src", "xlink:href") if key in found]

    def handle_startendtag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open and self.open[-1] == tag, f"</{tag}> closes <{self.open[-1:]}>"
        self.open.pop()


@pytest.mark.parametrize("case", HARD)
def test_the_page_is_whole_and_stands_alone(rng: np.random.Generator, case: str) -> None:
    page = render(HARD[case](rng))
    outline = Outline(page)
    assert outline.open == []
    assert len(outline.ids) == len(set(outline.ids))
    assert set(outline.ids) >= ALWAYS
    assert all(name in outline.ids for label in outline.labelled for name in label.split())
    assert all(reference[1:] in outline.ids and reference[0] == "#" for reference in outline.references)
    assert not outline.tags & {"script", "link", "img", "iframe", "object"}
    assert set(re.findall(r"https?://[^\"' <)]*", page)) <= {"http://www.w3.org/2000/svg"}
    assert "url(" not in page and "@import" not in page
    assert not re.search(r"\bnan\b|\binf\b", re.sub(r"<style>.*?</style>", "", page), re.IGNORECASE)


def _figures(page: str) -> set[str]:
    return {name.removesuffix("-title") for name in Outline(page).ids if name.endswith("-title")}


def test_every_figure_is_there_and_those_of_spectra_only_with_spectra(rng: np.random.Generator) -> None:
    plain, full = render(report(rng)), render(report(rng, spectra=2))
    assert _figures(plain) == FIGURES
    assert _figures(full) >= FIGURES | OF_SPECTRA
    assert 'id="spectra"' in full
    assert "#spectra" not in plain


def test_names_are_text_wherever_they_come_from(rng: np.random.Generator) -> None:
    nasty = '<script>alert("x")</script>&amp;'
    page = render(report(rng, names=[nasty, "b'><b", "c"], base="<i>base"))
    assert "script" not in Outline(page).tags
    assert "<i>base" not in page
    assert nasty in unescape(page)


def test_the_order_is_that_of_the_tree_and_numbers_stand_in_cells(rng: np.random.Generator) -> None:
    vectors = report(rng, names=("anna", "bert", "carl"), common=0.0, layers=1, kinds=("q",), outside=False)
    cosine = vectors.total.gram[0, 1] / np.sqrt(vectors.total.gram[0, 0] * vectors.total.gram[1, 1])
    page = render(vectors)
    assert (
        f"anna, bert: {cosine:.3f}".replace("-", "−") in page or f"anna, bert: {cosine:.2f}".replace("-", "−") in page
    )


def test_a_report_of_one_model_is_refused(rng: np.random.Generator) -> None:
    with pytest.raises(RecipeError, match="1 model has nothing to compare; inspect at least two"):
        render(report(rng, names=("anna",)))


def test_a_page_that_cannot_be_written_is_said(rng: np.random.Generator, tmp_path: Path) -> None:
    assert write_page(report(rng), tmp_path / "page.html").read_text(encoding="utf-8").startswith("<!doctype html>")
    with pytest.raises(OutputError, match=r"cannot write the report .*page.html"):
        write_page(report(rng), tmp_path / "missing" / "page.html")


def test_short_names_stay_different() -> None:
    names = [f"org/model-{t:03}-{'x' * 30}" for t in range(200)]
    for most in (8, 15, 22):
        found = shortened(names, most)
        assert len(set(found)) == len(names)
        assert all(len(name) <= most for name in found)


@pytest.mark.parametrize("scales", [LIGHT, DARK], ids=["light", "dark"])
def test_colours_get_steadily_lighter_or_darker_on_each_side(scales: dict) -> None:
    for kind, anchors in scales.items():
        light = [between(anchors, step / (STEPS - 1))[0] for step in range(STEPS)]
        assert len({rgb(between(anchors, step / (STEPS - 1))) for step in range(STEPS)}) == STEPS
        fills = [rgb(between(anchors, step / (STEPS - 1))) for step in range(STEPS)]
        assert min(contrast(fill, ink(fill)) for fill in fills) >= 4.5
        halves = [light] if kind == "q" else [light[: STEPS // 2 + 1], light[STEPS // 2 :]]
        for half in halves:
            assert np.all(np.diff(half) > 0) or np.all(np.diff(half) < 0)


MEASURE = """<script>
const drawn = [...document.querySelectorAll("svg[role=img]")].map(svg => {
  const box = svg.getBBox(), seen = svg.getBoundingClientRect();
  return [svg.getAttribute("aria-labelledby").split("-title")[0], box.width, box.height, seen.width, seen.height];
});
const ground = getComputedStyle(document.body).backgroundColor;
const text = JSON.stringify({drawn, ground, inner: innerWidth, page: document.documentElement.scrollWidth});
document.body.insertAdjacentHTML("beforeend", `<pre id="measured">${text}</pre>`);
</script></body>"""

PHONE = """<!doctype html><iframe style="width:390px;height:844px;border:0" srcdoc="PAGE"></iframe><script>
const frame = document.querySelector("iframe");
frame.onload = () => document.body.append(frame.contentDocument.querySelector("#measured"));
</script>"""
"""A browser's own windows have a least width that is more than a phone's; a frame has not."""

QUIET = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
    "--hide-scrollbars",
]


def _chromium(folder: Path, page: Path, *options: str) -> str:
    """Open a page in headless Chromium, and return what it prints."""
    program = shutil.which("chromium")
    if program is None:
        pytest.skip("there is no chromium to open the page with")
    done = subprocess.run(
        [program, *QUIET, f"--user-data-dir={folder / 'profile'}", *options, page.as_uri()],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    return done.stdout


def test_a_browser_draws_every_figure_in_the_dark_and_a_phone_need_not_scroll_the_page(
    rng: np.random.Generator, tmp_path: Path
) -> None:
    page = tmp_path / "page.html"
    names = [f"a-model-with-a-long-name-{t}" for t in range(9)]
    of = judged(rng, verdict(rng, names, layers=12), layers=12, spectra=3)
    made = render(replace(of, dead=("a.very.long.name." * 9,)))
    page.write_text(PHONE.replace("PAGE", escape(made.replace("</body>", MEASURE))), encoding="utf-8")
    options = ["--blink-settings=preferredColorScheme=0", "--window-size=1200,900", "--dump-dom"]
    dom = _chromium(tmp_path, page, *options)
    found = json.loads(unescape(dom.rsplit('<pre id="measured">', 1)[1].split("</pre>")[0]))
    assert {name for name, *_ in found["drawn"]} >= FIGURES | OF_SPECTRA | OF_CURVATURE
    for name, *sizes in found["drawn"]:
        assert min(sizes) > 20, f"{name} is drawn as {sizes}"
    assert found["page"] <= found["inner"] == 390
    assert found["ground"] == "rgb(20, 22, 26)"


def test_the_page_is_seen_in_its_colours(rng: np.random.Generator, tmp_path: Path) -> None:
    page = write_page(report(rng, spectra=2), tmp_path / "page.html")
    shot = tmp_path / "page.png"
    options = ["--blink-settings=preferredColorScheme=1", "--window-size=1200,4000", f"--screenshot={shot}"]
    _chromium(tmp_path, page, *options)
    with Image.open(shot) as picture:
        assert picture.width == 1200
        colours = {colour: count for count, colour in picture.convert("RGB").getcolors(1 << 20)}
    assert max(colours, key=colours.__getitem__) == (253, 253, 252)
    steps = {rgb(between(anchors, step / (STEPS - 1))) for anchors in LIGHT.values() for step in range(STEPS)}
    assert len(steps & {f"#{r:02x}{g:02x}{b:02x}" for r, g, b in colours}) > 20
