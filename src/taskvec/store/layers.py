"""In which layer a tensor stands, told by its name."""

import re

LAYER = re.compile(r"(?:^|\.)(\d+)(?=\.|$)")


def layer_of(name: str) -> tuple[str, int] | None:
    """Return (the stack's prefix, the layer's number), from the first number in a name; None outside of layers.

    >>> layer_of("model.layers.12.mlp.up_proj.weight"), layer_of("model.norm.weight")
    (('model.layers', 12), None)
    """
    match = LAYER.search(name)
    return (name[: match.start()], int(match.group(1))) if match else None
