"""What an extraction is asked for, checked before anything is opened."""

import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from ...errors import RecipeError
from ...store.dtypes import NAMES
from ...store.layout import parse_size
from ..schema import meant_type


@dataclass(frozen=True)
class Options:
    """How many singular values are kept, of what, and how they are stored; see `extract_lora`."""

    rank: int | None = None
    energy: float | None = None
    budget: int | str | None = None
    max_rank: int | None = None
    sv_epsilon: float = 0.0
    embeddings: bool = False
    include: Sequence[str] = ()
    exclude: Sequence[str] = ()
    save_rest: bool = False
    save_modules: Sequence[str] = ()
    distribute_scale: bool = True
    dtype: str = "float32"
    prefix: str = ""

    def check(self) -> None:
        """Refuse what makes no sense.

        Raises:
            RecipeError: likewise.
        """
        given = [name for name in ("rank", "energy", "budget") if getattr(self, name) is not None]
        if len(given) != 1:
            got = " and ".join(given) or "none"
            raise RecipeError(
                f"the rank is given in one of three ways: --rank 16, --energy 0.9 or --budget 50MB; got {got}."
            )
        for name, rank in (("rank", self.rank), ("max_rank", self.max_rank)):
            if rank is not None and rank < 1:
                raise RecipeError(f"--{name.replace('_', '-')} must be a whole number above 0, got {rank}.")
        if self.energy is not None and not 0 < self.energy <= 1:
            raise RecipeError(f"--energy must be a share of the squares in (0, 1], got {self.energy:g}.")
        if self.budget is not None:
            parse_size(self.budget)
        if not self.sv_epsilon >= 0:
            raise RecipeError(f"--sv-epsilon must be 0 or more, got {self.sv_epsilon:g}.")
        if self.dtype not in NAMES:
            raise RecipeError(f"unknown dtype {self.dtype!r}.{meant_type(self.dtype)} Known: {', '.join(NAMES)}.")
        self.included, self.excluded  # noqa: B018  # they are compiled, and refused, here

    @property
    def code(self) -> str:
        """The type that factors are stored in."""
        return NAMES[self.dtype]

    @property
    def bytes(self) -> int | None:
        """The budget."""
        return None if self.budget is None else parse_size(self.budget)

    @property
    def included(self) -> list[re.Pattern[str]]:
        """Patterns of modules that get factors; all do where there is none."""
        return [_compiled("include", text) for text in self.include]

    @property
    def excluded(self) -> list[re.Pattern[str]]:
        """Patterns of modules that are not looked at."""
        return [_compiled("exclude", text) for text in self.exclude]

    def saves(self, module: str) -> bool:
        """Tell whether a module is to be stored whole."""
        return any(module == one or module.endswith(f".{one}") for one in self.save_modules)

    @property
    def data(self) -> dict[str, Any]:
        """What is not said by default, in plain data."""
        default = asdict(Options())
        return {k: list(v) if isinstance(v, tuple) else v for k, v in asdict(self).items() if v != default[k]}


def _compiled(what: str, text: str) -> re.Pattern[str]:
    try:
        return re.compile(text)
    except re.error as exc:
        raise RecipeError(f"--{what}-regex {text!r} is no regular expression: {exc}.") from exc
