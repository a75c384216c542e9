"""Which token stands in which row: as the tokenizers package and transformers say, or refused."""

import json
from pathlib import Path
from typing import Any

import pytest
import transformers
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer

from taskvec.errors import FormatError
from taskvec.store.vocabulary.tokens import PLAIN, read_vocabulary

from .vocabularies import added, bpe, tokenizer, words, write_tokenizer

UNIGRAM = {"type": "Unigram", "unk_id": 0, "vocab": [["<unk>", 0.0], ["a", -1.0], ["b", -2.0], ["a", -3.0]]}
WORDPIECE = {
    "type": "WordPiece", "unk_token": "[UNK]", "vocab": {"[UNK]": 0, "the": 1, "##s": 2},
    "continuing_subword_prefix": "##", "max_input_chars_per_word": 100,
}  # fmt: skip
KINDS: dict[str, dict[str, Any]] = {
    "BPE": bpe(["he", "hello"], ["<s>", "</s>"]),
    "Unigram with a token twice": tokenizer(UNIGRAM, [added("<s>", 4)]),
    "WordPiece": tokenizer(WORDPIECE, [added("[UNK]", 0), added("[CLS]", 3)]),
    "WordLevel": words(["<unk>", "x", "y"], ["y", "<s>"]),
    "BPE with a gap": tokenizer({"type": "BPE", "vocab": {"a": 0, "b": 4}, "merges": []}),
    "two texts in a row": tokenizer({"type": "BPE", "vocab": {"a": 0, "b": 0}, "merges": []}, [added("<s>", 2)]),
}


@pytest.mark.parametrize("kind", KINDS)
def test_as_the_tokenizers_package_reads_it(tmp_path: Path, kind: str) -> None:
    write_tokenizer(tmp_path, KINDS[kind])
    vocabulary = read_vocabulary(tmp_path)
    theirs = Tokenizer.from_file(str(tmp_path / "tokenizer.json"))
    assert vocabulary is not None
    assert vocabulary.ids == theirs.get_vocab()
    assert set(vocabulary.added) == {t.content for t in theirs.get_added_tokens_decoder().values()}
    free = vocabulary.next_row
    theirs.add_tokens(["<a new one>"])
    assert theirs.token_to_id("<a new one>") == free


@given(st.lists(st.text(min_size=1, max_size=4), unique=True, max_size=8), st.integers(0, 8))
def test_any_text(tmp_path: Path, texts: list[str], own: int) -> None:
    data = tokenizer({"type": "WordLevel", "vocab": {t: i for i, t in enumerate(texts[:own])}, "unk_token": "?"})
    data["added_tokens"] = [added(t, i) for i, t in enumerate(texts)][own:]
    write_tokenizer(tmp_path, data)
    vocabulary = read_vocabulary(tmp_path)
    assert vocabulary is not None
    assert vocabulary.ids == Tokenizer.from_file(str(tmp_path / "tokenizer.json")).get_vocab()
    assert vocabulary.end == len(texts)
    assert vocabulary.named == set(range(len(texts)))


def test_a_text_that_stands_twice_is_told(tmp_path: Path) -> None:
    write_tokenizer(tmp_path, KINDS["Unigram with a token twice"])
    vocabulary = read_vocabulary(tmp_path)
    assert vocabulary is not None
    assert vocabulary.notes == (
        f"{tmp_path / 'tokenizer.json'} lists 1 tokens twice, the first 'a' in row 1; the last of each counts.",
    )
    assert vocabulary.named == {0, 2, 3, 4}


@pytest.mark.parametrize("where", ["added_tokens_decoder", "added_tokens.json"])
def test_tokens_that_stand_beside_tokenizer_json(tmp_path: Path, where: str) -> None:
    data, late = bpe(["he"], ["<s>"]), {"28": {"content": "<late>", "special": True}}
    if where == "added_tokens.json":
        write_tokenizer(tmp_path, data)
        (tmp_path / where).write_text(json.dumps({"<late>": 28, "<s>": 27}))
    else:
        write_tokenizer(tmp_path, data, {where: {"27": {"content": "<s>", "special": True}, **late}})
        (tmp_path / "added_tokens.json").write_text('{"<not read>": 5}')  # transformers does not, either
    vocabulary = read_vocabulary(tmp_path)
    assert vocabulary is not None
    assert vocabulary.ids == transformers.AutoTokenizer.from_pretrained(tmp_path).get_vocab()
    assert vocabulary.ids["<late>"] == 28
    assert vocabulary.added["<late>"] == {**PLAIN, "special": where == "added_tokens_decoder"}


def test_older_files(tmp_path: Path) -> None:
    (tmp_path / "vocab.txt").write_bytes("[PAD]\r\nthe\u2028\n\n[PAD]\n".encode())
    vocabulary = read_vocabulary(tmp_path)
    assert vocabulary is not None
    assert vocabulary.ids == {"[PAD]": 3, "the\u2028": 1, "": 2}
    (tmp_path / "vocab.json").write_text('{"a": 0, "b": 1}')
    (tmp_path / "added_tokens.json").write_text('{"<s>": 2}')
    vocabulary = read_vocabulary(tmp_path)
    assert vocabulary is not None
    assert vocabulary.ids == {"a": 0, "b": 1, "<s>": 2}


def test_none_to_be_read(tmp_path: Path) -> None:
    assert read_vocabulary(None) is None
    assert read_vocabulary(tmp_path) is None


@pytest.mark.parametrize(
    ("files", "match"),
    [
        ({"tokenizer.model": ""}, r"has tokenizer\.model and no tokenizer\.json, .* Write one: python -c"),
        ({"x.tiktoken": "", "y": ""}, r"has x\.tiktoken and no tokenizer\.json, .* Write one: python -c"),
        ({"tokenizer.json": "{"}, r"tokenizer\.json is damaged"),
        ({"tokenizer.json": '{"model": {"vocab": "abc"}}'}, "neither a list nor a mapping"),
        ({"tokenizer.json": '{"model": {"vocab": {"a": -1}}}'}, r"it puts the token 'a' in row -1\.$"),
        ({"tokenizer.json": '{"model": {"vocab": {"a": true}}}'}, r"it puts the token 'a' in row True\.$"),
        ({"tokenizer.json": '{"model": {"vocab": {"a": 0, "a": 1}}}'}, r"damaged: 'a' occurs twice\.$"),
        ({"tokenizer.json": '{"added_tokens": [{"content": "a"}]}'}, r"an added token is .* with the row None\.$"),
        ({"tokenizer.json": '{"added_tokens": [7]}'}, r"tokenizer\.json is damaged: an added token is 7"),
        (
            {"tokenizer.json": '{"model": {"vocab": {"a": 0}}, "added_tokens": [{"content": "<s>", "id": 5}]}'},
            r"tokenizer\.json gives the token '<s>' row 5, but loaders number it 1, .*\.$",
        ),
        (
            {"tokenizer.json": '{"model": {"vocab": {"a": 0, "b": 1}}}', "added_tokens.json": '{"b": 0}'},
            r"added_tokens\.json gives the token 'b' row 0, but loaders number it 1, .*\.$",
        ),
        (
            {"vocab.json": '{"a": 0}', "tokenizer_config.json": '{"added_tokens_decoder": {"x": {"content": "b"}}}'},
            r"tokenizer_config\.json is damaged: an added token is .* with the row 'x'\.$",
        ),
    ],
)  # fmt: skip
def test_refused(tmp_path: Path, files: dict[str, str], match: str) -> None:
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    with pytest.raises(FormatError, match=match) as caught:
        read_vocabulary(tmp_path)
    assert "\n" not in str(caught.value)
