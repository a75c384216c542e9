"""Names that differ by a prefix, and rules that say how they differ."""

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from taskvec.errors import MismatchError, RecipeError
from taskvec.store import Checkpoint, fingerprint
from taskvec.store.naming import align, by_rules, find_prefix, is_spare, renamed
from taskvec.testing import tiny_tensors, write_model

LLAMA = list(tiny_tensors())
BARE = [n.removeprefix("model.") for n in LLAMA]
HEAD = "lm_head.weight"
GPT2 = ["transformer.wte.weight", "transformer.h.0.attn.c_attn.weight", "transformer.ln_f.weight"]
BERT = ["bert.embeddings.word_embeddings.weight", "bert.encoder.layer.0.output.dense.weight", "cls.predictions.bias"]


def prefixed(names: list[str], prefix: str) -> list[str]:
    return [prefix + n for n in names]


CASES: dict[str, tuple[list[str], list[str], str]] = {
    "put before": (LLAMA, BARE, "'model.' was put before the names of 11 tensors of m"),
    "taken off": (BARE, LLAMA, "'model.' was taken from the names of 11 tensors of m"),
    "no head there": (LLAMA, [n for n in BARE if n != HEAD], "'model.' was put before the names of 11"),
    "no head here": ([n for n in LLAMA if n != HEAD], BARE, "'model.' was put before the names of 11"),
    "compiled": (LLAMA, prefixed(LLAMA, "_orig_mod."), "'_orig_mod.' was taken from the names of 12"),
    "data parallel": (LLAMA, prefixed(LLAMA, "module."), "'module.' was taken from"),
    "both": (LLAMA, prefixed(LLAMA, "module._orig_mod."), r"'module._orig_mod.' was taken from"),
    "peft": (LLAMA, prefixed(LLAMA, "base_model.model."), r"'base_model.model.' was taken from"),
    "gpt2": (GPT2, [n.removeprefix("transformer.") for n in GPT2], "'transformer.' was put before"),
    "another": (prefixed(BARE[:-1], "language_model."), LLAMA[:-1], r"'model.' was read as 'language_model.'"),
    "a deeper one": (
        prefixed(LLAMA, "base_model.model.language_model."),
        LLAMA,
        r"'base_model.model.language_model.' was put before",
    ),
    "compiled, no head here": (
        [n for n in LLAMA if n != HEAD],
        prefixed(LLAMA, "_orig_mod."),
        "'_orig_mod.' was taken from the names of 12",
    ),
    "buffers": (
        [*GPT2, "transformer.h.0.attn.bias"],
        [n.removeprefix("transformer.") for n in [*GPT2, "transformer.h.0.attn.masked_bias"]],
        "'transformer.' was put before the names of 3",
    ),
    "some only": (BERT, [n.removeprefix("bert.") for n in BERT], "'bert.' was put before the names of 2"),
}


@pytest.mark.parametrize("name", CASES)
def test_a_prefix_is_found_and_told(name: str) -> None:
    ours, theirs, note = CASES[name]
    found = find_prefix(ours, theirs, "m")
    assert found is not None
    assert found.note.startswith(note)
    assert found.note.endswith("of m.")
    after = [found.mapping.get(n, n) for n in theirs]
    assert len(set(after)) == len(after)
    assert {n for n in set(after) ^ set(ours) if not is_spare(n)} == set()
    if any(n.endswith(HEAD) for n in theirs):
        assert any(n.removeprefix("base_model.model.language_model.") == HEAD for n in after)


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (LLAMA, LLAMA),
        (LLAMA, LLAMA[:-1]),
        (LLAMA, BARE[1:]),
        (LLAMA, [*BARE, "extra.weight"]),
        (LLAMA, GPT2),
        (LLAMA, []),
        ([], LLAMA),
        (LLAMA, prefixed(LLAMA, "a.b.c.d.e.")),
        (["aw.x", "aw.y"], ["w.x", "w.z"]),
    ],
    ids=[
        "equal",
        "but a head",
        "one missing",
        "one more",
        "others",
        "nothing",
        "of nothing",
        "too deep",
        "within a part",
    ],
)
def test_nothing_is_renamed_where_names_agree_or_no_prefix_helps(ours: list[str], theirs: list[str]) -> None:
    assert find_prefix(ours, theirs) is None


def test_extra_tensors_may_be_allowed() -> None:
    """As where a recipe ignores the vision tower of one side."""
    ours = [*prefixed(LLAMA, "language_model."), "vision_tower.patch.weight"]
    assert find_prefix(ours, LLAMA) is None
    found = find_prefix(ours, LLAMA, spare=lambda n: is_spare(n) or n.startswith("vision_tower."))
    assert found is not None
    assert found.mapping == {n: f"language_model.{n}" for n in LLAMA}


def test_two_ways_are_refused() -> None:
    """The first could be read as a.w and the second stay; or each take one more."""
    with pytest.raises(
        MismatchError, match=r"^the names of m could be read in 2 ways \(.*\)\. Type 'rename' to choose on"
    ):
        find_prefix(["a.w", "a.a.w", "b.w"], ["w", "a.w", "b.w"], "m", spare=lambda name: name == "b.w")


def test_what_may_be_lacking_is_known_by_its_name() -> None:
    assert is_spare("lm_head.weight")
    assert is_spare("module.lm_head.weight")
    assert is_spare("transformer.h.0.attn.masked_bias")
    assert not is_spare("encoder.layer.0.attention.output.weight")
    assert not is_spare("h.0.cross_attn.bias")


@given(
    st.sets(st.lists(st.sampled_from("abc"), min_size=1, max_size=4).map(".".join), min_size=1),
    st.sampled_from(["p.", "p.q."]),
)
def test_a_prefix_that_is_nobodys_is_taken_off_again(names: set[str], prefix: str) -> None:
    ours = sorted(names)
    found = find_prefix(ours, prefixed(ours, prefix))
    assert found is not None
    assert found.mapping == {prefix + n: n for n in ours}


def test_many_names_take_no_time() -> None:
    names = [f"layers.{i}.mlp.experts.{j}.up_proj.weight" for i in range(60) for j in range(200)]
    found = find_prefix(prefixed(names, "model."), names)
    assert found is not None
    assert len(found.mapping) == len(names)


class TestRules:
    def test_a_beginning(self) -> None:
        assert by_rules(["model.a", "model.b", "c.model.d"], [("model.", "m.")]) == {"model.a": "m.a", "model.b": "m.b"}

    def test_nothing_is_the_beginning_of_all(self) -> None:
        assert by_rules(["a", "b"], [("", "model.")]) == {"a": "model.a", "b": "model.b"}

    def test_a_pattern(self) -> None:
        rules = [(r"^encoder\.layer\.(\d+)\.(.*)$", r"h.\1.\2")]
        assert by_rules(["encoder.layer.3.w", "x"], rules) == {"encoder.layer.3.w": "h.3.w"}

    def test_each_rule_takes_what_the_one_before_left(self) -> None:
        assert by_rules(["a.w"], [("a.", "b."), ("b.", "c.")]) == {"a.w": "c.w"}
        assert by_rules(["a.w", "b.w"], [("a.", "t."), ("b.", "a."), ("t.", "b.")]) == {"a.w": "b.w", "b.w": "a.w"}

    def test_a_dot_is_a_dot_in_a_beginning(self) -> None:
        with pytest.raises(RecipeError, match="matches no tensor"):
            by_rules(["axb"], [("a.b", "c")])

    @pytest.mark.parametrize(
        ("rules", "match"),
        [
            ([("x.", "y.")], r"^'rename' from 'x\.' matches no tensor of m\. The first of them is 'a\.w'\.$"),
            (
                [("a.", "c."), ("a.", "d.")],
                r"^'rename' from 'a\.' matches no tensor of m\. The first of them is 'c\.w'",
            ),
            ([("a.", "b.")], r"^'rename' gives 'a\.w' and 'b\.w' of m the same name 'b\.w'\.$"),
            ([("^.*$", "x")], r"gives 'a\.w' and 'b\.w' of m the same name 'x'\."),
            ([("^(", "x")], r"^'rename' from '\^\(' to 'x' is no regular expression: missing \)"),
            ([("^a", r"\2")], r"is no regular expression: invalid group reference 2"),
            ([("a.w", "")], r"^'rename' leaves nothing of the name 'a\.w' of m\.$"),
        ],
    )
    def test_refused(self, rules: list[tuple[str, str]], match: str) -> None:
        with pytest.raises(RecipeError, match=match) as caught:
            by_rules(["a.w", "b.w"], rules, "m")
        assert str(caught.value).endswith(".")

    def test_a_recipe_of_no_names(self) -> None:
        with pytest.raises(RecipeError, match="matches no tensor"):
            by_rules([], [("a", "b")])


class TestCheckpoints:
    @pytest.fixture
    def bare(self, tmp_path: Path) -> Checkpoint:
        tensors = {n.removeprefix("model."): x for n, x in tiny_tensors().items() if n != HEAD}
        return Checkpoint(write_model(tmp_path / "m", tensors, dtype="BF16", config={"tie_word_embeddings": True}))

    def test_the_tensors_are_the_same(self, bare: Checkpoint) -> None:
        aligned, notes = align(LLAMA, bare, whose="m")
        assert notes == ["'model.' was put before the names of 11 tensors of m."]
        assert list(aligned) == [n for n in LLAMA if n != HEAD]
        assert all(torch.equal(aligned[n], bare[n.removeprefix("model.")]) for n in aligned)
        assert aligned.raw("model.norm.weight", 1, 3).tolist() == bare.raw("norm.weight", 1, 3).tolist()
        assert (aligned.path, aligned.folder, aligned.config, aligned.stems) == (
            (bare.path, bare.folder, bare.config, bare.stems)
        )

    def test_ties_are_followed_by_the_new_names(self, bare: Checkpoint) -> None:
        aligned, _ = align(LLAMA, bare)
        assert aligned.tied_to(HEAD) == "model.embed_tokens.weight"

    def test_it_is_fingerprinted_by_its_new_names(self, bare: Checkpoint, tmp_path: Path) -> None:
        """So a plan whose names change is another plan."""
        aligned, _ = align(LLAMA, bare)
        tensors = {n: x for n, x in tiny_tensors().items() if n != HEAD}
        assert fingerprint(aligned) == fingerprint(Checkpoint(write_model(tmp_path / "n", tensors, dtype="BF16")))
        assert fingerprint(aligned) != fingerprint(bare)

    def test_rules_come_first_and_the_prefix_after(self, tmp_path: Path) -> None:
        tensors = {n.removeprefix("model.").replace("norm", "ln"): np.ones(2, np.float32) for n in LLAMA}
        checkpoint = Checkpoint(write_model(tmp_path / "m", tensors))
        assert align(LLAMA, checkpoint)[0] is checkpoint
        aligned, notes = align(LLAMA, checkpoint, [(r"^(.*)ln", r"\1norm")], "m")
        assert list(aligned) == LLAMA
        assert notes == [
            "'rename' changed the names of 4 tensors of m.",
            "'model.' was put before the names of 11 tensors of m.",
        ]

    def test_two_of_one_name_are_refused(self, bare: Checkpoint) -> None:
        with pytest.raises(MismatchError, match=r"two tensors of .*m would be called 'norm\.weight'\."):
            renamed(bare, {"embed_tokens.weight": "norm.weight"})
