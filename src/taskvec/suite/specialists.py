"""The models that merges start from and are measured against: base, specialists, and one trained on all tasks."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import RecipeError, StoreError
from ..evaluate.model import Model
from ..finetune.finetune import finetune, key_of, read_note
from ..finetune.lessons import Lesson
from ..finetune.training import Training
from ..progress import Progress
from .examples import examples_of, is_classification
from .heads import head_of, reading_of
from .load import Loaded
from .tasks import chosen

JOINT = "joint"
"""The folder of the model that was trained on all tasks at once."""


@dataclass(frozen=True)
class Places:
    """Where a suite keeps what it makes: a folder of its own."""

    folder: Path

    @property
    def heads(self) -> Path:
        """The heads, a file a task."""
        return self.folder / "heads"

    @property
    def joint(self) -> Path:
        """The model trained on all tasks."""
        return self.folder / JOINT

    def specialist(self, task: str) -> Path:
        """The specialist of a task, where it is trained here."""
        return self.folder / "specialists" / task


def places_of(loaded: Loaded, cache: Path | None = None) -> Places:
    """Return where a suite keeps what it makes: in `cache`, or beside its models."""
    return Places((cache or loaded.root / "suites") / loaded.slug)


def base_of(loaded: Loaded, *, device: str = "auto", precision: Any = None) -> Model:
    """Return the base model of a suite.

    Raises:
        RecipeError: the file names none.
    """
    if not loaded.suite.base:
        raise RecipeError(f"{loaded.file} names no base. Type 'base: …', the model that heads are made with.")
    return Model(loaded.place(loaded.suite.base), device=device, precision=precision or loaded.suite.precision)


def specialist_of(loaded: Loaded, name: str, places: Places) -> str:
    """Return the path of a task's specialist: the one that the suite names, or the one that was trained here.

    Raises:
        StoreError: neither is there.
    """
    named = loaded.suite.tasks[name].model
    if named:
        return loaded.place(named)
    trained = places.specialist(name)
    if not (trained / "config.json").is_file():
        raise StoreError(f"the specialist of '{name}' is not trained yet. Type: taskvec bench train {loaded.file}")
    return str(trained)


def train(
    loaded: Loaded,
    places: Places,
    *,
    device: str = "auto",
    only: Sequence[str] = (),
    joint: bool = True,
    progress: Progress | None = None,
) -> list[dict[str, Any]]:
    """Train the specialists that the suite does not name, and one model on all tasks together.

    What was trained before from the same base, data and settings stays. Validation examples are held out of all
    training; test examples are never read.

    Returns:
        A note a model: its name, examples, steps, loss, seconds, and whether it was there already.

    Raises:
        RecipeError: a task that has no classes and names no specialist.
    """
    names = chosen(loaded, only)
    own = [name for name in names if not loaded.suite.tasks[name].model]
    if strange := [name for name in own if not is_classification(loaded, name)]:
        raise RecipeError(f"a specialist of '{strange[0]}' cannot be trained here. Name one: 'model: …'.")
    base = base_of(loaded, device=device, precision="float32")
    lessons = {name: lesson_of(loaded, name, base, places.heads) for name in own}
    training = training_of(loaded)
    notes = []
    for name, lesson in lessons.items():
        note = finetune(base.path, [lesson], places.specialist(name), training, device=device, progress=progress)
        notes.append({"name": name, **note})
    if joint and len(own) > 1 and own == chosen(loaded):
        every = list(lessons.values())
        note = finetune(base.path, every, places.joint, training, device=device, progress=progress)
        notes.append({"name": JOINT, **note})
    return notes


def trained(loaded: Loaded, places: Places, base: Model, only: Sequence[str] = ()) -> str | None:
    """Refuse specialists that were trained otherwise than the suite now says.

    Their training examples may be the validation examples of today, and their heads others.

    Returns:
        The path of the model trained on these very tasks together, where there is one.

    Raises:
        StoreError: a specialist that is not there, or was trained from another base, on other examples, against another
            head or with other settings.
    """
    lessons, training = [], training_of(loaded)
    for name in chosen(loaded, only):
        path = specialist_of(loaded, name, places)
        if loaded.suite.tasks[name].model:
            continue
        lessons.append(lesson_of(loaded, name, base, places.heads))
        if read_note(Path(path)).get("key") != key_of(base, lessons[-1:], training):
            raise StoreError(
                f"the specialist of '{name}' was trained otherwise than {loaded.file} now says: from another base, or "
                f"on other examples, heads or settings. Type: taskvec bench train {loaded.file}"
            )
    joint = lessons and read_note(places.joint).get("key") == key_of(base, lessons, training)
    return str(places.joint) if joint else None


def training_of(loaded: Loaded) -> Training:
    """Return how specialists are trained."""
    data = loaded.suite.training.model_dump(exclude={"examples"})
    return Training(**{**data, "frozen": tuple(data["frozen"])})


def lesson_of(loaded: Loaded, name: str, base: Model, heads: Path | None = None) -> Lesson:
    """Return a task's training examples and its head; `heads`: where made heads are kept."""
    examples = examples_of(loaded, name, "train")
    head = head_of(loaded, name, base, examples.names, heads)
    return Lesson(name, examples, head, reading_of(loaded, name))
