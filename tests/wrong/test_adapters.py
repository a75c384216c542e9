"""Adapters that are damaged, of another base, or of a kind that has no dense change: one sentence each."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from taskvec.errors import FormatError, MismatchError, RecipeError, StoreError, TaskVecError
from taskvec.recipe.inputs import open_input
from taskvec.store import Checkpoint
from taskvec.store.adapter import adapter_notes, open_adapter, open_applied
from taskvec.testing import tiny_tensors, write_adapter, write_model

Q, UP, EMBED = "model.layers.0.self_attn.q_proj", "model.layers.1.mlp.up_proj", "model.embed_tokens"
NORM, HEAD = "model.norm.weight", "lm_head"


def lora(module: str, rows: int = 8, columns: int = 8, rank: int = 2) -> dict[str, np.ndarray]:
    """Return the factors of a module, as PEFT names them."""
    rng = np.random.default_rng(3)
    return {
        f"base_model.model.{module}.lora_A.weight": rng.standard_normal((rank, columns)).astype(np.float32),
        f"base_model.model.{module}.lora_B.weight": rng.standard_normal((rows, rank)).astype(np.float32),
    }


def whole(name: str, *shape: int) -> dict[str, np.ndarray]:
    """Return one tensor that is stored whole."""
    return {f"base_model.model.{name}": np.ones(shape, np.float32)}


GOOD = lora(Q) | lora(UP, rows=24)


class Bench:
    """A base, and adapters to be refused on it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.base = self.write_base()

    def write_base(self, name: str = "base", dtypes: Any = None, drop: str = "-", **config: Any) -> Checkpoint:
        tensors = {n: x for n, x in tiny_tensors().items() if n != drop}
        return Checkpoint(write_model(self.folder / name, tensors, dtypes=dtypes, config=config))

    def write(self, tensors: dict[str, np.ndarray], **config: Any) -> Path:
        return write_adapter(self.folder / "adapter", tensors, **config)

    def refused(
        self, error: type[TaskVecError], match: str, tensors: dict[str, np.ndarray] = GOOD, **config: Any
    ) -> None:
        self.refuses(error, match, self.write(tensors, **config))

    def refuses(self, error: type[TaskVecError], match: str, path: Path, base: Checkpoint | None = None) -> None:
        for open_it in (open_adapter, open_applied):
            with pytest.raises(error, match=match) as caught:
                open_it(path, base or self.base)
            assert type(caught.value) is error
            assert "\n" not in str(caught.value)
            assert str(caught.value).endswith(".")


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


def test_the_good_one_is_not_refused(bench: Bench) -> None:
    delta = open_adapter(bench.write(GOOD), bench.base)
    assert {n for n, t in delta.tensors.items() if t.on_disk} == {f"{Q}.weight", f"{UP}.weight"}


class TestFiles:
    def test_no_weights(self, bench: Bench) -> None:
        path = bench.write(GOOD)
        (path / "adapter_model.safetensors").unlink()
        bench.refuses(StoreError, r"holds adapter_config\.json, but no adapter_model\.safetensors\. Download it", path)

    def test_a_damaged_file_of_pytorch(self, bench: Bench) -> None:
        path = bench.write(GOOD)
        (path / "adapter_model.safetensors").rename(path / "adapter_model.bin")
        bench.refuses(FormatError, r"adapter_model\.bin is not a file of PyTorch, or a damaged one", path)

    def test_a_good_file_of_pytorch_is_read(self, bench: Bench) -> None:
        path = bench.write(GOOD)
        file = path / "adapter_model.safetensors"
        expected = open_adapter(path, bench.base).raw(f"{Q}.weight").copy()
        stored = Checkpoint(file)
        torch.save({name: stored[name] for name in stored}, path / "adapter_model.bin")
        file.unlink()
        assert (open_adapter(path, bench.base).raw(f"{Q}.weight") == expected).all()

    def test_truncated_weights(self, bench: Bench) -> None:
        file = bench.write(GOOD) / "adapter_model.safetensors"
        file.write_bytes(file.read_bytes()[:-4])
        bench.refuses(FormatError, r"adapter_model\.safetensors is truncated", file.parent)

    @pytest.mark.parametrize("text", ["", "[]", "{", "\udcff", "[" * 100_000])
    def test_a_damaged_config(self, bench: Bench, text: str) -> None:
        path = bench.write(GOOD)
        (path / "adapter_config.json").write_bytes(text.encode("utf-8", "surrogateescape"))
        bench.refuses(FormatError, r"adapter_config\.json is damaged: ", path)

    def test_an_unreadable_config(self, bench: Bench) -> None:
        (bench.folder / "adapter" / "adapter_config.json").mkdir(parents=True)
        bench.refuses(StoreError, r"adapter_config\.json cannot be read: Is a directory\.", bench.folder / "adapter")


class TestKinds:
    @pytest.mark.parametrize("kind", ["IA3", "LOHA", "PROMPT_TUNING", "lora", None])
    def test_other_types(self, bench: Bench, kind: str | None) -> None:
        bench.refused(MismatchError, rf"is an adapter of the type {kind!r}; of PEFT's types, 'LORA'", peft_type=kind)

    @pytest.mark.parametrize(
        ("key", "value", "what"),
        [
            ("alora_invocation_tokens", [1, 2], "aLoRA"),
            ("arrow_config", {"top_k": 1}, "Arrow"),
            ("kasa_config", {"beta": 1}, "KaSA"),
            ("layer_replication", [[0, 2], [1, 3]], "layer_replication"),
            ("monteclora_config", {"a": 1}, "MonteCLoRA"),
            ("target_parameters", ["experts.gate_up_proj"], r"target_parameters \(experts\)"),
            ("use_bdlora", {"nblocks": 2}, "BD-LoRA"),
            ("use_qalora", True, "QALoRA"),
            ("velora_config", {"rank": 1}, "VeLoRA"),
        ],
    )
    def test_what_is_no_dense_change(self, bench: Bench, key: str, value: Any, what: str) -> None:
        bench.refused(MismatchError, rf"adapter uses {what}.*\. It is not read\.", **{key: value})

    @pytest.mark.parametrize("start", ["pissa", "pissa_niter_16", "corda", "olora", "lora_ga", "loftq"])
    def test_what_changes_the_base_when_it_begins(self, bench: Bench, start: str) -> None:
        bench.refused(MismatchError, rf"with init_lora_weights='{start}', which changes the", init_lora_weights=start)

    @pytest.mark.parametrize("start", [True, False, "gaussian", "eva", "orthogonal", "mica"])
    def test_what_does_not_is_read(self, bench: Bench, start: Any) -> None:
        assert open_adapter(bench.write(GOOD, init_lora_weights=start), bench.base)


class TestNumbers:
    @pytest.mark.parametrize("rank", [0, -1, 2.0, "2", True, None])
    def test_a_rank_that_is_none(self, bench: Bench, rank: Any) -> None:
        bench.refused(FormatError, rf"gives '{Q}' the rank {rank!r}; expected a whole number above 0\.", r=rank)

    @pytest.mark.parametrize("alpha", ["4", None, float("nan"), True])
    def test_an_alpha_that_is_none(self, bench: Bench, alpha: Any) -> None:
        bench.refused(FormatError, rf"gives '{Q}' the alpha {alpha!r}; expected a number\.", lora_alpha=alpha)

    def test_another_rank_than_the_factors(self, bench: Bench) -> None:
        sentence = rf"gives '{UP}' the rank 3 in adapter_config\.json, but its factors are \(2, 8\) and \(24, 2\)\."
        bench.refused(FormatError, sentence, rank_pattern={"up_proj": 3})

    @pytest.mark.parametrize("key", ["rank_pattern", "alpha_pattern"])
    def test_patterns_that_are_none(self, bench: Bench, key: str) -> None:
        bench.refused(FormatError, rf"has a '{key}' that is no object of patterns", **{key: ["up_proj"]})
        bench.refused(FormatError, rf"has a '{key}' '\(' that is no pattern: missing \), unt", **{key: {"(": 2}})


class TestParts:
    def test_a_without_b(self, bench: Bench) -> None:
        for gone, name in [("lora_A.weight", "lora_A"), ("lora_B.weight", "lora_B")]:
            tensors = {n: x for n, x in GOOD.items() if n != f"base_model.model.{Q}.{gone}"}
            bench.refused(FormatError, rf"has no '{name}' for '{Q}', whose other tensors it has\. Save", tensors)

    def test_an_embedding_without_b(self, bench: Bench) -> None:
        tensors = whole(f"{EMBED}.lora_embedding_A", 2, 16)
        bench.refused(FormatError, rf"has no 'lora_embedding_B' for '{EMBED}', whose", tensors)

    def test_two_adapters_in_one_file(self, bench: Bench) -> None:
        more = {n.replace(".weight", ".other.weight"): x for n, x in lora(Q).items()}
        bench.refused(FormatError, r"has 'base_model.*' twice, under two adapters' names\. Save one", GOOD | more)

    def test_integers(self, bench: Bench) -> None:
        path = write_adapter(bench.folder / "adapter", {"x.lora_A.weight": np.ones((2, 8), np.int64)}, dtype="I64")
        bench.refuses(MismatchError, r"'x\.lora_A\.weight' in .* is I64; an adapter of floats was expected\.", path)

    def test_magnitudes(self, bench: Bench) -> None:
        sentence = rf"has no magnitude for '{Q}', but adapter_config\.json says a 'use_dora'\."
        bench.refused(FormatError, sentence, use_dora=True)
        more = whole(f"{Q}.lora_magnitude_vector", 8)
        sentence = rf"has a magnitude for '{Q}', but adapter_config\.json says no 'use_dora'\."
        bench.refused(FormatError, sentence, GOOD | more)
        more = whole(f"{Q}.lora_magnitude_vector", 7)
        sentence = rf"'{Q}\.lora_magnitude_vector' in .* is for \(7,\), but '{Q}\.weight' in .* takes \(8,\)\."
        bench.refused(MismatchError, sentence, lora(Q) | more, use_dora=True)

    def test_biases(self, bench: Bench) -> None:
        sentence = rf"has no bias for '{Q}', but adapter_config\.json says a 'lora_bias'\."
        bench.refused(FormatError, sentence, lora_bias=True)
        sentence = rf"has a bias for '{Q}', but adapter_config\.json says no 'lora_bias'\."
        bench.refused(FormatError, sentence, GOOD | whole(f"{Q}.lora_B.bias", 8))

    @pytest.mark.parametrize(
        ("odd", "what"), [("A.bias", "A_bias"), ("magnitude_vector.bias", "magnitude_vector_bias")]
    )
    def test_parts_without_a_place(self, bench: Bench, odd: str, what: str) -> None:
        sentence = rf"has a 'lora_{what}' for '{Q}' beside 'lora_A'; it has no place\."
        bench.refused(FormatError, sentence, GOOD | whole(f"{Q}.lora_{odd}", 8))

    def test_one_tensor_twice(self, bench: Bench) -> None:
        """Names that differ by a part in front are one tensor of the base."""
        more = lora("layers.0.self_attn.q_proj")
        bench.refused(FormatError, r"changes 'model\.layers\.0.*' of .* twice; the second time as 'lay", GOOD | more)
        bench.refused(FormatError, r"changes 'model\.norm.* twice", whole(NORM, 8) | whole("norm.weight", 8))


class TestAnotherBase:
    def test_other_shapes(self, bench: Bench) -> None:
        hint = r"Give the base that it was trained on, 'base'\."
        sentence = rf"'{Q}' in .* is for \(16, 16\), but '{Q}\.weight' in .* takes \(8, 8\)\. {hint}"
        bench.refused(MismatchError, sentence, lora(Q, 16, 16))
        bench.refused(MismatchError, rf"'{NORM}' in .* is for \(9,\), but '{NORM}' in .* takes", whole(NORM, 9))

    def test_another_vocabulary(self, bench: Bench) -> None:
        factors = whole(f"{EMBED}.lora_embedding_A", 2, 20) | whole(f"{EMBED}.lora_embedding_B", 8, 2)
        sentence = rf"'{EMBED}' in .* is for \(20, 8\), but '{EMBED}\.weight' in .* takes \(16, 8\)\."
        bench.refused(MismatchError, sentence, factors)

    def test_an_embedding_is_not_read_as_a_plain_layer(self, bench: Bench) -> None:
        factors = whole(f"{UP}.lora_embedding_A", 2, 8) | whole(f"{UP}.lora_embedding_B", 24, 2)
        bench.refused(MismatchError, rf"'{UP}' in .* is for \(8, 24\), but", factors)

    def test_targets_that_the_base_lacks(self, bench: Bench) -> None:
        names = [f"model.layers.{i}.self_attn.v_proj" for i in range(4)]
        tensors = {n: x for name in names for n, x in lora(name).items()}
        shown = ", ".join(rf"'{name}\.weight'" for name in names[:3])
        bench.refused(MismatchError, rf"base lacks 4 of the tensors that .* changes: {shown}, …\. Give the", tensors)
        bench.refused(
            MismatchError, r"lacks 1 of the tensors that .* changes: 'score\.weight'\.", whole("score.weight", 2, 8)
        )
        bias = whole(f"{Q}.lora_B.bias", 8)
        bench.refused(MismatchError, rf"changes: '{Q}\.bias'\.", lora(Q) | bias, lora_bias=True)

    def test_a_name_that_fits_twice(self, bench: Bench) -> None:
        tensors = {"a.norm.weight": np.ones(8, np.float32), "b.norm.weight": np.ones(8, np.float32)}
        base = Checkpoint(write_model(bench.folder / "two", tensors))
        path = bench.write(whole("norm.weight", 8))
        bench.refuses(MismatchError, r"has no 'norm\.weight', but both 'a\.norm.weight' and 'b\.norm", path, base)

    def test_a_base_of_integers(self, bench: Bench) -> None:
        tensors = {f"{Q}.weight": np.ones((8, 8), np.int32)}
        base = Checkpoint(write_model(bench.folder / "quantised", tensors))
        sentence = rf"changes '{Q}\.weight', which is I32 in .*quantised; floats were expected\."
        bench.refuses(MismatchError, sentence, bench.write(lora(Q)), base)

    def test_another_base_s_name_is_only_a_note(self, bench: Bench) -> None:
        path = bench.write(GOOD, base_model_name_or_path="meta/Other-7B")
        sentence = f"{path} says that its base is 'meta/Other-7B'; it is put on {bench.base.path}."
        assert adapter_notes(path, bench.base) == [sentence]
        for known in ("base", "/home/me/BASE/", None, "", "org/Known"):
            path = bench.write(GOOD, base_model_name_or_path=known)
            base = bench.write_base(_name_or_path="org/Known")
            assert adapter_notes(path, base) == []
        cached = bench.write_base("models--meta--Other-7B/snapshots/0123")
        assert adapter_notes(bench.write(GOOD, base_model_name_or_path="meta/Other-7B"), cached) == []


class TestTiedHeads:
    @pytest.fixture
    def tied(self, bench: Bench) -> Checkpoint:
        return bench.write_base("tied", drop="lm_head.weight", tie_word_embeddings=True)

    def test_a_change_of_the_head_alone(self, bench: Bench, tied: Checkpoint) -> None:
        sentence = r"changes 'lm_head\.weight', which .*tied ties to 'model\.embed_tokens\.weight': the change of one"
        bench.refuses(MismatchError, sentence, bench.write(lora(HEAD, rows=16)), tied)
        bench.refuses(MismatchError, sentence, bench.write(whole("lm_head.weight", 16, 8)), tied)

    def test_a_head_that_is_not_its_embedding(self, bench: Bench, tied: Checkpoint) -> None:
        both = whole("lm_head.weight", 16, 8) | whole(f"{EMBED}.weight", 16, 8)
        assert open_adapter(bench.write(both), tied)
        both["base_model.model.lm_head.weight"][0, 0] = 2
        bench.refuses(MismatchError, r"changes 'lm_head\.weight', which", bench.write(both), tied)

    def test_factors_that_are_not_the_embedding_s(self, bench: Bench, tied: Checkpoint) -> None:
        head = lora(HEAD, rows=16)
        a, b = (head[f"base_model.model.lm_head.lora_{x}.weight"] for x in "AB")
        front = f"base_model.model.{EMBED}.lora_embedding"
        both = head | {f"{front}_A": b.T.copy(), f"{front}_B": a.T.copy()}
        assert open_adapter(bench.write(both, ensure_weight_tying=True), tied)
        bench.refuses(MismatchError, r"changes 'lm_head\.weight', which", bench.write(both), tied)
        both[f"{front}_A"][1, 1] += 1
        path = bench.write(both, ensure_weight_tying=True)
        bench.refuses(MismatchError, r"changes 'lm_head\.weight', which", path, tied)


class TestTokens:
    NAME = f"{EMBED}.token_adapter.trainable_tokens_delta"

    @pytest.mark.parametrize("rows", [[0, 16], [3, 3], None, {"lm_head": [0, 1]}])
    def test_rows_that_do_not_fit(self, bench: Bench, rows: Any) -> None:
        sentence = rf"adapter_config\.json must give '{EMBED}' rows below 16, each once, in 'trainable_token_ind"
        bench.refused(MismatchError, sentence, whole(self.NAME, 2, 8), trainable_token_indices=rows)

    @pytest.mark.parametrize("rows", [{"embed_tokens": 3}, [-1, 2], [0.5], [True, 2]])
    def test_rows_that_are_none(self, bench: Bench, rows: Any) -> None:
        sentence = r"has 'trainable_token_indices' that are not lists of rows\."
        bench.refused(FormatError, sentence, whole(self.NAME, 2, 8), trainable_token_indices=rows)

    def test_another_number_of_rows(self, bench: Bench) -> None:
        sentence = rf"'{EMBED}' in .* is for \(3, 8\), but '{EMBED}\.weight' in .* takes \(2, 8\)\."
        bench.refused(MismatchError, sentence, whole(self.NAME, 3, 8), trainable_token_indices=[1, 2])

    def test_beside_another_change(self, bench: Bench) -> None:
        factors = whole(f"{EMBED}.lora_embedding_A", 2, 16) | whole(f"{EMBED}.lora_embedding_B", 8, 2)
        sentence = rf"changes '{EMBED}\.weight' as a whole and some of its rows alone\."
        tensors = factors | whole(self.NAME, 1, 8)
        bench.refused(MismatchError, sentence, tensors, trainable_token_indices=[1])


class TestInRecipes:
    def test_an_adapter_is_no_base(self, bench: Bench) -> None:
        with pytest.raises(RecipeError, match=r"adapter is an adapter; 'base' must be a model, or 'model\+adapter'\."):
            open_input(str(bench.write(GOOD)), "base")

    def test_an_adapter_needs_a_base(self, bench: Bench) -> None:
        with pytest.raises(RecipeError, match=r"is an adapter, which needs the model it was trained on\. Type 'ba"):
            open_input(str(bench.write(GOOD)), "model")

    def test_what_decides_the_change_decides_the_fingerprint(self, bench: Bench) -> None:
        def seen(**config: Any) -> str:
            return open_input(str(bench.write(GOOD, **config)), "model", bench.base).fingerprint

        configs: list[dict[str, Any]] = [{}, {"lora_alpha": 5}, {"use_rslora": True}, {"fan_in_fan_out": True}]
        assert len({seen(**config) for config in configs}) == 4
        assert seen(lora_dropout=0.5) == seen()
        assert json.loads((bench.folder / "adapter" / "adapter_config.json").read_text())["r"] == 2
