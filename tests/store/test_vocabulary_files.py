"""The tokenizer files of a vocabulary load with transformers, and every token has the row that was planned."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
import transformers

from taskvec.store.vocabulary import TokenRule, VocabularyRequest, plan_vocabulary

from .vocabularies import added, bpe, model, tokenizer, words

START = "<|im_start|>"


def byte_level(merged: list[str], more: list[str]) -> dict[str, Any]:
    """Return a BPE of bytes, as GPT-2's."""
    from tokenizers import pre_tokenizers

    data = bpe(merged, more)
    letters = [c for c in sorted(pre_tokenizers.ByteLevel.alphabet()) if c not in data["model"]["vocab"]]
    vocab = data["model"]["vocab"]
    vocab |= {letter: len(vocab) + i for i, letter in enumerate(letters)}
    part = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
    extra = [added(text, len(vocab) + i) for i, text in enumerate(more)]
    return tokenizer(data["model"], extra, pre_tokenizer=part, decoder=part)


def wordpiece(tokens: list[str]) -> dict[str, Any]:
    """Return a tokenizer like BERT's, with a template that names tokens by row."""
    vocab = {text: row for row, text in enumerate(tokens)}
    template = {
        "type": "TemplateProcessing",
        "single": [{"SpecialToken": {"id": "[CLS]", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}],
        "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}],
        "special_tokens": {"[CLS]": {"id": "[CLS]", "ids": [vocab["[CLS]"]], "tokens": ["[CLS]"]}},
    }
    padding = {
        "strategy": "BatchLongest", "direction": "Right", "pad_to_multiple_of": None, "pad_id": vocab["[PAD]"],
        "pad_type_id": 0, "pad_token": "[PAD]",
    }  # fmt: skip
    piece = {
        "type": "WordPiece",
        "unk_token": "[UNK]",
        "continuing_subword_prefix": "##",
        "max_input_chars_per_word": 9,
    }
    marked = [added(t, vocab[t]) for t in tokens if t.startswith("[")]
    splitting = {"type": "WhitespaceSplit"}
    return tokenizer(
        {**piece, "vocab": vocab}, marked, post_processor=template, padding=padding, pre_tokenizer=splitting
    )


def unigram(pieces: list[str], more: list[str]) -> dict[str, Any]:
    vocab = [["<unk>", 0.0], *([p, -1.0 - i] for i, p in enumerate(pieces))]
    extra = [added(text, len(vocab) + i) for i, text in enumerate(more)]
    return tokenizer({"type": "Unigram", "unk_id": 0, "vocab": vocab, "byte_fallback": False}, extra)


BERT = {"tokenizer_class": "BertTokenizer", "unk_token": "[UNK]", "cls_token": "[CLS]", "pad_token": "[PAD]"}
PAIRS: dict[str, tuple[dict[str, Any], dict[str, Any], dict[str, Any], str]] = {
    "BPE": (bpe(["he", "cab"], ["<s>"]), bpe(["he", "wor"], ["<s>", START]), {}, f"hello{START}he"),
    "GPT-2": (
        byte_level(["he", "cab"], ["<|endoftext|>", "<y>"]),
        byte_level(["he"], ["<|endoftext|>", START]),
        {"tokenizer_class": "GPT2Tokenizer", "bos_token": "<|endoftext|>"},
        f"hello{START}, you",
    ),
    "BERT": (
        wordpiece(["[PAD]", "[UNK]", "old", "[CLS]", "the", "##s"]),
        wordpiece(["[CLS]", "[PAD]", "[UNK]", "##s", "the", "[new]"]),
        BERT | {"sep_token": "[CLS]", "mask_token": "[UNK]"},
        "the thes none [new]",
    ),
    "Unigram": (
        unigram(["old", "a", "b", "ab"], ["<s>"]),
        unigram(["a", "b", "ab"], ["<s>", START]),
        {},
        f"ab{START}a",
    ),
}


@pytest.mark.parametrize("decoder", [False, True])
@pytest.mark.parametrize("rule", ["union", "intersection", "base", "other"])
@pytest.mark.parametrize("kind", PAIRS)
def test_loads_with_every_token_in_its_row(tmp_path: Path, kind: str, rule: str, decoder: bool) -> None:
    one, other, config, text = PAIRS[kind]
    inputs = []
    for i, data in enumerate((one, other)):
        more = {"added_tokens_decoder": {str(t["id"]): {k: v for k, v in t.items() if k != "id"}
                                         for t in data["added_tokens"]}} if decoder else {}  # fmt: skip
        inputs.append(model(tmp_path / f"m{i}", data, i, tokenizer_config=config | more))
    plan = plan_vocabulary(inputs[0], inputs[1:], VocabularyRequest(str(inputs[1].path) if rule == "other" else rule))
    assert plan is not None
    (tmp_path / "out").mkdir()
    written = plan.write(tmp_path / "out")
    assert written == sorted(p.name for p in (tmp_path / "out").iterdir())
    loaded = transformers.AutoTokenizer.from_pretrained(tmp_path / "out")
    assert loaded.get_vocab() == plan.rows.target.ids
    assert len(loaded) == plan.size
    before = transformers.AutoTokenizer.from_pretrained(inputs[rule == "other"].path)
    if rule in ("base", "other"):
        assert loaded(text).input_ids == before(text).input_ids
    if rule == "union" and kind != "BERT":
        assert plan.rows.target.ids[START] in loaded(text).input_ids
        plain = "ab cab hello wor"
        assert loaded(plain.replace("wor", "")).input_ids == before(plain.replace("wor", "")).input_ids
    if rule == "intersection":
        theirs = transformers.AutoTokenizer.from_pretrained(inputs[1].path)
        shared = "the thes" if kind == "BERT" else "hea"
        here, there = (t.convert_ids_to_tokens(t(shared).input_ids) for t in (loaded, theirs))
        assert here == there
        assert loaded.convert_tokens_to_ids("old") in (loaded.unk_token_id, None)


def test_a_token_keeps_how_it_is_matched(tmp_path: Path) -> None:
    base = model(tmp_path / "a", words(["<unk>", "x"]), 0)
    data = words(["<unk>", "x"], ["x", "<s>"])
    data["added_tokens"][1] |= {"lstrip": True, "normalized": True}
    model(tmp_path / "b", data, 1)
    plan = plan_vocabulary(base, [model(tmp_path / "b", data, 1)], VocabularyRequest("union"))
    assert plan is not None
    (tmp_path / "out").mkdir()
    plan.write(tmp_path / "out")
    written = json.loads((tmp_path / "out" / "tokenizer.json").read_text())["added_tokens"]
    assert written == [added("x", 1), added("<s>", 2, lstrip=True, normalized=True)]


def test_words_of_another_vocabulary_are_matched_as_mergekit_does(tmp_path: Path) -> None:
    base, other = (model(tmp_path / n, bpe(m), i) for i, (n, m) in enumerate({"a": ["he"], "b": ["wor"]}.items()))
    plan = plan_vocabulary(base, [other], VocabularyRequest("union"))
    assert plan is not None
    (tmp_path / "out").mkdir()
    plan.write(tmp_path / "out")
    loaded = transformers.AutoTokenizer.from_pretrained(tmp_path / "out")
    assert loaded.tokenize("sworn") == ["s", "wor", "n"]
    note = "2 tokens of .*b's own vocabulary, the first 'wo', are matched as whole pieces of text from now on, because"
    assert any(re.match(note, n) for n in plan.notes)


def test_older_files_follow(tmp_path: Path) -> None:
    base = model(tmp_path / "a", bpe(["he"], ["<s>"]), 0)
    (tmp_path / "a" / "added_tokens.json").write_text('{"<s>": 27}')
    (tmp_path / "a" / "merges.txt").write_text("h e\n")
    other = model(tmp_path / "b", bpe(["he"], [START]), 1)
    outs = []
    for rule in ("union", "intersection"):
        plan = plan_vocabulary(base, [other], VocabularyRequest(rule))
        assert plan is not None
        outs.append(tmp_path / rule)
        outs[-1].mkdir()
        plan.write(outs[-1])
    assert json.loads((outs[0] / "added_tokens.json").read_text()) == {"<s>": 27, START: 28}
    assert (outs[0] / "merges.txt").exists()
    assert sorted(p.name for p in outs[1].iterdir()) == ["tokenizer.json", "tokenizer_config.json"]


def test_what_is_lost_leaves_the_lists(tmp_path: Path) -> None:
    lists = {"additional_special_tokens": ["<s>", {"content": START}], "bos_token": {"content": "<s>"}}
    base = model(tmp_path / "a", bpe(["he"], [START, "<s>"]), 0, tokenizer_config=lists)
    (tmp_path / "a" / "special_tokens_map.json").write_text(json.dumps(lists))
    plan = plan_vocabulary(base, [model(tmp_path / "b", bpe(["he"], ["<s>"]), 1)], VocabularyRequest("intersection"))
    assert plan is not None
    (tmp_path / "out").mkdir()
    plan.write(tmp_path / "out")
    for name in ("tokenizer_config.json", "special_tokens_map.json"):
        assert json.loads((tmp_path / "out" / name).read_text())["additional_special_tokens"] == ["<s>"]


TALK = [
    {"role": "system", "content": "Be."},
    {"role": "user", "content": " Hi "},
    {"role": "assistant", "content": "Yo"},
]
SAID = {
    "chatml": "<|im_start|>system\nBe.<|im_end|>\n<|im_start|>user\n Hi <|im_end|>\n"
    "<|im_start|>assistant\nYo<|im_end|>\n",
    "llama3": "<s><|start_header_id|>system<|end_header_id|>\n\nBe.<|eot_id|><|start_header_id|>user<|end_header_id|>"
    "\n\nHi<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\nYo<|eot_id|>",
    "alpaca": "Be.\n\n### Instruction:\nHi\n\n### Response:\nYo\n\n",
    "mistral": "<s> [INST] Be.\n\n Hi  [/INST] Yo</s>",
    "exaone": "[|system|]Be.[|endofturn|]\n[|user|] Hi \n[|assistant|]Yo[|endofturn|]\n",
}
ASKS = {
    "chatml": "<|im_start|>assistant\n",
    "llama3": "<|start_header_id|>assistant<|end_header_id|>\n\n",
    "alpaca": "### Response:\n",
    "mistral": "",
    "exaone": "[|assistant|]",
}


@pytest.mark.parametrize("name", SAID)
def test_built_in_chat_templates(tmp_path: Path, name: str) -> None:
    ends = {"bos_token": "<s>", "eos_token": "</s>", "chat_template": "an old one {{ }}"}
    base, other = (
        model(tmp_path / n, bpe(["he"], ["<s>", "</s>"]), i, tokenizer_config=ends) for i, n in enumerate("ab")
    )
    plan = plan_vocabulary(base, [other], VocabularyRequest("base", chat_template=name))
    assert plan is not None
    assert plan.base is base
    assert plan.config_updates == {}
    (tmp_path / "out").mkdir()
    assert "chat_template.jinja" in plan.write(tmp_path / "out")
    loaded = transformers.AutoTokenizer.from_pretrained(tmp_path / "out")
    said = loaded.apply_chat_template(TALK, tokenize=False)
    assert said == SAID[name]
    asked = loaded.apply_chat_template(TALK, tokenize=False, add_generation_prompt=True)
    assert asked == SAID[name] + ASKS[name]
    config = json.loads((tmp_path / "out" / "tokenizer_config.json").read_text())
    assert config["chat_template"] == (tmp_path / "out" / "chat_template.jinja").read_text()


def test_the_most_common_chat_template(tmp_path: Path) -> None:
    inputs = [model(tmp_path / n, bpe(["he"]), i) for i, n in enumerate("abcd")]
    (tmp_path / "b" / "chat_template.jinja").write_text("second\n")
    template = [{"name": "tool_use", "template": "no"}, {"name": "default", "template": "third"}]
    (tmp_path / "c" / "tokenizer_config.json").write_text(json.dumps({"chat_template": template}))
    (tmp_path / "d" / "chat_template.json").write_text(json.dumps({"chat_template": " third"}))
    plan = plan_vocabulary(None, inputs, VocabularyRequest("base", chat_template="auto"))
    assert plan is not None
    assert plan.template == "third"
    plan = plan_vocabulary(None, inputs[:2], VocabularyRequest("base", chat_template="auto"))
    assert plan is not None
    assert plan.template == "second"
    assert plan_vocabulary(None, inputs[1:2], VocabularyRequest("base", chat_template="auto")) is None


def test_no_chat_template_anywhere(tmp_path: Path) -> None:
    plan = plan_vocabulary(None, [model(tmp_path / "a", bpe(["he"]), 0)], VocabularyRequest(chat_template="auto"))
    assert plan is not None
    assert plan.template is None
    assert plan.notes == ("no model has a chat template, so 'chat_template: auto' writes none.",)


def test_a_chat_template_of_ones_own(tmp_path: Path) -> None:
    own = "{% for message in messages %}{{ message['content'] }}{% endfor %}"
    rules = {"<n>": TokenRule("zero")}
    base = model(tmp_path / "a", bpe(["he"]), 0)
    plan = plan_vocabulary(None, [base], VocabularyRequest("base", rules, chat_template=own))
    assert plan is not None
    assert plan.template == own
    (tmp_path / "out").mkdir()
    written = plan.write(tmp_path / "out")
    assert written == ["chat_template.jinja", "tokenizer.json", "tokenizer_config.json"]


def test_files_as_they_are(tmp_path: Path) -> None:
    base, other = model(tmp_path / "a", bpe(["he"]), 0), model(tmp_path / "b", bpe(["he"], ["<s>"]), 1)
    for source, folder in (("base", "a"), (str(tmp_path / "b"), "b")):
        plan = plan_vocabulary(base, [other], VocabularyRequest(source))
        assert plan is not None
        out = tmp_path / f"out-{folder}"
        out.mkdir()
        for name in plan.write(out):
            assert (out / name).read_bytes() == (tmp_path / folder / name).read_bytes()
