"""The page `docs/demo.md`, written from a run."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from .packages import version, versions
from .settings import Settings
from .table import Row, as_markdown
from .tasks import TASKS, Task

HEAD = """\
# The demo

<!-- Written by `python -m demo --write-docs`; do not edit by hand. -->

`make demo` takes a pretrained transformer (all-MiniLM-L6-v2, 22.7 million weights, float32), fine-tunes one sibling of
it for each of four tasks, merges the four with `taskvec merge`, loads the results back with
`AutoModel.from_pretrained`, and scores everything on held-out texts.
"""

TASK_HEAD = """\
| task | question | data | labels | train / test | training |
| --- | --- | --- | ---: | ---: | ---: |
"""

RESULT_HEAD = """\
Accuracy in per cent; *normalised* is the mean of the ratios to each task's specialist. The last columns are what
`receipt.json` says of the merge.
"""


def page(rows: Sequence[Row], notes: Mapping[str, Mapping[str, Any]], recipes: Sequence[Path]) -> str:
    """Return the whole page: tasks, result, recipes, versions."""
    tasks = TASK_HEAD + "".join(_task(task, notes[task.name]) for task in TASKS)
    blocks = "\n".join(f"```yaml\n{recipe.read_text(encoding='utf-8')}```\n" for recipe in recipes)
    return "\n".join(
        [
            HEAD,
            "## The tasks\n",
            tasks,
            "## The result\n",
            RESULT_HEAD,
            as_markdown(rows),
            "## The recipes\n",
            blocks,
            "## How it was measured\n",
            _measured(),
        ]
    )


def _task(task: Task, note: Mapping[str, Any]) -> str:
    cells = [
        task.name,
        task.question,
        f"`{task.package}` {version(task.package)}, {task.licence}",
        str(note["labels"]),
        f"{note['train']} / {note['test']}",
        f"{note['seconds']:.0f} s",
    ]
    return f"| {' | '.join(cells)} |\n"


def _measured() -> str:
    names = ", ".join(f"{package} {found}" for package, found in versions().items())
    return f"{Settings.threads} threads of a CPU, seed {Settings.seed}, {names}.\n"
