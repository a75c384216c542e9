"""Fine-tuning: the loss falls, the same seed gives the same bytes, and nothing is half written."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

import encoders
import taskvec as tv
from taskvec import MismatchError, NumbersError, RecipeError
from taskvec.evaluate import make_head
from taskvec.evaluate.classification import Classification
from taskvec.evaluate.data import Source, read
from taskvec.evaluate.features import Reading
from taskvec.evaluate.model import Model
from taskvec.finetune.finetune import finetune
from taskvec.finetune.lessons import Lesson, batches, make_ready
from taskvec.finetune.training import Training, rate_at
from taskvec.progress import Silent

Learn = Callable[..., Lesson]
TRAINING = Training(epochs=10, batch=8, rate=5e-3)
SHORT = replace(TRAINING, epochs=1)


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return encoders.bert(tmp_path_factory.mktemp("finetune") / "base")


@pytest.fixture
def lesson(base: Path, tmp_path: Path) -> Learn:
    """Return what makes a lesson of a task."""

    def make(task: str = "taste", count: int = 40, seed: int = 0) -> Lesson:
        path = encoders.table(tmp_path / f"{task}{count}{seed}.tsv", encoders.sentences(task, count, seed))
        labels = tuple(encoders.TASKS[task])
        head = make_head.from_label_names(Model(base, device="cpu"), labels, Reading())
        return Lesson(task, read(Source(path=str(path), labels=labels)), head, Reading())

    return make


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(folder / "model.safetensors")


def accuracy(folder: Path, lesson: Lesson) -> float:
    return Classification("t", lesson.examples, lesson.head).score(Model(folder, device="cpu")).value


class TestLearning:
    def test_the_loss_falls_and_new_examples_are_known(self, base: Path, lesson: Learn, tmp_path: Path) -> None:
        note = finetune(base, [lesson()], tmp_path / "out", TRAINING, device="cpu")
        assert note["loss"]["last"] < 0.5 * note["loss"]["first"]
        assert note["steps"] == 50 and not note["found"]
        fresh = lesson(seed=1)
        assert accuracy(tmp_path / "out", fresh) > accuracy(base, fresh) + 0.1

    def test_several_lessons_at_once(self, base: Path, lesson: Learn, tmp_path: Path) -> None:
        both = [lesson(), lesson("pets")]
        note = finetune(base, both, tmp_path / "joint", TRAINING, device="cpu")
        assert {name: a["examples"] for name, a in note["lessons"].items()} == {"taste": 40, "pets": 40}
        assert all(accuracy(tmp_path / "joint", a) > accuracy(base, a) + 0.1 for a in both)

    def test_what_is_frozen_stays_to_the_bit(self, base: Path, lesson: Learn, tmp_path: Path) -> None:
        training = replace(SHORT, frozen=("embeddings.*", "*.layer.0.*", "pooler.*"))
        finetune(base, [lesson()], tmp_path / "out", training, device="cpu")
        before, after = weights(base), weights(tmp_path / "out")
        same = {name for name in before if torch.equal(before[name], after[name])}
        assert set(after) == set(before)
        assert same == {n for n in before if n.startswith(("embeddings.", "pooler.")) or ".layer.0." in n}

    def test_the_folder_loads_and_reads_as_the_base(self, base: Path, lesson: Learn, tmp_path: Path) -> None:
        finetune(base, [lesson()], tmp_path / "out", SHORT, device="cpu")
        out = Model(tmp_path / "out", device="cpu")
        assert out.inputs_digest == Model(base).inputs_digest
        assert out.content != Model(base).content
        assert out.tokenizer("the film") == Model(base).tokenizer("the film")

    def test_half_precision(self, base: Path, lesson: Learn, tmp_path: Path) -> None:
        training = replace(TRAINING, precision="bfloat16")
        note = finetune(base, [lesson()], tmp_path / "out", training, device="cpu")
        assert note["loss"]["last"] < 0.5 * note["loss"]["first"]
        assert {x.dtype for x in weights(tmp_path / "out").values() if x.is_floating_point()} == {torch.float32}

    def test_a_pooler_that_the_base_lacks_is_not_invented(self, lesson: Learn, tmp_path: Path) -> None:
        bare = encoders.bert(tmp_path / "bare", pooler=False)
        finetune(bare, [replace(lesson(), head=replace(lesson().head))], tmp_path / "out", SHORT, device="cpu")
        assert set(weights(tmp_path / "out")) == set(weights(bare))


class TestAgain:
    def test_the_same_seed_gives_the_same_bytes(self, base: Path, lesson: Learn, tmp_path: Path) -> None:
        for name in ("a", "b"):
            torch.rand(7)  # the caller's own chance has no say
            finetune(base, [lesson()], tmp_path / name, SHORT, device="cpu")
        finetune(base, [lesson()], tmp_path / "c", replace(SHORT, seed=1), device="cpu")
        a, b, c = ((tmp_path / name / "model.safetensors").read_bytes() for name in "abc")
        assert a == b != c

    def test_the_callers_own_chance_is_left_alone(self, base: Path, lesson: Learn, tmp_path: Path) -> None:
        torch.manual_seed(5)
        expected = torch.rand(3)
        torch.manual_seed(5)
        finetune(base, [lesson()], tmp_path / "a", SHORT, device="cpu")
        assert torch.equal(torch.rand(3), expected)

    def test_found_again_only_where_all_is_the_same(self, base: Path, lesson: Learn, tmp_path: Path) -> None:
        def found(some: Lesson, training: Training = SHORT, model: Path = base) -> bool:
            return bool(finetune(model, [some], tmp_path / "out", training, device="cpu")["found"])

        one = lesson()
        assert [found(one), found(one), found(lesson())] == [False, True, True]
        assert not found(one, replace(SHORT, rate=1e-3))
        assert not found(lesson(seed=1), replace(SHORT, rate=1e-3))
        assert not found(one)
        assert not found(replace(one, head=replace(one.head, weight=-one.head.weight)))
        assert not found(one)
        linear = replace(one, head=replace(one.head, bias=one.head.weight[:, 0]))
        assert not found(linear)
        assert not found(one, model=encoders.changed(base, tmp_path / "other", 3))

    @pytest.mark.parametrize("error", [KeyboardInterrupt, NumbersError])
    def test_an_exception_leaves_what_was_there(
        self, base: Path, lesson: Learn, tmp_path: Path, error: type[BaseException]
    ) -> None:
        class Stop(Silent):
            def advance(self, done: int, note: str = "") -> None:
                if done == 3:
                    raise error

        models = tmp_path / "models"
        with pytest.raises(error):
            finetune(base, [lesson()], models / "out", SHORT, device="cpu", progress=Stop())
        assert not list(models.iterdir())
        finetune(base, [lesson()], models / "out", SHORT, device="cpu")
        before = (models / "out" / "model.safetensors").read_bytes()
        with pytest.raises(error):
            finetune(base, [lesson(seed=1)], models / "out", SHORT, device="cpu", progress=Stop())
        assert [p.name for p in models.iterdir()] == ["out"]
        assert (models / "out" / "model.safetensors").read_bytes() == before


class TestRefused:
    def refuse(self, base: Path, lessons: list[Lesson], out: Path, training: Training = SHORT) -> None:
        try:
            finetune(base, lessons, out, training, device="cpu")
        finally:
            assert not out.exists()

    def test_globs(self, base: Path, lesson: Learn, tmp_path: Path) -> None:
        with pytest.raises(
            RecipeError, match=r"'frozen: encodr\.\*' matches no parameter\. The first of them is 'embeddings\.word"
        ):
            self.refuse(base, [lesson()], tmp_path / "out", replace(SHORT, frozen=("encodr.*",)))
        with pytest.raises(RecipeError, match="leaves nothing to train"):
            self.refuse(base, [lesson()], tmp_path / "out", replace(SHORT, frozen=("*",)))

    def test_nothing_to_learn(self, base: Path, lesson: Learn, tmp_path: Path) -> None:
        with pytest.raises(RecipeError, match="there is no lesson to learn"):
            self.refuse(base, [], tmp_path / "out")
        one = lesson()
        with pytest.raises(RecipeError, match=r"lesson 'taste': .*tsv has no labelled examples to learn from"):
            self.refuse(base, [replace(one, examples=replace(one.examples, labels=None))], tmp_path / "out")

    def test_a_head_that_does_not_fit(self, base: Path, lesson: Learn, tmp_path: Path) -> None:
        one = lesson()
        strange = replace(one, examples=replace(one.examples, names=("good", "awful")))
        with pytest.raises(MismatchError, match="has the label 'awful', which the head does not know"):
            self.refuse(base, [strange], tmp_path / "out")
        with pytest.raises(MismatchError, match="was made for vit of width 9"):
            self.refuse(base, [replace(one, head=replace(one.head, encoder="vit of width 9"))], tmp_path / "out")


class TestParts:
    def test_every_epoch_shows_each_example_once_in_another_order(self, base: Path, lesson: Learn) -> None:
        model = Model(base, device="cpu")
        ready = [make_ready(model, lesson(count=10)), make_ready(model, lesson("pets", count=9))]
        seen: list[tuple[str, tuple[Any, ...]]] = []
        for one, inputs, answers in batches(ready, 4, 2, seed=0, padding=0):
            assert len(answers) == len(inputs["input_ids"]) <= 4
            for ids, mask in zip(inputs["input_ids"], inputs["attention_mask"], strict=True):
                seen.append((one.name, tuple(ids[: int(mask.sum())].tolist())))
                assert not ids[int(mask.sum()) :].any()
        expected = sorted((r.lesson.name, tuple(x["input_ids"].tolist())) for r in ready for x in r.inputs)
        assert sorted(seen[:19]) == sorted(seen[19:]) == expected
        assert seen[:19] != seen[19:]

    def test_schedules_end_where_they_should(self) -> None:
        line = rate_at(Training(schedule="linear", warmup=0.2), 10)
        assert [round(line(i), 3) for i in (0, 1, 2, 6, 9)] == [0.5, 1.0, 1.0, 0.5, 0.125]
        cosine = rate_at(Training(schedule="cosine", warmup=0), 4)
        assert [round(cosine(i), 3) for i in range(4)] == [1.0, 0.854, 0.5, 0.146]
        assert rate_at(Training(schedule="constant", warmup=0), 4)(3) == 1


def test_a_language_models_encoder_keeps_its_names_and_its_head(lesson: Learn, tmp_path: Path) -> None:
    base = encoders.gpt2(tmp_path / "gpt2")
    head = make_head.from_label_names(Model(base, device="cpu"), tuple(encoders.TASKS["taste"]), Reading())
    finetune(base, [replace(lesson(), head=head)], tmp_path / "out", SHORT, device="cpu")
    assert set(weights(tmp_path / "out")) == set(weights(base))
    out = Model(tmp_path / "out", device="cpu")
    assert out.config.architectures == ["GPT2LMHeadModel"]
    assert torch.equal(out.module("causal").transformer.h[0].ln_1.weight, out.module().h[0].ln_1.weight)
    recipe = {"method": "linear", "models": [str(base), str(tmp_path / "out")]}
    tv.make_plan(tv.Recipe.model_validate(recipe))


@pytest.mark.parametrize("kind", ["vit", "clip"])
def test_image_models_come_back_as_trained(tmp_path: Path, kind: str) -> None:
    base = getattr(encoders, kind)(tmp_path / "base")
    examples = read(Source(path=str(encoders.pictures(tmp_path / "p.npz", 16))))
    head = make_head.from_class_means(Model(base, device="cpu"), examples, Reading())
    finetune(base, [Lesson("p", examples, head, Reading())], tmp_path / "out", SHORT, device="cpu")
    before, after = weights(base), weights(tmp_path / "out")
    assert set(after) == set(before)
    layer = "vision_model.encoder.layers.0.mlp.fc1.weight" if kind == "clip" else "encoder.layer.0.output.dense.weight"
    assert not torch.equal(before[layer], after[layer])
    text = [name for name in before if name.startswith("text_model.")]
    assert all(torch.equal(before[name], after[name]) for name in text)
