"""What stands beside the weights: which files a merge copies, which it does not, and what config.json then says."""

import json
from pathlib import Path

import pytest

from taskvec.errors import FormatError
from taskvec.store.sidecars import config_text, copy_sidecars, sidecars, token_ids

COPIED = [
    "generation_config.json", "preprocessor_config.json", "special/extra.txt", "modeling_custom.py", "LICENSE",
    "1_Pooling/config.json", "modules.json",
]  # fmt: skip
TOKENIZERS = ["tokenizer.json", "tokenizer_config.json", "vocab.txt", "merges.txt", "spiece.model", "qwen.tiktoken"]
NOT_COPIED = [
    "model.safetensors", "pytorch_model.bin", "model.safetensors.index.json", "pytorch_model.bin.index.json",
    "model.safetensors.index.fp16.json",
    "README.md", "receipt.json", ".gitattributes", ".cache/huggingface/x", "optimizer.pt", "consolidated.00.pth",
    "model.gguf", "onnx/model.onnx", "tf_model.h5", "flax_model.msgpack", "math.tv",
]  # fmt: skip


def make(folder: Path, names: list[str], text: str) -> Path:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    return folder


def test_the_list(tmp_path: Path) -> None:
    make(tmp_path, COPIED + TOKENIZERS + NOT_COPIED + ["config.json"], "x")
    assert sorted(map(str, sidecars(tmp_path))) == sorted(COPIED + TOKENIZERS)


def test_the_tokenizer_may_come_from_another_model(tmp_path: Path) -> None:
    base = make(tmp_path / "base", COPIED + TOKENIZERS, "base")
    math = make(tmp_path / "math", [*COPIED, "tokenizer.json", "added_tokens.json"], "math")
    (tmp_path / "out").mkdir()
    copied = copy_sidecars(base, math, tmp_path / "out")
    assert sorted(copied) == sorted([*COPIED, "tokenizer.json", "added_tokens.json"])
    assert {(tmp_path / "out" / name).read_text() for name in COPIED} == {"base"}
    assert (tmp_path / "out" / "tokenizer.json").read_text() == "math"
    assert not (tmp_path / "out" / "vocab.txt").exists()


def test_nothing_to_copy_from_single_files(tmp_path: Path) -> None:
    assert copy_sidecars(None, None, tmp_path) == []


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        ({"torch_dtype": "float32", "a": 1}, {"torch_dtype": "bfloat16", "a": 1}),
        ({"dtype": "float32"}, {"dtype": "bfloat16"}),
        ({"dtype": "float32", "torch_dtype": "float32"}, {"dtype": "bfloat16", "torch_dtype": "bfloat16"}),
        ({"model_type": "a"}, {"model_type": "a", "torch_dtype": "bfloat16"}),
        ({"_class_name": "UNet2DModel"}, {"_class_name": "UNet2DModel"}),
    ],
)
def test_the_configs_dtype_follows_under_its_old_or_new_name(config: dict, expected: dict) -> None:
    before = dict(config)
    assert json.loads(config_text(config, "bfloat16")) == expected
    assert config == before


def test_a_config_keeps_its_order_and_its_letters() -> None:
    text = config_text({"z": 1, "name": "Übung 🦙", "a": 2, "dtype": "x"}, "float16")
    assert list(json.loads(text)) == ["z", "name", "a", "dtype"]
    assert "Übung 🦙" in text


class TestTokenIds:
    def test_a_vocabulary_that_is_a_mapping(self, tmp_path: Path) -> None:
        data = {"model": {"vocab": {"a": 0, "b": 1}}, "added_tokens": [{"id": 2, "content": "<s>"}]}
        (tmp_path / "tokenizer.json").write_text(json.dumps(data))
        assert token_ids(tmp_path) == {"a": 0, "b": 1, "<s>": 2}

    def test_a_vocabulary_that_is_a_list(self, tmp_path: Path) -> None:
        (tmp_path / "tokenizer.json").write_text(json.dumps({"model": {"vocab": [["a", -1.5], ["b", -2.0]]}}))
        assert token_ids(tmp_path) == {"a": 0, "b": 1}

    def test_older_files(self, tmp_path: Path) -> None:
        (tmp_path / "vocab.txt").write_text("[PAD]\nthe\n")
        assert token_ids(tmp_path) == {"[PAD]": 0, "the": 1}
        (tmp_path / "vocab.json").write_text('{"a": 3}')
        assert token_ids(tmp_path) == {"a": 3}

    def test_none_to_be_read(self, tmp_path: Path) -> None:
        assert token_ids(None) is None
        assert token_ids(tmp_path) is None

    @pytest.mark.parametrize("text", ["{", "[]", '"x"', "nul"])
    def test_a_damaged_file_is_named(self, tmp_path: Path, text: str) -> None:
        (tmp_path / "tokenizer.json").write_text(text)
        with pytest.raises(FormatError, match=r"tokenizer\.json is damaged"):
            token_ids(tmp_path)
