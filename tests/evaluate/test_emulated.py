"""A precision that the processor emulates is said before hours are spent on it."""

import pytest
import torch

from taskvec.evaluate.emulated import emulated


@pytest.mark.parametrize(
    ("precision", "asked"), [("bfloat16", "_is_mkldnn_bf16_supported"), ("float16", "_is_mkldnn_fp16_supported")]
)
def test_said_where_the_processor_lacks_it(monkeypatch: pytest.MonkeyPatch, precision: str, asked: str) -> None:
    monkeypatch.setattr(torch.ops.mkldnn, asked, lambda: False)
    said = emulated(precision, "cpu")
    assert said.startswith(f"this processor emulates {precision}, ") and said.endswith("Type 'precision: float32'.")
    monkeypatch.setattr(torch.ops.mkldnn, asked, lambda: True)
    assert emulated(precision, "cpu") == ""


def test_nothing_is_said_of_float32_and_of_a_gpu() -> None:
    assert emulated("float32", "cpu") == ""
    assert emulated("bfloat16", "cuda:0") == ""
