"""Heads are what their formulas say, come back from files bit for bit, and refuse what they were not made for."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import encoders
from taskvec import FormatError, MismatchError, RecipeError, StoreError
from taskvec.evaluate import make_head
from taskvec.evaluate.classification import Classification
from taskvec.evaluate.data import Examples
from taskvec.evaluate.features import Reading, features, ready
from taskvec.evaluate.heads import Head
from taskvec.evaluate.model import Model
from taskvec.store.arrays import load_arrays, save_arrays

from .conftest import Read

READING = Reading()


def vectors(model: Model, examples: Examples) -> np.ndarray:
    return features(model, ready(model, examples, READING), READING).double().numpy()


def unit(x: np.ndarray) -> np.ndarray:
    return x / np.linalg.norm(x, axis=-1, keepdims=True)


def texts(model: Model, some: list[str]) -> np.ndarray:
    with torch.no_grad():
        asked = [model.tokenizer(t, return_tensors="pt") for t in some]
        return np.stack([model.module()(**one).last_hidden_state[0].mean(0).double().numpy() for one in asked])


class TestLabelNames:
    def test_the_mean_direction_of_templates_and_texts(self, bert: Model) -> None:
        head = make_head.from_label_names(
            bert,
            ["good", "very_bad"],
            READING,
            templates=["the {}", "it was {} film"],
            texts={"good": ["good", "fine"]},
        )
        good = unit(texts(bert, ["the good", "the fine", "it was good film", "it was fine film"])).mean(0)
        bad = unit(texts(bert, ["the very bad", "it was very bad film"])).mean(0)
        np.testing.assert_allclose(head.weight, unit(np.stack([good, bad])), atol=1e-5)
        assert (head.kind, head.scale, head.labels, head.pooling) == ("cosine", 20.0, ("good", "very_bad"), "mean")

    def test_logits_are_scaled_cosines(self, bert: Model, taste: Read) -> None:
        head = make_head.from_label_names(bert, ["good", "bad"], READING, scale=7.0)
        f = vectors(bert, taste(4))
        found = head.logits(torch.tensor(f, dtype=torch.float32)).numpy()
        np.testing.assert_allclose(found, 7 * unit(f) @ head.weight.T, atol=1e-5)

    def test_braces_in_names_and_templates_are_only_braces(self, bert: Model) -> None:
        head = make_head.from_label_names(bert, ["{good}", "bad"], READING, templates=["{{}} the"])
        assert np.isfinite(head.weight).all()

    def test_clips_zero_shot_head_is_clips_own(self, clip: Model, pictures: Examples) -> None:
        words = ["good", "bad"]
        head = make_head.from_label_names(clip, words, READING, templates=["the {}"])
        found = Classification("zero", replace(pictures, names=("good", "bad")), head).logits(clip)
        pixels = clip.images([Image.fromarray(x) for x in pictures.inputs], return_tensors="pt")["pixel_values"]
        asked = clip.tokenizer([f"the {w}" for w in words], return_tensors="pt", padding=True)
        with torch.no_grad():
            expected = clip.module()(**asked, pixel_values=pixels).logits_per_image
        torch.testing.assert_close(found, expected, atol=1e-4, rtol=0)

    @pytest.mark.parametrize(
        ("how", "sentence"),
        [
            ({"templates": ["a photo"]}, r"the template 'a photo' must hold one '{}'"),
            ({"templates": ["{} {}"]}, r"must hold one '{}'"),
            ({"templates": []}, r"'templates' is empty"),
            ({"texts": {"god": "x"}}, r"'texts' names the label 'god', which the task does not have"),
            ({"texts": {"good": []}}, r"'texts' says nothing for the label 'good'"),
        ],
    )
    def test_refused(self, bert: Model, how: dict[str, Any], sentence: str) -> None:
        with pytest.raises(RecipeError, match=sentence):
            make_head.from_label_names(bert, ["good", "bad"], READING, **how)

    def test_no_text_tower(self, vit: Model) -> None:
        with pytest.raises(MismatchError, match=r"no tower for texts, so .* Type 'head: {kind: class_means}'\."):
            make_head.from_label_names(vit, ["dark", "bright"], READING)


class TestFromExamples:
    def test_class_means(self, vit: Model, pictures: Examples) -> None:
        head = make_head.from_class_means(vit, pictures, READING, scale=10)
        f = unit(vectors(vit, pictures))
        expected = unit(np.stack([f[np.asarray(pictures.labels) == c].mean(0) for c in (0, 1)]))
        np.testing.assert_allclose(head.weight, expected, atol=1e-6)
        assert head.labels == ("dark", "bright")

    def test_ridge_solves_the_normal_equations(self, bert: Model, taste: Read) -> None:
        train, ridge = taste(40), 0.03
        head = make_head.by_ridge(bert, train, READING, ridge=ridge)
        f, y = vectors(bert, train), np.eye(2)[np.asarray(train.labels)]
        f0, y0 = f.mean(0), y.mean(0)
        scatter = (f - f0).T @ (f - f0)
        w = np.linalg.solve(scatter + ridge * np.trace(scatter) / 16 * np.eye(16), (f - f0).T @ (y - y0)).T
        np.testing.assert_allclose(head.weight, w, atol=1e-6, rtol=1e-4)
        np.testing.assert_allclose(head.bias, y0 - w @ f0, atol=1e-5)
        assert head.kind == "linear"

    def test_the_trained_head_is_at_the_minimum_and_below_ridge(self, bert: Model, taste: Read) -> None:
        train, decay = taste(40), 1e-2
        f = torch.tensor(vectors(bert, train))
        y, spread = torch.tensor(np.asarray(train.labels)), f.std()

        def loss(head: Head) -> torch.Tensor:
            w, b = (
                torch.tensor(np.asarray(x), dtype=torch.float64, requires_grad=True) for x in (head.weight, head.bias)
            )
            value = torch.nn.functional.cross_entropy(f @ w.T + b, y) + decay / 2 * (w * spread).square().sum()
            value.backward()
            slopes.append(max(float((w.grad / spread).abs().max()), float(b.grad.abs().max())))
            return value.detach()

        slopes: list[float] = []
        trained = loss(make_head.by_training(bert, train, READING, decay=decay))
        by_ridge = loss(make_head.by_ridge(bert, train, READING))
        assert slopes[0] < 1e-3 < slopes[1]
        assert trained < by_ridge

    @pytest.mark.parametrize("make", [make_head.from_class_means, make_head.by_ridge, make_head.by_training])
    def test_a_class_without_an_example(self, bert: Model, taste: Read, make: Any) -> None:
        train = replace(taste(6), names=("good", "bad", "so so"))
        with pytest.raises(RecipeError, match=r"has no example of 'so so', so no head can be made of it\."):
            make(bert, train, READING)

    def test_no_labels(self, bert: Model, taste: Read) -> None:
        with pytest.raises(RecipeError, match="has no labels, so no head can be made"):
            make_head.by_ridge(bert, replace(taste(6), labels=None), READING)

    def test_no_ridge(self, bert: Model, taste: Read) -> None:
        with pytest.raises(RecipeError, match="'ridge' must be above 0, got 0"):
            make_head.by_ridge(bert, taste(6), READING, ridge=0)


class TestCheckpoint:
    def put(self, folders: Path, out: Path, labels: int) -> Model:
        from safetensors.torch import load_file, save_file

        encoders.changed(folders / "bert", out, 3)
        tensors = {f"bert.{n}": x for n, x in load_file(out / "model.safetensors").items()}
        tensors |= {"classifier.weight": torch.randn(labels, 16), "classifier.bias": torch.randn(labels)}
        save_file(tensors, out / "model.safetensors", {"format": "pt"})
        return Model(out, device="cpu")

    def test_the_head_in_the_folder(self, folders: Path, tmp_path: Path) -> None:
        model = self.put(folders, tmp_path / "classifier", 2)
        head = make_head.of_checkpoint(model, ["good", "bad"], READING)
        arrays, _ = load_arrays(tmp_path / "classifier" / "model.safetensors")
        np.testing.assert_array_equal(head.weight, arrays["classifier.weight"])
        np.testing.assert_array_equal(head.bias, arrays["classifier.bias"])

    def test_refused(self, bert: Model, folders: Path, tmp_path: Path) -> None:
        with pytest.raises(MismatchError, match=r"bert holds no head: neither 'score\.weight' nor"):
            make_head.of_checkpoint(bert, ["good", "bad"], READING)
        model = self.put(folders, tmp_path / "three", 3)
        with pytest.raises(MismatchError, match="holds a head of 3 labels, and the task has 2"):
            make_head.of_checkpoint(model, ["good", "bad"], READING)


@pytest.fixture
def head(bert: Model) -> Head:
    return make_head.from_label_names(bert, ["good", "bad"], READING)


class TestFiles:
    def test_round_trip(self, bert: Model, clip: Model, taste: Read, tmp_path: Path, head: Head) -> None:
        projected = make_head.from_label_names(clip, ["good", "bad"], READING)
        assert projected.projection is not None
        for i, one in enumerate((head, projected, make_head.by_ridge(bert, taste(10), READING))):
            path = tmp_path / "deep" / f"{i}.safetensors"
            one.save(path)
            found = Head.load(path)
            for name in ("weight", "bias", "projection"):
                a, b = getattr(found, name), getattr(one, name)
                assert (a is None and b is None) or (a.dtype == np.float32 and a.tobytes() == b.tobytes())
            plain = {"weight": None, "bias": None, "projection": None}
            assert replace(found, **plain) == replace(one, **plain)

    def test_no_head(self, folders: Path, tmp_path: Path) -> None:
        with pytest.raises(FormatError, match=r"model\.safetensors is not a head of format 1\. Make one: taskvec eval"):
            Head.load(folders / "bert" / "model.safetensors")
        with pytest.raises(StoreError, match=r"nothing\.safetensors does not exist"):
            Head.load(tmp_path / "nothing.safetensors")

    def test_cut_short(self, head: Head, tmp_path: Path) -> None:
        path = tmp_path / "head.safetensors"
        head.save(path)
        path.write_bytes(path.read_bytes()[:-8])
        with pytest.raises((FormatError, StoreError), match=r"head\.safetensors"):
            Head.load(path)

    @pytest.mark.parametrize(
        ("change", "sentence"),
        [
            (lambda arrays, note: arrays.update(weight=arrays["weight"][:1]), r"2 labels with weights of \(1, 16\)"),
            (lambda arrays, note: arrays.update(bias=np.zeros(3, np.float32)), r"2 labels and a bias of \(3,\)"),
            (lambda arrays, note: arrays.update(weight=arrays["weight"][0]), r"with weights of \(16,\)"),
            (lambda arrays, note: arrays.update(more=np.zeros(3, np.float32)), "unexpected keyword argument 'more'"),
            (lambda arrays, note: note.pop("taskvec.note"), "taskvec.note"),
            (lambda arrays, note: note.update({"taskvec.note": "{"}), "head is damaged|is a damaged head"),
        ],
    )
    def test_damaged(self, head: Head, tmp_path: Path, change: Any, sentence: str) -> None:
        path = tmp_path / "head.safetensors"
        head.save(path)
        arrays, metadata = load_arrays(path)
        note = dict(metadata)
        change(arrays, note)
        save_arrays(path, arrays, note)
        with pytest.raises(FormatError, match=sentence) as caught:
            Head.load(path)
        assert "is a damaged head" in str(caught.value)


class TestCheck:
    def test_another_encoder(self, head: Head, tmp_path: Path, folders: Path) -> None:
        wide = Model(encoders.bert(tmp_path / "wide", hidden_size=32), device="cpu")
        with pytest.raises(
            MismatchError,
            match=r"labels 'good', 'bad' was made for bert of width 16 with 2 layers, and .*wide is bert of width 32 ",
        ):
            head.check(wide, "mean", ["good"], "test.tsv")
        head.check(Model(folders / "other", device="cpu"), "mean", ["good", "bad"], "test.tsv")  # a fine-tune fits

    def test_another_pooling(self, bert: Model, head: Head) -> None:
        with pytest.raises(MismatchError, match=r"pooled by 'mean', not by 'cls'\. Type 'pooling: mean'\."):
            head.check(bert, "cls", ["good"], "test.tsv")

    def test_a_label_that_it_does_not_know(self, bert: Model, head: Head, taste: Read) -> None:
        task = Classification("taste", replace(taste(6), names=("good", "awful")), head)
        with pytest.raises(MismatchError, match=r"tsv has the label 'awful', which the head does not know\. It knows"):
            task.score(bert)


def test_no_labels_make_no_head(bert: Model) -> None:
    with pytest.raises(RecipeError, match="the task has no labels, so no head can be made of them"):
        make_head.from_label_names(bert, [], READING)
