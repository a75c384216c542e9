"""What stands where in a folder of statistics (docs/formats.md)."""

from collections.abc import Mapping

Shape = tuple[int, ...]

FORMAT, VERSION = "taskvec statistics", 1
FACTS, TENSORS = "statistics.json", "statistics.safetensors"

PARTS: Mapping[str, tuple[str, ...]] = {
    "diagonal": ("",),
    "gram": ("input",),
    "kronecker": ("input", "output"),
    "eigen": ("input_vectors", "output_vectors", "eigenvalues"),
}
"""Kind → the tensors that say the curvature of one weight; '' is one of the weight's own shape."""

GRADIENT = "gradient"
"""The mean gradient of a weight, beside any kind."""

NEEDED = ("estimator", "kind", "model", "total")
"""Facts that must be there."""

_SEPARATED = {GRADIENT, *(part for parts in PARTS.values() for part in parts if part)}


def key(name: str, part: str = "") -> str:
    """Return what a part of a weight's statistics is called in the file.

    >>> key("lm_head.weight"), key("lm_head.weight", "input")
    ('lm_head.weight', 'lm_head.weight#input')
    """
    return f"{name}#{part}" if part else name


def part_shapes(kind: str, shape: Shape, *, turned: bool = False, gradient: bool = False) -> dict[str, Shape]:
    """Return the parts that a kind keeps of a weight of some shape, and their shapes.

    Args:
        kind: 'diagonal', 'gram', 'kronecker' or 'eigen'; all but the first are of matrices.
        shape: the weight's, as it is stored.
        turned: whether the weight is stored (in, out); its parts are said as if it were stored (out, in).
        gradient: whether the mean gradient is kept, too.

    >>> part_shapes("kronecker", (2, 3))
    {'input': (3, 3), 'output': (2, 2)}
    """
    own: dict[str, Shape] = {"": shape}
    if kind != "diagonal":
        rows, columns = shape[::-1] if turned else shape
        factors = {"input": (columns, columns), "output": (rows, rows), "eigenvalues": (rows, columns)}
        own = {part: factors[part.removesuffix("_vectors")] for part in PARTS[kind]}
    return {**own, **({GRADIENT: shape} if gradient else {})}


def name_and_part(stored: str) -> tuple[str, str]:
    """Take apart what `key` puts together.

    >>> name_and_part("lm_head.weight#input"), name_and_part("lm_head.weight")
    (('lm_head.weight', 'input'), ('lm_head.weight', ''))
    """
    name, _, part = stored.rpartition("#")
    return (name, part) if part in _SEPARATED else (stored, "")
