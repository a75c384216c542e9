"""The four tasks, a file each; a new one is a file and a line here."""

from .diagnosis import DIAGNOSIS
from .emoji import EMOJI
from .sentiment import SENTIMENT
from .split import Split, split
from .subjectivity import SUBJECTIVITY
from .task import Example, Task

TASKS = (SENTIMENT, DIAGNOSIS, EMOJI, SUBJECTIVITY)

__all__ = ["TASKS", "Example", "Split", "Task", "split"]
