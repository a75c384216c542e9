"""Points that a sampler proposes from what was scored before: TPE or CMA-ES, from optuna."""

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal, get_args

from ..errors import MissingExtraError, RecipeError
from ..recipe.reweighted import Reweighted
from .dimension import Dimension, Value
from .evaluating import Evaluator, Objective
from .grid import ROUNDS
from .space import Space
from .trials import Budget, Progress, Result, check_rounds

Sampler = Literal["tpe", "cma"]
Pruner = Literal["none", "median", "hyperband"]

STALE = 100
"""So many proposals in a row that were all scored before end a search: the space is used up."""


def sampled(
    space: Space,
    score: Objective,
    *,
    by: Sampler = "tpe",
    budget: Budget,
    seed: int = 0,
    pruner: Pruner = "none",
    rounds: Sequence[float] | None = None,
    models: Reweighted | None = None,
    log: Path | None = None,
    data: str = "",
    restart: bool = False,
    progress: Progress | None = None,
) -> Result:
    """Score points that a sampler proposes, until the budget is spent; first the recipe's own numbers.

    Args:
        space: what is searched.
        score: (weights, share of the validation examples) → a score, or one a task; larger is better.
        by: `tpe` (tree-structured Parzen estimator: any space) or `cma` (CMA-ES: two numbers or more).
        budget: how much may be spent, however often it was stopped.
        seed: the same seed and scores give the same search.
        pruner: `median` gives up a point that is below the median of those before it on as many examples,
            `hyperband` by its brackets; `none` scores all points on all examples.
        rounds: shares of the examples, rising to 1, after each of which a point may be given up.
        models: the models of the space's recipe, where they are open already.
        log: the file in which evaluations are written down; a search that finds it goes on from there.
        data: what names the validation examples and how they are scored, such as a hash.
        restart: throw away what an earlier search has left in the log.
        progress: told how far it is.

    Raises:
        RecipeError: no budget, a space that the sampler cannot search, a score that is no number, or a log of another
            search.
        MissingExtraError: optuna or cmaes is not installed.
    """
    shares = tuple(rounds or (ROUNDS if pruner != "none" else (1.0,)))
    _check(space, by, pruner, budget, shares)
    _check_installed(by)
    how = {"by": by, "seed": seed, "pruner": pruner, "rounds": list(shares)}
    with (
        Evaluator(
            space, score, how, models=models, budget=budget, log=log, data=data, restart=restart, progress=progress
        ) as evaluator,
        _quiet(),
    ):
        _run(_study(space, by, seed, pruner, shares), evaluator, shares, prunes=pruner != "none")
        return Result(space, by, tuple(evaluator.evaluations))


def _check(space: Space, by: str, pruner: str, budget: Budget, shares: Sequence[float]) -> None:
    check_rounds(shares)
    if by not in get_args(Sampler) or pruner not in get_args(Pruner):
        word, known = (by, Sampler) if by not in get_args(Sampler) else (pruner, Pruner)
        raise RecipeError(f"'{word}' is not one of {', '.join(get_args(known))}.")
    if budget.evaluations is None and budget.minutes is None:
        raise RecipeError(f"'{by}' goes on for ever without a budget. Give it evaluations, minutes, or both.")
    if pruner != "none" and len(shares) < 2:
        raise RecipeError(f"'{pruner}' gives points up between shares of the examples, and there is one. Give several.")
    if by == "cma" and (len(space.dimensions) < 2 or not all(d.ordered for d in space.dimensions)):
        raise RecipeError("CMA-ES searches two numbers or more, and no words. Search by tpe or on a grid.")


def _check_installed(by: str) -> None:
    try:
        import optuna  # noqa: F401

        if by == "cma":
            import cmaes  # noqa: F401
    except ImportError as exc:
        raise MissingExtraError(
            f"searching by '{by}' needs optuna and cmaes. Type: pip install 'taskvec[search]', or search on a grid."
        ) from exc


@contextmanager
def _quiet() -> Iterator[None]:
    """Let optuna print nothing: progress is told otherwise."""
    import optuna

    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    try:
        yield
    finally:
        optuna.logging.set_verbosity(before)


def _study(space: Space, by: str, seed: int, pruner: str, shares: Sequence[float]) -> Any:
    """Return a study in memory: the log is what lasts."""
    import optuna

    start = space.start
    first = {d.name: _as_proposed(d, start[d.name]) for d in space.dimensions} if start else None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # x0 will be gone in optuna 6; without it CMA-ES starts mid-box
        sampler = (
            optuna.samplers.TPESampler(seed=seed)
            if by == "tpe"
            else optuna.samplers.CmaEsSampler(x0=first, seed=seed, warn_independent_sampling=False)
        )
    study = optuna.create_study(
        direction="maximize", sampler=sampler, pruner=_pruner(pruner, shares), study_name="taskvec"
    )
    if first:
        study.enqueue_trial(first)
    return study


def _pruner(name: str, shares: Sequence[float]) -> Any:
    from optuna.pruners import HyperbandPruner, MedianPruner, NopPruner

    if name == "hyperband":
        return HyperbandPruner(min_resource=_step(shares[0]), max_resource=_step(1.0))
    return MedianPruner() if name == "median" else NopPruner()


def _run(study: Any, evaluator: Evaluator, shares: Sequence[float], prunes: bool) -> None:
    from optuna.trial import TrialState

    stale = 0
    while stale < STALE:
        trial, before = study.ask(), evaluator.spent
        point = {d.name: _proposed(trial, d) for d in evaluator.space.dimensions}
        if not evaluator.affords(point, shares):
            break
        state = TrialState.FAIL  # what is told of a point that was refused
        mean = None
        for share in shares:
            done = evaluator.evaluate(trial.number, point, share)
            if done.refused:
                break
            trial.report(done.mean, _step(share))
            if share == 1:
                state, mean = TrialState.COMPLETE, done.mean
            elif prunes and trial.should_prune():
                state = TrialState.PRUNED
                break
        study.tell(trial, mean, state=state)
        stale = stale + 1 if evaluator.spent == before else 0


def _step(share: float) -> int:
    return max(1, round(100 * share))


def _proposed(trial: Any, dimension: Dimension) -> Value:
    """Return the value that a sampler proposes, rounded as recipes have it."""
    name, values = dimension.name, dimension.values
    if values:
        last = len(values) - 1
        at = trial.suggest_int(name, 0, last) if dimension.ordered else trial.suggest_categorical(name, range(last + 1))
        return values[int(at)]
    if dimension.whole:
        return int(trial.suggest_int(name, round(dimension.low), round(dimension.high)))
    return dimension.rounded(trial.suggest_float(name, dimension.low, dimension.high))


def _as_proposed(dimension: Dimension, value: Value) -> float | int:
    """Return what a sampler would have proposed for a value."""
    return dimension.values.index(value) if dimension.values else value  # type: ignore[return-value]
