"""Models of several vocabularies become models of one: every row is the one that its token has."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer

import taskvec as tv
from taskvec.store.checkpoint import Checkpoint
from taskvec.store.sample import fingerprint
from taskvec.store.vocabulary import ModelToken, TokenRule, VocabularyPlan, VocabularyRequest, plan_vocabulary

from .vocabularies import EMBED, HEAD, bpe, model, rows, words, write_tokenizer

START = "<|im_start|>"


def planned(base: Checkpoint | None, models: list[Checkpoint], request: VocabularyRequest) -> VocabularyPlan:
    plan = plan_vocabulary(base, models, request)
    assert plan is not None
    return plan


def expected(inputs: list[Checkpoint], ids: list[dict[str, int]], name: str, text: str, base: bool) -> list[np.ndarray]:
    """The rows of one token in every model: its own; the base's; the mean of those that have it; zero."""
    whole = [rows(c, name) for c in inputs]
    own = [w[i[text]] if i.get(text, len(w)) < len(w) else None for w, i in zip(whole, ids, strict=True)]
    have = [row for row in own if row is not None]
    zero = np.zeros(whole[0].shape[1])
    default = own[0] if base and own[0] is not None else sum(have, zero) / max(1, len(have))
    return [default if row is None else row for row in own]


@st.composite
def vocabularies(draw: st.DrawFn) -> list[tuple[dict[str, Any], int]]:
    """Three tokenizers over one alphabet, in any order, and how many rows each embedding has more (or fewer)."""
    out = []
    for _ in range(3):
        own = ["<unk>", *draw(st.permutations(draw(st.sampled_from(["abc", "abcd", "bce", "a"]))))]
        more = draw(st.lists(st.sampled_from(["a", "<s>", "<x>", START]), unique=True, max_size=3))
        out.append((words(own, more), draw(st.sampled_from([0, 0, 2, -1]))))
    return out


@pytest.mark.parametrize("with_base", [True, False])
@given(drawn=vocabularies(), rule=st.sampled_from(["union", "base", "intersection", "m1"]), data=st.data())
def test_every_token_keeps_its_row(tmp_path, with_base, drawn, rule, data):
    inputs = [
        model(tmp_path / f"m{i}", tokenizer, i, padding=padding, head=i != 1)
        for i, (tokenizer, padding) in enumerate(drawn)
    ]
    base, models = (inputs[0], inputs[1:]) if with_base else (None, inputs)
    source = str(tmp_path / "m1") if rule == "m1" else rule
    request = VocabularyRequest(source, keep_padding=data.draw(st.booleans()))
    plan = plan_vocabulary(base, models, request)
    ids = [Tokenizer.from_file(str(c.folder / "tokenizer.json")).get_vocab() for c in inputs]
    if plan is None:
        assert ids[0] == ids[1] == ids[2] or (rule != "union" and ids[0].keys() <= ids[1].keys() & ids[2].keys())
        return
    (tmp_path / "out").mkdir(exist_ok=True)
    plan.write(tmp_path / "out")
    new = Tokenizer.from_file(str(tmp_path / "out" / "tokenizer.json")).get_vocab()
    known = [{t for t, row in i.items() if row < rows(c).shape[0]} for c, i in zip(inputs, ids, strict=True)]
    wanted = {"union": set.union(*known) | ids[0].keys(), "base": ids[0].keys(), "m1": ids[1].keys()}
    assert new.keys() == (wanted[rule] if rule != "intersection" else set.intersection(*known))
    rolled = [*([plan.base] if plan.base else []), *plan.models]
    for name in (EMBED, HEAD):
        got = [rows(c, name) for c in rolled]
        assert [len(w) for w in got] == [plan.size] * 3
        assert plan.size >= max(new.values()) + 1
        for text, row in new.items():
            for there, here in zip(expected(inputs, ids, name, text, with_base), got, strict=True):
                np.testing.assert_allclose(here[row], there, rtol=1e-6, atol=1e-7)
                assert np.array_equal(here[row], there) or sum(text in k for k in known) > 1
    assert {c.config["vocab_size"] for c in rolled[:1]} == {plan.size}


@pytest.fixture
def trio(tmp_path):
    """A base, and two fine-tunes with one and two tokens more."""
    base = model(tmp_path / "base", bpe(["he"], ["<s>"]), 0, padding=2)
    chat = model(tmp_path / "chat", bpe(["he"], ["<s>", START]), 1)
    code = model(tmp_path / "code", bpe(["he"], ["<s>", "<code>", START]), 2)
    return base, chat, code


def test_what_a_fine_tune_lacks_it_leaves_as_the_base_has_it(trio, tmp_path):
    base, chat, code = trio
    plan = planned(base, [chat, code], VocabularyRequest("union"))
    at = plan.rows.target.ids
    mean = (rows(chat)[28] + rows(code)[29]) / 2
    np.testing.assert_allclose(rows(plan.base)[at[START]], mean, rtol=1e-6)
    np.testing.assert_array_equal(rows(plan.base)[at["<code>"]], rows(code)[28])
    np.testing.assert_array_equal(rows(plan.models[0])[at["<code>"]], rows(code)[28])
    fewer = planned(code, [base], VocabularyRequest("base"))
    np.testing.assert_array_equal(rows(fewer.models[0])[28:], rows(code)[28:])
    assert fewer.base is code


def test_rows_without_a_token_are_matched_by_number(trio):
    base, chat, _ = trio
    plan = planned(base, [chat], VocabularyRequest("union"))
    assert (plan.size, plan.rows.target.ids[START]) == (30, 28)
    np.testing.assert_array_equal(rows(plan.base)[29], rows(base)[29])
    np.testing.assert_array_equal(rows(plan.models[0])[29], rows(base)[29])
    bare = planned(base, [chat], VocabularyRequest("union", keep_padding=False))
    assert bare.size == 29
    assert bare.config_updates == {"vocab_size": 29}


def test_nothing_to_do(tmp_path, trio):
    base = trio[0]
    same = model(tmp_path / "same", bpe(["he"], ["<s>"]), 7, padding=2)
    for source in ("union", "base", "intersection", str(tmp_path / "base")):
        assert plan_vocabulary(base, [same], VocabularyRequest(source)) is None
        assert plan_vocabulary(None, [base, same], VocabularyRequest(source, tokens={"he": TokenRule()})) is None
    (same.folder / "tokenizer_config.json").write_text('{"other": 1}')  # no longer the same bytes
    assert plan_vocabulary(base, [same], VocabularyRequest("union")) is None
    assert planned(base, [same], VocabularyRequest("union", keep_padding=False)).size == 28
    assert planned(base, [same], VocabularyRequest("base", pad_to_multiple_of=8)).size == 32


def test_nothing_to_do_where_nothing_can_be_parsed(tmp_path, trio):
    for name in ("base", "chat"):
        (tmp_path / name / "tokenizer.json").unlink()
        (tmp_path / name / "tokenizer.model").write_bytes(b"the same")
    same = model(tmp_path / "chat", None, 1, rows=30)
    assert plan_vocabulary(trio[0], [same], VocabularyRequest("union")) is None
    (tmp_path / "chat" / "tokenizer.model").write_bytes(b"another")
    with pytest.raises(tv.TaskVecError, match=r"has tokenizer\.model and no tokenizer\.json"):
        plan_vocabulary(trio[0], [same], VocabularyRequest("union"))


def test_padding_rows_are_the_mean_of_all_others(trio):
    plan = planned(trio[0], [trio[1], trio[2]], VocabularyRequest("union", pad_to_multiple_of=16))
    assert plan.size == 32
    for checkpoint in (plan.base, *plan.models):
        for name in (EMBED, HEAD):
            whole = rows(checkpoint, name)
            np.testing.assert_allclose(whole[30:], [whole[:30].mean(axis=0)] * 2, rtol=1e-5, atol=1e-7)


class TestTokenRules:
    def test_used_only_where_the_token_is_missing(self, trio, tmp_path):
        base, chat, code = trio
        rule = {START: TokenRule(ModelToken(str(tmp_path / "code"), token="<code>"))}
        plan = planned(base, [chat, code], VocabularyRequest("union", tokens=rule))
        at = plan.rows.target.ids[START]
        np.testing.assert_array_equal(rows(plan.base)[at], rows(code)[28])
        np.testing.assert_array_equal(rows(plan.models[0])[at], rows(chat)[28])

    @pytest.mark.parametrize(
        ("source", "row"),
        [
            (ModelToken("code", token_id=3), 3),
            (ModelToken("code", token="he"), 26),
            ("code", 29),
            ("zero", None),
        ],
    )
    def test_forced_in_every_model(self, trio, tmp_path, source, row):
        if isinstance(source, ModelToken):
            source = ModelToken(str(tmp_path / source.model), source.token, source.token_id)
        elif source != "zero":
            source = str(tmp_path / source)
        plan = planned(trio[0], list(trio[1:]), VocabularyRequest("union", tokens={START: TokenRule(source, True)}))
        at = plan.rows.target.ids[START]
        for name in (EMBED, HEAD):
            wanted = np.zeros(4) if row is None else rows(trio[2], name)[row]
            for checkpoint in (plan.base, *plan.models):
                np.testing.assert_array_equal(rows(checkpoint, name)[at], wanted)

    def test_a_text_that_is_no_token_becomes_one(self, trio, tmp_path):
        rule = {"<new>": TokenRule(ModelToken(str(tmp_path / "chat"), token=START)), "he": TokenRule()}
        plan = planned(trio[0], [trio[1]], VocabularyRequest("base", tokens=rule))
        assert plan.rows.target.ids["<new>"] == 28
        np.testing.assert_array_equal(rows(plan.base)[28], rows(trio[1])[28])
        np.testing.assert_array_equal(rows(plan.models[0])[28], rows(trio[1])[28])

    def test_without_a_source_it_is_zero_and_told(self, trio):
        plan = planned(trio[0], [trio[1]], VocabularyRequest("base", tokens={"<new>": TokenRule()}))
        assert not rows(plan.base)[28].any()
        assert "1 tokens have no row in any model, the first '<new>'; theirs is zero." in plan.notes


def test_a_tied_model_among_untied_ones_gets_a_head(tmp_path, trio):
    tied = model(tmp_path / "tied", bpe(["he"], ["<s>"]), 5, head=False)
    plan = planned(trio[2], [tied], VocabularyRequest("base"))
    assert HEAD in plan.models[0].tensors
    np.testing.assert_array_equal(rows(plan.models[0], HEAD)[:28], rows(tied)[:28])
    np.testing.assert_array_equal(rows(plan.models[0], HEAD)[28:], rows(trio[2], HEAD)[28:])
    np.testing.assert_array_equal(rows(plan.models[0], EMBED)[28:], rows(trio[2], EMBED)[28:])


def test_a_tied_base_stays_tied(tmp_path, trio):
    tied = model(tmp_path / "tied", bpe(["he"], ["<s>"]), 5, head=False)
    plan = planned(tied, [model(tmp_path / "more", bpe(["he"], ["<s>", START]), 6, head=False)], VocabularyRequest())
    assert [HEAD in c.tensors for c in (plan.base, *plan.models)] == [False, False]
    assert rows(plan.base, HEAD).shape == (29, 4)


def test_a_task_vector_lends_no_row_and_has_zeros(tmp_path, trio):
    base, chat, _ = trio
    moved = model(tmp_path / "moved", bpe(["he"], ["<s>"]), 9, padding=2)
    tv.diff(base.folder, moved.folder).save(tmp_path / "tau.tv")
    tau = Checkpoint(tmp_path / "tau.tv")
    forced = {"he": TokenRule(str(tmp_path / "chat"), force=True)}
    plan = planned(base, [chat, tau], VocabularyRequest("union", tokens=forced))
    got, at = rows(plan.models[1]), plan.rows.target.ids
    np.testing.assert_array_equal(got[:26], rows(tau)[:26])
    assert not got[at["he"]].any()
    assert not got[at[START]].any()
    np.testing.assert_array_equal(rows(plan.base)[at[START]], rows(chat)[28])
    assert f"vocabulary of {tmp_path / 'tau.tv'}: 1 token is added, with zeros." in plan.notes


def test_a_model_without_a_tokenizer_has_the_first_ones(tmp_path, trio):
    base, chat, _ = trio
    bare = model(tmp_path / "bare", None, 4, rows=30)
    plan = planned(base, [bare, chat], VocabularyRequest("union"))
    assert f"{bare.path} has no tokenizer beside it; it is taken to have {base.path}'s." in plan.notes
    np.testing.assert_array_equal(rows(plan.models[0])[:28], rows(bare)[:28])


def test_another_folders_tokenizer(tmp_path, trio):
    (tmp_path / "only").mkdir()
    write_tokenizer(tmp_path / "only", words(["he", "<s>", "zzz"]))
    plan = planned(trio[0], [trio[1]], VocabularyRequest(str(tmp_path / "only")))
    assert plan.size == 3
    np.testing.assert_array_equal(rows(plan.models[0])[:2], rows(trio[1])[[26, 27]])


def test_types(tmp_path):
    one, other = words(["a", "b"]), words(["a", "c"])
    narrow = [model(tmp_path / n, t, i, dtype="BF16") for i, (n, t) in enumerate([("a", one), ("b", other)])]
    plan = planned(narrow[0], narrow[1:], VocabularyRequest("union"))
    assert plan.base.info(EMBED).dtype == "BF16"
    assert not [n for n in plan.notes if "several types" in n]
    wide = model(tmp_path / "c", other, 3, dtype="BF16", dtypes={EMBED: "F32"})
    plan = planned(narrow[0], [wide], VocabularyRequest("union"))
    assert (plan.base.info(EMBED).dtype, plan.base.info(HEAD).dtype) == ("F32", "BF16")
    assert plan.dtypes == {EMBED: "BF16", HEAD: "BF16"}
    assert f"'{EMBED}' is read as float32, because rows of several types come together." in plan.notes
    np.testing.assert_array_equal(rows(plan.base)[2], rows(wide)[1])


def test_other_names_and_one_axis(tmp_path):
    shapes = {"bert.embeddings.word_embeddings.weight": (3, 4), "cls.predictions.bias": (3,), "pooler.weight": (3, 3)}
    inputs = []
    for i, (name, data) in enumerate({"a": words(["a", "b", "c"]), "b": words(["c", "b", "a"])}.items()):
        rng = np.random.default_rng(i)
        tensors = {n: rng.standard_normal(s).astype(np.float32) for n, s in shapes.items()}
        tv.testing.write_model(tmp_path / name, tensors, config={"vocab_size": 3})
        write_tokenizer(tmp_path / name, data)
        inputs.append(Checkpoint(tmp_path / name))
    plan = planned(None, inputs, VocabularyRequest("base"))
    assert plan.models[0] is inputs[0]
    for name in list(shapes)[:2]:
        np.testing.assert_array_equal(rows(plan.models[1], name), rows(inputs[1], name)[[2, 1, 0]])
    assert plan.models[1].info("pooler.weight") is inputs[1].info("pooler.weight")


def test_nested_configs_and_special_rows(tmp_path):
    nested = {"text_config": {"vocab_size": 3, "eos_token_id": 2}, "eos_token_id": [2], "vision_config": {"x": 1}}
    base = model(tmp_path / "a", words(["<unk>", "x", "</s>"]), 0, config=nested | {"vocab_size": None})
    del base.config["vocab_size"]
    other = model(tmp_path / "b", words(["<unk>", "</s>"]), 1, config={"eos_token_id": 1, "pad_token_id": 0})
    cut = planned(base, [other], VocabularyRequest("intersection"))
    assert cut.config_updates == {"text_config": {"vocab_size": 2, "eos_token_id": 1}, "eos_token_id": [1]}
    theirs = planned(base, [other], VocabularyRequest(str(tmp_path / "b")))
    assert theirs.config_updates == {"text_config": {"vocab_size": 2}, "eos_token_id": 1, "pad_token_id": 0}
    assert theirs.base.config["vision_config"] == {"x": 1}
    assert theirs.base.config["text_config"] == {"vocab_size": 2, "eos_token_id": 2}


def test_generation_config(tmp_path):
    folders = [tmp_path / "a", tmp_path / "b", tmp_path / "out"]
    base = model(folders[0], words(["<unk>", "x", "</s>"]), 0)
    other = model(folders[1], words(["<unk>", "</s>"]), 1)
    generation = {"temperature": 0.6, "eos_token_id": 2, "suppress_tokens": [-1]}
    for folder, settings in zip(folders, (generation, {"eos_token_id": 1, "top_k": 3}, generation), strict=True):
        folder.mkdir(exist_ok=True)
        (folder / "generation_config.json").write_text(json.dumps(settings))
    for source in ("intersection", str(folders[1])):
        (folders[2] / "generation_config.json").write_text(json.dumps(generation))
        written = planned(base, [other], VocabularyRequest(source)).write(folders[2])
        assert "generation_config.json" in written
        changed = json.loads((folders[2] / "generation_config.json").read_text())
        assert changed == generation | {"eos_token_id": 1}
    planned(base, [other], VocabularyRequest("base")).write(folders[2])
    assert json.loads((folders[2] / "generation_config.json").read_text()) == changed | {"eos_token_id": 2}


def test_fingerprints_tell_vocabularies_apart(trio):
    base, chat, code = trio
    marks = {fingerprint(planned(base, [chat, code], VocabularyRequest(rule)).models[1]) for rule in ("union", "base")}
    assert len(marks | {fingerprint(code)}) == 3
    again = planned(base, [chat, code], VocabularyRequest("union")).models[1]
    assert fingerprint(again) in marks


def test_the_rest_is_the_same_checkpoint(trio, tmp_path):
    plan = planned(trio[0], [trio[1]], VocabularyRequest("union"))
    assert plan.checkpoint(0) is plan.models[0]
    assert list(plan.models[0].tensors) == list(trio[1].tensors)
    assert plan.models[0].info("model.norm.weight") is trio[1].info("model.norm.weight")
    assert (plan.models[0].path, plan.models[0].folder) == (trio[1].path, Path(tmp_path / "chat"))


def test_what_happens_to_each_vocabulary_is_told_and_nothing_where_nothing_does(tmp_path):
    few, more = words(["a", "b"]), words(["b", "a", "c", "d"])
    base, same, other = model(tmp_path / "x", few, 0), model(tmp_path / "y", few, 1), model(tmp_path / "z", more, 2)

    def told(source: str) -> list[str]:
        return [
            note for note in planned(base, [same, other], VocabularyRequest(source)).notes if "vocabulary of" in note
        ]

    moved = f"vocabulary of {tmp_path / 'z'}: 2 tokens are moved to other rows"
    assert told("base") == [f"{moved}, 2 tokens are left out."]
    added = [f"vocabulary of {tmp_path / name}: 2 tokens are added." for name in "xy"]
    assert told("union") == [*added, f"{moved}."]
