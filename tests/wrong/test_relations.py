"""Files that are each in order and do not belong together."""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import taskvec as tv
from taskvec.testing import finetuned, tiny_tensors, write_model

from .conftest import TOKENS, Family, flip

Refused = Callable[..., str]
NORM, HEAD, EMBED = "model.norm.weight", "lm_head.weight", "model.embed_tokens.weight"


class TestTensors:
    def test_missing_in_a_model(self, family: Family, refused: Refused) -> None:
        family.write("m1", {n: x for n, x in finetuned(family.base, 1).items() if n not in (NORM, HEAD)})
        refused(
            tv.MismatchError,
            r"m1 lacks 2 of 13 tensors that .*base has: '.*', '.*'\. Add them to 'ignore' to keep the base's\.",
        )
        plan = tv.make_plan(family.recipe(ignore=["model.norm.*", "lm_head.*"]))
        assert {u.name for u in plan.units if not u.merged} == {NORM, HEAD, "position_ids"}

    def test_many_missing_are_counted_not_listed(self, family: Family, refused: Refused) -> None:
        family.write("m1", {HEAD: family.base[HEAD]})
        message = refused(tv.MismatchError, r"m1 lacks 12 of 13 tensors that .*base has: '.*', '.*', '.*', …\.")
        assert len(message) < 500

    def test_extra_in_a_model(self, family: Family, refused: Refused) -> None:
        """mergekit drops it in silence (peers.md C5)."""
        family.write("m0", finetuned(family.base, 0) | {"value_head": np.ones(3, np.float32)})
        refused(
            tv.MismatchError,
            r"m0 has 1 of 14 tensors that .*base lacks: 'value_head'\. Add them to 'ignore' to leave them",
        )
        plan = tv.make_plan(family.recipe(ignore=["value_head"]))
        assert plan.notes == ["'value_head' is left out, as 'ignore' says."]

    def test_extra_in_all_models(self, family: Family, refused: Refused) -> None:
        for i in range(2):
            family.write(f"m{i}", finetuned(family.base, i) | {"value_head": np.ones(3, np.float32)})
        refused(tv.MismatchError, r"m0 has 1 of 14 tensors that .*base lacks: 'value_head'\.")

    def test_without_a_base_the_first_model_is_the_measure(self, family: Family, refused: Refused) -> None:
        family.write("m1", {n: x for n, x in finetuned(family.base, 1).items() if n != NORM})
        refused(tv.MismatchError, rf"m1 lacks 1 of 13 tensors that .*m0 has: '{NORM}'\.", "linear")

    def test_of_another_shape(self, family: Family, refused: Refused) -> None:
        family.write("m0", finetuned(family.base, 0) | {NORM: np.ones(9, np.float32)})
        refused(
            tv.MismatchError,
            r"'model\.norm\.weight' is \(9,\) in .*m0 but \(8,\) in .*base\. Add it to 'ignore' to keep the",
        )

    def test_of_the_same_size_and_another_shape(self, family: Family, refused: Refused) -> None:
        tuned = finetuned(family.base, 0)
        name = "model.layers.0.mlp.up_proj.weight"
        family.write("m0", tuned | {name: np.ascontiguousarray(tuned[name].T)})
        refused(tv.MismatchError, r"up_proj\.weight' is \(8, 24\) in .*m0 but \(24, 8\) in .*base\.")

    @pytest.mark.parametrize("name", [EMBED, HEAD])
    def test_of_another_vocabulary(self, family: Family, refused: Refused, name: str) -> None:
        tuned = finetuned(family.base, 0)
        family.write("m0", tuned | {name: np.concatenate([tuned[name], tuned[name][:1]])})
        refused(
            tv.MismatchError,
            rf"'{name}' is \(17, 8\) in .*m0 but \(16, 8\) in .*base\. Their vocabularies differ: type 'vocabulary: un",
        )

    def test_integer_buffers_that_differ(self, family: Family, refused: Refused) -> None:
        ids = family.base["position_ids"]
        family.write("m1", finetuned(family.base, 1) | {"position_ids": ids + 1})
        refused(
            tv.MismatchError,
            r"'position_ids' \(I64, not averaged\) differs between .*m1 and .*base\. Add",
        )
        assert tv.make_plan(family.recipe(ignore=["position_ids"])).units

    def test_integer_buffers_that_differ_in_width_too(self, family: Family, refused: Refused) -> None:
        ids = family.base["position_ids"].astype(np.int32)
        family.write("m1", finetuned(family.base, 1) | {"position_ids": ids})
        tv.make_plan(family.recipe())
        family.write("m1", finetuned(family.base, 1) | {"position_ids": ids + 1})
        refused(tv.MismatchError, r"'position_ids' \(I64, not averaged\) differs between")


class TestFamilies:
    def test_an_unrelated_base(self, family: Family, refused: Refused) -> None:
        family.write("base", tiny_tensors(99) | {"position_ids": family.base["position_ids"]})
        refused(
            tv.MismatchError,
            r"m0 does not look like a relative of .*base: over a sample their cosine is -?0\.\d+ and they lie 1\.\d\d "
            r"base norms apart \(fine-tunes: above 0\.9\)\. Name the right base, or type 'allow: \[unrelated\]' in ",
        )
        assert tv.make_plan(family.recipe(allow=["unrelated"])).kinship[0].cosine < 0.5

    def test_an_unrelated_model_without_a_base(self, family: Family, refused: Refused) -> None:
        family.write("m1", tiny_tensors(99) | {"position_ids": family.base["position_ids"]})
        refused(tv.MismatchError, r"m1 does not look like a relative of .*m0:", "linear")

    def test_a_permuted_tokenizer(self, family: Family, refused: Refused) -> None:
        """mergekit merges row 3 of one with row 3 of the other (peers.md C5)."""
        (family.folder / "m0" / "tokenizer.json").write_text(json.dumps({"model": {"vocab": {"a": 1, "b": 0, "c": 2}}}))
        refused(
            tv.MismatchError,
            r"m0 puts 2 of 3 tokens in other rows than .*base: 'a' is row 1 there, 0 here\. Type 'vocabulary",
        )
        plan = tv.make_plan(family.recipe(allow=["tokenizers"]))
        assert any("m0 puts 2 of 3 tokens" in note and note.endswith("(allowed).") for note in plan.notes)

    def test_a_different_tokenizer(self, family: Family, refused: Refused) -> None:
        (family.folder / "m1" / "tokenizer.json").write_text(json.dumps({"model": {"vocab": {"x": 0, "y": 1, "a": 2}}}))
        refused(tv.MismatchError, r"m1 puts 1 of 3 tokens in other rows than .*base: 'a' is row 2 there, 0 here\.")

    def test_a_tokenizer_with_no_token_in_common(self, family: Family, refused: Refused) -> None:
        tokens = {"x": 0, "y": 1, "z": 2}
        (family.folder / "m1" / "tokenizer.json").write_text(json.dumps({"model": {"vocab": tokens}}))
        refused(
            tv.MismatchError,
            r"m1 .*tokens .*than .*base.*\. Type 'vocabulary: union' in .*; or 'allow: \[tokenizers\]', or --set",
        )

    def test_other_words_in_the_same_rows(self, family: Family, refused: Refused) -> None:
        (family.folder / "m1" / "tokenizer.json").write_text(json.dumps({"model": {"vocab": {"a": 0, "x": 1, "y": 2}}}))
        refused(tv.MismatchError, r"m1 has other tokens than .*base in 2 of 3 rows: row 1 is 'x' there, 'b' here\.")

    def test_a_reserved_row_that_a_fine_tune_named_is_noted(self, family: Family) -> None:
        tokens = {f"t{i}": i for i in range(200)}
        for name in ("base", "m0", "m1"):
            (family.folder / name / "tokenizer.json").write_text(json.dumps({"model": {"vocab": tokens}}))
        named = {t: i for t, i in tokens.items() if i != 150} | {"<|im_start|>": 150}
        (family.folder / "m1" / "tokenizer.json").write_text(json.dumps({"model": {"vocab": named}}))
        (note,) = tv.make_plan(family.recipe()).notes
        assert "m1 has other tokens than" in note
        assert note.endswith("in 1 of 200 rows: row 150 is '<|im_start|>' there, 't150' here.")

    def test_an_older_kind_of_tokenizer_file_is_compared_too(self, family: Family, refused: Refused) -> None:
        for name in ("base", "m0", "m1"):
            (family.folder / name / "tokenizer.json").unlink()
            (family.folder / name / "vocab.txt").write_text("a\nb\nc\n")
        tv.make_plan(family.recipe())
        (family.folder / "m0" / "vocab.txt").write_text("b\na\nc\n")
        refused(tv.MismatchError, r"m0 puts 2 of 3 tokens in other rows")


class TestTaskVectors:
    @pytest.fixture
    def vector(self, family: Family) -> Path:
        return tv.diff(family.folder / "base", family.folder / "m0").save(family.folder / "m0.tv")

    def test_of_another_base(self, family: Family, refused: Refused, vector: Path) -> None:
        refused(
            tv.MismatchError,
            r"m0\.tv' was made from the base tv1:\w+, but .*m1 is tv1:\w+\. Give the base it was made from",
            models=[{"model": str(vector)}],
            base=str(family.folder / "m1"),
        )

    def test_of_the_same_base_in_another_type(self, family: Family, refused: Refused, vector: Path) -> None:
        family.write("half", family.base, dtype="BF16")
        models = [{"model": str(vector)}]
        refused(tv.MismatchError, "was made from the base", models=models, base=str(family.folder / "half"))

    def test_among_whole_models(self, family: Family, refused: Refused, vector: Path) -> None:
        models = [{"model": str(family.folder / "m1")}, {"model": str(vector)}]
        refused(tv.RecipeError, r"'linear' merges weights, but .*m0\.tv is a task vector", "linear", models=models)

    def test_as_a_base(self, family: Family, refused: Refused, vector: Path) -> None:
        refused(tv.RecipeError, r"m0\.tv is a task vector; 'base' must be a model\.", base=str(vector))

    def test_of_another_format(self, family: Family, refused: Refused, vector: Path) -> None:
        raw = vector.read_bytes()
        vector.write_bytes(raw.replace(b'"taskvec.format":"1"', b'"taskvec.format":"7"'))
        refused(tv.FormatError, "holds a task vector of format '7'", models=[{"model": str(vector)}])


class TestHashes:
    """A flipped bit where a hash is known."""

    @pytest.fixture
    def merged(self, family: Family) -> Path:
        """An earlier merge of ours, with a receipt, beside `base`."""
        recipe = family.recipe()
        return tv.run(tv.make_plan(recipe), family.folder / "m2").folder

    def test_in_an_input_that_has_a_receipt(self, family: Family, refused: Refused, merged: Path) -> None:
        models = [{"model": str(merged)}, {"model": str(family.folder / "m1")}]
        tv.run(tv.make_plan(family.recipe(models=models)), family.folder / "fine")
        flip(merged / "model.safetensors")
        refused(
            tv.MismatchError,
            r"m2/model\.safetensors is damaged: its SHA-256 is \w{12}…, known is \w{12}…\. Get the file again",
            models=models,
            planning=False,
        )
        assert tv.run(tv.make_plan(family.recipe(models=models, allow=["hashes"])), family.out).folder

    def test_in_a_hub_cache(self, family: Family, refused: Refused) -> None:
        cache = family.folder / "models--org--name"
        snapshot = cache / "snapshots" / "abc"
        snapshot.mkdir(parents=True)
        (cache / "blobs").mkdir()
        for file in (family.folder / "m0").iterdir():
            digest = hashlib.sha256(file.read_bytes()).hexdigest()
            (cache / "blobs" / digest).write_bytes(file.read_bytes())
            (snapshot / file.name).symlink_to(Path("../../blobs") / digest)
        models = [{"model": str(snapshot)}, {"model": str(family.folder / "m1")}]
        made = tv.run(tv.make_plan(family.recipe(models=models)), family.folder / "fine")
        assert "org/name" in (made.folder / "README.md").read_text()
        flip((snapshot / "model.safetensors").resolve())
        refused(tv.MismatchError, "is damaged: its SHA-256 is", models=models, planning=False)

    def test_found_by_verify(self, merged: Path, family: Family) -> None:
        (merged / "config.json").unlink()  # no model of that shape can be loaded; hashes are what is tested
        receipt = json.loads((merged / "receipt.json").read_text())
        del receipt["files"]["config.json"]
        (merged / "receipt.json").write_text(json.dumps(receipt))
        assert tv.verify(merged)["hashes"].startswith(f"{len(receipt['files'])} files")
        flip(merged / "model.safetensors", -1)
        with pytest.raises(
            tv.MismatchError, match=r"m2/model\.safetensors has changed: its SHA-256 is \w{12}…, known is"
        ):
            tv.verify(merged)

    def test_a_file_that_has_gone_is_found_by_verify(self, merged: Path) -> None:
        (merged / "tokenizer.json").unlink()
        with pytest.raises(tv.MismatchError, match=r"tokenizer\.json is missing; the receipt lists it\."):
            tv.verify(merged)

    def test_a_receipt_that_is_damaged_is_said_by_verify(self, merged: Path) -> None:
        (merged / "receipt.json").write_text('{"files": [1]}')
        with pytest.raises(tv.FormatError, match=r"receipt\.json is damaged: it lists no files"):
            tv.verify(merged)


def test_tokens_are_those_of_the_family(family: Family) -> None:
    """So that the tests above change what they say they change."""
    assert json.loads((family.folder / "m0" / "tokenizer.json").read_text())["model"]["vocab"] == TOKENS
    assert tv.make_plan(family.recipe()).notes == []


def test_a_folder_of_other_names_altogether(tmp_path: Path, family: Family, refused: Refused) -> None:
    write_model(family.folder / "gpt", {"h.0.w": np.ones((2, 2), np.float32)})
    refused(tv.MismatchError, r"gpt lacks 13 of 13 tensors", models=[{"model": str(family.folder / "gpt")}])
