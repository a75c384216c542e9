"""`python -m benchmarks.suite.write_docs text8`: put what `taskvec bench score` left into docs/benchmarks.md.

`text8-left-out` puts what `taskvec bench locate` left.
"""

import json
import os
import shutil
import sys
from datetime import date
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
PAGE = REPOSITORY / "docs" / "benchmarks.md"
LEFT_OUT = "-left-out"
PICTURES = REPOSITORY / "docs" / "pictures"


def main(suites: list[str], root: Path = REPOSITORY / ".cache" / "suite" / "suites") -> int:
    """Write the tables of some suites; each is wholly of one run."""
    for suite in suites:
        if suite.endswith(LEFT_OUT):
            left_out(suite.removesuffix(LEFT_OUT), root)
            continue
        folder = root / suite
        data = json.loads((folder / "results.json").read_text("utf-8"))
        tables = (folder / "results.md").read_text("utf-8").split("\n", 2)[2].strip()
        PICTURES.mkdir(exist_ok=True)
        shutil.copyfile(folder / "results.svg", PICTURES / f"{suite}.svg")
        program = "python -m benchmarks.suite" if suite == "convolutional" else "taskvec"
        command = f"{program} bench score benchmarks/suite/{suite}.yaml" + (" --choices" if data["choices"] else "")
        said = f"Scored on {date.today()} by `{command}` on {machine()}, models in {data['precision']}."
        picture = (
            f"![{data['suite']}: scores of base, specialists, joint training and four merges](pictures/{suite}.svg)"
        )
        put(suite, f"{said}\n\n{tables}\n\n{picture}")
    return 0


def left_out(suite: str, root: Path) -> None:
    """Write the tables of a suite's tasks left out in turn."""
    folder = root / suite
    data = json.loads((folder / "results-left-out.json").read_text("utf-8"))
    tables = (folder / "results-left-out.md").read_text("utf-8").split("\n", 2)[2].strip()
    asked = data["asked"]
    examples = " ".join(map(str, asked["examples"]))
    words = f"--examples {examples} --seeds {asked['seeds']} --test {asked['test']}"
    command = f"taskvec bench locate benchmarks/suite/{suite}.yaml {words}"
    put(f"{suite}{LEFT_OUT}", f"Scored on {date.today()} by `{command}`, models in {data['precision']}.\n\n{tables}")


def machine() -> str:
    """Say what it ran on."""
    models = [
        line.split(":", 1)[1].strip() for line in Path("/proc/cpuinfo").read_text().splitlines() if "model name" in line
    ]
    return f"{os.cpu_count()} cores of {models[0]}"


def put(suite: str, text: str) -> None:
    """Put a text between a suite's markers."""
    begin, end = f"<!-- {suite}: made by benchmarks/suite/write_docs.py -->", f"<!-- /{suite} -->"
    before, found, rest = PAGE.read_text("utf-8").partition(begin)
    if not found:
        raise SystemExit(f"{PAGE} has no '{begin}'")
    PAGE.write_text(f"{before}{begin}\n\n{text}\n\n{end}{rest.partition(end)[2]}", "utf-8")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
