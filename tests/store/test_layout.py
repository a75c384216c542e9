"""How an output is cut into files: sizes, alignment, headers, names."""

import json
import struct
from typing import ClassVar

import pytest
from hypothesis import given
from hypothesis import strategies as st

from taskvec.errors import RecipeError
from taskvec.store.dtypes import BITS
from taskvec.store.layout import Layout, OutTensor, lay_out, parse_size

SHAPES = st.lists(st.integers(0, 7), max_size=3).map(tuple)
TENSORS = st.lists(st.tuples(st.sampled_from(list(BITS)), SHAPES), min_size=1, max_size=12).map(
    lambda xs: [OutTensor(f"t{i}", code, shape) for i, (code, shape) in enumerate(xs)]
)


def header(layout: Layout, at: int) -> dict[str, object]:
    text = layout.files[at].header
    (length,) = struct.unpack("<Q", text[:8])
    assert len(text) == 8 + length
    parsed: dict[str, object] = json.loads(text[8:])
    return parsed


@given(TENSORS, st.integers(1, 2000))
def test_no_file_holds_more_than_it_may_unless_one_tensor_does(tensors: list[OutTensor], size: int) -> None:
    for file in lay_out(tensors, size, {}).files:
        assert len(file.tensors) == 1 or sum(t.nbytes for t in file.tensors) <= size


@given(TENSORS, st.integers(1, 2000))
def test_every_tensor_is_in_exactly_one_file_and_files_follow_the_order(tensors: list[OutTensor], size: int) -> None:
    layout = lay_out(tensors, size, {})
    shard_of = {t.name: i for i, f in enumerate(layout.files) for t in f.tensors}
    assert sorted(t.name for f in layout.files for t in f.tensors) == sorted(t.name for t in tensors)
    assert [shard_of[t.name] for t in tensors] == sorted(shard_of.values())


@given(TENSORS, st.integers(1, 2000))
def test_tensors_are_aligned_and_without_gaps(tensors: list[OutTensor], size: int) -> None:
    for file in lay_out(tensors, size, {}).files:
        assert len(file.header) % 8 == 0
        at = len(file.header)
        for tensor in file.tensors:
            assert file.begins[tensor.name] == at
            assert at % BITS[tensor.dtype].itemsize == 0
            at += tensor.nbytes
        assert file.nbytes == at


@given(TENSORS, st.integers(1, 2000))
def test_the_header_says_what_the_layout_does(tensors: list[OutTensor], size: int) -> None:
    layout = lay_out(tensors, size, {"format": "pt"})
    for i, file in enumerate(layout.files):
        entries = header(layout, i)
        assert entries.pop("__metadata__") == {"format": "pt"}
        for tensor in file.tensors:
            begin = file.begins[tensor.name] - len(file.header)
            assert entries.pop(tensor.name) == {
                "dtype": tensor.dtype,
                "shape": list(tensor.shape),
                "data_offsets": [begin, begin + tensor.nbytes],
            }
        assert entries == {}


@given(TENSORS, st.integers(1, 2000))
def test_the_index_names_every_tensor_and_the_bytes_of_all(tensors: list[OutTensor], size: int) -> None:
    layout = lay_out(tensors, size, {})
    text = layout.index()
    if len(layout.files) == 1:
        assert text is None
        assert layout.files[0].name == "model.safetensors"
        return
    assert text is not None
    index = json.loads(text)
    assert index["metadata"]["total_size"] == sum(t.nbytes for t in tensors)
    assert index["weight_map"] == {t.name: f.name for f in layout.files for t in f.tensors}
    assert layout.nbytes == index["metadata"]["total_size"] + sum(len(f.header) for f in layout.files)


def test_files_are_named_as_transformers_names_them() -> None:
    tensors = [OutTensor(f"t{i}", "F32", (10,)) for i in range(3)]
    assert [f.name for f in lay_out(tensors, 40, {}).files] == [
        "model-00001-of-00003.safetensors",
        "model-00002-of-00003.safetensors",
        "model-00003-of-00003.safetensors",
    ]


@pytest.mark.parametrize(
    ("text", "size"),
    [("5GB", 5 * 10**9), ("1.5 MiB", 1572864), ("200m", 2 * 10**8), ("12", 12), (12, 12), ("1 kib", 1024)],
)
def test_sizes_are_read(text: str | int, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["", "GB", "5 parsecs", "-1GB", "0", 0, -5, "5G5", "1e9"])
def test_what_is_no_size_is_refused_with_an_example(text: str | int) -> None:
    with pytest.raises(RecipeError, match=r"is not a size\. Type a number of bytes, or e\.g\. '5GB'"):
        parse_size(text)


class TestParts:
    """A pipeline: a folder, a stem and an index for each component."""

    TENSORS = (OutTensor("unet/a", "F32", (4,)), OutTensor("unet/b", "F32", (4,)), OutTensor("te/a", "F32", (2,)))
    STEMS: ClassVar = {"unet/": "diffusion_pytorch_model", "te/": "model"}

    def test_files_lie_in_the_parts_folders(self) -> None:
        layout = lay_out(self.TENSORS, 16, {}, self.STEMS)
        assert [f.name for f in layout.files] == [
            "unet/diffusion_pytorch_model-00001-of-00002.safetensors",
            "unet/diffusion_pytorch_model-00002-of-00002.safetensors",
            "te/model.safetensors",
        ]

    def test_headers_and_indices_name_tensors_as_the_part_does(self) -> None:
        layout = lay_out(self.TENSORS, 16, {}, self.STEMS)
        assert [set(header(layout, i)) - {"__metadata__"} for i in range(3)] == [{"a"}, {"b"}, {"a"}]
        assert set(layout.files[2].begins) == {"te/a"}
        ((name, text),) = layout.indices().items()
        assert name == "unet/diffusion_pytorch_model.safetensors.index.json"
        assert json.loads(text) == {
            "metadata": {"total_size": 32},
            "weight_map": {
                "a": "diffusion_pytorch_model-00001-of-00002.safetensors",
                "b": "diffusion_pytorch_model-00002-of-00002.safetensors",
            },
        }

    def test_one_part_may_have_another_stem(self) -> None:
        layout = lay_out([OutTensor("a/b", "F32", (4,))], 16, {}, {"": "open_clip_model"})
        assert [f.name for f in layout.files] == ["open_clip_model.safetensors"]
        assert "a/b" in header(layout, 0)
        assert layout.indices() == {}
