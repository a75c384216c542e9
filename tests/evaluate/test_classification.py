"""Accuracy and reports by hand, scores kept and found again, and weights put in place."""

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.metrics import precision_recall_fscore_support

import encoders
import taskvec as tv
from taskvec import FormatError, MismatchError, NumbersError, RecipeError, StoreError
from taskvec.evaluate import make_head
from taskvec.evaluate.classification import Classification
from taskvec.evaluate.features import Reading
from taskvec.evaluate.kept import Kept, score_all
from taskvec.evaluate.model import Model
from taskvec.evaluate.per_class import per_class
from taskvec.recipe.reweighted import Reweighted

from .conftest import Read

Patch = pytest.MonkeyPatch


@pytest.fixture
def task(bert: Model, taste: Read) -> Classification:
    """Texts of lengths out of order, and a head that is wrong about some."""
    head = make_head.from_label_names(bert, ["bad", "good"], Reading())
    return Classification("taste", taste(41), head, Reading(batch=8))


class TestScore:
    def test_accuracy_by_hand(self, bert: Model, task: Classification) -> None:
        right = []
        for text, label in zip(task.examples.inputs, np.asarray(task.examples.labels), strict=True):
            with torch.no_grad():
                f = bert.module()(**bert.tokenizer(text, return_tensors="pt")).last_hidden_state[0].mean(0).numpy()
            said = task.head.labels[int((task.head.weight @ f).argmax())]
            right.append(said == task.examples.names[label])
        score = task.score(bert)
        assert score.values is not None
        assert score.values.tolist() == right
        assert score.value == np.mean(right)
        assert 0 < score.low <= score.value <= score.high < 1 and score.count == 41

    def test_a_share_is_some_of_the_same_answers(self, bert: Model, task: Classification) -> None:
        whole, part = task.logits(bert), task.logits(bert, 0.5)
        chosen = sorted(i for places, _ in task.batches(bert).first(0.5) for i in places)
        assert 0 < len(chosen) < 41
        torch.testing.assert_close(part, whole[chosen], atol=1e-6, rtol=0)
        values = task.score(bert).values
        assert values is not None
        assert task.score(bert, 0.5).value == values[chosen].mean()

    def test_the_report_of_classes_is_scikit_learns(self, rng: np.random.Generator) -> None:
        answers, labels = rng.integers(0, 3, 60), rng.integers(0, 4, 60)  # class 3 is never said, 4 is not there
        found = per_class(answers, labels, ["a", "b", "c", "d", "e"])
        expected = precision_recall_fscore_support(labels, answers, labels=range(5), zero_division=0)
        rows = [[c[key] for key in ("precision", "recall", "f1", "examples")] for c in found.values()]
        np.testing.assert_allclose(rows, np.transpose(expected), atol=1e-12)

    def test_the_report_counts_the_heads_labels(self, bert: Model, task: Classification) -> None:
        report = task.score(bert).details["per_class"]
        assert {name: c["examples"] for name, c in report.items()} == {"bad": 20, "good": 21}

    def test_nothing_to_compare_with(self, bert: Model, task: Classification) -> None:
        unlabelled = Classification("t", replace(task.examples, labels=None, names=()), task.head, task.reading)
        assert len(unlabelled.logits(bert)) == len(task.examples)
        with pytest.raises(RecipeError, match=r"task 't': .* has no labels to compare with"):
            unlabelled.score(bert)
        with pytest.raises(RecipeError, match=r"task 't': .* is empty"):
            Classification("t", replace(task.examples, inputs=[]), task.head)


class TestKept:
    def test_found_again_without_running(
        self, bert: Model, folders: Path, task: Classification, tmp_path: Path, monkeypatch: Patch
    ) -> None:
        kept = Kept(tmp_path / "cache")
        first = kept.score(bert, task)
        calls: list[int] = []
        monkeypatch.setattr(Classification, "score", encoders.count_calls(Classification.score, calls))
        copy = shutil.copytree(folders / "bert", tmp_path / "copy")
        again = kept.score(Model(copy, device="cpu"), replace(task, name="another name"))
        assert not calls
        assert replace(again, task="taste", values=None) == replace(first, values=None)
        np.testing.assert_array_equal(again.values, first.values)

    @pytest.mark.parametrize("what", ["weights", "precision", "examples", "head", "tokens", "share", "tokenizer"])
    def test_whatever_decides_a_score_must_be_the_same(
        self,
        folders: Path,
        task: Classification,
        taste: Read,
        tmp_path: Path,
        what: str,
        monkeypatch: Patch,
    ) -> None:
        kept, model, share = Kept(tmp_path / "cache"), Model(folders / "bert", device="cpu"), 1.0
        kept.score(model, task)
        calls: list[int] = []
        monkeypatch.setattr(Classification, "score", encoders.count_calls(Classification.score, calls))
        kept.score(model, task, share)
        assert not calls
        if what == "weights":
            model = Model(folders / "other", device="cpu")
        elif what == "precision":
            model = Model(folders / "bert", device="cpu", precision="bfloat16")
        elif what == "examples":
            task = replace(task, examples=taste(40))
        elif what == "head":
            task = replace(task, head=replace(task.head, weight=-task.head.weight))
        elif what == "tokens":
            task = replace(task, reading=replace(task.reading, tokens=4))
        elif what == "tokenizer":
            shutil.copytree(folders / "bert", tmp_path / "bert")
            path = tmp_path / "bert" / "tokenizer_config.json"
            path.write_text(json.dumps(json.loads(path.read_text()) | {"model_max_length": 9}))
            model = Model(tmp_path / "bert", device="cpu")
        else:
            share = 0.5
        kept.score(model, task, share)
        assert calls

    @pytest.mark.parametrize("text", ["", "{", "[]", "null", '"words"', '{"task": "taste"}', '{"values": "?"}'])
    def test_a_damaged_file_is_found_out_again(
        self, bert: Model, task: Classification, tmp_path: Path, text: str
    ) -> None:
        kept = Kept(tmp_path)
        first = kept.score(bert, task)
        (path,) = (tmp_path / "scores").rglob("*.json")
        whole = path.read_text()
        path.write_text(text)
        assert kept.score(bert, task).value == first.value
        assert path.read_text() == whole

    def test_nothing_is_kept(self, bert: Model, task: Classification, tmp_path: Path) -> None:
        Kept(None).score(bert, task)
        assert not list(tmp_path.glob("scores"))

    def test_all_tasks_are_checked_before_one_is_scored(
        self, bert: Model, task: Classification, monkeypatch: Patch
    ) -> None:
        calls: list[int] = []
        monkeypatch.setattr(Classification, "score", encoders.count_calls(Classification.score, calls))
        wrong = replace(task, head=replace(task.head, encoder="vit of width 9"))
        with pytest.raises(MismatchError, match="was made for vit of width 9"):
            score_all(bert, [task, wrong])
        assert not calls


class TestModel:
    def test_no_model(self, tmp_path: Path) -> None:
        with pytest.raises(StoreError, match=r"nowhere does not exist\. Give a folder that transformers can load"):
            Model(tmp_path / "nowhere")
        with pytest.raises(StoreError, match=r"is not a model folder: it has no config\.json"):
            Model(tmp_path)
        (tmp_path / "config.json").write_text('{"model_type": "berd"}')
        with pytest.raises(FormatError, match="cannot be loaded: "):
            _ = Model(tmp_path).config

    def test_an_unknown_precision(self, folders: Path) -> None:
        with pytest.raises(RecipeError, match="'precision' must be one of float32, bfloat16, float16, got 'int8'"):
            Model(folders / "bert", precision="int8")  # type: ignore[arg-type]

    def test_lacking_weights(self, folders: Path, tmp_path: Path) -> None:
        from safetensors.torch import load_file, save_file

        file = shutil.copytree(folders / "bert", tmp_path / "bert") / "model.safetensors"
        tensors = load_file(file)
        del tensors["encoder.layer.0.output.dense.bias"]
        save_file(tensors, file, {"format": "pt"})
        with pytest.raises(MismatchError, match=r"lacks the weights 'encoder\.layer\.0\.output\.dense\.bias'\."):
            Model(tmp_path / "bert", device="cpu").module()
        with pytest.raises(MismatchError, match=r"bert cannot be loaded as a sequence-to-sequence model"):
            Model(folders / "bert", device="cpu").module("seq2seq")

    @pytest.mark.parametrize("precision", ["float32", "bfloat16"])
    def test_put_then_score_is_the_merged_folder_loaded(
        self, folders: Path, task: Classification, tmp_path: Path, precision: Any
    ) -> None:
        recipe = tv.Recipe.model_validate(
            {
                "method": "task_arithmetic",
                "base": str(folders / "bert"),
                "models": [str(folders / "other")],
                "scale": 0.6,
            }
        )
        out = tv.run(tv.make_plan(recipe), tmp_path / "merged").folder
        model = Model(folders / "bert", device="cpu", precision=precision)
        before = task.logits(model)
        with Reweighted(recipe) as models:
            model.put(models.weigh(recipe), "merged")
        expected = task.logits(Model(out, device="cpu", precision=precision))
        assert torch.equal(task.logits(model), expected)
        assert not torch.equal(before, expected)
        assert model.fingerprint == "merged"

    def test_tied_weights_and_prefixes(self, folders: Path, tmp_path: Path) -> None:
        other = encoders.changed(folders / "gpt2", tmp_path / "other", 1)
        model = Model(folders / "gpt2", device="cpu")
        modules = [model.module(), model.module("causal")]
        with tv.Checkpoint(other) as checkpoint:
            assert "lm_head.weight" not in checkpoint and "transformer.wte.weight" in checkpoint
            model.put({name: checkpoint[name] for name in checkpoint}, "other")
        tokens, loaded = torch.arange(6)[None], Model(other, device="cpu")
        with torch.no_grad():
            assert torch.equal(modules[0](tokens).last_hidden_state, loaded.module()(tokens).last_hidden_state)
            assert torch.equal(modules[1](tokens).logits, loaded.module("causal")(tokens).logits)

    @pytest.mark.parametrize("wrong", ["missing", "of another shape"])
    def test_weights_that_do_not_fit_change_nothing(self, folders: Path, wrong: str) -> None:
        model = Model(folders / "bert", device="cpu")
        before = {name: x.clone() for name, x in model.module().state_dict().items()}
        weights = {name: np.ones(x.shape, np.float32) for name, x in before.items()}
        name = "encoder.layer.1.output.dense.weight"
        if wrong == "missing":
            del weights[name]
        else:
            weights[name] = np.ones((2, 2), np.float32)
        sentence = "is not among them" if wrong == "missing" else r"is \(16, 32\), and they have \(2, 2\)"
        with pytest.raises(MismatchError, match=rf"the weights do not fit .*bert as an encoder: '{name}' {sentence}\."):
            model.put(weights, "wrong")
        assert model.fingerprint == model.content
        assert all(torch.equal(x, before[n]) for n, x in model.module().state_dict().items())

    def test_what_is_not_loaded_before_put_cannot_be_had_after(self, folders: Path) -> None:
        model = Model(folders / "gpt2", device="cpu")
        model.put(dict(model.module().state_dict()), "same")
        with pytest.raises(RecipeError, match="ask for a causal language model before 'put'"):
            model.module("causal")

    @pytest.mark.parametrize("kind", ["bert", "vit", "clip", "gpt2"])
    def test_files_names_are_known_whatever_the_module_calls_them(
        self, folders: Path, tmp_path: Path, kind: str
    ) -> None:
        """transformers renames the weights of some models, such as ViT's, when it loads them."""
        model, other = Model(folders / kind, device="cpu"), encoders.changed(folders / kind, tmp_path / "other", 1)
        model.module()
        with tv.Checkpoint(other) as checkpoint:
            model.put({name: checkpoint[name] for name in checkpoint}, "other")
        loaded = Model(other, device="cpu").module().state_dict()
        assert all(torch.equal(x, loaded[name]) for name, x in model.module().state_dict().items())


def test_answers_that_are_no_numbers_are_no_score(folders: Path, taste: Read) -> None:
    model = Model(folders / "bert", device="cpu")
    head = make_head.from_label_names(model, ["good", "bad"], Reading())
    task = Classification("taste", taste(), head)
    weights = dict(model.module().state_dict())
    name = next(n for n in weights if n.endswith("LayerNorm.weight"))
    model.put({**weights, name: torch.full_like(weights[name], torch.nan)}, "broken")
    with pytest.raises(NumbersError, match="bert answers 'taste' with NaN or Inf"):
        task.score(model)
