"""The models whose vocabularies meet: their tokens, their rows, and whose tokenizer the result starts from."""

from collections.abc import Sequence
from filecmp import cmp
from pathlib import Path

from ...errors import MismatchError, RecipeError
from ..checkpoint import Checkpoint
from ..sidecars import is_tokenizer_file, sidecars
from ..taskvector import is_task_vector
from .request import RULES
from .target import Member
from .tensors import EMBEDDINGS, embedding_rows
from .tokens import Vocabulary, read_vocabulary


def same_files(inputs: Sequence[Checkpoint]) -> bool:
    """Tell whether all have as many rows and the same tokenizer, byte for byte: nothing need be parsed then."""
    models = [c for c in inputs if not is_task_vector(c)]
    if len({embedding_rows(c) for c in inputs}) > 1 or not all(c.folder for c in models):
        return False
    first, *others = [_tokenizer_files(c.folder) for c in models if c.folder]
    return bool(first) and all(
        other.keys() == first.keys() and all(cmp(path, other[name], shallow=False) for name, path in first.items())
        for other in others
    )


def _tokenizer_files(folder: Path) -> dict[str, Path]:
    """Return the files that may tell a token's row."""
    found = (path for path in sidecars(folder) if is_tokenizer_file(path))
    return {str(path): folder / path for path in found if not path.name.startswith("chat_template")}


def read_members(inputs: Sequence[Checkpoint]) -> tuple[list[Member], list[str]]:
    """Read every model's tokens and count its rows. A model without a tokenizer has the first one's, if it fits."""
    first, rows = read_vocabulary(inputs[0].folder), embedding_rows(inputs[0])
    if first is None or rows is None:
        what = "no tokenizer that can be read" if first is None else f"no tensor that ends in {', '.join(EMBEDDINGS)}"
        raise MismatchError(f"{inputs[0].path} has {what}, so its tokens cannot be matched with the other models'.")
    members, notes = [Member(str(inputs[0].path), first, rows)], []
    for checkpoint in inputs[1:]:
        delta = is_task_vector(checkpoint)
        own = None if delta else read_vocabulary(checkpoint.folder)
        count = embedding_rows(checkpoint)
        if own is None and count not in (None, rows):
            raise MismatchError(
                f"{checkpoint.path} has no tokenizer beside it, and {count} rows of tokens where {inputs[0].path} has "
                f"{rows}. Give the folder that holds its tokenizer, too."
            )
        if own is None and not delta:
            notes.append(f"{checkpoint.path} has no tokenizer beside it; it is taken to have {inputs[0].path}'s.")
        members.append(Member(str(checkpoint.path), own or first, rows if count is None else count, delta))
    for member in members:
        beyond = [text for text, row in member.vocabulary.ids.items() if row >= member.rows]
        if beyond:
            notes.append(
                f"{member.name} has no row for {len(beyond)} of its tokens, the first {beyond[0]!r}: "
                f"its embedding ends after {member.rows} rows."
            )
    return members, notes


def find_owner(source: str, inputs: Sequence[Checkpoint], members: Sequence[Member]) -> tuple[Vocabulary, int]:
    """Return the vocabulary that a source starts from, and the rows of its embedding."""
    at = 0 if source in RULES else find_input(source, inputs)
    if at is not None:
        return members[at].vocabulary, members[at].rows
    vocabulary = read_vocabulary(Path(source)) if Path(source).is_dir() else None
    if vocabulary is None:
        raise RecipeError(
            f"the tokenizer's source '{source}' is neither {', '.join(RULES)} nor a folder that holds a tokenizer."
        )
    return vocabulary, vocabulary.end


def find_input(path: str, inputs: Sequence[Checkpoint]) -> int | None:
    """Return which input lies at a path, or None."""
    wanted = Path(path).expanduser().resolve()
    same = (i for i, c in enumerate(inputs) if str(c.path) == path or c.path.resolve() == wanted)
    return next(same, None)
