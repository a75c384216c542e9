"""Does this adjective, in this sense, state a fact or an opinion? From TextBlob's lexicon."""

from collections.abc import Iterator
from xml.etree import ElementTree

from ..packages import data_file
from .task import Example, Task

FACT, OPINION = 0.25, 1.0
"""Ratings of subjectivity up to here, and from here on; with these two borders both labels are about as frequent."""


def read() -> Iterator[Example]:
    """Yield "word: sense" with the clear end of the scale that its rating is at; the senses of a word are a family."""
    lexicon = data_file("textblob", "en/en-sentiment.xml")
    for word in ElementTree.parse(lexicon).getroot():
        form, sense, rating = word.get("form", ""), word.get("sense", ""), float(word.get("subjectivity", "0.5"))
        if sense and not FACT < rating < OPINION:
            yield Example(f"{form}: {sense}", "fact" if rating <= FACT else "opinion", form)


SUBJECTIVITY = Task(
    name="subjectivity",
    question="Does the word, in the sense given, state a fact or an opinion?",
    package="textblob",
    licence="MIT (lexicon: PDDL)",
    read=read,
)
