"""What a merge changes in config.json."""

from collections.abc import Mapping, Sequence
from typing import Any

LAYER_COUNTS = ("num_hidden_layers", "n_layer", "n_layers", "num_layers")
TOWERS = {"vision": "vision_config", "visual": "vision_config", "text": "text_config", "language": "text_config",
          "audio": "audio_config"}  # fmt: skip


AHEAD = "num_nextn_predict_layers"
"""How many layers follow those that are counted: they guess the tokens after the next one."""


def restacked(
    config: dict[str, Any],
    prefix: str,
    before: int,
    order: Sequence[int],
    configs: Sequence[Mapping[str, Any]] = (),
    *,
    alone: bool = False,
) -> dict[str, Any]:
    """Return a config for a stack of layers that was built anew.

    The count of layers becomes that of `order`, and every list with an entry a layer (such as `layer_types`) takes
    the entries of the layers that each layer comes from. A list that no longer has an entry for each is left out.

    Args:
        config: what config.json holds.
        prefix: the beginning of the layers' names; where a config has parts, it tells which one.
        before: how many layers the files hold.
        order: for each layer of the output, which layer it comes from.
        configs: for each layer of the output, the config of the model it comes from; `config` itself without it.
        alone: that no other stack of layers is described by the same config, or part of it. Then its count means
            these layers even where the files hold more, which a loader passes over, or fewer.

    >>> restacked({"num_hidden_layers": 2, "layer_types": ["a", "b"]}, "model.layers", 2, [0, 1, 1])
    {'num_hidden_layers': 3, 'layer_types': ['a', 'b', 'b']}
    """
    configs = configs or [config] * len(order)
    part = part_of(config, prefix)
    if part is not None:
        inner = [c.get(part) or {} for c in configs]
        return {**config, part: restacked(config[part], "", before, order, inner, alone=alone)}
    counted = next((config[key] for key in LAYER_COUNTS if isinstance(config.get(key), int)), before)
    if alone and counted != before:
        if counted + (config.get(AHEAD) or 0) == before:
            while order and order[-1] >= counted:
                order, configs = order[:-1], configs[:-1]
        before = counted
    out = {}
    for key, value in config.items():
        if key in LAYER_COUNTS and value == before:
            value = len(order)
        elif isinstance(value, list) and len(value) == before and before > 1:
            entries = [_entry(c, key, layer, value) for c, layer in zip(configs, order, strict=True)]
            if None in entries:
                continue
            value = [entry[0] for entry in entries if entry]
        out[key] = value
    return out


def part_of(config: Mapping[str, Any], prefix: str) -> str | None:
    """Return the key of the part of a config that describes a stack of layers; None for the config itself."""
    part = next((key for word, key in TOWERS.items() if word in prefix and key in config), None)
    if part is None and not any(key in config for key in LAYER_COUNTS):
        part = next((key for key in dict.fromkeys(TOWERS.values()) if key in config), None)
    return part


def _entry(config: Mapping[str, Any], key: str, layer: int, ours: list[Any]) -> tuple[Any] | None:
    """Return what a list says of a layer: the list of the model that the layer is of, else ours; None if neither."""
    theirs = config.get(key)
    for values in (theirs if isinstance(theirs, list) else [], ours if theirs is None else []):
        if layer < len(values):
            return (values[layer],)
    return None
