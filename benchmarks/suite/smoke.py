"""The data of the smoke suite: three tasks of the demo, from installed packages, as tables."""

from collections.abc import Iterator
from pathlib import Path

from demo.settings import Settings
from demo.tasks import TASKS, split

NAMES = ("sentiment", "emoji", "subjectivity")


def make_smoke(folder: Path) -> Iterator[str]:
    """Write the tables that are not in `folder` yet, and give a line for each."""
    for task in TASKS:
        place = folder / f"{task.name}.tsv"
        if task.name in NAMES and not place.is_file():
            texts = split(task, Settings())
            parts = {"train": texts.train, "test": texts.test}
            rows = [f"{part}\t{e.label}\t{e.text}\n" for part, examples in parts.items() for e in examples]
            folder.mkdir(parents=True, exist_ok=True)
            beside = place.with_suffix(".partial")
            beside.write_text("".join(["split\tlabel\ttext\n", *rows]), "utf-8")
            beside.rename(place)
            yield f"made {place}"
