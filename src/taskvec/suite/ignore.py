"""Which of a suite's patterns of ignored tensors go into a recipe."""

from collections.abc import Sequence
from pathlib import Path

from ..recipe.depth import matches
from ..store import Checkpoint
from ..store.hub import locate
from ..store.naming import is_spare


def ignore_of(patterns: Sequence[str], models: Sequence[str], base: Path | None) -> list[str]:
    """Return the patterns that a merge of some models needs, which refuses one that matches nothing.

    Patterns for buffers that some versions of a library store (`*.position_ids`, `*.attn.bias`) are left out where no
    file holds any; and without a base those for what the base alone has.

    Args:
        patterns: globs of the suite.
        models: the specialists' paths.
        base: the base's folder; None for methods that take none.
    """
    names: set[str] = set()
    for path in [*map(locate, models), *([base] if base else [])]:
        with Checkpoint(path) as checkpoint:
            names.update(checkpoint.tensors)

    def needed(pattern: str) -> bool:
        passed_over = base is None or is_spare(pattern)
        return not passed_over or any(matches(name, pattern) for name in names)

    return [pattern for pattern in patterns if needed(pattern)]
