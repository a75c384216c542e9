"""The same models merged again and again with other numbers, without opening or storing anything anew."""

from types import TracebackType
from typing import Any

from ..errors import RecipeError
from ..merge import find
from ..progress import Silent
from .found import Found
from .ground import hold, lay_ground
from .in_memory import Memory, Merged
from .plan import Plan, check_request, plan_on
from .rescaled import Deltas
from .run import stream
from .schema import Part, Recipe
from .units import space_of

NUMBERS = {"method", "settings", "scale", "overrides", "seed", "rounding"}
"""The keys of a recipe that may change from one merge to the next; and of its models and parts:"""
PART_NUMBERS = {"settings", "scale", "overrides"}
MODEL_NUMBERS = {"weight", "settings"}


class Reweighted:
    """The models of a recipe, opened once, and merged in memory as often as somebody has new numbers.

    Files stay mapped and their pages in memory; what is computed from them is computed once; statistics that weights
    and scale do not change (thresholds, inner products) are kept from one merge to the next; where nothing but scales
    changes, so are the merged task vectors, and a merge is one addition; and the arrays of the result are used again.

    ```python
    with Reweighted(recipe) as models:
        for scale in (0.2, 0.3, 0.4):
            merged = models.weigh(recipe.model_copy(update={"scale": scale}))
    ```
    """

    def __init__(
        self, recipe: Recipe, *, memory: int = 1_000_000_000, held: int = 2_000_000_000, threads: int | None = None
    ) -> None:
        """Open and compare the inputs.

        Args:
            recipe: which models are merged; its numbers may change.
            memory: bytes of anonymous memory that a merge may take, beside the result.
            held: bytes that computed tensors (of adapters, of models in eight bits) may take to be computed only once,
                and bytes that merged task vectors may take.
            threads: threads to use; all cores when not given.

        Raises:
            RecipeError: the recipe asks for something impossible.
            StoreError: an input that cannot be read, or inputs that do not belong together.
        """
        method = find(recipe.method)
        check_request(recipe, method)
        self.recipe = recipe
        self.memory, self.threads = memory, threads
        self._ground = hold(lay_ground(recipe, space_of(method, recipe)), held)
        self._fixed = _without_numbers(recipe)
        self._found = Found(remembers=True)
        self._deltas = Deltas(held)
        self._merged: Merged | None = None

    @property
    def fingerprints(self) -> list[str]:
        """What the inputs and their statistics hold, in the order of the bases and models."""
        pool = list(self._ground.pool)
        return [*(i.fingerprint for i in pool), *(i.curved.fingerprint for i in pool if i.curved)]

    @property
    def names(self) -> list[str]:
        """The tensors of the output."""
        return [place.name for place in self._ground.places]

    def plan(self, recipe: Recipe, gathers: bool = False) -> Plan:
        """Plan a merge of the same inputs by a recipe with other numbers; `gathers`: with room for slices of them all.

        Raises:
            RecipeError: it differs in more than numbers, or its numbers are not allowed.
        """
        self._check(recipe)
        check_request(recipe, find(recipe.method))
        return plan_on(self._ground, recipe, memory=self.memory, threads=self.threads, gathers=gathers)

    def weigh(self, recipe: Recipe) -> Merged:
        """Merge with the numbers of a recipe; bit by bit what `run` writes for it.

        The arrays are those of the merge before, written over.

        Raises:
            RecipeError: see `plan`.
            NumbersError: NaN or Inf in an input, or a result that the stored type cannot hold.
        """
        plan = self.plan(recipe)
        if self._deltas.keeps_next(plan):
            plan = self.plan(recipe, gathers=True)
        if self._merged is None or not self._merged.fits(plan.units):
            self._merged = Merged(plan.units)
        arithmetic = self._deltas.arithmetic(plan)
        stream(plan, Memory(self._merged), Silent(), arithmetic=arithmetic, found=self._found)
        self._deltas.done(arithmetic)
        return self._merged

    def close(self) -> None:
        """Unmap the inputs."""
        for model in self._ground.pool:
            model.checkpoint.close()
            if model.curved:
                model.curved.statistics.close()

    def _check(self, recipe: Recipe) -> None:
        fixed = _without_numbers(recipe)
        if changed := [key for key in self._fixed if fixed[key] != self._fixed[key]]:
            raise RecipeError(
                f"only numbers may change from one merge in memory to the next, but '{changed[0]}' differs. "
                f"Make a new Reweighted for it."
            )

    def __enter__(self) -> "Reweighted":
        return self

    def __exit__(self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None) -> None:
        self.close()


def _without_numbers(recipe: Recipe) -> dict[str, Any]:
    """Return what must stay: the models, and how they are stored."""
    fixed = {key: value for key, value in recipe.model_dump().items() if key not in NUMBERS}
    return fixed | {"models": [], "stack": [_part(part) for part in recipe.parts]}


def _part(part: Part) -> dict[str, Any]:
    fixed = {key: value for key, value in part.model_dump().items() if key not in PART_NUMBERS}
    fixed["models"] = [{k: v for k, v in m.items() if k not in MODEL_NUMBERS} for m in fixed["models"]]
    return fixed
