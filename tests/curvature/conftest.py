"""Tiny models in double precision, and a lesson for each: texts of different lengths, or images."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import transformers

import encoders
from cli.conftest import Command, command, no_progress_lines  # noqa: F401
from taskvec.evaluate.data import Examples, Source, read
from taskvec.evaluate.features import Reading, pooling_of
from taskvec.evaluate.heads import Head
from taskvec.evaluate.model import Model
from taskvec.finetune.lessons import Lesson

FAMILIES = ("bert", "gpt2", "vit")
WIDTH = 16
Make = Callable[[str], tuple[Model, Lesson]]


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that tests only read: a model of each family, `pets.tsv` and `light.npz`."""
    path = tmp_path_factory.mktemp("curvature")
    encoders.bert(path / "bert")
    encoders.gpt2(path / "gpt2")
    encoders.vit(path / "vit")
    encoders.table(path / "pets.tsv", encoders.sentences("pets", 12, seed=1))
    encoders.pictures(path / "light.npz", 8)
    return path


def lesson_on(model: Model, examples: Examples, reading: Reading | None = None) -> Lesson:
    """Return a lesson with a linear head of random numbers."""
    rng = np.random.default_rng(7)
    reading, labels = reading or Reading(), examples.names
    weight = 0.3 * rng.normal(size=(len(labels), WIDTH)).astype(np.float32)
    bias = rng.normal(size=len(labels)).astype(np.float32)
    return Lesson("pets", examples, Head(kind="linear", labels=labels, weight=weight, bias=bias), reading)


def examples_in(folder: Path, family: str) -> Examples:
    return read(Source(path=str(folder / ("light.npz" if family == "vit" else "pets.tsv"))))


@pytest.fixture(scope="session")
def double(folder: Path) -> Make:
    """Return what makes a model in double precision, and its lesson."""

    def make(family: str) -> tuple[Model, Lesson]:
        model = Model(folder / family, device="cpu")
        model.module().double()
        assert pooling_of(model, Reading()) in ("mean", "last", "cls")
        return model, lesson_on(model, examples_in(folder, family))

    return make


@pytest.fixture
def single(folder: Path) -> Make:
    """Return what makes a model as it is used, and its lesson."""

    def make(family: str) -> tuple[Model, Lesson]:
        model = Model(folder / family, device="cpu")
        return model, lesson_on(model, examples_in(folder, family))

    return make


@pytest.fixture
def albert(tmp_path: Path) -> tuple[Model, Lesson]:
    """A model whose two layers are one: every weight of it is used twice."""
    config = transformers.AlbertConfig(
        vocab_size=len(encoders.WORDS), embedding_size=8, hidden_size=16, num_attention_heads=2, intermediate_size=24,
        num_hidden_layers=2, max_position_embeddings=64,
    )  # fmt: skip
    folder: Any = tmp_path / "albert"
    encoders._save(transformers.AlbertModel(config, add_pooling_layer=False), folder)
    encoders._tokenizer(folder, "token_type_ids")
    encoders.table(tmp_path / "pets.tsv", encoders.sentences("pets", 6, seed=1))
    model = Model(folder, device="cpu")
    model.module().double()
    return model, lesson_on(model, read(Source(path=str(tmp_path / "pets.tsv"))))
