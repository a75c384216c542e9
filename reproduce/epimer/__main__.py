"""`python -m reproduce.epimer`: EpiMer and its neighbours on a suite of tasks, and the page of what was found.

    python -m reproduce.epimer                                          # Text-8, all parts
    python -m reproduce.epimer --parts alpha rank
    python -m reproduce.epimer --suite benchmarks/suite/vision8.yaml
    python -m reproduce.epimer --page-only                              # what is known so far, nothing computed

The specialists must be there (`taskvec bench train`). What was found is noted at once and found again, so a run that
was interrupted goes on; the page is written after every part, with a line of what is not known yet.
"""

import argparse
import sys
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from taskvec.errors import TaskVecError
from taskvec.suite.load import load_suite

from . import alpha, data, page, rank, verdict
from .study import Piece, Study

REPOSITORY = Path(__file__).resolve().parents[2]
TEST = 250


def main(typed: list[str] | None = None) -> int:
    """Run the parts and write the page; 0 if all is well, 2 with one sentence where something is missing."""
    asked = parser().parse_args(typed)
    try:
        loaded = load_suite(asked.suite, asked.root)
        how = {"device": asked.device, "test": asked.test}
        if not asked.page_only:
            study = Study(loaded, asked.cache, **how)
            for part in asked.parts:
                run(study, part)
                page.write(Study(loaded, asked.cache, **how, frozen=True), asked.page)
        page.write(Study(loaded, asked.cache, **how, frozen=True), asked.page)
    except TaskVecError as error:
        print(f"reproduce.epimer: {error}", file=sys.stderr)
        return 2
    print(f"wrote {asked.page}")
    return 0


def parser() -> argparse.ArgumentParser:
    """Return what the command line understands."""
    asked = argparse.ArgumentParser(
        prog="python -m reproduce.epimer", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    asked.add_argument("--suite", type=Path, default=Path(__file__).with_name("text8.yaml"))
    asked.add_argument("--root", type=Path, help="where the suite's models and data are; as the suite says by default")
    asked.add_argument("--parts", nargs="+", choices=page.PARTS, default=list(page.PARTS))
    asked.add_argument(
        "--cache", type=Path, default=REPOSITORY / ".cache" / "reproduce" / "epimer", help="what is kept"
    )
    asked.add_argument("--page", type=Path, default=page.PAGE, help="the page whose tables are written")
    asked.add_argument("--page-only", action="store_true", help="write what is known, compute nothing")
    asked.add_argument("--test", type=int, default=TEST, help="test examples a task, at most")
    asked.add_argument("--device", default="auto")
    return asked


def run(study: Study, part: str) -> None:
    """Find everything of a part, and say how far it is."""
    for number, piece in enumerate(pieces(study, part), start=1):
        began = time.perf_counter()
        piece()
        print(f"{part} {number}: {time.perf_counter() - began:.0f} s", flush=True)


def pieces(study: Study, part: str) -> Iterator[Piece]:
    """Return what a part is made of."""
    if part == "alpha":
        yield partial(study.base_scores, "test")
        yield from alpha.pieces(study)
        yield from alpha.curve_pieces(study)
    else:
        yield from {"verdict": verdict, "data": data, "rank": rank}[part].pieces(study)


if __name__ == "__main__":
    sys.exit(main())
