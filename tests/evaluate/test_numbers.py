"""Intervals, summaries, and the picture of them."""

from dataclasses import replace
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest

from taskvec import RecipeError
from taskvec.evaluate.figure import COLOURS, figure
from taskvec.evaluate.rank_correlation import spearman_score
from taskvec.evaluate.results import Results, Row, as_data
from taskvec.evaluate.score import Score, interval, mean_score
from taskvec.evaluate.summary import Number, difference, summarise


def score(task: str, values: Any, seed: int = 0) -> Score:
    return mean_score(task, "accuracy", np.asarray(values, float), seed=seed)


class TestInterval:
    def test_covers_the_truth_about_as_often_as_it_says(self, rng: np.random.Generator) -> None:
        samples = rng.random((300, 80)) < 0.7
        held = [low <= 0.7 <= high for low, high in (interval(s, resamples=400) for s in samples)]
        assert 0.89 < np.mean(held) < 0.99

    def test_is_the_same_each_time_and_as_wide_as_theory_says(self, rng: np.random.Generator) -> None:
        values = rng.random(400) < 0.5
        assert interval(values) == interval(values)
        assert interval(values) != interval(values, seed=1)
        low, high = interval(values)
        assert high - low == pytest.approx(2 * 1.96 * np.sqrt(0.25 / 400), rel=0.12)

    def test_the_portions_do_not_show(self) -> None:
        values = np.arange(600) % 7 == 0  # 1,666 resamples fit a portion
        found = interval(values, resamples=2000)
        drawn = [values[np.random.default_rng(0).integers(0, 600, (2000, 600))].mean(1)]
        np.testing.assert_allclose(found, np.quantile(drawn, [0.025, 0.975]), atol=1e-12)

    def test_edges(self) -> None:
        assert interval(np.array([0.4])) == (0.4, 0.4)
        assert all(map(np.isnan, interval(np.array([]))))
        assert interval(np.ones(5)) == (1.0, 1.0)


class TestSummary:
    def test_a_mean_of_ratios(self) -> None:
        scores = [score("a", [1, 0, 0, 0]), score("b", [1, 1, 1, 0])]
        own = {"a": score("a", [1, 1, 0, 0]), "b": score("b", [1, 1, 1, 1])}
        found = summarise(scores, own)
        assert found.mean.value == 0.5
        assert found.normalised is not None
        assert found.normalised.value == (0.5 + 0.75) / 2 != (0.25 + 0.75) / (0.5 + 1)
        assert (found.worst.value, found.worst_task) == (0.25, "a")
        for number in (found.mean, found.normalised, found.worst):
            assert number.low <= number.value <= number.high

    def test_where_smaller_is_better(self) -> None:
        def perplexity(task: str, value: float) -> Score:
            return Score(
                task=task, metric="perplexity", value=value, low=value, high=value, count=3, larger_is_better=False
            )

        found = summarise(
            [perplexity("a", 20), perplexity("b", 50)], {"a": perplexity("a", 10), "b": perplexity("b", 40)}
        )
        assert (found.worst.value, found.worst_task) == (50, "b")
        assert found.normalised == Number(pytest.approx(0.65), pytest.approx(0.65), pytest.approx(0.65))

    def test_what_is_hard_for_both_does_not_widen_the_interval(self, rng: np.random.Generator) -> None:
        one = (rng.random(300) < 0.7).astype(float)
        two = np.where(rng.random(300) < 0.95, one, 1 - one)
        paired = difference([score("a", one)], [score("a", two)])
        alone = difference([score("a", one)], [score("a", rng.permutation(two))])
        assert paired.value == pytest.approx(one.mean() - two.mean()) == pytest.approx(alone.value)
        assert paired.high - paired.low < 0.6 * (alone.high - alone.low)
        ratio = summarise([score("a", one)], {"a": score("a", two)}).normalised
        other = summarise([score("a", one)], {"a": score("a", rng.permutation(two))}).normalised
        assert ratio and other and ratio.high - ratio.low < 0.6 * (other.high - other.low)

    def test_refused(self) -> None:
        one = score("a", [1, 0])
        with pytest.raises(RecipeError, match="there is no score to sum up"):
            summarise([])
        with pytest.raises(RecipeError, match="task 'a' has no specialist to compare with"):
            summarise([one], {"b": one})
        with pytest.raises(RecipeError, match="the specialist of 'a' scored 0, so no ratio to it means anything"):
            summarise([one], {"a": score("a", [0, 0])})
        with pytest.raises(RecipeError, match="scored on other tasks"):
            difference([one], [score("b", [1])])

    def test_unlike_metrics_have_no_mean(self) -> None:
        row = Row("m", [score("a", [1, 0]), replace(score("b", [1, 1]), metric="perplexity", larger_is_better=False)])
        assert Results([row]).summary(row) is None
        assert "mean" not in as_data(Results([row]))["models"][0]


class TestFigure:
    def drawn(self, results: Results, title: str = "") -> ElementTree.Element:
        return ElementTree.fromstring(figure(results, title))

    def test_names_are_only_names(self) -> None:
        results = Results([Row('<b> & "c"', [score("x<y>&'z'", [1, 0, 1])])])
        tree = self.drawn(results, "a < b & c")
        said = [e.text for e in tree.iter() if e.text]
        assert {'<b> & "c"', "x<y>&'z'", "a < b & c"} <= set(said)

    def test_a_point_lies_at_its_score(self) -> None:
        tree = self.drawn(Results([Row("m", [score("a", [1, 0, 0, 0])])]))
        axis = {e.text: float(e.attrib["x"]) for e in tree.iter() if (e.text or "").endswith("%")}
        (point,) = [e for e in tree.iter() if e.tag.endswith("circle") and len(e)]
        assert float(point.attrib["cx"]) == pytest.approx(axis["0 %"] + 0.25 * (axis["100 %"] - axis["0 %"]), abs=0.1)

    def test_more_models_than_colours(self) -> None:
        rows = [Row(f"m{i}", [score("a", [1, 0]), score("b", [0, 1])]) for i in range(len(COLOURS) + 3)]
        tree = self.drawn(Results(rows))
        assert "and 3 more models" in [e.text for e in tree.iter()]
        assert len([e for e in tree.iter() if e.tag.endswith("circle") and len(e)]) == 2 * len(COLOURS)

    def test_a_metric_that_is_no_share(self) -> None:
        one = Score(task="a", metric="perplexity", value=30.0, low=25.0, high=40.0, count=3, larger_is_better=False)
        said = [e.text or "" for e in self.drawn(Results([Row("m", [one])])).iter()]
        assert not any("%" in text for text in said)
        assert any(text.startswith("m, a: 30 (25 to 40)") for text in said)


class TestOfOtherMetrics:
    def test_the_worst_task_lies_in_its_interval(self, rng: np.random.Generator) -> None:
        scores = [score(str(i), rng.permutation([1] * 400 + [0] * 100)) for i in range(8)]
        worst = summarise(scores).worst
        assert worst.low < worst.value == 0.8 < worst.high

    def test_means_of_correlations_and_their_differences_have_a_width(self, rng: np.random.Generator) -> None:
        x = rng.standard_normal((3, 200))
        one = [spearman_score(str(i), row + rng.standard_normal(200), row) for i, row in enumerate(x)]
        other = [spearman_score(str(i), row + 2 * rng.standard_normal(200), row) for i, row in enumerate(x)]
        mean, gain = summarise(one).mean, difference(one, other)
        singles = np.mean([s.high - s.low for s in one])
        assert 0.4 * singles < mean.high - mean.low < 0.8 * singles  # about 1/√3
        assert 0 < gain.low < gain.value < gain.high
        ratio = summarise(one, {s.task: s for s in one}).normalised
        assert ratio == Number(1.0, 1.0, 1.0)

    def test_a_gain_is_above_zero_where_smaller_is_better(self) -> None:
        def perplexity(value: float) -> Score:
            return Score(
                task="p", metric="perplexity", value=value, low=value, high=value, count=3, larger_is_better=False
            )

        assert difference([perplexity(20.0)], [perplexity(30.0)]).value == 10.0

    def test_which_tasks_have_a_mean(self) -> None:
        one, share = score("a", [1, 0, 1, 1]), spearman_score("b", [1, 2, 3], [1, 3, 2])
        less = replace(one, task="c", metric="perplexity", larger_is_better=False)
        mixed = Results([Row("m", [one, share])])
        summary = mixed.summary(mixed.rows[0])
        assert summary is not None and summary.mean.value == (0.75 + 0.5) / 2
        assert not Results([Row("m", [one, less])]).comparable
        assert Results([Row("m", [less, less])]).comparable
