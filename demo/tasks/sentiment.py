"""Is this word positive or negative? From the VADER lexicon."""

from collections.abc import Iterator

from ..packages import data_file
from .task import Example, Task

STEM = 5
"""Words that share so many letters ("painful", "painfully") count as one family."""


def read() -> Iterator[Example]:
    """Yield the plain lower-case words of the lexicon with the sign of their mean rating."""
    lexicon = data_file("vaderSentiment", "vader_lexicon.txt")
    for line in lexicon.read_text(encoding="utf-8").splitlines():
        word, rating, *_ = line.split("\t")
        if word.isascii() and word.isalpha() and word.islower() and len(word) > 2:
            yield Example(word, "positive" if float(rating) > 0 else "negative", word[:STEM])


SENTIMENT = Task(
    name="sentiment",
    question="Is the word positive or negative?",
    package="vaderSentiment",
    licence="MIT",
    read=read,
)
