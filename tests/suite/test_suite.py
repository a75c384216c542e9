"""Splits that never meet, heads that follow their base, and what is trained."""

from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest

import encoders
import taskvec as tv
from taskvec.evaluate.heads import Head
from taskvec.evaluate.model import Model
from taskvec.suite import examples as examples_module
from taskvec.suite import heads as heads_module
from taskvec.suite.examples import Split, examples_of
from taskvec.suite.heads import head_of
from taskvec.suite.load import Loaded, load_suite
from taskvec.suite.objective import Objective
from taskvec.suite.specialists import base_of, places_of, specialist_of, train, trained
from taskvec.suite.tasks import chosen, tasks_of

from .conftest import SUITE, TASKS

Patch = pytest.MonkeyPatch


def other_suite(here: Path, change: tuple[str, str]) -> Loaded:
    assert change[0] in SUITE
    (here / "tiny.yaml").write_text(SUITE.replace(*change))
    return load_suite(here / "tiny.yaml")


class TestSplits:
    @pytest.mark.parametrize("task", TASKS)
    def test_never_share_an_example(self, loaded: Loaded, task: str) -> None:
        parts = {split: examples_of(loaded, task, split) for split in get_args(Split)}
        sets = {split: set(part.inputs) for split, part in parts.items()}
        assert [len(part) for part in parts.values()] == [24, 16, 30]
        assert not (sets["train"] & sets["validation"] or (sets["train"] | sets["validation"]) & sets["test"])
        assert parts["train"].names == parts["test"].names

    def test_training_never_reads_test_examples(self, loaded: Loaded, tmp_path: Path, monkeypatch: Patch) -> None:
        asked: list[str] = []
        real = examples_module.read

        def read(source: Any) -> Any:
            asked.append(f"{source.split} {source.part}")
            return real(source)

        monkeypatch.setattr(examples_module, "read", read)
        train(loaded, places_of(loaded, tmp_path / "new"), device="cpu", only=["place"], joint=False)
        assert set(asked) == {"train kept"}

    def test_models_are_not_scored_on_training_examples(self, loaded: Loaded) -> None:
        with pytest.raises(tv.RecipeError, match="are not scored on the split that they were trained on"):
            tasks_of(loaded, base_of(loaded), "train")

    def test_no_such_split(self, here: Path) -> None:
        suite = other_suite(here, ("taste: {", "taste: {splits: {train: null}, "))
        with pytest.raises(tv.RecipeError, match=r"task 'taste' has no validation split\. Name one under 'splits'\."):
            examples_of(suite, "taste", "validation")
        suite = other_suite(here, ("taste: {", "taste: {splits: {test: tset}, "))
        with pytest.raises(tv.RecipeError, match=r"has no split 'tset', only test, train\. Did you mean") as caught:
            examples_of(suite, "taste", "test")
        assert caught.value.__notes__ == [f"the test split of task 'taste' in {here / 'tiny.yaml'}"]

    def test_validation_examples_are_not_trained_on(self, here: Path) -> None:
        with pytest.raises(tv.TaskVecError, match="coefficients are not chosen on what models learn from"):
            other_suite(here, ("taste: {", "taste: {splits: {validation: train}, "))

    def test_a_whole_file_is_not_scored_where_a_part_is_trained_on(self, here: Path) -> None:
        suite = other_suite(here, ("taste: {", "taste: {splits: {test: null}, "))
        with pytest.raises(
            tv.RecipeError, match=r"so all of .*taste\.tsv would be scored, 'train' included\. Name its"
        ):
            examples_of(suite, "taste", "test")

    def test_an_empty_split(self, here: Path) -> None:
        encoders.table(here / "taste.tsv", [], ("split", "text", "label"))
        with pytest.raises(tv.RecipeError, match=r"taste\.tsv has no examples in its split 'test'\."):
            examples_of(load_suite(here / "tiny.yaml"), "taste", "test")

    def test_a_text_column_that_is_missing(self, here: Path) -> None:
        suite = other_suite(here, ("taste: {", "taste: {text: txt, "))
        with pytest.raises(tv.RecipeError, match=r"taste\.tsv has no 'txt', only .*Did you mean 'text'\?"):
            examples_of(suite, "taste", "test")

    def test_labels_that_do_not_match(self, here: Path) -> None:
        suite = other_suite(here, ("[good, bad]", "[good, awful]"))
        with pytest.raises(tv.RecipeError, match=r"taste\.tsv.*label 'bad' is not among good, awful\."):
            examples_of(suite, "taste", "test")


class TestHeads:
    def head(self, loaded: Loaded, folder: Path, task: str = "place") -> Head:
        base = base_of(loaded, device="cpu")
        return head_of(loaded, task, base, examples_of(loaded, task, "test").names, folder)

    def test_are_kept_until_something_changes(
        self, here: Path, loaded: Loaded, tmp_path: Path, monkeypatch: Patch
    ) -> None:
        made: list[int] = []
        monkeypatch.setattr(heads_module, "_make", encoders.count_calls(heads_module._make, made))
        first = self.head(loaded, tmp_path)
        again = self.head(loaded, tmp_path)
        assert len(made) == 1
        np.testing.assert_array_equal(first.weight, again.weight)
        self.head(other_suite(here, ("class_means", "ridge")), tmp_path)
        assert len(made) == 2
        loaded = other_suite(here, ("base: base", "base: suites/tiny/specialists/taste"))
        assert not np.array_equal(self.head(loaded, tmp_path).weight, first.weight)
        assert len(made) == 3

    def test_one_that_is_damaged_is_made_again(self, loaded: Loaded, tmp_path: Path) -> None:
        made = self.head(loaded, tmp_path / "heads")
        (path,) = (tmp_path / "heads").iterdir()
        path.write_bytes(path.read_bytes()[:40])
        again = self.head(loaded, tmp_path / "heads")
        np.testing.assert_array_equal(again.weight, made.weight)
        assert Head.load(path).made == made.made

    def test_a_specialists_own_head_follows_the_specialist(self, here: Path, tmp_path: Path) -> None:
        from safetensors.torch import load_file, save_file

        change = ("place: {", "place: {model: own, ")
        (here / "tiny.yaml").write_text(SUITE.replace(*change).replace("kind: class_means", "kind: checkpoint"))
        heads = []
        encoders.changed(here / "base", here / "own", 1)
        for value in (1.0, 2.0):
            tensors = load_file(here / "own" / "model.safetensors")
            tensors["score.weight"] = tensors["pooler.dense.weight"][:2] * 0 + value
            save_file(tensors, here / "own" / "model.safetensors", {"format": "pt"})
            heads.append(self.head(load_suite(here / "tiny.yaml"), tmp_path))
        assert [h.weight[0, 0] for h in heads] == [1, 2]

    def test_refused(self, here: Path, tmp_path: Path) -> None:
        suite = other_suite(here, ("kind: class_means", "kind: checkpoint"))
        with pytest.raises(tv.RecipeError, match=r"the head of 'place' is its specialist's, and the task names none"):
            self.head(suite, tmp_path)
        suite = other_suite(here, ("kind: class_means", "kind: file"))
        with pytest.raises(tv.RecipeError, match=r"is a file and names none\. Type 'file: heads/place\.safetensors'"):
            self.head(suite, tmp_path)

    def test_a_head_for_another_encoder(self, here: Path, loaded: Loaded) -> None:
        head = replace(self.head(loaded, here / "heads"), encoder="vit of width 384 with 12 layers")
        head.save(here / "vit.safetensors")
        suite = other_suite(here, ("kind: class_means", "kind: file, file: vit.safetensors"))
        (task,) = tasks_of(suite, base_of(suite, device="cpu"), "test", ["place"])
        with pytest.raises(tv.MismatchError, match=r"made for vit of width 384 .*, and .*base is bert of width 16 "):
            task.check(base_of(suite, device="cpu"))


class TestSpecialists:
    def test_one_that_was_trained_otherwise_is_not_scored(self, here: Path, loaded: Loaded) -> None:
        assert trained(loaded, places_of(loaded), base_of(loaded)) == str(here / "suites/tiny/joint")
        changes = ("epochs: 6", "epochs: 5"), ("held_out: 0.4", "held_out: 0.3"), ("the {}", "a {}")
        for change in changes:
            suite = other_suite(here, change)
            with pytest.raises(
                tv.StoreError, match=r"the specialist of '\w+' was trained otherwise than .*Type: taskvec"
            ):
                trained(suite, places_of(suite), base_of(suite))

    def test_the_joint_model_is_that_of_these_tasks(self, loaded: Loaded) -> None:
        assert trained(loaded, places_of(loaded), base_of(loaded), ["taste", "pets"]) is None

    def test_what_to_type_where_one_is_missing(self, loaded: Loaded, tmp_path: Path) -> None:
        with pytest.raises(
            tv.StoreError,
            match=r"the specialist of 'taste' is not trained yet\. Type: taskvec bench train .*y\.yaml",
        ):
            specialist_of(loaded, "taste", places_of(loaded, tmp_path / "new"))

    def test_named_ones_are_used_as_they_are(self, here: Path) -> None:
        suite = other_suite(here, ("taste: {", "taste: {model: base, "))
        assert specialist_of(suite, "taste", places_of(suite)) == str(here / "base")

    def test_an_unknown_task(self, loaded: Loaded) -> None:
        with pytest.raises(tv.RecipeError, match=r"has no task 'tast'\. Did you mean 'taste'\? It has taste, "):
            chosen(loaded, ["tast"])
        assert chosen(loaded, ["place", "taste"]) == ["taste", "place"]

    def test_no_base(self, here: Path) -> None:
        with pytest.raises(tv.RecipeError, match=r"tiny\.yaml names no base\. Type 'base: …'"):
            base_of(other_suite(here, ("base: base\n", "")))


class TestObjective:
    def test_scores_are_measured_by_the_specialists(self, loaded: Loaded) -> None:
        base = base_of(loaded, device="cpu")
        tasks = tasks_of(loaded, base, "validation")
        expected = [task.score(base).value for task in tasks]
        weights = {n: x.clone() for n, x in base.module().state_dict().items()}
        assert Objective(base, tasks)(weights) == tuple(expected)
        own = {"taste": 0.5, "pets": 0.8, "place": 1.0}
        found = Objective(Model(base.path, device="cpu"), tasks, own)(weights)
        assert found == pytest.approx([e / own[t] for e, t in zip(expected, TASKS, strict=True)])

    def test_another_specialist_or_split_is_another_search(self, loaded: Loaded) -> None:
        base = base_of(loaded, device="cpu")
        validation, test = (tasks_of(loaded, base, split) for split in ("validation", "test"))  # type: ignore[arg-type]
        digests = [Objective(base, t, s).digest for t in (validation, test) for s in ({}, {"taste": 0.5})]
        assert len(set(digests)) == 4

    def test_refused(self, loaded: Loaded) -> None:
        base = base_of(loaded, device="cpu")
        with pytest.raises(tv.RecipeError, match=r"there is no task to score on"):
            Objective(base, [])
        with pytest.raises(tv.RecipeError, match=r"the specialist of 'taste' scored 0, so no ratio"):
            Objective(base, tasks_of(loaded, base, "validation"), {"taste": 0.0})

    def test_a_model_without_the_tower_a_task_needs(self, loaded: Loaded, tmp_path: Path) -> None:
        from taskvec.evaluate.classification import Classification

        vit = Model(encoders.vit(tmp_path / "vit"), device="cpu")
        (task,) = tasks_of(loaded, base_of(loaded, device="cpu"), "test", ["taste"])
        assert isinstance(task, Classification)
        with pytest.raises(tv.MismatchError, match=r"was made for bert of width 16 .* and .*vit is vit of width 16"):
            task.score(vit)
        free = replace(task, head=replace(task.head, encoder="", pooling=""))
        with pytest.raises(tv.MismatchError, match=r"holds texts, and .*vit has no tower for texts"):
            free.score(vit)
