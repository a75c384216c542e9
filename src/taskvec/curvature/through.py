"""RegMean++: Gram matrices of what goes into each block of layers once the blocks before it are merged."""

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

from ..errors import RecipeError
from ..evaluate.model import Model
from ..finetune.lessons import Lesson
from ..progress import Progress, Silent
from ..store import Checkpoint, fingerprint
from ..store.lock import only_writer
from ..store.statistics import Statistics, StatisticsWriter, check_new
from .assembled import Assembled
from .blockwise import Blockwise
from .estimate import told
from .estimating import Estimating
from .work import Work


def measure_through(
    hand: Model,
    models: Sequence[str | Path],
    lessons: Sequence[Lesson],
    folders: Sequence[Path],
    how: Estimating | None = None,
    *,
    off_diagonal: float = 0.9,
    progress: Progress | None = None,
    force: bool = False,
) -> list[Statistics]:
    """Measure every task's Gram matrices block by block, merging as it goes; write a folder of statistics a task.

    For each block of layers, in the order in which they run: every task's examples run through the merged blocks before
    it and the task's own block, and Gram matrices of what goes into its linear layers are gathered; then its linear
    weights are merged by RegMean with these, and its other weights as their mean. So `method: regmean` with these
    statistics, the same `off_diagonal` and equal weights, is RegMean++.

    Every example runs up to the end of a block once for each block. Nothing is kept of a run that is interrupted.

    Args:
        hand: a model of their form, such as the base; its weights are replaced, and are at last those of the merge.
        models: the fine-tuned models.
        lessons: a task for each, in the same order.
        folders: where each task's statistics go.
        how: its `examples`, `batch` and `seed`; the estimator is `gram`.
        off_diagonal: as in `regmean`.
        progress: told of every block and task.
        force: replace statistics that are there.

    Source: Nguyen et al. 2025, RegMean++, arXiv:2508.03121.

    Raises:
        RecipeError: fewer than two models, or not a lesson and a folder for each.
        OutputError: a folder is there already, or cannot be written.
        MismatchError: models of different forms, one that does not fit its head or examples, or a layer that runs
            several times, so that nothing comes before it.
        NumbersError: NaN or Inf.
    """
    if len(models) < 2 or not len(models) == len(lessons) == len(folders):
        counts = f"{len(models)} models, {len(lessons)} lessons and {len(folders)} folders"
        raise RecipeError(f"RegMean++ takes two models or more, with a lesson and a folder for each; got {counts}.")
    for folder in folders:
        check_new(folder, force)
    how = replace(how or Estimating(), estimator="gram", gradient=False)
    with ExitStack() as opened:
        for folder in folders:
            opened.enter_context(only_writer(folder))
        checkpoints = [opened.enter_context(Checkpoint(path)) for path in models]
        works = [Work(hand, lesson, how) for lesson in lessons]
        merging = Blockwise(works, checkpoints, off_diagonal)
        hand.mark("merged by RegMean++")
        merging.run(progress or Silent())
        together = {"through": [fingerprint(one) for one in checkpoints], "off_diagonal": off_diagonal}
        return [
            _write(Assembled(work, sums), folder, checkpoint, together, force)
            for work, sums, folder, checkpoint in zip(works, merging.sums, folders, checkpoints, strict=True)
        ]


def _write(
    found: Assembled, folder: Path, checkpoint: Checkpoint, together: dict[str, object], force: bool
) -> Statistics:
    facts = told(found.work)
    facts["model"] |= {"path": str(checkpoint.path), "fingerprint": fingerprint(checkpoint)}
    facts["settings"] |= together
    with StatisticsWriter(folder, "gram", {file: found.shapes(file) for file in found.names}, force=force) as writer:
        for file in found.names:
            for part, values in found.parts(file).items():
                writer.add(file, part, values.cpu().numpy())
        return writer.finish({**facts, **found.facts()})
