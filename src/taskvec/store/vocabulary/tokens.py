"""Which token stands in which row of an embedding, as the files of a tokenizer say."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from ...errors import FormatError

PLAIN = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": True, "special": False}
"""How a token is matched that is added by its text alone."""

WITHOUT_ROWS = (".model", ".tiktoken", ".spm", "tekken.json")
"""Tokenizers whose rows depend on the class that loads them."""


@dataclass(frozen=True)
class Vocabulary:
    """The tokens of one tokenizer.

    folder: where its files lie.
    own: text → row of the tokenizer's model. Two texts may share a row; a row may have no text.
    added: text → how it is matched, for tokens that were added to the model, whether it knew them or not.
    ids: text → row of all of them.
    own_size: how many tokens the loaders count in the model; they number added tokens from there on.
    notes: what is odd but harmless.
    """

    folder: Path
    own: Mapping[str, int]
    added: Mapping[str, Mapping[str, Any]]
    ids: Mapping[str, int]
    own_size: int
    notes: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """What messages call it."""
        return str(self.folder)

    @property
    def next_row(self) -> int:
        """The row that loaders give to the next token that is added."""
        return max([self.own_size, *(self.ids[text] + 1 for text in self.added)])

    @cached_property
    def end(self) -> int:
        """One more than the last row that a token stands in."""
        return 1 + max(self.ids.values(), default=-1)

    @cached_property
    def named(self) -> frozenset[int]:
        """The rows that have a token."""
        return frozenset(self.ids.values())


def read_vocabulary(folder: Path | None) -> Vocabulary | None:
    """Read the tokens of a folder; None where no tokenizer lies there.

    Added tokens are those of tokenizer.json and of tokenizer_config.json (or, before that had any, of
    added_tokens.json), as transformers reads them.

    Raises:
        FormatError: damaged files, files that contradict each other, or a tokenizer that does not tell its rows.
    """
    if folder is None:
        return None
    where, data, own, size, doubled = _model(folder)
    if where is None:
        if found := sorted(p.name for p in folder.iterdir() if p.name.endswith(WITHOUT_ROWS)):
            raise FormatError(
                f"{folder} has {found[0]} and no tokenizer.json, so the class that loads it decides on rows. "
                f'Write one: python -c "from transformers import AutoTokenizer as T; '
                f"T.from_pretrained('{folder}').save_pretrained('{folder}')\"."
            )
        return None
    ids, added = dict(own), dict[str, Mapping[str, Any]]()
    free = size
    for file, text, row, settings in _added(folder, data):
        expected = ids.get(text, free)
        if row != expected:
            raise FormatError(
                f"{file} gives the token {text!r} row {row}, but loaders number it {expected}, as the other tokens "
                f"of that tokenizer have it. Load the tokenizer and save it again, or mend that file."
            )
        ids[text] = row
        added.setdefault(text, settings)
        free = max(free, row + 1)
    return Vocabulary(folder, own, added, ids, size, _doubled(where, doubled))


def _model(folder: Path) -> tuple[Path | None, dict[str, Any], dict[str, int], int, list[tuple[str, int]]]:
    """Return the file that tells, all of tokenizer.json, text → row, how many they are, and what stands twice."""
    if (path := folder / "tokenizer.json").is_file():
        data = read_json(path)
        vocab = (data.get("model") or {}).get("vocab") or {}
        if isinstance(vocab, list):
            own, doubled = _from_list(path, [entry[0] if isinstance(entry, list) else entry for entry in vocab])
            return path, data, own, len(vocab), doubled
        return path, data, _checked(path, vocab), len(vocab), []
    if (path := folder / "vocab.json").is_file():
        own = _checked(path, read_json(path))
        return path, {}, own, len(own), []
    if (path := folder / "vocab.txt").is_file():
        lines = path.read_text("utf-8").removesuffix("\n").split("\n")
        own, doubled = _from_list(path, [line.rstrip("\r") for line in lines])
        return path, {}, own, len(own), doubled
    return None, {}, {}, 0, []


def _from_list(path: Path, texts: list[Any]) -> tuple[dict[str, int], list[tuple[str, int]]]:
    """Number a list of texts; of equal ones the last counts, as in every loader. Return also those that do not."""
    own = {text: row for row, text in enumerate(texts)}
    doubled = [(text, row) for row, text in enumerate(texts) if own[text] != row] if len(own) < len(texts) else []
    return _checked(path, own), doubled


def _checked(path: Path, vocab: Any) -> dict[str, int]:
    if not isinstance(vocab, dict):
        raise FormatError(f"{path} is damaged: its vocabulary is neither a list nor a mapping.")
    for text, row in vocab.items():
        if not isinstance(text, str) or not isinstance(row, int) or isinstance(row, bool) or row < 0:
            raise FormatError(f"{path} is damaged: it puts the token {text!r} in row {row!r}.")
    return vocab


def _doubled(path: Path, doubled: list[tuple[str, int]]) -> tuple[str, ...]:
    if not doubled:
        return ()
    text, row = doubled[0]
    return (f"{path} lists {len(doubled)} tokens twice, the first {text!r} in row {row}; the last of each counts.",)


def _added(folder: Path, data: dict[str, Any]) -> Iterator[tuple[Path, str, int, Mapping[str, Any]]]:
    """Yield the added tokens: from which file, text, row, settings; in the order in which loaders add them."""
    for token in data.get("added_tokens") or []:
        yield _entry(folder / "tokenizer.json", token.get("id") if isinstance(token, dict) else None, token)
    config = folder / "tokenizer_config.json"
    decoder = read_json(config).get("added_tokens_decoder") if config.is_file() else None
    if decoder is not None:
        numbered = [(int(row) if row.isdecimal() else row, token) for row, token in decoder.items()]
        for row, token in sorted(numbered, key=_place):
            yield _entry(config, row, token)
    elif (path := folder / "added_tokens.json").is_file():
        for row, text in sorted(((row, text) for text, row in read_json(path).items()), key=_place):
            yield _entry(path, row, {"content": text})


def _place(numbered: tuple[Any, Any]) -> int:
    """Sort by rows; what is no row comes first, to be refused."""
    return numbered[0] if isinstance(numbered[0], int) else -1


def _entry(path: Path, row: Any, token: Any) -> tuple[Path, str, int, Mapping[str, Any]]:
    text = token.get("content") if isinstance(token, dict) else None
    if not isinstance(text, str) or not isinstance(row, int):
        raise FormatError(f"{path} is damaged: an added token is {token!r} with the row {row!r}.")
    return path, text, row, {key: bool(token.get(key, PLAIN[key])) for key in PLAIN}


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object.

    Raises:
        FormatError: it is none, or names one thing twice.
    """
    try:
        data = json.loads(path.read_text("utf-8"), object_pairs_hook=_no_duplicates)
    except (ValueError, RecursionError) as exc:
        raise FormatError(f"{path} is damaged: {exc}.") from exc
    if not isinstance(data, dict):
        raise FormatError(f"{path} is damaged: expected a JSON object, got {type(data).__name__}.")
    return data


def as_text(data: Mapping[str, Any]) -> str:
    """Return JSON as it is written beside weights."""
    return json.dumps(data, indent=2, ensure_ascii=False) + "\n"


def _no_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    out = dict(pairs)
    if len(out) < len(pairs):
        seen: set[str] = set()
        twice = next(name for name, _ in pairs if name in seen or seen.add(name))  # type: ignore[func-returns-value]
        raise ValueError(f"{twice!r} occurs twice")
    return out
