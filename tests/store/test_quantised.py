"""Weights of eight bits with their scales, against torch's and transformers' own dequantisation, to the bit."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from transformers.integrations.finegrained_fp8 import Fp8Dequantize, _dequantize_fp8_weight

import taskvec as tv
from taskvec.errors import FormatError
from taskvec.store import Checkpoint, fingerprint
from taskvec.store.computed.renamed import rename
from taskvec.store.computed.scaled import Scaled, blocks_of
from taskvec.store.sidecars import sidecars
from taskvec.testing import finetuned, tiny_tensors, write_model

from .cuts import check_cuts

F8, E5 = torch.float8_e4m3fn, torch.float8_e5m2
FP8 = {"quantization_config": {"quant_method": "fp8", "weight_block_size": [128, 128]}}
W = "a.weight"


def model(
    folder: Path, tensors: dict[str, torch.Tensor], metadata: dict[str, str] | None = None, **config: Any
) -> Path:
    folder.mkdir(exist_ok=True)
    save_file({n: x.contiguous() for n, x in tensors.items()}, folder / "model.safetensors", metadata)
    (folder / "config.json").write_text(json.dumps({"model_type": "llama"} | config))
    return folder


def floats(*shape: int, dtype: torch.dtype = torch.float32, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed)).to(dtype)


def positive(*shape: int, dtype: torch.dtype = torch.float32, seed: int = 1) -> torch.Tensor:
    return (torch.rand(shape, generator=torch.Generator().manual_seed(seed)) / 50 + 1e-3).to(dtype)


def integers(*shape: int) -> torch.Tensor:
    return torch.randint(-128, 128, shape, generator=torch.Generator().manual_seed(2), dtype=torch.int8)


def check(path: Path, expected: dict[str, torch.Tensor], rng: np.random.Generator) -> Checkpoint:
    """Compare all that is seen with what is expected, to the bit and however it is cut."""
    checkpoint = Checkpoint(path)
    assert set(checkpoint) == set(expected)
    for name, x in expected.items():
        assert checkpoint[name].dtype == x.dtype, name
        assert checkpoint[name].shape == x.shape, name
        assert checkpoint[name].numpy().tobytes() == x.numpy().tobytes(), name
        check_cuts(checkpoint.info(name), rng, 15)
    return checkpoint


class TestBlocks:
    @pytest.mark.parametrize(
        ("shape", "kind"),
        [
            *((shape, torch.float32) for shape in ((256, 384), (300, 200), (128, 129), (1, 300), (300, 1), (130, 7))),
            ((300, 200), torch.bfloat16),
        ],
    )
    def test_of_128_by_128_with_edges(
        self, tmp_path: Path, rng: np.random.Generator, shape: tuple[int, int], kind: torch.dtype
    ) -> None:
        q, scale = floats(*shape, dtype=F8), positive(*(-(-n // 128) for n in shape), dtype=kind)
        theirs = _dequantize_fp8_weight(q, scale, [128, 128], torch.float32)
        check(model(tmp_path / "m", {W: q, "a.weight_scale_inv": scale}, **FP8), {W: theirs}, rng)

    def test_another_name_does_not_change_the_type_it_is_stored_in(self, tmp_path: Path) -> None:
        q, scale = floats(128, 128, dtype=F8), positive(1, 1)
        tensor = Checkpoint(model(tmp_path / "m", {W: q, "a.weight_scale_inv": scale}, **FP8)).info(W)
        assert (tensor.dtype, tensor.stored_as, rename(tensor, "b").stored_as) == ("F32", "BF16", "BF16")

    def test_as_transformers_loads_them(self, tmp_path: Path, rng: np.random.Generator) -> None:
        q, scale = floats(256, 384, dtype=F8), positive(2, 3)
        theirs = Fp8Dequantize(None)._dequantize_one(q, scale, torch.float32)
        check(model(tmp_path / "m", {W: q, "a.weight_scale_inv": scale}, **FP8), {W: theirs}, rng)

    def test_of_several_experts(self, tmp_path: Path, rng: np.random.Generator) -> None:
        q, scale = floats(3, 130, 140, dtype=F8), positive(3, 2, 2)
        theirs = _dequantize_fp8_weight(q, scale, [128, 128], torch.float32)
        name = "mlp.experts.gate_up_proj"
        check(model(tmp_path / "m", {name: q, name + "_scale_inv": scale}, **FP8), {name: theirs}, rng)

    @pytest.mark.parametrize("as_bytes", [False, True])
    def test_with_scales_that_are_powers_of_two(self, tmp_path: Path, rng: np.random.Generator, as_bytes: bool) -> None:
        """DeepSeek V4 and MXFP8."""
        exponents = torch.randint(110, 130, (64, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(5))
        scale = exponents if as_bytes else exponents.view(torch.float8_e8m0fnu)
        q = floats(64, 96, dtype=F8)
        theirs = Fp8Dequantize(None)._dequantize_one(q, scale, torch.float32)
        config = {"quantization_config": {"quant_method": "mxfp8", "weight_block_size": [1, 32]}}
        name = "a.weight_scale_inv" if as_bytes else "a.scale"
        check(model(tmp_path / "m", {W: q, name: scale}, **config), {W: theirs}, rng)

    def test_of_groups_of_columns(self, tmp_path: Path, rng: np.random.Generator) -> None:
        q, scale = integers(6, 70), positive(6, 3)
        config = {"config_groups": {"group_0": {"weights": {"strategy": "group", "group_size": 32}}}}
        config = {"quantization_config": {"quant_method": "compressed-tensors", **config}}
        theirs = q.float() * scale.repeat_interleave(32, 1)[:, :70]
        check(model(tmp_path / "m", {W: q, "a.weight_scale": scale}, **config), {W: theirs}, rng)

    def test_sizes(self) -> None:
        assert blocks_of((4, 6), (1, 1)) == (4, 6)
        assert blocks_of((4, 6), (4, 1)) == (1, 6)
        assert blocks_of((2, 4, 6), (2, 1, 6)) == (1, 4, 1)
        assert blocks_of((300, 200), (3, 2), [(64, 64), (128, 128)]) == (128, 128)
        assert blocks_of((300, 200), (1, 2), [(128, 128)]) is None
        assert blocks_of((300, 200), (3,), [(128, 128)]) is None


class TestOneScaleATensorOrARow:
    @pytest.mark.parametrize("dtype", [F8, E5])
    @pytest.mark.parametrize("scale", [(), (1,), (1, 1), (40, 1), (40,)])
    def test_float8(self, tmp_path: Path, rng: np.random.Generator, dtype: torch.dtype, scale: tuple[int, ...]) -> None:
        q, s = floats(40, 24, dtype=dtype), positive(*scale)
        theirs = q.float() * (s.view(-1, 1) if s.numel() > 1 else s)
        check(model(tmp_path / "m", {W: q, "a.weight_scale": s}), {W: theirs}, rng)

    def test_experts_with_a_scale_a_column(self, tmp_path: Path, rng: np.random.Generator) -> None:
        """Llama 4 by FBGEMM."""
        q, s = floats(2, 5, 12, dtype=F8), positive(2, 1, 12)
        config = {"quantization_config": {"quant_method": "fbgemm_fp8"}}
        tensors = {"experts.gate_up_proj": q, "experts.gate_up_proj_scale": s}
        check(model(tmp_path / "m", tensors, **config), {"experts.gate_up_proj": q.float() * s}, rng)

    @pytest.mark.parametrize("rows", [1, 30])
    def test_int8_with_zero_points(self, tmp_path: Path, rng: np.random.Generator, rows: int) -> None:
        """compressed-tensors: (q - zero) · scale."""
        q, s = integers(30, 17), positive(rows, 1)
        zero = torch.randint(-9, 9, (rows, 1), dtype=torch.int8, generator=torch.Generator().manual_seed(1))
        tensors = {W: q, "a.weight_scale": s, "a.weight_zero_point": zero}
        config = {"quantization_config": {"quant_method": "compressed-tensors", "format": "int-quantized"}}
        check(model(tmp_path / "m", tensors, **config), {W: (q.float() - zero.float()) * s}, rng)

    def test_a_vector_and_a_scalar(self, tmp_path: Path, rng: np.random.Generator) -> None:
        q, s = floats(9, dtype=F8), positive(1)
        tensors = {W: q, "a.weight_scale": s, "b.weight": q[0].clone(), "b.weight_scale": s.clone()}
        check(model(tmp_path / "m", tensors), {W: q.float() * s, "b.weight": q[0].float() * s[0]}, rng)

    @pytest.mark.parametrize("name", ["a.scale_weight", "a.qscale_weight"])
    def test_under_other_names(self, tmp_path: Path, rng: np.random.Generator, name: str) -> None:
        q, s = floats(9, 4, dtype=F8), positive(1)
        tensors = {W: q, name: s, "scaled_fp8": torch.empty(0, dtype=F8)}
        check(model(tmp_path / "m", tensors), {W: q.float() * s}, rng)

    def test_bitsandbytes(self, tmp_path: Path, rng: np.random.Generator) -> None:
        """W = q · SCB / 127; the expression is that of transformers' own integration."""
        q, absmax = integers(11, 33), positive(11)
        theirs = q * absmax.view(-1, 1) * 7.874015718698502e-3
        tensors = {W: q, "a.SCB": absmax, "a.weight_format": torch.tensor(0, dtype=torch.uint8)}
        config = {"quantization_config": {"quant_method": "bitsandbytes", "load_in_8bit": True}}
        check(model(tmp_path / "m", tensors, **config), {W: theirs}, rng)


class TestWhatElseIsThere:
    def test_plain_float8_is_what_it_says(self, tmp_path: Path, rng: np.random.Generator) -> None:
        """Files that were cast, without scales, as those of diffusion models."""
        tensors = {
            W: floats(5, 7, dtype=F8),
            "b": floats(3, dtype=E5),
            "norm.scale": floats(4, dtype=F8),
            "none": floats(0, dtype=F8),
        }
        check(model(tmp_path / "m", tensors), {n: x.float() for n, x in tensors.items()}, rng)

    def test_what_is_not_quantised_stays_as_it_is(self, tmp_path: Path) -> None:
        tensors = {W: floats(4, 4, dtype=F8), "a.weight_scale": positive(1)}
        rest = {"norm.weight": floats(4, dtype=torch.bfloat16), "ids": torch.arange(3), "table": integers(2, 2)}
        checkpoint = Checkpoint(model(tmp_path / "m", tensors | rest))
        assert {n: checkpoint.info(n).dtype for n in rest} == {"norm.weight": "BF16", "ids": "I64", "table": "I8"}
        assert not any(isinstance(checkpoint.info(n), Scaled) for n in rest)

    def test_scales_of_activations_are_left_out_and_named(self, tmp_path: Path, rng: np.random.Generator) -> None:
        q, s = floats(4, 4, dtype=F8), positive(1)
        tensors = {W: q, "a.weight_scale": s, "a.input_scale": s.clone(), "attn.k_scale": s.clone()}
        checkpoint = check(model(tmp_path / "m", tensors), {W: q.float() * s}, rng)
        assert checkpoint.notes == (f"{tmp_path / 'm'}: 2 scales of activations ('a.input_scale', …) are left out.",)

    def test_such_names_in_a_plain_model_mean_nothing(self, tmp_path: Path) -> None:
        checkpoint = Checkpoint(model(tmp_path / "m", {"attn.k_scale": positive(1), "x.weight_scale": positive(2)}))
        assert set(checkpoint) == {"attn.k_scale", "x.weight_scale"}
        assert checkpoint.notes == ()

    def test_the_config_announces_nothing_any_more(self, tmp_path: Path) -> None:
        folder = model(
            tmp_path / "m",
            {W: floats(4, 4, dtype=F8), "a.weight_scale_inv": positive(1, 1)},
            **FP8,
            text_config=FP8 | {"x": 1},
        )
        assert Checkpoint(folder).config == {"model_type": "llama", "text_config": {"x": 1}}
        for name in ("hf_quant_config.json", "generation_config.json"):
            (folder / name).write_text("{}")
        assert [p.name for p in sidecars(folder)] == ["generation_config.json"]

    def test_a_config_that_announces_what_was_undone(self, tmp_path: Path) -> None:
        config = {"quantization_config": {"quant_method": "gptq", "bits": 4}}
        checkpoint = Checkpoint(model(tmp_path / "m", {W: floats(4, 4), "ids": torch.arange(3)}, **config))
        assert checkpoint.config == {"model_type": "llama"}
        assert checkpoint.info(W).dtype == "F32"

    @pytest.mark.parametrize(
        ("config", "code"),
        [
            ({}, "BF16"),
            ({"torch_dtype": "float16"}, "F16"),
            ({"dtype": "float32"}, "F32"),
            ({"torch_dtype": "float8_e4m3fn"}, "BF16"),
            ({"text_config": {"dtype": "float16"}}, "F16"),
        ],
    )
    def test_what_it_is_stored_as(self, tmp_path: Path, config: dict[str, Any], code: str) -> None:
        tensors = {W: floats(4, 4, dtype=F8), "b": floats(3), "ids": torch.arange(2)}
        checkpoint = Checkpoint(model(tmp_path / "m", tensors, **config))
        assert [checkpoint.info(n).stored_as for n in tensors] == [code, "F32", "I64"]

    def test_memory_an_entry(self, tmp_path: Path) -> None:
        tensors = {
            W: floats(256, 256, dtype=F8),
            "a.weight_scale_inv": positive(2, 2),
            "b.weight": floats(2, 5, 12, dtype=F8),
        }
        checkpoint = Checkpoint(model(tmp_path / "m", tensors | {"b.weight_scale": positive(2, 1, 12)}, **FP8))
        assert checkpoint.info(W).scratch == 4 + 4 * 2 / 256
        assert checkpoint.info("b.weight").scratch == 8

    def test_the_fingerprint_knows_scales_and_blocks(self, tmp_path: Path) -> None:
        q, s = floats(100, 100, dtype=F8), positive(2, 2)
        prints = set()
        for i, (scale, block) in enumerate([(s, 64), (s * 2, 64), (s, 80)]):
            config = {"quantization_config": {"quant_method": "fp8", "weight_block_size": [block, block]}}
            prints.add(fingerprint(Checkpoint(model(tmp_path / str(i), {W: q, "a.weight_scale_inv": scale}, **config))))
        assert len(prints) == 3

    def test_bytes_are_those_on_disk(self, tmp_path: Path) -> None:
        tensors = {W: floats(4, 4, dtype=F8), "a.weight_scale": positive(4, 1)}
        assert Checkpoint(model(tmp_path / "m", tensors)).nbytes == 16 + 16


class TestMerging:
    def test_a_float8_fine_tune_of_a_float32_base(self, tmp_path: Path) -> None:
        base = tiny_tensors()
        write_model(tmp_path / "base", base)
        tensors, expected = {}, {}
        for name, x in finetuned(base, 1).items():
            x = torch.from_numpy(x)
            if x.ndim > 1:
                scale = x.abs().amax(1, keepdim=True) / 448
                tensors[name], tensors[name + "_scale"] = (x / scale).to(F8), scale
                x = tensors[name].float() * scale
            else:
                tensors[name] = x
            expected[name] = x
        model(tmp_path / "tuned", tensors)
        recipe = {"method": "linear", "models": [{"model": str(tmp_path / n)} for n in ("base", "tuned")]}
        tv.run(tv.make_plan(tv.Recipe.model_validate(recipe)), tmp_path / "out")
        merged = Checkpoint(tmp_path / "out")
        for name, x in expected.items():
            np.testing.assert_allclose(merged[name].numpy(), (base[name] + x.numpy()) / 2, rtol=1e-6, atol=1e-7)

    def test_codes_that_are_no_number_are_refused_as_nan(self, tmp_path: Path) -> None:
        base = tiny_tensors()
        write_model(tmp_path / "base", base)
        tensors = {n: torch.from_numpy(x) for n, x in base.items()}
        bad = tensors["lm_head.weight"].to(F8)
        bad.view(torch.uint8)[0, 0] = 0x7F
        model(tmp_path / "bad", tensors | {"lm_head.weight": bad})
        recipe = {"method": "linear", "models": [{"model": str(tmp_path / n)} for n in ("base", "bad")]}
        with pytest.raises(tv.NumbersError, match=r"'lm_head\.weight' in .*bad holds 1 NaN or Inf among 128 entries"):
            tv.run(tv.make_plan(tv.Recipe.model_validate(recipe)), tmp_path / "out")


ONE, TWO = floats(4, 4, dtype=F8), positive(1)
WRONG: dict[str, tuple[dict[str, torch.Tensor], dict[str, Any], str]] = {
    "announced, without a scale": (
        {W: ONE},
        FP8,
        r"'a\.weight' is a quantised tensor \(F8_E4M3\) without its scale\. Use",
    ),
    "one of two without a scale": (
        {W: ONE, "a.weight_scale": TWO, "b.weight": ONE.clone()},
        {},
        r"'b\.weight' is a quantised tensor \(F8_E4M3\) without its scale",
    ),
    "int8 without a scale": ({W: integers(4, 4)}, {}, r"'a\.weight' is a quantised tensor \(I8\) without its scale"),
    "a scale without a weight": (
        {W: ONE, "a.weight_scale": TWO, "b.weight_scale": TWO.clone()},
        {},
        r"'b\.weight_scale' is a scale without",
    ),
    "a scale of a plain weight": (
        {W: floats(4, 4), "a.weight_scale": TWO},
        FP8,
        r"'a\.weight_scale' is a scale without",
    ),
    "a grid that does not fit": (
        {W: floats(300, 200, dtype=F8), "a.weight_scale_inv": positive(2, 2)},
        FP8,
        r"'a\.weight_scale_inv' is \(2, 2\), which does not fit 'a\.weight' \(300, 200\) with blocks of 128×128",
    ),
    "blocks without a config": (
        {W: floats(300, 200, dtype=F8), "a.weight_scale_inv": positive(3, 2)},
        {},
        r"'a\.weight_scale_inv' is \(3, 2\), .* with no blocks in config\.json\. Give the model's folder",
    ),
    "a size of one number": (
        {W: ONE},
        {"quantization_config": {"weight_block_size": [128]}},
        r"blocks of \[128\]; expected two",
    ),
    "a size of zero": (
        {W: ONE},
        {"quantization_config": {"weight_block_size": [0, 1]}},
        r"blocks of \[0, 1\]; expected two",
    ),
    "an integer scale": (
        {W: ONE, "a.weight_scale": torch.ones(1, dtype=torch.int64)},
        {},
        r"'a\.weight_scale' scales a weight and is I64",
    ),
    "two numbers a byte": (
        {W: integers(4, 4), "a.scale": positive(4, 1)},
        {},
        r"'a\.weight' holds two 4-bit numbers a byte \(I8 with 'a\.scale'\), which is not read",
    ),
    "a layout of a GPU": (
        {W: integers(4, 4), "a.SCB": positive(4), "a.weight_format": torch.tensor(2, dtype=torch.uint8)},
        {},
        r"'a\.weight' is stored in the layout 'col_turing' of one kind of GPU; expected rows",
    ),
    "gptq": (
        {"a.qweight": torch.ones(2, 2, dtype=torch.int32)},
        {"quantization_config": {"quant_method": "gptq"}},
        r"is quantised \(gptq: it holds 'a\.qweight'\), which is not read\. Use the model it was made from, or load it",
    ),
    "awq by its names": (
        {"a.qweight": torch.ones(2, 2, dtype=torch.int32)},
        {},
        r"\(GPTQ or AWQ: it holds 'a\.qweight'\)",
    ),
    "nf4": (
        {W: torch.ones(8, 1, dtype=torch.uint8), "a.weight.absmax": positive(1)},
        {"quantization_config": {"quant_method": "bitsandbytes", "load_in_4bit": True}},
        r"is quantised \(4-bit bitsandbytes: it holds 'a\.weight\.absmax'\)",
    ),
    "packed": ({"a.weight_packed": torch.ones(2, 2, dtype=torch.int32)}, {}, r"\(packed compressed-tensors: "),
    "mxfp4": (
        {
            "e.gate_up_proj_blocks": torch.ones(2, dtype=torch.uint8),
            "e.gate_up_proj_scales": torch.ones(2, dtype=torch.uint8),
        },
        {},
        r"\(MXFP4: it holds 'e\.gate_up_proj_blocks'\)",
    ),
    "mlx": (
        {"a.scales": positive(2), "a.biases": positive(2)},
        {"quantization": {"group_size": 64, "bits": 4}},
        r"\(MLX: it",
    ),
    "another method": (
        {W: torch.ones(2, 2, dtype=torch.uint8)},
        {"quantization_config": {"quant_method": "hqq"}},
        r"is quantised by 'hqq', which is not read\. Use the model",
    ),
}


@pytest.mark.parametrize("case", WRONG)
def test_refused_at_opening(tmp_path: Path, case: str) -> None:
    tensors, config, message = WRONG[case]
    with pytest.raises(FormatError, match=message) as caught:
        Checkpoint(model(tmp_path / "m", tensors, **config))
    assert "\n" not in str(caught.value)
    assert str(caught.value).endswith(".")


def test_announced_by_the_header_or_by_a_file_beside(tmp_path: Path) -> None:
    header = {"_quantization_metadata": "{}"}
    with pytest.raises(FormatError, match="without its scale"):
        Checkpoint(model(tmp_path / "m", {W: ONE}, header))
    folder = model(tmp_path / "n", {W: ONE})
    (folder / "hf_quant_config.json").write_text("{}")
    with pytest.raises(FormatError, match="without its scale"):
        Checkpoint(folder)
