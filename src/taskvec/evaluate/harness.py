"""Any task of lm-evaluation-harness, with the model in memory."""

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache, cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import MissingExtraError, RecipeError, StoreError
from .batches import evenly
from .digest import digest_of
from .generation import writes_from_states
from .likelihood import must_write
from .model import Model, Role
from .quiet import quietly
from .score import Score, Values, bounds, interval, resampled

PREFERRED = ("acc_norm", "acc", "exact_match")
"""Which metric is the score when none is named; else the first that the task lists."""

DRAWS = 200
"""Resamples where a score is no mean of its questions: each costs a whole F1 or BLEU."""


SEED = 1234
"""Of the choice of shots, and of answers that are sampled; the harness's own."""


@dataclass(frozen=True)
class Harness:
    """A task of lm-evaluation-harness, asked and judged by it.

    task: a name that it knows (a task, or a group with a mean of its own), or the path of a task's YAML file.
    measure: the metric that is the score, with its filter where there are several, as in `exact_match,strict-match`;
        None: acc_norm, acc or exact_match, the first of these that the task has, else the first that it lists.
    shots: examples before each question; None: as many as the task says. A task that says 0 keeps it.
    limit: at most so many questions of each task, evenly spread.
    include: a folder with task files of one's own, to be known by name.
    batch: sequences at a time.

    The interval draws questions; a metric that is no mean of them (an F1, a perplexity) is found anew of each draw.

    Source: Gao et al., lm-evaluation-harness, doi:10.5281/zenodo.12608602.
    """

    name: str
    task: str
    measure: str | None = None
    shots: int | None = None
    limit: int | None = None
    include: str | None = None
    batch: int = 16

    def __post_init__(self) -> None:
        """Refuse what cannot be asked for.

        Raises:
            RecipeError: a number below 1 (0 for shots).
        """
        for setting, least in (("shots", 0), ("limit", 1), ("batch", 1)):
            value = getattr(self, setting)
            if value is not None and value < least:
                raise RecipeError(f"task '{self.name}': '{setting}' must be {least} or more, got {value}.")

    @property
    def metric(self) -> str:
        """The metric that is the score, without its filter.

        Raises:
            RecipeError: the task has no such metric.
        """
        listed = self._listed
        if self.measure is None:
            return next((name for name in PREFERRED if name in listed), listed[0])
        wanted = self.measure.split(",")[0]
        if wanted not in listed:
            raise RecipeError(f"task '{self.task}' has no metric '{wanted}'. It has {', '.join(listed)}.")
        return wanted

    @property
    def larger_is_better(self) -> bool:
        """Whether more is better, as the task's file says."""
        return bool(next(iter(self._tasks.values())).higher_is_better().get(self.metric, True))

    @cached_property
    def digest(self) -> str:
        """SHA-256 of everything that decides a score but the model: settings, task files, questions, versions."""
        library = _lm_eval()
        tasks = [
            (name, _plain(task.dump_config()), [_plain(dict(task.eval_docs[i])) for i in self._questions(task, 1.0)])
            for name, task in self._tasks.items()
        ]
        return digest_of(library.__version__, self.metric, self.measure, self.shots, tasks)

    def check(self, model: Model) -> None:
        """Refuse a model that writes no texts, a metric that does not exist, and a task that needs more than text."""
        if writes_from_states(model):
            model.module("seq2seq")
        else:
            must_write(model, 0, self.task)
        _ = self.metric
        for name, task in self._tasks.items():
            if getattr(task, "UNSAFE_CODE", False):
                raise RecipeError(f"task '{name}' runs code that the model writes, which taskvec does not do.")
            if getattr(task, "MULTIMODAL", False):
                raise RecipeError(f"task '{name}' shows images or sounds, and {model.name} is asked in text alone.")

    def score(self, model: Model, share: float = 1.0) -> Score:
        """Return what the harness says; a share takes every k-th question of each task."""
        self.check(model)
        found = self._run(model, share)
        row = found["results"][self._row]
        key = self._key(row)
        value, samples = float(row[key]), _of_questions(found["samples"], key)
        each = _numbers(samples)
        if each is not None and np.isclose(each.mean(), value, rtol=1e-6, atol=1e-9):
            low, high = interval(each)
        else:
            each, (low, high) = None, self._bounds(samples, value)
        count = sum(facts["effective"] for facts in found["n-samples"].values())
        details = {"filter": key.split(",", 1)[1], "lm_eval": _lm_eval().__version__, "shots": _plain(found["n-shot"])}
        return Score(
            task=self.name, metric=self.metric, value=value, low=low, high=high, count=count,
            larger_is_better=self.larger_is_better, values=each, details=details,
        )  # fmt: skip

    def _bounds(self, samples: dict[str, list[Any]], value: float) -> tuple[float, float]:
        """Return the interval of what is no mean of questions: each draw of them is judged by the task's own sum."""
        drawn: list[Values] = []
        own, counts = [], []
        for name, values in samples.items():
            judged = self._tasks[name].aggregation()[self.metric]
            places = np.arange(len(values))
            drawn.append(resampled(places, _judging(judged, values), seed=len(drawn), resamples=DRAWS))
            own.append(judged(values))
            counts.append(len(values))
        by_size = np.isclose(np.average(own, weights=counts), value)
        return bounds(np.average(drawn, axis=0, weights=counts if by_size else None))

    def _run(self, model: Model, share: float) -> dict[str, Any]:
        """Return the harness's results; its `simple_evaluate` would also look at the machine, for seconds a call."""
        import torch

        with (
            _silence(),
            quietly(),
            torch.random.fork_rng(devices=[model.device.index or 0] if model.device.type == "cuda" else []),
        ):
            from lm_eval.evaluator import evaluate
            from lm_eval.models.huggingface import HFLM

            torch.manual_seed(SEED)
            for task in self._tasks.values():
                task.set_fewshot_seed(SEED)
            role: Role = "seq2seq" if writes_from_states(model) else "causal"
            found: dict[str, Any] = evaluate(
                HFLM(pretrained=model.module(role), tokenizer=model.tokenizer, batch_size=self.batch, backend=role),
                task_dict=self._loaded,
                samples={name: self._questions(task, share) for name, task in self._tasks.items()},
                bootstrap_iters=0,  # its own are printed about, and forked
            )
        return found

    @cached_property
    def _loaded(self) -> dict[str, Any]:
        manager = self._manager()
        with _silence():
            try:
                loaded: dict[str, Any] = manager.load([self.task])
                for task in loaded["tasks"].values():
                    _give_shots(task, self.shots)
            except (OSError, ValueError, KeyError) as exc:
                said = (str(exc).strip() or type(exc).__name__).split("\n")[0].rstrip(".")
                raise StoreError(f"the task '{self.task}' cannot be loaded: {said}.") from exc
        return loaded

    def _manager(self) -> Any:
        """Return the index that knows the task: of no folder, of one's own, or of all that the harness brings."""
        if Path(self.task).suffix in (".yaml", ".yml"):
            if not Path(self.task).is_file():
                raise StoreError(f"{self.task} does not exist. Give a task's YAML file, or a name that lm_eval knows.")
            return _index(self.include, False)
        if self.include and self.task in _index(self.include, False).all_tasks:
            return _index(self.include, False)
        if self.task not in _index(self.include, True).all_tasks:
            raise RecipeError(f"lm-evaluation-harness knows no task '{self.task}'. Its names: lm_eval ls tasks")
        return _index(self.include, True)

    @property
    def _tasks(self) -> dict[str, Any]:
        tasks: dict[str, Any] = self._loaded["tasks"]
        return tasks

    @property
    def _row(self) -> str:
        """Return whose row of the results is the score: the task's, or the group's that was named.

        Raises:
            RecipeError: several tasks were named at once, and no mean of them is defined.
        """
        groups = self._loaded.get("groups") or {}
        name = str(next(iter(groups or self._tasks)))
        if not (groups[name].has_aggregation if groups else len(self._tasks) == 1):
            first, count = next(iter(self._tasks)), len(self._tasks)
            raise RecipeError(f"'{self.task}' stands for {count} tasks without a mean. Name one: {first}.")
        return name

    @property
    def _listed(self) -> list[str]:
        """Return the metrics of that row."""
        groups = self._loaded.get("groups") or {}
        if self._row in groups:
            return [str(mean.metric) for mean in groups[self._row].aggregate_metric_list]
        return list(self._tasks[self._row].aggregation())

    def _key(self, row: dict[str, Any]) -> str:
        """Return the metric with its filter, as the row has it."""
        keys = [key for key in row if key.split(",")[0] == self.metric and "," in key]
        if self.measure and "," in self.measure:
            keys = [key for key in keys if key == self.measure]
        if not keys:
            has = ", ".join(key for key in row if "," in key and "_stderr" not in key)
            raise RecipeError(f"task '{self.task}' has no result '{self.measure or self.metric}'. It has {has}.")
        return str(keys[0])

    def _questions(self, task: Any, share: float) -> list[int]:
        count = len(task.eval_docs)
        kept = evenly(count, 1.0 if self.limit is None else self.limit / count)
        return [kept[i] for i in evenly(len(kept), share)]


def _judging(judged: Callable[[list[Any]], float], values: list[Any]) -> Callable[[Any], list[float]]:
    return lambda rows: [judged([values[i] for i in row]) for row in rows]


def _of_questions(samples: dict[str, Sequence[dict[str, Any]]], key: str) -> dict[str, list[Any]]:
    """Return of each task what its questions contribute to a metric with a filter."""
    metric, chosen = key.split(",", 1)
    return {
        task: [sample[metric] for sample in rows if sample["filter"] == chosen and metric in sample]
        for task, rows in samples.items()
    }


def _numbers(samples: dict[str, list[Any]]) -> Values | None:
    """Return one number a question, where each contributes one."""
    found = [value for values in samples.values() for value in values]
    if not found or not all(isinstance(value, bool | int | float | np.number) for value in found):
        return None
    return np.array(found, dtype=np.float64)


def _give_shots(task: Any, shots: int | None) -> None:
    """Set how many examples precede a question, by the harness's rule: what a task's file fixes at 0 stays."""
    own = task.get_config("num_fewshot")
    if own is None or (shots is not None and own != 0):
        task.set_config("num_fewshot", shots or 0)


@cache
def _index(include: str | None, defaults: bool) -> Any:
    """Return an index of task files; that of the harness's own is made of fourteen thousand names, once."""
    with _silence():
        from lm_eval.tasks import TaskManager

        return TaskManager(include_path=include, include_defaults=defaults)


def _plain(facts: Any) -> Any:
    """Return nested facts as plain data; what is not (a function, an image) by its own text."""
    if isinstance(facts, dict):
        return {str(key): _plain(value) for key, value in facts.items()}
    if isinstance(facts, list | tuple):
        return [_plain(value) for value in facts]
    return facts if isinstance(facts, str | int | float | None) else str(facts)


def _lm_eval() -> Any:
    try:
        import lm_eval
    except ImportError as exc:
        raise MissingExtraError(
            "a task of lm-evaluation-harness needs lm_eval. Type: pip install 'taskvec[eval]'"
        ) from exc
    return lm_eval


def _hidden(bar: Any, *args: Any, **more: Any) -> Any:
    return bar(*args, **{**more, "disable": True})


@contextmanager
def _silence() -> Iterator[None]:
    """Keep lm_eval's log and bars, and the bars of datasets, off the terminal; put them back afterwards."""
    _lm_eval()
    import datasets
    import lm_eval.api.model
    import lm_eval.api.task
    import lm_eval.models.huggingface

    logger, drawing = logging.getLogger("lm_eval"), (lm_eval.api.task, lm_eval.api.model, lm_eval.models.huggingface)
    level, bars = logger.level, [module.tqdm for module in drawing]
    shown = datasets.are_progress_bars_disabled()
    logger.setLevel(logging.ERROR)
    datasets.disable_progress_bars()
    for module, bar in zip(drawing, bars, strict=True):
        module.tqdm = partial(_hidden, bar)  # its bars have no other switch
    try:
        yield
    finally:
        logger.setLevel(level)
        if not shown:
            datasets.enable_progress_bars()
        for module, bar in zip(drawing, bars, strict=True):
            module.tqdm = bar
