"""How figures, groups of tensors and lists are said, in advice and on the page."""

from collections.abc import Sequence
from math import floor, isinf, isnan, log10

from .report import Group

FEW = 3
"""How many of many are named; the rest are counted."""

KINDS = {
    "q": "queries",
    "k": "keys",
    "v": "values",
    "o": "attention output",
    "attention": "attention",
    "mlp": "MLP",
    "norm": "norms",
    "embedding": "embeddings",
    "head": "head",
    "experts": "experts",
    "convolution": "convolutions",
    "other": "other tensors",
    "all": "all tensors",
}


def say_kind(group: Group) -> str:
    """Say the kind of a group's tensors."""
    return KINDS.get(group.kind, group.kind)


def say_place(group: Group) -> str:
    """Say where a group is, and what: "layer 3, values"."""
    return say_kind(group) if group.layer is None else f"layer {group.layer}, {say_kind(group)}"


def percent(share: float) -> str:
    """Say a share in per cent, to two digits that count; what is no number as a dash.

    >>> percent(0.4567), percent(0.0123), percent(0.00001), percent(0.9999), percent(0.0), percent(13.0)
    ('46 %', '1.2 %', '<0.01 %', '99.99 %', '0 %', '1300 %')
    >>> percent(float("nan")), percent(float("inf"))
    ('–', '∞')
    """
    if isnan(share) or isinf(share):
        return "–" if isnan(share) else number(share)
    value = 100 * share
    if value == 0:
        return "0 %"
    if abs(value) < 0.01:
        return "<0.01 %"
    if 99 < value < 100:
        return f"{min(value, 99.99):.2f}".rstrip("0").rstrip(".") + " %"
    digits = max(0, 1 - floor(log10(abs(value))))
    return f"{value:.{digits}f} %"


def number(value: float, digits: int = 2) -> str:
    """Say a number with a real minus sign; what is none as a dash.

    >>> number(-0.123), number(0.5, 1), number(-0.001)
    ('−0.12', '0.5', '0.00')
    """
    if isnan(value):
        return "–"
    if isinf(value):
        return "∞" if value > 0 else "−∞"
    said = f"{value:.{digits}f}"
    return said.lstrip("-") if float(said) == 0 else said.replace("-", "−")


def several(names: Sequence[str], few: int = FEW) -> str:
    """Name some things, and count those that are too many to name.

    >>> several(["a"]), several(["a", "b"]), several(["a", "b", "c", "d", "e"])
    ('a', 'a and b', 'a, b, c and 2 more')
    """
    named = list(names[:few])
    if len(names) > few:
        return f"{', '.join(named)} and {len(names) - few} more"
    return " and ".join([", ".join(named[:-1]), named[-1]] if len(named) > 1 else named)
