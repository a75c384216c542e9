"""Statistics that a recipe asks for by naming tasks: measured before the merge, and found again ever after."""

import hashlib
import json
import shutil
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from ..curvature import Estimating, measure_curvature
from ..errors import RecipeError, StoreError
from ..evaluate.classification import Classification
from ..evaluate.kept import default_folder
from ..evaluate.model import Model
from ..finetune.lessons import Lesson
from ..merge import find
from ..progress import Progress, Silent
from ..recipe.curved_checks import ESTIMATORS, asked_by
from ..recipe.schema import ModelEntry, Recipe
from ..store.statistics import FACTS, Statistics
from ..store.writer import room_for
from .examples import is_classification
from .load import Loaded, load_suite
from .specialists import lesson_of
from .tasks import chosen

MEASURING = "1"
"""Raised when what is measured changes its meaning, so that older statistics are not found again."""


@dataclass(frozen=True)
class Job:
    """The statistics of one model on one task: what is measured, and where it is kept."""

    entry: ModelEntry
    model: Model
    lesson: Lesson
    how: Estimating
    place: Path

    @property
    def is_done(self) -> bool:
        """Whether they are there, whole."""
        try:
            with Statistics(self.place):
                return True
        except StoreError:
            return False

    @property
    def said(self) -> str:
        """What is done, in words."""
        count = min(len(self.lesson.examples), self.how.examples or len(self.lesson.examples))
        whose = f"of {self.entry.model} on '{self.entry.task}' ({self.how.estimator}, {count} examples)"
        if self.is_done:
            return f"the statistics {whose} are found in {self.place}."
        return f"the statistics {whose} are measured first, and kept in {self.place}."


def with_statistics(
    recipe: Recipe,
    progress: Progress | None = None,
    tell: Callable[[str], None] = lambda text: None,
    *,
    device: str = "auto",
    cache: Path | None = None,
    loaded: Loaded | None = None,
) -> Recipe:
    """Return a recipe whose models have statistics instead of tasks: those found again, or measured now.

    Nothing is measured where the method, with these settings, uses none.

    Args:
        recipe: with `task` under models and a `curvature` that says how; others come back as they are.
        progress: told how far each measurement is.
        tell: told of each model that is measured now.
        device: where models are run.
        cache: where statistics are kept, taskvec's folder of the user's cache when not given.
        loaded: the suite that `curvature` names, where it is open already.

    Raises:
        RecipeError: a task that is not there or has no classes.
        TaskVecError: a model or data that cannot be read, or do not fit.
    """
    jobs = jobs_of(recipe, device=device, cache=cache, loaded=loaded)
    for job in jobs:
        if not job.is_done:
            tell(job.said)
            room_for(job.place)
            if not (job.place / FACTS).is_file():  # what a cleaner of caches has left
                shutil.rmtree(job.place, ignore_errors=True)
            measure_curvature(job.model, job.lesson, job.place, job.how, progress or Silent(), force=True, keep=True)
    return with_places(recipe, jobs)


def with_places(recipe: Recipe, jobs: Sequence[Job]) -> Recipe:
    """Return a recipe that says where its statistics are kept."""
    places = {id(job.entry): str(job.place) for job in jobs}
    models = [m.model_copy(update={"statistics": places.get(id(m), m.statistics)}) for m in recipe.models]
    return recipe.model_copy(update={"models": models})


def jobs_of(
    recipe: Recipe, *, device: str = "auto", cache: Path | None = None, loaded: Loaded | None = None
) -> list[Job]:
    """Return what a recipe asks to be measured, found or not; nothing is measured.

    Raises:
        RecipeError: see `with_statistics`.
    """
    if not recipe.unmeasured or not asked_by(recipe, find(recipe.method)):
        return []
    how, tasks = _how(recipe)
    loaded = loaded or load_suite(tasks)
    base = _base(recipe, loaded, device)
    cache = cache or default_folder()
    names = chosen(loaded, [str(entry.task) for entry in recipe.unmeasured])
    lessons = {name: _lesson(loaded, name, base, cache / "heads" / loaded.slug) for name in names}
    folder = cache / "statistics"
    return [_job(entry, lessons[str(entry.task)], base, how, folder, device) for entry in recipe.unmeasured]


def _how(recipe: Recipe) -> tuple[Estimating, str]:
    """Return how curvature is estimated, as the recipe says and its method can use it; and the file of tasks."""
    method, said = find(recipe.method), recipe.curvature
    if said is None:
        raise RecipeError("'task' is measured by 'curvature', which is missing. Type 'curvature: {tasks: tasks.yaml}'.")
    usual = ESTIMATORS[method.needs.curvature[0]]
    settings = said.model_dump(exclude={"tasks"}) | {"estimator": said.estimator or usual}
    settings["gradient"] |= "gradient" in asked_by(recipe, method)
    how = Estimating(**settings)
    if how.kind not in method.needs.curvature:
        kinds = " or ".join(f"'{kind}'" for kind in method.needs.curvature)
        raise RecipeError(
            f"'{method.name}' uses statistics of the kind {kinds}, and 'estimator: {how.estimator}' gives "
            f"'{how.kind}'. Remove 'estimator', or type {usual}."
        )
    return how, said.tasks


def _base(recipe: Recipe, loaded: Loaded, device: str) -> Model:
    """Return the model that heads are made with: the suite's base, else the recipe's, else its first model."""
    named = loaded.place(loaded.suite.base) if loaded.suite.base else recipe.base
    return Model(named or recipe.models[0].model, device=device)


def _lesson(loaded: Loaded, name: str, base: Model, heads: Path) -> Lesson:
    if not is_classification(loaded, name):
        raise RecipeError(
            f"curvature is measured of the loss of a head, and task '{name}' of {loaded.file} has no classes. "
            f"Name a task of the kind 'classify'."
        )
    return lesson_of(loaded, name, base, heads)


def _job(entry: ModelEntry, lesson: Lesson, base: Model, how: Estimating, folder: Path, device: str) -> Job:
    model = Model(entry.model, device=device, inputs=base.path)
    data = Classification(lesson.name, lesson.examples, lesson.head, lesson.reading).digest
    facts = [MEASURING, model.content, model.inputs_digest, data, lesson.head.scale, asdict(how)]
    key = hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()
    return Job(entry, model, lesson, how, folder / key[:2] / key[2:34])
