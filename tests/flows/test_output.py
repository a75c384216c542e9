"""The output folder: whole or absent, never written over unasked, and nothing of an older merge stays in it."""

import hashlib
import json
import os
import resource
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from huggingface_hub import ModelCard
from safetensors import safe_open

import taskvec as tv
from taskvec.testing import finetuned, tiny_tensors, write_model

from .conftest import contents

Make = Callable[..., tv.Recipe]


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "merged"


def run(recipe: tv.Recipe, out: Path, **how: Any) -> tv.Receipt:
    return tv.run(tv.make_plan(recipe, out), out, **how)


class TestWhatIsThere:
    def test_the_files(self, recipe: Make, out: Path) -> None:
        run(recipe("ties", output={"shard_size": 120_000}), out)
        names = sorted(p.name for p in out.iterdir())
        count = sum(n.endswith(".safetensors") for n in names)
        assert count > 1
        assert names == sorted(
            ["README.md", "config.json", "model.safetensors.index.json", "receipt.json", "tokenizer.json"]
            + [f"model-{i:05d}-of-{count:05d}.safetensors" for i in range(1, count + 1)]
        )

    def test_shards_never_exceed_their_size(self, recipe: Make, out: Path) -> None:
        run(recipe("linear", output={"shard_size": 90_000}), out)
        for file in out.glob("*.safetensors"):
            with safe_open(file, framework="pt") as shard:
                sizes = [shard.get_tensor(n).nbytes for n in shard.keys()]  # noqa: SIM118  (not a dict)
            assert sum(sizes) <= 90_000 or len(sizes) == 1

    def test_the_config_says_the_new_type(self, recipe: Make, soup: Callable[..., Path], out: Path) -> None:
        run(recipe("ties", dtype="float16"), out)
        theirs = json.loads((soup() / "base" / "config.json").read_text())
        assert theirs["torch_dtype"] == "bfloat16"
        assert json.loads((out / "config.json").read_text()) == theirs | {"torch_dtype": "float16"}

    def test_the_card_is_read_by_the_hub(self, recipe: Make, out: Path) -> None:
        made = recipe("dare_linear", [{"model": 0, "weight": 0.5}, 2], seed=3)
        run(made, out)
        card = ModelCard.load(out / "README.md")
        assert card.data.base_model == ["base", "m0", "m2"]
        assert "merge" in card.data.tags
        recipe_in_it = yaml.safe_load(card.text.split("```yaml\n")[1].split("```")[0])
        assert tv.Recipe.model_validate(recipe_in_it) == made

    def test_the_tokenizer_comes_from_where_the_recipe_says(self, tmp_path: Path, out: Path) -> None:
        base = tiny_tensors(layers=1)
        write_model(tmp_path / "b", base, tokens={"a": 0})
        write_model(tmp_path / "m", finetuned(base, 1), tokens={"a": 0, "<new>": 1})
        (tmp_path / "b" / "generation_config.json").write_text('{"from": "base"}')
        (tmp_path / "m" / "generation_config.json").write_text('{"from": "model"}')
        data = {
            "method": "task_arithmetic",
            "base": str(tmp_path / "b"),
            "models": [{"model": str(tmp_path / "m")}],
            "tokenizer": str(tmp_path / "m"),
        }
        run(tv.Recipe.model_validate(data), out)
        assert (out / "tokenizer.json").read_bytes() == (tmp_path / "m" / "tokenizer.json").read_bytes()
        assert json.loads((out / "generation_config.json").read_text()) == {"from": "base"}

    def test_single_files_are_merged_too(self, tmp_path: Path, out: Path) -> None:
        base = tiny_tensors(layers=1)
        files = [
            write_model(tmp_path / n, x) / "model.safetensors" for n, x in (("a", base), ("b", finetuned(base, 1)))
        ]
        run(tv.Recipe.model_validate({"method": "linear", "models": [{"model": str(f)} for f in files]}), out)
        assert sorted(p.name for p in out.iterdir()) == ["README.md", "model.safetensors", "receipt.json"]

    def test_a_folder_beside_an_input_file_is_no_input(self, tmp_path: Path) -> None:
        base = tiny_tensors(layers=1)
        files = [write_model(tmp_path, x).joinpath("model.safetensors").rename(tmp_path / f"{n}.safetensors")
                 for n, x in (("a", base), ("b", finetuned(base, 1)))]  # fmt: skip
        recipe = tv.Recipe.model_validate({"method": "linear", "models": [{"model": str(f)} for f in files]})
        run(recipe, tmp_path / "merged")
        assert (tmp_path / "merged" / "model.safetensors").exists()


class TestAnExistingOne:
    def test_stays_untouched_without_force(self, recipe: Make, out: Path) -> None:
        run(recipe("linear"), out)
        before = contents(out, but=())
        with pytest.raises(
            tv.OutputError, match=r"merged exists and is not empty\. Choose another folder, or type --forc"
        ):
            run(recipe("ties"), out)
        assert contents(out, but=()) == before
        assert [p.name for p in out.parent.iterdir()] == ["merged"]

    def test_is_replaced_with_force_and_nothing_of_it_remains(
        self, recipe: Make, merged: Callable[..., Path], out: Path
    ) -> None:
        """mergekit leaves five old shards and their index beside the new file (peers.md C5)."""
        run(recipe("linear", output={"shard_size": 60_000}), out)
        (out / "notes.txt").write_text("mine")
        made = recipe("ties")
        run(made, out, force=True)
        assert [p.name for p in out.parent.iterdir()] == ["merged"]
        assert contents(out) == contents(merged(made))

    def test_stays_while_the_new_one_is_made_and_if_that_fails(
        self, recipe: Make, out: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        run(recipe("linear"), out)
        before = contents(out, but=())

        def fails(*args: object) -> None:
            assert contents(out, but=()) == before
            raise KeyboardInterrupt

        monkeypatch.setattr("taskvec.recipe.merge.write_folder", fails)
        with pytest.raises(KeyboardInterrupt):
            run(recipe("ties"), out, force=True)
        assert contents(out, but=()) == before

    def test_comes_back_if_the_new_one_cannot_take_its_place(
        self, recipe: Make, out: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        run(recipe("linear"), out)
        before = contents(out, but=())
        rename = os.rename

        def fails(source: Path, target: Path) -> None:
            if Path(source).name.endswith(".partial"):
                raise OSError(5, "Input/output error")
            rename(source, target)

        monkeypatch.setattr(os, "rename", fails)
        with pytest.raises(
            tv.OutputError, match=r"cannot be written: Input/output error\. Make room or choose another"
        ):
            run(recipe("ties"), out, force=True)
        assert contents(out, but=()) == before

    def test_an_empty_folder_is_no_output(self, recipe: Make, out: Path) -> None:
        out.mkdir()
        run(recipe("linear"), out)
        assert (out / "model.safetensors").exists()

    def test_a_file_is_no_folder(self, recipe: Make, out: Path) -> None:
        out.write_text("mine")
        with pytest.raises(tv.OutputError, match=r"merged is a file; the output is a folder\. Choose another name\."):
            run(recipe("linear"), out, force=True)
        assert out.read_text() == "mine"

    def test_a_link_to_an_older_output_is_replaced_not_what_it_points_to(
        self, recipe: Make, merged: Callable[..., Path], out: Path, tmp_path: Path
    ) -> None:
        run(recipe("linear"), tmp_path / "elsewhere")
        before = contents(tmp_path / "elsewhere", but=())
        out.symlink_to(tmp_path / "elsewhere")
        made = recipe("ties")
        run(made, out, force=True)
        assert contents(out) == contents(merged(made))
        assert contents(tmp_path / "elsewhere", but=()) == before
        assert not list(tmp_path.glob(".merged*"))

    def test_parents_are_made(self, recipe: Make, tmp_path: Path) -> None:
        assert run(recipe("linear"), tmp_path / "a" / "b" / "merged").folder.is_dir()

    def test_relative_names_are_taken_from_where_one_is(
        self, recipe: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.chdir(tmp_path)
        assert run(recipe("linear"), Path("merged")).folder == tmp_path / "merged"


LIMITED = """
import resource, sys
resource.setrlimit(resource.RLIMIT_FSIZE, (250_000, resource.RLIM_INFINITY))
from taskvec.cli import main
main()
"""


def test_a_limit_on_the_size_of_files(recipe: Make, merged: Callable[..., Path], out: Path, tmp_path: Path) -> None:
    """RLIMIT_FSIZE, as on some clusters: said before work starts, with the remedy; then it works."""
    (tmp_path / "recipe.yaml").write_text(recipe("linear").model_dump_json(exclude_defaults=True))
    command = [sys.executable, "-c", LIMITED, "merge", str(tmp_path / "recipe.yaml"), "-o", str(out)]
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[0] == resource.RLIM_INFINITY
    env = os.environ | {"TASKVEC_KERNELS": "plain"}
    failed = subprocess.run(command, capture_output=True, text=True, env=env, timeout=60)
    assert failed.returncode == 3
    assert "may not grow to" in failed.stderr
    assert "Type a smaller shard size." in failed.stderr
    assert sorted(p.name for p in tmp_path.iterdir()) == ["recipe.yaml"]
    smaller = subprocess.run([*command, "--set", "output.shard_size=210kB"], capture_output=True, env=env, timeout=60)
    assert smaller.returncode == 0
    expected = tv.Checkpoint(merged(recipe("linear")))
    assert all((tv.Checkpoint(out)[n] == x).all() for n, x in expected.items())


def test_inputs_are_never_touched(recipe: Make, soup: Callable[..., Path], out: Path) -> None:
    before = {p: (p.stat().st_mtime_ns, hashlib.sha256(p.read_bytes()).digest()) for p in soup().rglob("*.*")}
    for method in tv.METHODS:
        run(recipe(method), out, force=True)
    assert {p: (p.stat().st_mtime_ns, hashlib.sha256(p.read_bytes()).digest()) for p in soup().rglob("*.*")} == before
