"""A few of many examples."""

from dataclasses import replace

from .choose import choose
from .digest import digest, identity
from .examples import Examples


def some_of(examples: Examples, count: int, seed: int = 0) -> Examples:
    """Return so many of the examples, evenly over the labels; a larger number adds to a smaller."""
    chosen = choose([identity(x) for x in examples.inputs], examples.labels, limit=count, seed=seed)
    inputs = [examples.inputs[i] for i in chosen]
    labels = None if examples.labels is None else examples.labels[chosen]
    return replace(examples, inputs=inputs, labels=labels, digest=digest(inputs, labels, examples.names))
