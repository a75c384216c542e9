"""GGUF: seen as transformers has the model, against the model itself, transformers' reader, and the package gguf."""

import json
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
import torch
from gguf import GGMLQuantizationType as Type
from transformers import AutoConfig, AutoModelForCausalLM

import taskvec as tv
from taskvec.errors import FormatError, StoreError, TaskVecError
from taskvec.store import Checkpoint, fingerprint
from taskvec.store.computed.head_rows import HeadRows
from taskvec.store.computed.q8_0 import Q8
from taskvec.store.computed.transposed import Transposed
from taskvec.store.gguf.architectures import ARCHITECTURES, LEFT_OUT
from taskvec.store.gguf.header import SIZES, TYPES, Length, read_header
from taskvec.store.tensors import TensorInfo

from . import gguf_models
from .cuts import check_cuts
from .gguf_models import KINDS, make, stored

FLOATS = {"F32": (Type.F32, torch.float32), "F16": (Type.F16, torch.float16), "BF16": (Type.BF16, torch.bfloat16)}


def bytes_of(x: torch.Tensor) -> bytes:
    return x.contiguous().view(-1).view(torch.uint8).numpy().tobytes()


class TestAgainstTheModelItself:
    @pytest.mark.parametrize("code", FLOATS)
    @pytest.mark.parametrize("kind", KINDS)
    def test_every_tensor_to_the_bit(self, tmp_path: Path, kind: str, code: str) -> None:
        model = make(KINDS[kind])
        checkpoint = Checkpoint(gguf_models.write(tmp_path / "m.gguf", KINDS[kind], model, FLOATS[code][0]))
        theirs = stored(model)
        assert set(checkpoint) == set(theirs)
        for name, x in theirs.items():
            ours, matrix = checkpoint[name], x.ndim > 1
            assert ours.shape == x.shape, name
            assert checkpoint.info(name).dtype == (code if matrix else "F32"), name
            if kind.startswith("gemma") and name.endswith("norm.weight"):
                x = (x + 1) - 1  # what the rounding of the sum left
            assert bytes_of(ours) == bytes_of(x.to(FLOATS[code][1]) if matrix else x), name

    def test_what_needs_no_change_is_a_view_of_the_file(self, tmp_path: Path) -> None:
        path = gguf_models.write(tmp_path / "m.gguf", KINDS["llama"], make(KINDS["llama"]), Type.BF16)
        checkpoint = Checkpoint(path)
        changed = {n for n in checkpoint if not isinstance(checkpoint.info(n), TensorInfo)}
        assert changed == {n for n in checkpoint if ".q_proj." in n or ".k_proj." in n}
        assert not checkpoint.raw("model.embed_tokens.weight").flags.owndata


class TestAgainstTransformers:
    @pytest.mark.parametrize("kind", KINDS)
    def test_q8_0_to_the_bit_and_the_config(self, tmp_path: Path, kind: str) -> None:
        """transformers decodes by gguf.quants; it has no word for the biases of Llama's attention."""
        path = gguf_models.write(tmp_path / "m.gguf", KINDS[kind], make(KINDS[kind]), Type.Q8_0)
        checkpoint = Checkpoint(path)
        theirs = AutoModelForCausalLM.from_pretrained(tmp_path, gguf_file=path.name, dtype=torch.float32)
        tensors = stored(theirs)
        biases = {n for n in checkpoint if n.endswith("_proj.bias")} if kind == "llama" else set()
        assert set(checkpoint) - biases == set(tensors)
        for name, x in tensors.items():
            assert bytes_of(checkpoint[name]) == bytes_of(x), name
        (tmp_path / "config.json").write_text(json.dumps(checkpoint.config))
        config = AutoConfig.from_pretrained(tmp_path).to_dict()
        differ = {k for k, v in theirs.config.to_dict().items() if config.get(k) != v}
        theirs_alone = {
            "_model_name_or_path",
            "quantization_config",
            "feed_forward_length",
            "n_ctx",
        }  # GGUF's own words
        assert differ <= theirs_alone | {"architectures", "_name_or_path", "attention_bias", "dtype"}

    def test_the_architectures_are_theirs(self) -> None:
        from transformers.modeling_gguf_pytorch_utils import GGUF_SUPPORTED_ARCHITECTURES

        assert set(ARCHITECTURES) <= set(GGUF_SUPPORTED_ARCHITECTURES)
        assert {k.arch for k in KINDS.values()} == set(ARCHITECTURES), "each is tested"


class TestAgainstTheirPackage:
    def test_types_and_sizes(self) -> None:
        assert {int(t): t.name for t in Type}.items() <= TYPES.items()
        assert {n: tuple(gguf.GGML_QUANT_SIZES[Type[n]]) for n in SIZES} == SIZES

    def test_names(self) -> None:
        for arch, ours in ARCHITECTURES.items():
            number = next(a for a, n in gguf.MODEL_ARCH_NAMES.items() if n == arch)
            names = gguf.get_tensor_name_map(number, 8)
            for there, here in ours.tensors.items():
                assert names.get_name(here.replace("*", "7")) == there.replace("*", "7"), arch
            theirs = {gguf.TENSOR_NAMES[t].replace("{bid}", "*") for t in gguf.MODEL_TENSORS[number]}
            unread = theirs - set(ours.tensors) - {n.removesuffix(".weight") for n in LEFT_OUT}
            assert all("exp" in n or n.endswith(("rot_embd", "gate_inp")) for n in unread), unread

    def test_the_header(self, tmp_path: Path) -> None:
        path = gguf_models.write(tmp_path / "m.gguf", KINDS["gemma2"], make(KINDS["gemma2"]), Type.Q8_0)
        ours, theirs = read_header(path), gguf.GGUFReader(path)
        assert [(t.name, t.type, t.shape, t.begin, t.nbytes) for t in ours.tensors] == [
            (t.name, t.tensor_type.name, tuple(map(int, t.shape[::-1])), t.data_offset, t.n_bytes)
            for t in theirs.tensors
        ]
        values = {k: f.contents() for k, f in theirs.fields.items() if not k.startswith("GGUF.")}
        assert ours.metadata.keys() == values.keys()
        for key, value in ours.metadata.items():
            assert (len(values[key]) if isinstance(value, Length) else values[key]) == (
                value.count if isinstance(value, Length) else value
            ), key

    def test_every_type_of_metadata(self, tmp_path: Path) -> None:
        def more(writer: gguf.GGUFWriter) -> None:
            for kind in ("uint8", "int8", "uint16", "int16", "uint32", "int32", "uint64", "int64"):
                getattr(writer, f"add_{kind}")(f"x.{kind}", 7 if kind[0] == "u" else -7)
            writer.add_float32("x.float32", 0.5)
            writer.add_float64("x.float64", 0.1)
            writer.add_bool("x.bool", True)
            writer.add_string("x.string", "ä🦙")
            writer.add_array("x.short", [1, 2, 3])
            writer.add_array("x.long", list(range(5000)))

        path = gguf_models.write(tmp_path / "m.gguf", KINDS["gpt2"], make(KINDS["gpt2"]), more=more)
        ours, theirs = read_header(path).metadata, gguf.GGUFReader(path).fields
        for key in [k for k in ours if k.startswith("x.") and k != "x.long"]:
            assert ours[key] == theirs[key].contents(), key
        assert ours["x.long"] == Length(5000)

    def test_q8_0_of_numbers_that_are_odd(self, tmp_path: Path, rng: np.random.Generator) -> None:
        raw = rng.integers(0, 256, (7, 5, 34), dtype=np.uint8)
        raw[0, 0, :2], raw[0, 1, :2] = (0x00, 0x7C), (0x01, 0x7E)  # Inf, NaN
        (tmp_path / "x").write_bytes(raw.tobytes())
        tensor = Q8("x", (7, 160), TensorInfo("x", "U8", (7, 170), tmp_path / "x", 0))
        with np.errstate(all="ignore"):
            theirs = gguf.quants.dequantize(raw.reshape(7, 170), Type.Q8_0).reshape(-1)
        np.testing.assert_array_equal(check_cuts(tensor, rng), theirs)


class TestSlices:
    """Q8_0, rows and transposed matrices, alone and on top of each other."""

    def test_q8_0(self, tmp_path: Path, rng: np.random.Generator) -> None:
        checkpoint = Checkpoint(gguf_models.write(tmp_path / "m.gguf", KINDS["llama"], make(KINDS["llama"]), Type.Q8_0))
        kinds = set()
        for name in ("self_attn.v_proj.weight", "self_attn.k_proj.weight", "self_attn.q_proj.bias"):
            tensor = checkpoint.info(f"model.layers.1.{name}")
            check_cuts(tensor, rng)
            kinds.add((type(tensor), type(tensor.part)))
        assert kinds == {(Q8, TensorInfo), (Q8, HeadRows), (HeadRows, TensorInfo)}

    @pytest.mark.parametrize("dtype", [Type.F16, Type.Q8_0])
    def test_transposed(self, tmp_path: Path, rng: np.random.Generator, dtype: Type) -> None:
        checkpoint = Checkpoint(gguf_models.write(tmp_path / "m.gguf", KINDS["gpt2"], make(KINDS["gpt2"]), dtype))
        for name in ("attn.c_attn.weight", "mlp.c_proj.weight"):
            tensor = checkpoint.info(f"transformer.h.0.{name}")
            assert isinstance(tensor, Transposed)
            check_cuts(tensor, rng)

    def test_shifted(self, tmp_path: Path, rng: np.random.Generator) -> None:
        checkpoint = Checkpoint(gguf_models.write(tmp_path / "m.gguf", KINDS["gemma3"], make(KINDS["gemma3"])))
        check_cuts(checkpoint.info("model.layers.0.self_attn.q_norm.weight"), rng)

    @pytest.mark.parametrize("shape", [(24, 5), (24,), (0, 5), (24, 0), (24, 2, 3)])
    def test_rows_of_any_shape(self, tmp_path: Path, rng: np.random.Generator, shape: tuple[int, ...]) -> None:
        x = rng.standard_normal(shape).astype(np.float32)
        (tmp_path / "x").write_bytes(x.tobytes() + b"\0")
        tensor = HeadRows(TensorInfo("x", "F32", shape, tmp_path / "x", 0), 6)
        once = check_cuts(tensor, rng).reshape(shape)
        back = gguf_models.permuted(torch.from_numpy(once), 4) if x.size else torch.from_numpy(x)
        np.testing.assert_array_equal(back.numpy(), x)

    def test_what_they_are_stored_as_and_cost(self, tmp_path: Path) -> None:
        for dtype, code, itemsize in ((Type.F16, "F16", 2), (Type.Q8_0, "BF16", 34 / 32)):
            path = gguf_models.write(tmp_path / f"{code}.gguf", KINDS["llama"], make(KINDS["llama"]), dtype)
            checkpoint = Checkpoint(path)
            matrices = [checkpoint.info(n) for n in checkpoint if n.endswith("proj.weight")]
            assert {t.stored_as for t in matrices} == {code}
            assert all(t.nbytes == t.count * itemsize for t in matrices)
            assert all(t.scratch == 0 or t.scratch >= itemsize for t in matrices)

    def test_the_fingerprint_knows_what_was_undone(self, tmp_path: Path) -> None:
        prints = set()
        for heads in (4, 2):
            kind = KINDS["llama"]
            model = make(kind)
            model.config.num_attention_heads = heads
            path = gguf_models.write(tmp_path / f"{heads}.gguf", kind, model)
            prints.add(fingerprint(Checkpoint(path)))
        assert len(prints) == 2


class TestParts:
    def test_any_part_stands_for_all(self, tmp_path: Path) -> None:
        model = make(KINDS["qwen3"])
        one = Checkpoint(gguf_models.write(tmp_path / "one.gguf", KINDS["qwen3"], model))
        gguf_models.write(tmp_path / "m.gguf", KINDS["qwen3"], model, split_max_tensors=9)
        parts = sorted(tmp_path.glob("m-*.gguf"))
        assert len(parts) > 2
        for part in (parts[0], parts[-1]):
            checkpoint = Checkpoint(part)
            assert set(checkpoint.on_disk) == set(parts)
            assert checkpoint.config == one.config
            assert fingerprint(checkpoint) == fingerprint(one)

    def test_wrong(self, tmp_path: Path) -> None:
        gguf_models.write(tmp_path / "m.gguf", KINDS["gpt2"], make(KINDS["gpt2"]), split_max_tensors=15)
        first, second = sorted(tmp_path.glob("m-*.gguf"))
        a, b = first.read_bytes(), second.read_bytes()
        second.unlink()
        with pytest.raises(StoreError, match=r"is one of 00002 parts, and m-00002-of-00002\.gguf is not there\. Downl"):
            Checkpoint(first)
        first.write_bytes(b), second.write_bytes(a)
        with pytest.raises(
            FormatError, match=r"m-00001-of-00002\.gguf says that it is part 1 of 2, its name that it is 0"
        ):
            Checkpoint(first)
        first.write_bytes(a.replace(struct.pack("<i", 28), struct.pack("<i", 29), 1)), second.write_bytes(b)
        with pytest.raises(
            FormatError, match=r"m-00001-of-00002\.gguf promises 29 tensors in all parts, and there are 28"
        ):
            Checkpoint(first)
        first.rename(tmp_path / "renamed.gguf")
        with pytest.raises(FormatError, match=r"renamed\.gguf says that it is part 0 of 2, its name that it is 0 of 1"):
            Checkpoint(tmp_path / "renamed.gguf")


class TestConfig:
    def read(self, folder: Path, more: Callable[[gguf.GGUFWriter], None]) -> Checkpoint:
        return Checkpoint(
            gguf_models.write(folder / "m.gguf", KINDS["llama tied"], make(KINDS["llama tied"]), more=more)
        )

    def test_rotary_scaling_is_not_guessed(self, tmp_path: Path) -> None:
        assert self.read(tmp_path, lambda w: w.add_rope_scaling_type(gguf.RopeScalingType.YARN)).config == {}
        none = self.read(tmp_path, lambda w: w.add_rope_scaling_type(gguf.RopeScalingType.NONE))
        assert none.config["tie_word_embeddings"] is True

    def test_factors_that_were_computed_are_left_out_and_named(self, tmp_path: Path) -> None:
        checkpoint = self.read(tmp_path, lambda w: w.add_tensor("rope_freqs.weight", np.ones(8, np.float32)))
        assert checkpoint.config == {}
        assert "rope_freqs.weight" not in checkpoint
        assert checkpoint.notes == (
            f"{tmp_path / 'm.gguf'}: 'rope_freqs.weight', which llama.cpp made from the config, is left out.",
        )

    def test_biases_of_attention(self, tmp_path: Path) -> None:
        path = gguf_models.write(tmp_path / "m.gguf", KINDS["llama"], make(KINDS["llama"]))
        assert Checkpoint(path).config["attention_bias"] is True


def test_merged_with_a_folder_it_loads(tmp_path: Path) -> None:
    kind = KINDS["llama tied"]
    base, tuned = make(kind, 0), make(kind, 0)
    with torch.no_grad():
        for x in tuned.parameters():
            x.add_(torch.randn_like(x), alpha=0.01)
    tuned.save_pretrained(tmp_path / "tuned")
    path = gguf_models.write(tmp_path / "base.gguf", kind, base)
    recipe = {"method": "linear", "models": [{"model": str(path)}, {"model": str(tmp_path / "tuned")}]}
    tv.run(tv.make_plan(tv.Recipe.model_validate(recipe)), tmp_path / "out")
    merged = AutoModelForCausalLM.from_pretrained(tmp_path / "out", dtype=torch.float32).state_dict()
    for name, x in stored(base).items():
        np.testing.assert_allclose(merged[name], (x + tuned.state_dict()[name]) / 2, rtol=1e-6, atol=1e-7)


def by_hand(
    path: Path,
    pairs: list[tuple[str, int, bytes]],
    tensors: list[tuple[str, tuple[int, ...], int, int]],
    data: int = 0,
    *,
    magic: bytes = b"GGUF",
    version: int = 3,
) -> Path:
    """Write a GGUF file as it shall stand there: metadata (key, type, bytes), tensors (name, axes, type, offset)."""

    def text(x: str) -> bytes:
        return struct.pack("<Q", len(x.encode())) + x.encode()

    raw = magic + struct.pack("<IQQ", version, len(tensors), len(pairs))
    raw += b"".join(text(k) + struct.pack("<I", kind) + value for k, kind, value in pairs)
    for name, axes, kind, offset in tensors:
        raw += text(name) + struct.pack(f"<I{len(axes)}QIQ", len(axes), *axes, kind, offset)
    path.write_bytes(raw + b"\0" * (-len(raw) % 32) + b"\0" * data)
    return path


def named(name: str) -> tuple[str, int, bytes]:
    return ("general.architecture", 8, struct.pack("<Q", len(name)) + name.encode())


LLAMA = [named("llama"), ("llama.attention.head_count", 4, struct.pack("<I", 4))]
EMBED = ("token_embd.weight", (4, 2), 0, 0)
WRONG: dict[str, tuple[list[Any], list[Any], int, dict[str, Any], str]] = {
    "no magic": (
        LLAMA,
        [EMBED],
        32,
        {"magic": b"GGML"},
        r"x\.gguf is damaged or not GGUF: it does not begin with 'GGUF'",
    ),
    "an old version": (LLAMA, [EMBED], 32, {"version": 1}, r"is a GGUF file of version 1, which is not read"),
    "big-endian": (LLAMA, [EMBED], 32, {"version": 3 << 24}, r"is a GGUF file big-endian, which is not read"),
    "truncated": (LLAMA, [EMBED], 31, {}, r"is truncated: its header promises \d+ bytes, the file has \d+\. Download"),
    "no architecture": ([], [EMBED], 32, {}, r"of the architecture None, which is not read; llama, qwen2"),
    "another architecture": (
        [named("mamba")],
        [EMBED],
        32,
        {},
        r"of the architecture 'mamba', which is not read; llama",
    ),
    "4 bits": (
        LLAMA,
        [("output.weight", (256, 2), 12, 0)],
        999,
        {},
        r"'output\.weight' is Q4_K, which is not read; F32, F16",
    ),
    "a type of the future": (LLAMA, [("output.weight", (2,), 99, 0)], 99, {}, r"'output\.weight' is type 99, which"),
    "half a block": (
        LLAMA,
        [("output.weight", (40, 2), 8, 0)],
        999,
        {},
        r"'output\.weight' is Q8_0 and has rows of 40",
    ),
    "a scalar in blocks": (LLAMA, [("output.weight", (), 8, 0)], 99, {}, r"'output\.weight' is Q8_0 \(\)"),
    "many axes": (LLAMA, [("output.weight", (1,) * 5, 0, 0)], 99, {}, r"'output\.weight' has 5 axes"),
    "one name twice": (LLAMA, [EMBED, (*EMBED[:3], 32)], 64, {}, r"'token_embd\.weight' occurs twice"),
    "one key twice": ([*LLAMA, LLAMA[0]], [EMBED], 32, {}, r"'general\.architecture' occurs twice"),
    "overlapping": (LLAMA, [EMBED, ("output.weight", (4, 2), 0, 16)], 64, {}, r"'output\.weight' overlaps the tensor"),
    "no such tensor": (
        LLAMA,
        [("blk.0.ffn_gate_exps.weight", (2, 2, 2), 0, 0)],
        32,
        {},
        r"'blk\.0\.ffn_gate_exps\.weight' has no place",
    ),
    "a name that says nothing": (LLAMA, [("x", (2,), 0, 0)], 32, {}, r"'x' has no place in the architecture 'llama'"),
    "an alignment": (
        [*LLAMA, ("general.alignment", 4, struct.pack("<I", 24))],
        [EMBED],
        99,
        {},
        r"alignment' is 24, no power",
    ),
    "a type of metadata": ([("k", 77, b"")], [EMBED], 32, {}, r"metadata of the type 77, which does not exist"),
    "arrays of arrays": ([("k", 9, struct.pack("<IQ", 9, 1))], [EMBED], 32, {}, r"an array of the type 9"),
    "no text": ([("k", 8, struct.pack("<Q", 1) + b"\xff")], [EMBED], 32, {}, r"b'\\xff' is not UTF-8"),
    "heads that cannot share": (
        LLAMA,
        [("blk.0.attn_q.weight", (2, 12), 0, 0)],
        96,
        {},
        r"has 12 rows, which 4 heads cannot",
    ),
    "no heads": (
        LLAMA[:1],
        [("blk.0.attn_q.weight", (2, 8), 0, 0)],
        96,
        {},
        r"has 8 rows, which None heads cannot share",
    ),
    "a vector transposed": (
        [named("gpt2")],
        [("blk.0.ffn_up.weight", (2,), 0, 0)],
        96,
        {},
        r"'blk\.0\.ffn_up\.weight' is F32 \(2,\)",
    ),
    "a bias in blocks": (
        LLAMA,
        [("blk.0.attn_q.bias", (64,), 8, 0)],
        96,
        {},
        r"'blk\.0\.attn_q\.bias' is Q8_0 \(64,\)",
    ),
}


@pytest.mark.parametrize("case", WRONG)
def test_refused_at_opening(tmp_path: Path, case: str) -> None:
    pairs, tensors, data, how, message = WRONG[case]
    with pytest.raises(FormatError, match=message) as caught:
        Checkpoint(by_hand(tmp_path / "x.gguf", pairs, tensors, data, **how))
    assert "\n" not in str(caught.value)
    assert str(caught.value).endswith(".")


def test_a_file_cut_anywhere_is_refused(tmp_path: Path) -> None:
    long = ("tokens", 9, struct.pack("<IQ", 8, 2) + struct.pack("<Q", 1) + b"a" + struct.pack("<Q", 1) + b"b")
    numbers = ("numbers", 9, struct.pack("<IQ", 4, 5000) + bytes(20000))
    raw = by_hand(tmp_path / "x.gguf", [*LLAMA, long, numbers], [EMBED], 32).read_bytes()
    Checkpoint(tmp_path / "x.gguf")
    for length in [*range(300), *range(20000, len(raw))]:
        (tmp_path / "x.gguf").write_bytes(raw[:length])
        with pytest.raises(FormatError, match=r"is truncated|is damaged"):
            read_header(tmp_path / "x.gguf")


def test_flipped_bits_never_do_more_than_refuse(tmp_path: Path, rng: np.random.Generator) -> None:
    raw = by_hand(
        tmp_path / "x.gguf",
        [*LLAMA, ("f", 6, bytes(4)), ("a", 9, struct.pack("<IQ", 8, 1) + struct.pack("<Q", 3) + b"abc")],
        [EMBED],
        32,
    ).read_bytes()
    opened = 0
    for _ in range(400):
        bad = bytearray(raw)
        for at in rng.integers(0, len(raw) - 32, rng.integers(1, 4)):
            bad[at] = rng.integers(0, 256)
        (tmp_path / "x.gguf").write_bytes(bad)
        try:
            opened += bool(Checkpoint(tmp_path / "x.gguf"))
        except TaskVecError as exc:
            assert str(exc).endswith(".")
    assert 0 < opened < 400
