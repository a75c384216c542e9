"""Greedy soups: add models to an average one by one, as long as a score of yours does not fall."""

import math
import shutil
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import RecipeError
from ..progress import Progress
from .merge import Receipt, check_output, run
from .plan import make_plan
from .schema import Recipe


@dataclass(frozen=True)
class Tasted:
    """A model that was tried: its own score, that of the soup with it, and whether it stayed."""

    model: str
    alone: float
    score: float
    kept: bool


@dataclass(frozen=True)
class GreedySoup:
    """What came of it: the merge of those that were kept, its score, and all that were tried, in their order."""

    receipt: Receipt
    score: float
    tasted: tuple[Tasted, ...]

    @property
    def kept(self) -> tuple[str, ...]:
        """The models of the soup, the best first."""
        return tuple(t.model for t in self.tasted if t.kept)


def greedy_soup(
    models: Sequence[str | Path],
    score: Callable[[Path], float],
    out: str | Path,
    *,
    scores: Sequence[float] | None = None,
    recipe: dict[str, Any] | None = None,
    force: bool = False,
    progress: Progress | None = None,
) -> GreedySoup:
    """Average models greedily: Wortsman et al. 2022, arXiv:2203.05482, Algorithm 1.

        sort the models by their score, the best first;   soup = {}
        for each model: if score(average(soup + model)) ≥ score(average(soup)), soup += model

    A soup that is tried is written beside `out`, scored, and removed; `out` is written in the end, whole or not at
    all. So the disk must hold two models.

    Args:
        models: the folders of the models.
        score: how good the model in a folder is on held-out data; larger is better.
        out: the folder to write.
        scores: the scores of the single models, where they are known; else `score` is asked for them.
        recipe: further keys of the recipe that every soup is made by: `dtype`, `tokenizer`, `ignore`, `output`, ….
        force: replace an existing output.
        progress: told how far each merge is.

    Raises:
        RecipeError: no model, not a score a model, or a score that is no number.
        OutputError: `out` exists and `force` is not given.
    """
    names, out = [str(m) for m in models], Path(out).absolute()
    if not names:
        raise RecipeError("a soup needs a model. Give the folders of some.")
    if scores is not None and len(scores) != len(names):
        raise RecipeError(f"{len(scores)} scores for {len(names)} models. Give one each, or none.")
    check_output(out, force)
    alone = [_number(score(Path(n)), n) for n in names] if scores is None else list(map(_number, scores, names))
    order = sorted(range(len(names)), key=lambda i: -alone[i])
    best = alone[order[0]]
    tasted = [Tasted(names[order[0]], best, best, kept=True)]

    def soup(added: Sequence[str], folder: Path, **how: Any) -> Receipt:
        data = {**(recipe or {}), "method": "model_soup", "models": [{"model": m} for m in added]}
        return run(make_plan(Recipe.model_validate(data), folder), folder, progress=progress, **how)

    for i in order[1:]:
        kept = [t.model for t in tasted if t.kept]
        out.parent.mkdir(parents=True, exist_ok=True)
        kitchen = Path(tempfile.mkdtemp(prefix=f".{out.name}.soup-", dir=out.parent))
        try:
            tried = _number(score(soup([*kept, names[i]], kitchen / "soup").folder), names[i])
        finally:
            shutil.rmtree(kitchen)
        tasted.append(Tasted(names[i], alone[i], tried, kept=tried >= best))
        best = max(best, tried)
    receipt = soup([t.model for t in tasted if t.kept], out, force=force)
    return GreedySoup(receipt, best, tuple(tasted))


def _number(score: float, model: str) -> float:
    """Return a score as a float.

    Raises:
        RecipeError: it is no number.
    """
    if math.isnan(score):
        raise RecipeError(f"the score with {model} is no number (NaN). Mend the score.")
    return float(score)
