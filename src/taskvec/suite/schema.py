"""What a file of tasks, or a whole benchmark, is: the models of pydantic that read it."""

from collections.abc import Callable, Sequence
from typing import Annotated, Any, Literal, Self, TypeVar

from pydantic import BaseModel, BeforeValidator, Discriminator, Field, Tag, ValidationError, model_validator

from ..errors import RecipeError
from ..merge.registry import suggest
from ..recipe.schema import Settings, Strict
from ..recipe.yaml_lines import Document

Entry = TypeVar("Entry", bound=BaseModel)


def _listed(value: Any) -> Any:
    return [value] if isinstance(value, str) else value


def _default(kind: type[Entry]) -> Callable[[], Entry]:
    return lambda: kind.model_validate({})


Words = Annotated[list[str], BeforeValidator(_listed)]


class HeadEntry(Strict):
    """The head of a task, and how it is made."""

    kind: Literal["labels", "class_means", "ridge", "trained", "checkpoint", "file"] = Field(
        "labels",
        description="Frozen cosine heads from label names or class means; linear probes by ridge regression or "
        "training; the one in the specialist's own folder; or a file.",
    )
    template: Words = Field(["{}"], min_length=1, description="What label names are put into, e.g. 'a photo of a {}.'.")
    texts: dict[str, Words] = Field(default_factory=dict, description="label: what is embedded instead of its name.")
    scale: float | None = Field(
        None, gt=0, description="What cosines are multiplied by: 60 for class means; for labels 20, or CLIP's own."
    )
    ridge: float = Field(1e-2, gt=0, description="Penalty of 'ridge', a share of the vectors' mean variance.")
    decay: float = Field(1e-3, ge=0, description="Penalty of 'trained'.")
    file: str | None = Field(None, description="A head's file, for 'file'.")


class EncoderEntry(Strict):
    """How inputs become vectors."""

    pooling: Literal["mean", "cls", "last", "pooler"] | None = Field(
        None, description="Of the last hidden states; what the model says of itself when not given."
    )
    tokens: int = Field(128, ge=2, description="Longer texts are cut.")
    batch: int = Field(64, ge=1, description="Examples a batch, at most.")


class SplitEntry(Strict):
    """What the splits are called in the data. Without 'validation' a tenth of the training split is held out."""

    train: str | None = "train"
    validation: str | None = None
    test: str | None = "test"

    @model_validator(mode="after")
    def _differ(self) -> Self:
        if self.test is not None and self.test in (self.train, self.validation):
            raise ValueError(f"says 'test: {self.test}', but models are not scored on what they learn from")
        if self.validation is not None and self.validation == self.train:
            raise ValueError(
                f"says 'validation: {self.validation}', but coefficients are not chosen on what models learn from; "
                f"without 'validation' a tenth of the training split is held out"
            )
        return self


class DataEntry(Strict):
    """Where examples come from; a file's columns."""

    data: str = Field(description="A file (CSV, TSV, JSONL, Parquet, npz, .gz of these), or 'datasets:org/name'.")
    columns: list[str] = Field(default_factory=list, description="Names of the columns, for a table without them.")
    text: Words | None = Field(["text"], min_length=1, max_length=2, description="The column of texts, or two.")
    image: str | None = Field("image", description="The column of the images.")
    label: str | None = Field("label", description="The column of the labels; null where there are none.")
    labels: list[str] = Field(default_factory=list, description="The labels' names in the order of their numbers.")
    splits: SplitEntry = Field(default_factory=_default(SplitEntry), description="What the splits are called.")
    encoder: EncoderEntry | None = Field(None, description="How its inputs become vectors, if otherwise than the rest.")
    model: str | None = Field(None, description="The specialist: the model that was fine-tuned on this task.")


class ClassifyEntry(DataEntry):
    """Classification of texts or images."""

    kind: Literal["classify"] = "classify"
    head: HeadEntry = Field(default_factory=_default(HeadEntry), description="The head; of label names by default.")


class SimilarityEntry(DataEntry):
    """Similarity of pairs of texts, against a number."""

    kind: Literal["similarity"]


class PerplexityEntry(DataEntry):
    """Perplexity of a causal language model."""

    kind: Literal["perplexity"]
    tokens: int = Field(512, ge=2, description="The length of a window.")
    stride: int = Field(256, ge=1, description="How far windows lie apart.")
    joined: bool = Field(False, description="Whether the texts are one long text.")


class GenerateEntry(DataEntry):
    """Answers that a language model writes or chooses."""

    kind: Literal["generate"]
    template: str = Field("{}", description="What is asked; each {} takes a text of the input.")
    how: Literal["generate", "choices"] = Field("generate", description="Written freely, or chosen among the labels.")
    likelihood: Literal["sum", "mean"] = Field("sum", description="How choices are compared: all tokens, or a token.")
    tokens: int = Field(512, ge=2, description="Longer prompts are cut.")
    new_tokens: int = Field(10, ge=1, description="How many tokens the model may write.")
    metric: Literal["accuracy", "spearman"] = Field("accuracy", description="spearman: of answers that are numbers.")


class RetrievalEntry(Strict):
    """Documents found for queries."""

    kind: Literal["retrieval"]
    queries: str = Field(description="A table with the columns 'id' and 'text'.")
    documents: str = Field(description="A table with the columns 'id' and 'text'.")
    relevant: str = Field(description="A table with the columns 'query' and 'document': ids that belong together.")
    metric: str = Field("ndcg@10", description="ndcg@k, mrr@k or recall@k.")
    model: str | None = Field(None, description="The specialist.")
    encoder: EncoderEntry | None = Field(None, description="How texts become vectors.")


class HarnessEntry(Strict):
    """A task of lm-evaluation-harness."""

    kind: Literal["harness"]
    task: str = Field(description="Its name there, or a YAML file.")
    measure: str | None = Field(None, description="Which of its metrics; the main one by default.")
    shots: int | None = Field(None, ge=0, description="Examples before each question; as many as the task says.")
    limit: int | None = Field(None, ge=1, description="At most so many questions.")
    include: str | None = Field(None, description="A folder with task files of your own.")
    model: str | None = Field(None, description="The specialist.")


def _kind(value: Any) -> str:
    return str(value.get("kind", "classify") if isinstance(value, dict) else getattr(value, "kind", "classify"))


AnyTask = Annotated[
    Annotated[ClassifyEntry, Tag("classify")]
    | Annotated[SimilarityEntry, Tag("similarity")]
    | Annotated[PerplexityEntry, Tag("perplexity")]
    | Annotated[GenerateEntry, Tag("generate")]
    | Annotated[RetrievalEntry, Tag("retrieval")]
    | Annotated[HarnessEntry, Tag("harness")],
    Discriminator(_kind),
]
KINDS: dict[str, type[BaseModel]] = {
    "classify": ClassifyEntry,
    "similarity": SimilarityEntry,
    "perplexity": PerplexityEntry,
    "generate": GenerateEntry,
    "retrieval": RetrievalEntry,
    "harness": HarnessEntry,
}


class TrainingEntry(Strict):
    """How specialists are trained."""

    examples: int | None = Field(None, ge=1, description="At most so many of the training split, evenly over labels.")
    epochs: int = Field(1, ge=1)
    batch: int = Field(32, ge=1)
    rate: float = Field(1e-5, gt=0, description="AdamW's, at its highest.")
    decay: float = Field(0.1, ge=0)
    schedule: Literal["linear", "cosine", "constant"] = "cosine"
    warmup: float = Field(0.1, ge=0, le=1, description="The share of the steps over which the rate rises.")
    clip: float = Field(1.0, gt=0)
    frozen: list[str] = Field(default_factory=list, description="Globs of parameters that stay as they are.")
    precision: Literal["float32", "bfloat16"] = "bfloat16"
    dropout: bool = Field(True, description="Whether the model drops entries as its config says.")
    seed: int = 0


class ExamplesEntry(Strict):
    """How many examples of each task are used."""

    validation: int | None = Field(1000, ge=1, description="At most so many, evenly over labels.")
    test: int | None = Field(None, ge=1, description="At most so many, evenly over labels; all by default.")
    held_out: float = Field(0.1, gt=0, lt=1, description="Share of the training split held out for validation.")
    seed: int = 0


class MethodEntry(Strict):
    """A method of a benchmark, and what is tried of it."""

    method: str
    name: str | None = None
    settings: Settings = Field(default_factory=dict)
    scale: float | None = Field(None, description="λ where nothing is tuned; the literature's by default.")
    grid: list[float] | None = Field(None, description="The λ that are tried on the validation splits.")


class Suite(Strict):
    """A file of tasks; with 'base' and specialists a benchmark."""

    name: str | None = None
    extends: str | None = Field(None, description="Another file of tasks, for what is left out here.")
    root: str = Field(".", description="What relative paths start from.")
    base: str | None = Field(None, description="The pretrained model: heads are made with it, merges start from it.")
    precision: Literal["float32", "bfloat16", "float16"] = "float32"
    encoder: EncoderEntry = Field(default_factory=_default(EncoderEntry))
    training: TrainingEntry = Field(default_factory=_default(TrainingEntry))
    examples: ExamplesEntry = Field(default_factory=_default(ExamplesEntry))
    ignore: list[str] = Field(default_factory=list, description="Globs of tensors that merges leave as the base's.")
    tasks: dict[str, AnyTask] = Field(min_length=1)
    control: str | None = Field(None, description="The task that negation must leave alone; it is not merged.")
    methods: list[MethodEntry] | None = Field(None, description="What is compared; every method by default.")


def validate(document: Document) -> Suite:
    """Read a suite from a parsed document.

    Raises:
        RecipeError: everything that is wrong with its form, a line each, with file and line number.
    """
    if not isinstance(document.data, dict) or "tasks" not in document.data:
        raise RecipeError(
            f"{document.name} is no file of tasks: it has no 'tasks'. Type e.g. 'tasks: {{sst2: {{data: sst2.tsv}}}}'."
        )
    try:
        return Suite.model_validate(document.data)
    except ValidationError as exc:
        raise RecipeError("\n".join(dict.fromkeys(_say(document, error) for error in exc.errors()))) from exc


def _say(document: Document, error: Any) -> str:
    path = tuple(p for i, p in enumerate(error["loc"]) if not (i == 2 and p in KINDS))
    where, last = document.at(path), path[-1] if path else ""
    if error["type"] == "extra_forbidden":
        known = _keys(document, path)
        return f"{where}: unknown key '{last}'.{suggest(last, known)} Known: {', '.join(known)}."
    if error["type"] == "missing":
        return f"{where}: '{last}' is missing."
    if error["type"] == "union_tag_invalid":
        kind = error["ctx"]["tag"]
        return f"{where}: unknown kind of task '{kind}'.{suggest(kind, KINDS)} Known: {', '.join(KINDS)}."
    message = error["msg"].removeprefix("Value error, ")
    if error["type"] == "value_error":
        return f"{where}: '{last}' {message}."
    return f"{where}: '{last}' {message[0].lower() + message[1:]}, got {error['input']!r}."


def _keys(document: Document, path: Sequence[str | int]) -> list[str]:
    """Return the keys that may stand where one is unknown."""
    kind: type[BaseModel] = Suite
    if len(path) > 1 and path[0] == "tasks":
        entry = document.data["tasks"].get(path[1])
        kind = KINDS.get(_kind(entry), ClassifyEntry)
    inner: dict[str, type[BaseModel]] = {
        "head": HeadEntry,
        "encoder": EncoderEntry,
        "splits": SplitEntry,
        "training": TrainingEntry,
        "examples": ExamplesEntry,
        "methods": MethodEntry,
    }
    inside = path[2:-1] if path[0] == "tasks" else path[:-1]  # a task may be called 'head'
    names = [p for p in inside if isinstance(p, str)]
    return list(inner.get(names[-1] if names else "", kind).model_fields)
