"""Tasks without heads: similarity, retrieval, perplexity, answers in words, lm-evaluation-harness."""

from ..errors import FormatError, RecipeError
from ..evaluate.data import Examples, Source, read
from ..evaluate.generation import Generation
from ..evaluate.harness import Harness
from ..evaluate.perplexity import Perplexity
from ..evaluate.retrieval import Retrieval
from ..evaluate.similarity import Similarity
from ..evaluate.task import Task
from .examples import Split, examples_of
from .heads import reading_of
from .load import Loaded
from .schema import GenerateEntry, HarnessEntry, PerplexityEntry, RetrievalEntry, SimilarityEntry


def other_task(loaded: Loaded, name: str, split: Split) -> Task:
    """Return a task that is no classification.

    Raises:
        RecipeError: a task that has no validation examples, where those are asked for.
        TaskVecError: its data cannot be read.
    """
    entry = loaded.suite.tasks[name]
    if isinstance(entry, HarnessEntry | RetrievalEntry) and split != "test":
        raise RecipeError(f"task '{name}' is scored as a whole and has no {split} examples. Leave it out with --only.")
    if isinstance(entry, HarnessEntry):
        local = loaded.root / entry.task
        task = str(local) if local.is_file() else entry.task
        include = loaded.place(entry.include) if entry.include else None
        return Harness(name, task, entry.measure, entry.shots, entry.limit, include)
    if isinstance(entry, RetrievalEntry):
        return _retrieval(loaded, name, entry)
    examples = examples_of(loaded, name, split)
    if isinstance(entry, SimilarityEntry):
        return Similarity(name, examples, reading_of(loaded, name))
    if isinstance(entry, PerplexityEntry):
        return Perplexity(name, examples, entry.tokens, entry.stride, entry.joined)
    assert isinstance(entry, GenerateEntry), "every kind of the schema has its task"
    return Generation(
        name, examples, entry.how, entry.template, entry.likelihood, entry.tokens, entry.new_tokens, entry.metric
    )


def _retrieval(loaded: Loaded, name: str, entry: RetrievalEntry) -> Retrieval:
    queries, documents = _with_ids(loaded, entry.queries), _with_ids(loaded, entry.documents)
    asked, found = _ids(queries), _ids(documents)
    relevance: list[dict[int, float]] = [{} for _ in queries.inputs]
    pairs = read(Source(path=loaded.place(entry.relevant), text="query", label="document"))
    for query, document in zip(pairs.inputs, _names(pairs), strict=True):
        for known, which, what in ((asked, query, "query"), (found, document, "document")):
            if which not in known:
                raise FormatError(
                    f"{entry.relevant} names the {what} '{which}', which is not among the ids of the {what}s."
                )
        relevance[asked[query]][found[document]] = 1.0
    return Retrieval(name, queries, documents, relevance, reading_of(loaded, name), entry.metric)


def _with_ids(loaded: Loaded, path: str) -> Examples:
    """Return texts whose labels are their ids."""
    return read(Source(path=loaded.place(path), label="id"))


def _ids(examples: Examples) -> dict[str, int]:
    return {name: place for place, name in enumerate(_names(examples))}


def _names(examples: Examples) -> list[str]:
    assert examples.labels is not None, "they were read with a label"
    return [examples.names[label] for label in examples.labels]
