"""Merges at the edges of what there is: tied heads, nothing to merge, odd names, a model twice, two runs at once."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from huggingface_hub import ModelCard

import taskvec as tv
from taskvec.progress import Silent
from taskvec.testing import finetuned, tiny_tensors, write_model

from .conftest import contents

HEAD, EMBED = "lm_head.weight", "model.embed_tokens.weight"


def run(folder: Path, method: str = "task_arithmetic", base: str | None = "b", **keys: Any) -> tv.Checkpoint:
    models = keys.pop("models", ["m"])
    entries = [
        {"model": str(folder / m)} if isinstance(m, str) else m | {"model": str(folder / m["model"])} for m in models
    ]
    data = {"method": method, "models": entries} | ({"base": str(folder / base)} if base else {}) | keys
    plan = tv.make_plan(tv.Recipe.model_validate(data), folder / "out")
    return tv.Checkpoint(tv.run(plan, folder / "out", force=True).folder)


class TestTiedHeads:
    @pytest.fixture
    def tensors(self, tmp_path: Path) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
        base = tiny_tensors(layers=1)
        return base, finetuned(base, 1)

    def without_head(self, tensors: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        return {n: x for n, x in tensors.items() if n != HEAD}

    @pytest.mark.parametrize("method", ["task_arithmetic", "ties", "dare_linear"])
    def test_a_model_whose_head_is_its_embedding(self, tmp_path: Path, tensors: Any, method: str) -> None:
        base, tuned = tensors
        write_model(tmp_path / "b", base)
        write_model(tmp_path / "m", self.without_head(tuned), config={"tie_word_embeddings": True})
        write_model(tmp_path / "spelled", tuned | {HEAD: tuned[EMBED]})
        settings = {"density": 1.0} if method != "task_arithmetic" else {}
        got = {n: x.clone() for n, x in run(tmp_path, method, settings=settings).items()}
        expected = run(tmp_path, method, settings=settings, models=["spelled"])
        assert set(got) == set(base)
        assert all(torch.equal(got[n], expected[n]) for n in got)
        if method == "task_arithmetic":
            assert np.array_equal(got[HEAD].numpy(), base[HEAD] + (tuned[EMBED] - base[HEAD]))

    def test_all_tied(self, tmp_path: Path, tensors: Any) -> None:
        for name, x in zip("bm", tensors, strict=True):
            write_model(tmp_path / name, self.without_head(x), config={"tie_word_embeddings": True})
        got = run(tmp_path)
        assert HEAD not in got
        assert got.config["tie_word_embeddings"] is True
        assert got.resolve(HEAD) == got.tensors[EMBED]

    def test_a_tied_head_stored_twice_is_left_out(self, tmp_path: Path, tensors: Any) -> None:
        base, tuned = tensors
        write_model(tmp_path / "b", self.without_head(base), config={"tie_word_embeddings": True})
        write_model(tmp_path / "m", tuned | {HEAD: tuned[EMBED]}, config={"tie_word_embeddings": True})
        assert HEAD not in run(tmp_path)


class TestIgnored:
    def test_everything(self, tmp_path: Path) -> None:
        base = tiny_tensors(layers=1)
        write_model(tmp_path / "b", base, dtype="BF16")
        write_model(tmp_path / "m", finetuned(base, 1), dtype="BF16")
        for method in ("ties", "task_arithmetic", "dare_ties", "model_stock"):
            models = ["m", "m"] if method == "model_stock" else ["m"]
            got, stored = run(tmp_path, method, ignore=["*"], models=models), tv.Checkpoint(tmp_path / "b")
            assert all(torch.equal(got[n], stored[n]) for n in stored)

    def test_embeddings_of_another_size(self, tmp_path: Path) -> None:
        base = tiny_tensors(layers=1)
        write_model(tmp_path / "b", base)
        larger = finetuned(base, 1)
        for name in (EMBED, HEAD):
            larger[name] = np.concatenate([larger[name], larger[name][:3]])
        write_model(tmp_path / "m", larger)
        for method in ("task_arithmetic", "ties", "dare_ties"):
            got = run(tmp_path, method, ignore=["*embed_tokens*", "lm_head.*"])
            assert got[EMBED].numpy().tolist() == base[EMBED].tolist()
            assert not np.array_equal(got["model.norm.weight"].numpy(), base["model.norm.weight"])

    def test_a_tensor_that_a_model_lacks(self, tmp_path: Path) -> None:
        base = tiny_tensors(layers=1)
        write_model(tmp_path / "b", base)
        write_model(tmp_path / "m", {n: x for n, x in finetuned(base, 1).items() if n != HEAD})
        assert run(tmp_path, ignore=[HEAD])[HEAD].numpy().tolist() == base[HEAD].tolist()


class TestModels:
    @pytest.fixture(autouse=True)
    def family(self, tmp_path: Path) -> None:
        base = tiny_tensors(layers=1)
        write_model(tmp_path / "b", base, dtype="BF16")
        write_model(tmp_path / "m", finetuned(base, 1), dtype="BF16")

    def test_one_twice_is_one_with_twice_the_weight(self, tmp_path: Path) -> None:
        twice = {n: x.clone() for n, x in run(tmp_path, models=["m", "m"], dtype="float32").items()}
        heavy = run(tmp_path, models=[{"model": "m", "weight": 2}], dtype="float32")
        assert all(torch.equal(heavy[n], x) for n, x in twice.items())

    def test_the_base_itself_is_a_model_that_changed_nothing(self, tmp_path: Path) -> None:
        for method in ("task_arithmetic", "ties", "breadcrumbs", "dare_linear"):
            got, base = run(tmp_path, method, models=["b"]), tv.Checkpoint(tmp_path / "b")
            assert all(torch.equal(got[n], base[n]) for n in base), method

    @pytest.mark.parametrize("dtype", ["float32", "float64"])
    def test_a_wider_type_loses_nothing(self, tmp_path: Path, dtype: str) -> None:
        got = run(tmp_path, dtype=dtype, models=["m"])
        facts = json.loads((tmp_path / "out" / "receipt.json").read_text())
        assert facts["rounding"]["lost"] == 0.0
        tuned = tv.Checkpoint(tmp_path / "m")
        assert all(torch.equal(got[n], tuned[n].to(getattr(torch, dtype))) for n in tuned)

    @pytest.mark.parametrize("name", ['a "b" c', "Übung 🦙", "x: y", "- dash", "'", "a\\b", "yes", "per%cent {x}"])
    def test_odd_names_of_folders(self, tmp_path: Path, name: str) -> None:
        (tmp_path / "m").rename(tmp_path / name)
        run(tmp_path, models=[name])
        assert ModelCard.load(tmp_path / "out" / "README.md").data.base_model == ["b", name]
        assert json.loads((tmp_path / "out" / "receipt.json").read_text())["inputs"][1]["path"] == str(tmp_path / name)


def test_a_second_run_into_the_same_output_is_refused_and_harms_nothing(
    recipe: Callable[..., tv.Recipe], merged: Callable[..., Path], tmp_path: Path
) -> None:
    made, out, refusals = recipe("ties"), tmp_path / "here" / "merged", []

    class Meanwhile(Silent):
        def begin(self, what: str, total: int) -> None:
            with pytest.raises(tv.OutputError, match="is being written by another run") as caught:
                tv.run(tv.make_plan(made), out)
            refusals.append(str(caught.value))

    tv.run(tv.make_plan(made), out, progress=Meanwhile())
    assert len(refusals) == 1
    assert contents(out) == contents(merged(made))
