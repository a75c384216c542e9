"""What locating is worth: the merge it asks for against base, nearest model, uniform merge and fine-tuning."""

import math
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from ..errors import RecipeError
from ..evaluate.classification import Classification
from ..evaluate.model import Model
from ..evaluate.results import Row
from ..evaluate.score import Score
from ..finetune.finetune import train_in_place
from ..finetune.lessons import Lesson
from ..finetune.training import Training
from ..progress import Progress, Silent
from ..recipe.in_memory import Merged, merge_in_memory
from ..recipe.plan import make_plan
from ..recipe.schema import Recipe
from ..store import Checkpoint
from ..tune.held import Held, bytes_available, bytes_held
from ..tune.supervised import Fitting, fit_weights
from .place import Place
from .realise import recipe_of, uniform

BASE, UNIFORM, NEAREST, LOCATED = "base", "uniform merge", "nearest model", "located merge"
TUNED, LOCATED_TUNED, WEIGHTS = "fine-tuned", "located, then fine-tuned", "located, weights fitted"
ROWS = (BASE, UNIFORM, NEAREST, LOCATED, TUNED, LOCATED_TUNED, WEIGHTS)

UNIFORM_SCALE = 0.3
"""λ of the uniform merge: the literature's for task arithmetic without tuning (Ilharco et al. 2023)."""


@dataclass(frozen=True, kw_only=True)
class FewShot:
    """How the same few examples are trained on; see docs/locating.md for how these numbers were chosen.

    steps: at least so many; the last round over the examples is finished. rate, batch: AdamW's.
    start: the share of the located merge's weights that fine-tuning begins with.
    frozen: globs of parameters that stay as they are.
    precision: what most of the arithmetic of fine-tuning is done in; weights and optimiser are float32.
    weights: how the weights alone are fitted.
    """

    steps: int = 30
    rate: float = 5e-5
    batch: int = 32
    start: float = 1.0
    frozen: tuple[str, ...] = ()
    precision: Literal["float32", "bfloat16"] = "float32"
    weights: Fitting = field(default_factory=Fitting)
    seed: int = 0

    def __post_init__(self) -> None:
        """Refuse settings with which nothing is learned.

        Raises:
            RecipeError: one is out of range.
        """
        for name in ("steps", "rate", "batch"):
            if not 0 < getattr(self, name) < math.inf:
                raise RecipeError(f"'{name}' of fine-tuning must be above 0, got {getattr(self, name):g}.")

    def training(self, examples: int) -> Training:
        """Return the settings for so many examples."""
        a_round = -(-examples // self.batch)
        return Training(
            epochs=-(-self.steps // a_round), batch=self.batch, rate=self.rate, decay=0.01, schedule="linear",
            warmup=0.05, frozen=self.frozen, dropout=False, precision=self.precision, seed=self.seed,
        )  # fmt: skip


class Contest:
    """Base and known models in hand, and one held-out task that everything is scored on."""

    def __init__(
        self,
        base: Model,
        task: Classification,
        how: FewShot | None = None,
        *,
        scored: Model | None = None,
        progress: Progress | None = None,
    ) -> None:
        """Take the base in float32; its weights are written over.

        Args:
            base: in which merges are made and trained.
            task: the held-out examples.
            how: how the few examples are trained on.
            scored: the base in another precision, in which everything is then scored.
            progress: told how far it is.

        Raises:
            RecipeError: a base that is not in float32.
            MismatchError: a task that the model does not fit.
        """
        if base.precision != "float32":
            raise RecipeError(f"fine-tuning moves weights by small steps; load {base.name} in float32.")
        for model in (base, scored or base):
            task.check(model)
            model.module()
        self.model, self.task, self.scored = base, task, scored or base
        self.how, self.progress = how or FewShot(), progress or Silent()
        self.notes: list[str] = []
        self._held: tuple[str, Held] | None = None

    def base(self, place: Place) -> Score:
        """Return the score of the base."""
        return self.merged(place, None)

    def uniform(self, place: Place) -> Score:
        """Return the score of the sum of all known vectors."""
        return self.merged(place, uniform(place.known, UNIFORM_SCALE))

    def single(self, place: Place, name: str) -> Score:
        """Return the score of one known model."""
        weights = [float(n == name) for n in place.known.names]
        return self.merged(place, recipe_of(place.known, weights))

    def merged(self, place: Place, recipe: Recipe | None) -> Score:
        """Return the score of a merge, or of the base."""
        self._put(place, recipe)
        return self._score()

    def located(self, place: Place) -> Score:
        """Return the score of the located merge."""
        return self.merged(place, place.recipe)

    def tuned(self, place: Place, lesson: Lesson) -> Score:
        """Return the score of the base, fine-tuned on the few examples."""
        return self._tuned(place, None, lesson)

    def located_tuned(self, place: Place, lesson: Lesson) -> Score:
        """Return the score of the located merge, all of whose weights were then fine-tuned on the few examples."""
        return self._tuned(place, place.realised(self.how.start), lesson)

    def weights(self, place: Place, lesson: Lesson) -> tuple[Score, tuple[float, ...]]:
        """Return the score of a merge with weights fitted to the few examples, from the located ones; and these."""
        held = self._hold(place)
        how = replace(self.how.weights, seed=self.how.seed, precision=self.how.precision)
        fitted = fit_weights(held, self.model, lesson, place.weights.tolist(), how, self.progress)
        return self._score(), fitted.weights

    def all(self, place: Place, lesson: Lesson) -> list[Row]:
        """Return every row, in the order of `ROWS`; without the last where the task vectors do not fit into memory."""
        found: dict[str, tuple[Score, dict[str, Any]]] = {
            BASE: (self.base(place), {}),
            UNIFORM: (self.uniform(place), {"scale": UNIFORM_SCALE}),
            NEAREST: (self.single(place, place.nearest), {"model": place.nearest}),
            LOCATED: (self.located(place), {}),
            TUNED: (self.tuned(place, lesson), {}),
            LOCATED_TUNED: (self.located_tuned(place, lesson), {}),
        }
        if why := too_large(place):
            self.notes.append(why)
        else:
            fitted, weights = self.weights(place, lesson)
            found[WEIGHTS] = (fitted, {"weights": dict(zip(place.known.names, weights, strict=True))})
        return [Row(name, [found[name][0]], found[name][1]) for name in ROWS if name in found]

    def _tuned(self, place: Place, recipe: Recipe | None, lesson: Lesson) -> Score:
        self._put(place, recipe)
        train_in_place(self.model, [lesson], self.how.training(len(lesson.examples)), self.progress, "fine-tuning")
        return self._score()

    def _score(self) -> Score:
        """Return the score of the weights in hand."""
        if self.scored is not self.model:
            self.scored.put(self.model.module().state_dict(), "being compared")
        return self.task.score(self.scored)

    def _put(self, place: Place, recipe: Recipe | None) -> None:
        """Put a merge into the model in hand, or the base."""
        if recipe is None:
            put_base(self.model)
            return
        merged: Merged = merge_in_memory(make_plan(recipe))
        self.model.put({name: merged.torch(name) for name in merged}, "being compared")

    def _hold(self, place: Place) -> Held:
        """Return base and known vectors in memory; read once for the same known models."""
        key = " ".join(place.known.models.values())
        if self._held is None or self._held[0] != key:
            recipe = uniform(place.known, 1.0)
            self._held = (key, Held(recipe, self.model))
        return self._held[1]


def too_large(place: Place) -> str:
    """Return why the weights cannot be fitted: base and known vectors need more memory than is free; else nothing."""
    needed, free = bytes_held(place.known.base, len(place.known.names)), bytes_available()
    if free is None or needed <= free:
        return ""
    return (
        f"'{WEIGHTS}' is left out: the base and {len(place.known.names)} task vectors take {needed / 1e9:.3g} GB in "
        f"memory, and {free / 1e9:.3g} GB are free. Name fewer known models, or a smaller --top."
    )


def put_base(model: Model) -> None:
    """Put the weights of a model's own folder back into it."""
    model.module()
    with Checkpoint(model.path) as checkpoint:
        model.put({name: checkpoint[name] for name in checkpoint}, "the base")
