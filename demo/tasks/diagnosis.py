"""Which chapter of the classification of diseases does this diagnosis belong to? From ICD-10-CM."""

from collections.abc import Iterator
from importlib import import_module

from .task import Example, Task

NOT_DISEASES = ("18", "20", "21", "22")
"""Chapters of symptoms, of external causes, of reasons for a visit and of spare codes."""


def read() -> Iterator[Example]:
    """Yield each three-character category and its direct children with the title of their chapter.

    A category and its children are a family: they say nearly the same.
    """
    icd = import_module("simple_icd_10_cm")
    chapters = [code for code in icd.get_all_codes() if icd.is_chapter(code) and code not in NOT_DISEASES]
    for chapter in chapters:
        title = icd.get_description(chapter).rpartition(" (")[0]
        for category in filter(icd.is_category, icd.get_descendants(chapter)):
            for code in [category, *icd.get_children(category)]:
                yield Example(icd.get_description(code), title, category)


DIAGNOSIS = Task(
    name="diagnosis",
    question="Which chapter of ICD-10-CM does the diagnosis belong to?",
    package="simple-icd-10-cm",
    licence="MIT",
    read=read,
)
