"""What a merge changes in config.json."""

from collections.abc import Sequence
from typing import Any

LAYER_COUNTS = ("num_hidden_layers", "n_layer", "n_layers", "num_layers")
TOWERS = {"vision": "vision_config", "visual": "vision_config", "text": "text_config", "language": "text_config",
          "audio": "audio_config"}  # fmt: skip


def restacked(config: dict[str, Any], prefix: str, before: int, order: Sequence[int]) -> dict[str, Any]:
    """Return a config for a stack of layers that was built anew.

    The count of layers becomes that of `order`, and every list with an entry a layer (such as `layer_types`) takes
    the entries of the layers that each layer comes from.

    Args:
        config: what config.json holds.
        prefix: the beginning of the layers' names; where a config has parts, it tells which one.
        before: how many layers the config speaks of.
        order: for each layer of the output, which layer it comes from.

    >>> restacked({"num_hidden_layers": 2, "layer_types": ["a", "b"]}, "model.layers", 2, [0, 1, 1])
    {'num_hidden_layers': 3, 'layer_types': ['a', 'b', 'b']}
    """
    part = next((key for word, key in TOWERS.items() if word in prefix and key in config), None)
    if part is None and not any(key in config for key in LAYER_COUNTS):
        part = next((key for key in dict.fromkeys(TOWERS.values()) if key in config), None)
    if part is not None:
        return {**config, part: restacked(config[part], "", before, order)}
    out = {}
    for key, value in config.items():
        if key in LAYER_COUNTS and value == before:
            value = len(order)
        elif isinstance(value, list) and len(value) == before and before > 1 and max(order, default=0) < before:
            value = [value[layer] for layer in order]
        out[key] = value
    return out
