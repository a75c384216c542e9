"""The ways to pack, and what may be set of each."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ..errors import RecipeError
from ..merge.registry import Interval, Setting, suggest

SMALL = 4096
FACTORS = ("float16", "bfloat16", "float32", "int8")
SHARED = ("base", "float16", "bfloat16", "float32")

ALWAYS = (
    Setting("small", SMALL, int, interval=Interval(0)),
    Setting("vectors", False, bool),
)
"""What is kept whole: tensors of fewer entries than `small`, and those of one axis or none unless `vectors`."""


@dataclass(frozen=True)
class PackMethod:
    """A way to pack.

    size: what a budget or an error chooses; empty where a method has one size.
    shared: whether tasks share entries, so that all of them are needed at once.
    """

    name: str
    summary: str
    paper: str
    own: Sequence[Setting] = field(default_factory=tuple)
    size: str = ""
    shared: bool = False

    @property
    def settings(self) -> dict[str, Setting]:
        """Everything that may be set, but `whole`, which is a list of patterns."""
        return {s.name: s for s in (*self.own, *ALWAYS)}

    def check(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """Return all settings, defaults filled in.

        Raises:
            RecipeError: an unknown setting, or a value that is not allowed.
        """
        known = [*self.settings, "whole"]
        for name in given:
            if name not in known:
                raise RecipeError(
                    f"'{self.name}' has no setting '{name}'.{suggest(name, known)} Known: {', '.join(known)}."
                )
        whole = given.get("whole", [])
        if not isinstance(whole, list) or not all(isinstance(pattern, str) for pattern in whole):
            raise RecipeError(f"'whole' must be a list of patterns of names, such as [\"*embed*\"], got {whole!r}.")
        return {n: s.check(given.get(n, s.default)) for n, s in self.settings.items()} | {"whole": whole}


_SHARE = Interval(0, 1, open_low=True)

PACK_METHODS = {
    m.name: m
    for m in (
        PackMethod(
            "bits",
            "signs, one bit an entry, and the mean magnitude as their scale",
            "Liu et al. 2024, arXiv:2402.10193, §3.1 (BitDelta, without its distillation of scales)",
            (Setting("rows", False, bool),),
        ),
        PackMethod(
            "sparse",
            "the largest entries in eight bits, and where they stand",
            "magnitude pruning as in Yadav et al. 2023, arXiv:2306.01708, §4.1, and rounding",
            (
                Setting("density", 0.1, float, interval=_SHARE),
                Setting("values", "int8", str, ("int8", "float16", "bfloat16", "float32")),
                Setting("steps", "block", str, ("block", "tensor")),
            ),
            size="density",
        ),
        PackMethod(
            "low_rank",
            "each matrix as two thin factors, its best approximation of a rank",
            "Eckart & Young 1936; of task vectors Gargiulo et al. 2025, arXiv:2412.00081",
            (
                Setting("rank", 16, int, interval=Interval(1)),
                Setting("factors", "float16", str, FACTORS),
            ),
            size="rank",
        ),
        PackMethod(
            "tall",
            "one sum of all task vectors, and a mask a task",
            "Wang et al. 2024, arXiv:2405.07813, §4 (TALL masks, Compression)",
            (
                Setting("tall", 0.4, float, interval=Interval(0), per_task=True),
                Setting("shared", "base", str, SHARED),
            ),
            shared=True,
        ),
        PackMethod(
            "emr",
            "one vector of elected signs and largest magnitudes, a mask and a factor a task",
            "Huang et al. 2024, arXiv:2405.17461, §3.2 (EMR-Merging)",
            (Setting("shared", "base", str, SHARED),),
            shared=True,
        ),
        PackMethod(
            "tsv_c",
            "each matrix with the first r/T of its r singular triples, T the number of tasks",
            "Gargiulo et al. 2025, arXiv:2412.00081 (TSV-Compress)",
            (Setting("factors", "float16", str, FACTORS),),
        ),
    )
}


def check_each(settings: Mapping[str, Any], tasks: int) -> None:
    """Refuse a setting that has one number a task, but not of as many tasks.

    Raises:
        RecipeError: it has more or fewer.
    """
    for name, value in settings.items():
        if isinstance(value, tuple) and len(value) != tasks:
            raise RecipeError(
                f"'{name}' has {len(value)} numbers for {tasks} models. Type one for all, or one for each."
            )


def find(name: str) -> PackMethod:
    """Return a way to pack by name.

    Raises:
        RecipeError: there is none.
    """
    if name not in PACK_METHODS:
        known = ", ".join(PACK_METHODS)
        raise RecipeError(f"unknown method of packing {name!r}.{suggest(name, PACK_METHODS)} Known: {known}.")
    return PACK_METHODS[name]
