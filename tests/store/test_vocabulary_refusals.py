"""Vocabularies that cannot be brought together, and requests that make no sense: one sentence, nothing written."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import taskvec as tv
from taskvec.store.checkpoint import Checkpoint
from taskvec.store.vocabulary import ModelToken, TokenRule, VocabularyRequest, plan_vocabulary
from taskvec.testing import write_model

from .vocabularies import EMBED, added, bpe, model, tokenizer, words, write_tokenizer


def check(
    folder: Path, error: type[tv.TaskVecError], match: str, inputs: list[Checkpoint], *args: Any, **how: Any
) -> None:
    before = sorted((path, path.is_file() and path.read_bytes()) for path in folder.rglob("*"))
    with pytest.raises(error, match=match) as caught:
        plan_vocabulary(inputs[0], inputs[1:], VocabularyRequest(*args, **how))
    message = str(caught.value)
    assert "\n" not in message
    assert message.endswith((".", "?"))
    assert sorted((path, path.is_file() and path.read_bytes()) for path in folder.rglob("*")) == before


@pytest.fixture
def pair(tmp_path: Path) -> list[Checkpoint]:
    return [model(tmp_path / "a", bpe(["he"], ["<s>"]), 0), model(tmp_path / "b", bpe(["he"], ["<s>", "<x>"]), 1)]


def test_no_tokenizer_at_the_reference(tmp_path: Path, pair: list[Checkpoint]) -> None:
    bare = model(tmp_path / "bare", None, 0)
    check(tmp_path, tv.MismatchError, r"bare has no tokenizer that can be read, so its tokens", [bare, *pair])


def test_no_embedding(tmp_path: Path, pair: list[Checkpoint]) -> None:
    write_model(tmp_path / "odd", {"x": np.zeros((3, 2), np.float32)})
    write_tokenizer(tmp_path / "odd", words(["a"]))
    odd = Checkpoint(tmp_path / "odd")
    check(tmp_path, tv.MismatchError, r"odd has no tensor that ends in embed_tokens\.weight, ", [odd, *pair])


def test_no_tokenizer_and_other_rows(tmp_path: Path, pair: list[Checkpoint]) -> None:
    bare = model(tmp_path / "bare", None, 0, rows=9)
    match = r"bare has no tokenizer beside it, and 9 rows of tokens where .*a has 28\. Give the folder"
    check(tmp_path, tv.MismatchError, match, [pair[0], bare])


@pytest.mark.parametrize("source", ["unoin", "/nowhere", "empty"])
def test_a_source_that_is_none(tmp_path: Path, pair: list[Checkpoint], source: str) -> None:
    (tmp_path / "empty").mkdir()
    source = str(tmp_path / "empty") if source == "empty" else source
    check(tmp_path, tv.RecipeError, r"source '.*' is neither union, base, intersection nor a folder", pair, source)


@pytest.mark.parametrize(
    ("source", "match"),
    [
        ("c", r"the token 'he' is taken from '.*c', which is none of the models: .*a, .*b\.$"),
        (ModelToken("b", token="none"), r"the token 'he' is taken from '.*b', which has no token 'none'\.$"),
        (ModelToken("b", token_id=29), r"the token 'he' is taken from '.*b', which has no row 29\.$"),
        (ModelToken("b", token_id=-1), r"the token 'he' is taken from '.*b', which has no row -1\.$"),
    ],
)
def test_a_row_that_is_not_there(tmp_path: Path, pair: list[Checkpoint], source: Any, match: str) -> None:
    if isinstance(source, ModelToken):
        source = ModelToken(str(tmp_path / source.model), source.token, source.token_id)
    else:
        source = str(tmp_path / source)
    check(tmp_path, tv.RecipeError, match, pair, "union", {"he": TokenRule(source)})


def test_a_row_of_a_task_vector(tmp_path: Path, pair: list[Checkpoint]) -> None:
    model(tmp_path / "moved", bpe(["he"], ["<s>"]), 3)
    tv.diff(tmp_path / "a", tmp_path / "moved").save(tmp_path / "t.tv")
    tau = Checkpoint(tmp_path / "t.tv")
    rules = {"he": TokenRule(str(tau.path))}
    check(tmp_path, tv.RecipeError, r"which is none of the models: .*a, .*b\.$", [*pair, tau], "union", rules)


def test_two_tokens_on_one_row(tmp_path: Path) -> None:
    shared = tokenizer({"type": "BPE", "vocab": {"a": 0, "b": 0, "c": 1}, "merges": []})
    inputs = [model(tmp_path / "a", shared, 0), model(tmp_path / "b", words(["a", "b", "c"]), 1)]
    match = r"a has 'a' and 'b' in one row, but .*b has them in rows 0 and 1\. Give them rows of their own first\.$"
    check(tmp_path, tv.MismatchError, match, inputs, "base")
    check(tmp_path, tv.MismatchError, match, inputs, "union")
    less = model(tmp_path / "c", words(["a", "b"]), 2)
    match = r"a has rows that two tokens share, so it cannot be cut down\. Type 'base'\.$"
    check(tmp_path, tv.MismatchError, match, [inputs[0], less], "intersection")


def test_gaps_where_new_tokens_would_go(tmp_path: Path) -> None:
    gap = tokenizer({"type": "BPE", "vocab": {"a": 0, "b": 2}, "merges": []})
    inputs = [model(tmp_path / "a", gap, 0, rows=3), model(tmp_path / "b", words(["a", "c"]), 1)]
    match = (
        r"a leaves rows without a token before its last one, so loaders would give a new token row 2, which is taken\."
    )
    check(tmp_path, tv.MismatchError, match, inputs, "union")
    assert plan_vocabulary(inputs[0], inputs[1:], VocabularyRequest("base")) is not None


def test_no_tokenizer_json_to_change(tmp_path: Path, pair: list[Checkpoint]) -> None:
    (tmp_path / "a" / "tokenizer.json").unlink()
    (tmp_path / "a" / "vocab.json").write_text(json.dumps(bpe(["he"])["model"]["vocab"]))
    match = r"a has no tokenizer\.json, so its tokens cannot be changed\. Write one: python -c "
    check(tmp_path, tv.MismatchError, match, pair, "union")


def cut(tmp_path: Path, *data: dict[str, Any], **config: Any) -> list[Checkpoint]:
    return [model(tmp_path / "ab"[i], d, i, tokenizer_config=config if i == 0 else None) for i, d in enumerate(data)]


class TestAnIntersectionThatLosesTooMuch:
    def check(self, tmp_path: Path, match: str, inputs: list[Checkpoint]) -> None:
        check(tmp_path, tv.RecipeError, match + r".*Type 'union',? or 'base'\.$", inputs, "intersection")

    def test_everything(self, tmp_path: Path) -> None:
        self.check(tmp_path, "the models share no token with .*a", cut(tmp_path, words(["a"]), words(["b"])))

    def test_a_token_with_a_role(self, tmp_path: Path) -> None:
        inputs = cut(tmp_path, bpe([], ["<s>"]), bpe([]), bos_token="<s>")
        self.check(tmp_path, "would leave out '<s>', which is the bos_token in .*a", inputs)

    def test_the_unknown_token(self, tmp_path: Path) -> None:
        inputs = cut(tmp_path, words(["<unk>", "a"]), words(["a"]))
        self.check(tmp_path, "would leave out '<unk>', which is its unknown token in .*a", inputs)

    def test_the_unknown_token_of_a_unigram(self, tmp_path: Path) -> None:
        one = tokenizer({"type": "Unigram", "unk_id": 1, "vocab": [["a", -1.0], ["?", 0.0]]})
        inputs = cut(tmp_path, one, words(["a"]))
        self.check(tmp_path, r"would leave out '\?', which is its unknown token in .*a", inputs)

    @pytest.mark.parametrize(("text", "byte_fallback"), [("b", False), ("<0x0A>", True)])
    def test_a_byte(self, tmp_path: Path, text: str, byte_fallback: bool) -> None:
        part = None if byte_fallback else {"type": "ByteLevel"}
        kind = {"type": "BPE", "vocab": {"a": 0, text: 1}, "merges": [], "byte_fallback": byte_fallback}
        inputs = cut(tmp_path, tokenizer(kind, pre_tokenizer=part), words(["a"]))
        self.check(tmp_path, f"would leave out '{text}', without which .*a cannot spell every text", inputs)

    @pytest.mark.parametrize(
        "processor",
        [
            {"type": "BertProcessing", "sep": ["<s>", 26], "cls": ["a", 0]},
            {"type": "Sequence", "processors": [{"special_tokens": {"<s>": {"ids": [26], "tokens": ["<s>"]}}}]},
        ],
    )
    def test_a_token_that_is_put_around(self, tmp_path: Path, processor: dict[str, Any]) -> None:
        inputs = cut(tmp_path, bpe([], ["<s>"]) | {"post_processor": processor}, bpe([]))
        self.check(tmp_path, "would leave out '<s>', which is put around texts in .*a", inputs)

    def test_padding(self, tmp_path: Path) -> None:
        inputs = cut(tmp_path, bpe([], ["<s>"]) | {"padding": {"pad_id": 26, "pad_token": "<s>"}}, bpe([]))
        self.check(tmp_path, "would leave out '<s>', which is the token it pads with in .*a", inputs)

    @pytest.mark.parametrize("value", [26, [26]])
    def test_a_row_that_the_config_names(self, tmp_path: Path, value: Any) -> None:
        inputs = [
            model(tmp_path / "a", bpe([], ["<s>"]), 0, config={"eos_token_id": value}),
            model(tmp_path / "b", bpe([]), 1),
        ]
        self.check(tmp_path, r"would leave out '<s>', which is the eos_token_id of config\.json in .*a", inputs)


def test_rows_of_other_widths(tmp_path: Path, pair: list[Checkpoint]) -> None:
    wide = model(tmp_path / "wide", bpe(["he"], ["<y>"]), 3, width=8)
    match = rf"'{EMBED}' has rows of \(8,\) in one model and of \(4,\) in another, .* Use models of one width\.$"
    check(tmp_path, tv.MismatchError, match, [pair[0], wide], "union")


@pytest.mark.parametrize(
    ("name", "shape", "match"),
    [
        (
            "final_logits_bias",
            (1, 28),
            r"'final_logits_bias' \(1, 28\) in .*odd seems to have an entry for each of the 28",
        ),
        (
            "vision.embed_tokens.weight",
            (5, 4),
            r"'vision.embed_tokens.weight' \(5, 4\) in .*odd has other rows than its",
        ),
    ],
)
def test_tensors_that_may_have_tokens(
    tmp_path: Path, pair: list[Checkpoint], name: str, shape: tuple[int, ...], match: str
) -> None:
    tensors = {EMBED: np.zeros((28, 4), np.float32), name: np.zeros(shape, np.float32)}
    write_model(tmp_path / "odd", tensors)
    write_tokenizer(tmp_path / "odd", bpe(["he"], ["<y>"]))
    check(tmp_path, tv.MismatchError, match, [pair[0], Checkpoint(tmp_path / "odd")], "union")


@pytest.mark.parametrize("template", ["chatlm", "a long text without any brace", "{short}"])
def test_a_chat_template_that_is_none(tmp_path: Path, pair: list[Checkpoint], template: str) -> None:
    known = "auto, alpaca, chatml, exaone, llama3, mistral"
    match = rf"is neither the text of a template nor the name of one\. Known: {known}\.$"
    check(tmp_path, tv.RecipeError, match, pair, "base", chat_template=template)


@pytest.mark.parametrize(
    ("value", "match"),
    [
        ({"sauce": "union"}, r"^tokenizer: unknown key 'sauce'\. Known: source, tokens, pad_to_multiple_of\.$"),
        ({"source": {"model": "x"}}, r"^'tokenizer: source' must be union, base, intersection or a folder, got"),
        ({"pad_to_multiple_of": 0}, r"^'pad_to_multiple_of' must be a whole number from 1 on, got 0\.$"),
        ({"pad_to_multiple_of": True}, r"^'pad_to_multiple_of' must be a whole number from 1 on, got True\.$"),
        ({"pad_to_multiple_of": 1.5}, r"^'pad_to_multiple_of' must be a whole number from 1 on, got 1\.5\.$"),
        ({"tokens": {"a": "b"}}, r"^the token 'a' must have a mapping with 'source' and 'force', got 'b'\.$"),
        ({"tokens": {"a": {"forced": True}}}, r"^the token 'a': unknown key 'forced'\. Known: source, force\.$"),
        ({"tokens": {"a": {"force": 1}}}, r"^the token 'a': 'force' must be true or false, got 1\.$"),
        ({"tokens": {"a": {"force": True}}}, r"^the token 'a' is forced to no source\. Type 'source: …', or remove"),
        (
            {"tokens": {"a": {"source": {"kind": "x"}}}},
            r"^the token 'a': 'source' must be a model, or have 'kind: zero'",
        ),
        ({"tokens": {"a": {"source": {"kind": "zero", "b": 1}}}}, r"^the token 'a': unknown key 'b'\. Known: kind\.$"),
        (
            {"tokens": {"a": {"source": {"kind": "model_token", "model": "m"}}}},
            r"takes a 'model' and either a 'token' or",
        ),
        (
            {"tokens": {"a": {"source": {"kind": "model_token", "model": "m", "token": "t", "token_id": 1}}}},
            r"takes a 'model' and either a 'token' or a 'token_id'\.$",
        ),
    ],
)
def test_requests(value: Any, match: str) -> None:
    with pytest.raises(tv.RecipeError, match=match):
        VocabularyRequest.parse(value)


def test_requests_that_are_fine() -> None:
    source = {"kind": "model_token", "model": "m", "token_id": 0}
    tokens = {"a": {"source": source, "force": True}, "b": {"source": {"kind": "zero"}}, "c": {"source": "m"}, "d": {}}
    request = VocabularyRequest.parse({"tokens": tokens, "pad_to_multiple_of": 8}, "auto", keep_padding=False)
    rules = {
        "a": TokenRule(ModelToken("m", token_id=0), True),
        "b": TokenRule("zero"),
        "c": TokenRule("m"),
        "d": TokenRule(),
    }
    assert request == VocabularyRequest("union", rules, 8, "auto", False)
    assert VocabularyRequest.parse("base") == VocabularyRequest("base")
    assert VocabularyRequest.parse(None, "auto") == VocabularyRequest("base", chat_template="auto")


def test_an_added_token_of_no_object(tmp_path: Path, pair: list[Checkpoint]) -> None:
    data = bpe(["he"], ["<s>"])
    data["added_tokens"].append(added("<far>", 99))
    write_tokenizer(tmp_path / "b", data)
    check(tmp_path, tv.FormatError, r"tokenizer\.json gives the token '<far>' row 99, but loaders number it 28", pair)
