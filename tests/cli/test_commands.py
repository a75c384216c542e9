"""Every command does what the library does, and prints it."""

import json
import re
import shlex
from pathlib import Path

import numpy as np
import pytest
import yaml

import taskvec as tv
from taskvec.cli.app import command_table
from taskvec.ops import kernels
from taskvec.testing import finetuned, tiny_tensors, write_adapter, write_model

from .conftest import Command

HEAD = "lm_head.weight"
FACTORS = {
    f"base_model.model.model.layers.0.self_attn.q_proj.lora_{half}.weight": np.full(shape, 0.5, np.float32)
    for half, shape in (("A", (2, 8)), ("B", (8, 2)))
}


def tensors(folder: Path) -> dict[str, list[float]]:
    return {n: x.double().flatten().tolist() for n, x in tv.Checkpoint(folder).items()}


@pytest.fixture
def adapter(family: Path) -> Path:
    """A LoRA of `base`."""
    return write_adapter(family / "lora", FACTORS)


class TestMerge:
    def test_a_recipe(self, family: Path, command: Command) -> None:
        done = command("merge", "recipe.yaml", "-o", "merged")
        assert (done.status, done.err) == (0, "")
        expected = tv.run(tv.make_plan(tv.load_recipe("recipe.yaml")[0]), family / "expected").folder
        assert (family / "merged" / "model.safetensors").read_bytes() == (expected / "model.safetensors").read_bytes()
        assert "12 tensors merged by ties, 1 copied; read " in done.out
        assert "Storing as bfloat16 (rounded to nearest) lost " in done.out

    def test_the_first_use_says_why_it_takes_longer(
        self, family: Path, command: Command, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(kernels, "when_compiling", lambda tell: tell())
        assert "compiling kernels, once after an install" in command("merge", "recipe.yaml", "-o", "merged").err
        assert command("merge", "recipe.yaml", "-o", "quiet", "--quiet").err == ""

    def test_the_command_line_instead_of_a_recipe(self, family: Path, command: Command) -> None:
        words = ["--method", "ties", "--base", "base", "math", "code", "-o"]
        assert command("merge", *words, "a", "--set", "settings.density=0.3", "-s", "models.1.weight=2").status == 0
        recipe = {
            "method": "ties",
            "base": "base",
            "models": [{"model": "math"}, {"model": "code", "weight": 2}],
            "settings": {"density": 0.3},
        }
        facts = json.loads((family / "a" / "receipt.json").read_text())
        assert tv.Recipe.model_validate(facts["recipe"]) == tv.Recipe.model_validate(recipe)

    @pytest.mark.parametrize(
        ("change", "key", "value"),
        [
            ("settings.density=1e-1", "settings", {"density": 0.1}),
            ("settings.scope=tensor", "settings", {"scope": "tensor"}),
            ("scale=[0, 1]", "scale", [0, 1]),
            ("dtype=float32", "dtype", "float32"),
            ("ignore=[lm_head.*]", "ignore", ["lm_head.*"]),
            ("output.shard_size=2kB", "output", {"shard_size": 2000}),
            ("models.0.weight=-0.5", "models", None),
            ("seed=7", "seed", 7),
        ],
    )
    def test_set_changes_a_recipe(self, family: Path, command: Command, change: str, key: str, value: object) -> None:
        done = command("merge", "recipe.yaml", "-o", "merged", "--set", change, "--json")
        assert done.status == 0, done.err
        recipe = json.loads(done.out)["recipe"]
        if value is None:
            assert recipe["models"][0]["weight"] == -0.5
        else:
            assert recipe[key] == value

    def test_mergekits_recipe_runs_unchanged_and_says_where_it_differs(self, family: Path, command: Command) -> None:
        (family / "mk.yml").write_text(
            "merge_method: ties\nbase_model: base\nmodels:\n- model: math\n  parameters: {weight: 0.5, density: 0.5}\n"
            "- model: code\n  parameters: {weight: 0.5, density: 0.5}\nparameters: {int8_mask: true}\ndtype: bfloat16\n"
        )
        done = command("merge", "mk.yml", "-o", "merged")
        assert done.status == 0
        assert "note: 'int8_mask' has no effect here" in done.err
        assert "note: ties: entries that tie exactly" in done.err
        facts = json.loads((family / "merged" / "receipt.json").read_text())
        assert facts["recipe"]["settings"]["scope"] == "tensor"

    def test_a_series_that_fails_says_where_its_finished_models_are_kept(self, family: Path, command: Command) -> None:
        text = "name: half\nmethod: linear\nmodels: [math, code]\n---\nmethod: ties\nbase: base\nmodels: [half, more]\n"
        (family / "series.yaml").write_text(text)
        done = command("merge", "series.yaml", "-o", "merged")
        assert done.status == 3
        assert "more does not exist." in done.err
        kept = family / ".merged.steps"
        assert done.err.endswith(
            "The models that are finished are kept in .merged.steps, and the same command goes on from there. "
            "If it is not to be repeated, delete that folder.\n"
        )
        write_model(family / "more", tiny_tensors() | {"position_ids": np.arange(4)}, dtype="BF16")
        assert (kept / "half" / "receipt.json").is_file()
        assert command("merge", "series.yaml", "-o", "merged").status == 0
        assert not kept.exists()

    def test_a_series_that_fails_at_once_leaves_nothing(self, family: Path, command: Command) -> None:
        (family / "series.yaml").write_text(
            "name: half\nmethod: linear\nmodels: [math, nan]\n---\nmethod: ties\nbase: base\nmodels: [half, math]\n"
        )
        tensors = finetuned(tiny_tensors() | {"position_ids": np.arange(4)}, 0)
        tensors[HEAD][0, 0] = np.nan
        write_model(family / "nan", tensors, dtype="BF16")
        done = command("merge", "series.yaml", "-o", "merged")
        assert done.status == 4
        assert "kept in" not in done.err
        assert not (family / ".merged.steps").exists()

    @pytest.mark.parametrize("fault", ["another base", "other tokens", "another hash", "more rows"])
    def test_what_a_refusal_says_to_type_helps_with_mergekits_recipe_too(
        self, family: Path, command: Command, fault: str
    ) -> None:
        base = tiny_tensors()
        tokens = {f"t{i}": i for i in range(len(base["lm_head.weight"]))}
        more = {name: np.pad(base[name], ((0, 1), (0, 0)), "edge") for name in ("model.embed_tokens.weight", HEAD)}
        swapped = tokens | {"t0": 1, "t1": 0}
        write_model(family / "one", base, tokens=tokens)
        write_model(family / "two", tiny_tensors(9) if fault == "another base" else base, tokens=tokens)
        if fault == "other tokens":
            write_model(family / "two", base, tokens=swapped)
        if fault == "more rows":
            write_model(family / "two", base | more, tokens={**tokens, "new": len(tokens)})
            (family / "two" / "tokenizer.json").rename(family / "tokens")  # found out by the shapes alone
        if fault == "another hash":
            (family / "two" / "receipt.json").write_text('{"files": {"model.safetensors": {"sha256": "0"}}}')
        (family / "mk.yml").write_text(
            "merge_method: linear\nmodels:\n- {model: one, parameters: {weight: 1}}\n"
            "- {model: two, parameters: {weight: 1}}\n"
        )
        done = command("merge", "mk.yml", "-o", "merged")
        assert done.status == 3
        if fault == "more rows":
            (family / "tokens").rename(family / "two" / "tokenizer.json")
        advice = re.findall(r"--set \S+(?=[.,])", done.err)
        assert advice
        for at, typed in enumerate(advice):
            assert command("merge", "mk.yml", "-o", f"merged{at}", *shlex.split(typed)).status == 0, typed

    def test_threads_slices_and_memory_do_not_change_it(self, family: Path, command: Command) -> None:
        for i, words in enumerate(([], ["--threads", "1"], ["--slice", "16384"], ["--memory", "200MB"])):
            assert command("merge", "recipe.yaml", "-o", str(i), *words).status == 0
        first, *others = (Path(str(i), "model.safetensors").read_bytes() for i in range(4))
        assert all(other == first for other in others)

    def test_force_and_restart(self, family: Path, command: Command) -> None:
        assert command("merge", "recipe.yaml", "-o", "merged").status == 0
        assert command("merge", "recipe.yaml", "-o", "merged").status == 3
        assert command("merge", "recipe.yaml", "-o", "merged", "--force", "--restart").status == 0

    @pytest.mark.parametrize("command_", ["merge", "plan"])
    def test_an_output_that_exists_is_refused_before_anything_else_is_done(
        self, family: Path, command: Command, monkeypatch: pytest.MonkeyPatch, command_: str
    ) -> None:
        for slow in ("make_plan", "load_kernels"):
            monkeypatch.setattr(f"taskvec.cli.merging.{slow}", lambda *args, **how: pytest.fail("begun in vain"))
        (family / "taken").mkdir()
        (family / "taken" / "x").touch()
        done = command(command_, "recipe.yaml", "-o", "taken")
        assert done.status == 3
        assert done.err == "taken exists and is not empty. Choose another folder, or type --force to replace it.\n"
        done = command(command_, "recipe.yaml", "-o", "math")  # here --force would not help, so it is not named
        assert done.status == 2
        assert "would lie over the input math. Choose another output folder." in done.err

    def test_the_name_of_a_result_is_no_input(self, family: Path, command: Command) -> None:
        text = "name: half\nmethod: linear\nmodels: [math, code]\n---\nmethod: ties\nbase: base\nmodels: [half, math]\n"
        (family / "series.yaml").write_text(text)
        (family / "half").mkdir()
        assert command("merge", "series.yaml", "-o", "half").status == 0

    def test_an_unfinished_one_is_named_by_plan_and_by_merge(
        self, family: Path, command: Command, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def interrupt(*args: object) -> None:
            raise KeyboardInterrupt

        with monkeypatch.context() as patch:
            patch.setattr("taskvec.recipe.merge.write_folder", interrupt)
            assert command("merge", "recipe.yaml", "-o", "merged").status == 130
        other = ["recipe.yaml", "-o", "merged", "--set", "scale=0.5"]
        plan, merge = command("plan", *other), command("merge", *other)
        assert (plan.status, plan.err) == (merge.status, merge.err)
        assert ".merged.partial holds an unfinished merge of another recipe" in plan.err
        note = "note: continuing an unfinished merge: 13 of 13 tensors are done.\n"
        assert command("plan", "recipe.yaml", "-o", "merged").out.endswith(note)
        assert note not in command("plan", "recipe.yaml", "-o", "elsewhere").out
        assert command("merge", "recipe.yaml", "-o", "merged").err == note


class TestImport:
    NOTE = "note: in our form paths such as 'math' start in the recipe's own folder; save it in {}."

    def recipe(self, folder: Path, *models: str) -> Path:
        """Write a recipe of mergekit's."""
        folder.mkdir(exist_ok=True)
        listed = "".join(f"- {{model: {model}, parameters: {{weight: 1}}}}\n" for model in models)
        (folder / "mk.yml").write_text(f"merge_method: linear\nmodels:\n{listed}")
        return folder / "mk.yml"

    def test_where_to_save_it_is_said_and_there_it_runs(self, family: Path, command: Command) -> None:
        done = command("import", self.recipe(family / "mk", "math", "code"))
        assert done.status == 0
        assert done.err.splitlines()[-1] == self.NOTE.format("the working folder")
        (family / "ours.yaml").write_text(done.out)
        assert command("merge", "ours.yaml", "-o", "merged").status == 0

    def test_paths_beside_the_recipe(self, family: Path, command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
        self.recipe(family, "math", "code")
        (family / "elsewhere").mkdir()
        monkeypatch.chdir(family / "elsewhere")
        assert command("import", "../mk.yml").err.splitlines()[-1] == self.NOTE.format("..")

    def test_nothing_is_said_where_it_runs_anywhere(self, family: Path, command: Command) -> None:
        done = command("import", self.recipe(family, str(family / "math"), "org/model"))
        assert done.status == 0
        assert "the recipe's own folder" not in done.err


class TestPlan:
    def test_everything_about_it_is_printed(self, family: Path, command: Command) -> None:
        done = command("plan", "recipe.yaml", "-o", "merged")
        assert (done.status, done.err) == (0, "")
        assert not (family / "merged").exists()
        for text in (
            "ties: 2 models",
            tv.fingerprint(tv.Checkpoint("base")),
            "how near to",
            "12 merged, 1 copied, stored as I64, bfloat16",
            "in 2 passes over the inputs",
            "in 1 file",
            "at most (limit 512 MB), ",
            " or more, which the disk takes alone (probe: reads ",
        ):
            assert text in done.out

    def test_it_takes_what_merge_takes(self, family: Path, command: Command) -> None:
        words = ["--method", "linear", "math", "code", "--set", "dtype=float16", "--threads", "1", "--memory", "200MB"]
        facts = json.loads(command("plan", *words, "--json").out)
        assert (facts["method"], facts["threads"], facts["memory"]["limit"]) == ("linear", 1, 200_000_000)
        assert facts["dtypes"] == ["I64", "float16"]
        assert facts["time"]["seconds"] > 0

    def test_it_refuses_what_merge_refuses(self, family: Path, command: Command) -> None:
        words = ["recipe.yaml", "--set", "settings.densty=1"]
        one, two = command("plan", *words), command("merge", *words, "-o", "merged")
        assert (one.status, one.err) == (two.status, two.err)
        assert "has no setting 'densty'. Did you mean 'density'?" in one.err

    def test_recipes_that_build_on_each_other_are_one_list_for_a_script(self, family: Path, command: Command) -> None:
        one, two = (f"name: {n}\nmethod: linear\nmodels: [math, code]\n---\n" for n in "ab")
        (family / "recipe.yaml").write_text(f"{one}{two}method: linear\nmodels: [a, b]\n")
        facts = json.loads(command("plan", "recipe.yaml", "--json").out)
        assert [plan["method"] for plan in facts] == ["linear", "linear"]
        assert command("plan", "recipe.yaml").out.endswith(
            "1 of 3 recipes use what others make, and are planned then.\n"
        )


class TestMethods:
    def test_the_table(self, command: Command) -> None:
        done = command("methods")
        assert done.status == 0
        for name, method in tv.METHODS.items():
            assert name in done.out
            assert method.summary.split(".")[0][:40] in done.out

    def test_as_data(self, command: Command) -> None:
        rows = {row["name"]: row for row in json.loads(command("methods", "--json").out)}
        assert set(rows) == set(tv.METHODS)
        assert rows["slerp"]["models"] == "2"
        assert rows["model_stock"]["models"] == "2+"
        assert rows["ties"]["settings"]["density"] == {"default": 0.2, "expected": "a number in (0, 1]"}

    @pytest.mark.parametrize("name", list(tv.METHODS))
    def test_show_explains_one(self, command: Command, name: str) -> None:
        done = command("show", name)
        assert done.status == 0
        assert f"{name}: {tv.METHODS[name].summary[:30]}" in done.out
        assert tv.METHODS[name].paper in done.out
        for setting in tv.METHODS[name].settings:
            assert setting in done.out
        assert json.loads(command("show", name, "--json").out)["name"] == name

    def test_one_that_does_not_exist(self, command: Command) -> None:
        done = command("show", "tise")
        assert done.status == 2
        assert "unknown merge method 'tise'. Did you mean 'ties'?" in done.err

    def test_the_schema(self, command: Command) -> None:
        assert json.loads(command("schema").out)["properties"]["method"]["enum"] == sorted(tv.METHODS)


class TestVectors:
    def test_diff_is_the_librarys(self, family: Path, command: Command) -> None:
        done = command("diff", "base", "math", "-o", "math.tv")
        assert done.status == 0
        expected = tv.diff("base", "math").save("expected.tv")
        assert (family / "math.tv").read_bytes() == expected.read_bytes()
        assert "math.tv: 12 tensors, " in done.out

    def test_diff_stores_as_asked(self, family: Path, command: Command) -> None:
        facts = json.loads(command("diff", "base", "math", "-o", "math.tv", "--dtype", "bfloat16", "--json").out)
        assert facts["bytes"] == Path("math.tv").stat().st_size
        assert facts["history"] == ["math - base"]
        checkpoint = tv.Checkpoint("math.tv")
        assert {checkpoint.info(n).dtype for n in checkpoint} == {"BF16"}

    def test_diff_takes_a_model_with_an_adapter(self, family: Path, adapter: Path, command: Command) -> None:
        command("diff", "base", "lora", "-o", "lora.tv")
        assert command("diff", "base", "base+lora", "-o", "sum.tv").status == 0
        assert (family / "sum.tv").read_bytes() == (family / "lora.tv").read_bytes()  # not rounded to the base's sum
        done = command("diff", "base+lora", "math+lora", "-o", "across.tv")
        assert (done.status, done.err) == (0, "")
        across, apart = tv.TaskVector.load("across.tv"), tv.diff("base", "math")
        assert all(abs(across[name] - apart[name]).max() <= 1e-6 for name in across)
        assert command("apply", "base+lora", "across.tv", "-o", "again").status == 0
        assert "code in 'base+code' is no adapter" in command("diff", "base", "base+code", "-o", "x.tv").err

    def test_apply_is_the_librarys(self, family: Path, command: Command) -> None:
        for name in ("math", "code"):
            command("diff", "base", name, "-o", f"{name}.tv")
        done = command("apply", "base", "+0.4", "math.tv", "-1", "code.tv", "-o", "edited")
        assert (done.status, done.err) == (0, "")
        loaded = [tv.TaskVector.load(f"{name}.tv") for name in ("math", "code")]
        total = 0.4 * loaded[0] - loaded[1]
        expected = tv.apply(total, "base", "expected").folder
        assert (family / "edited" / "model.safetensors").read_bytes() == (expected / "model.safetensors").read_bytes()
        lazily = {n: x.double().flatten().tolist() for n, x in total.apply("base").items()}
        assert tensors(family / "edited") == lazily

    @pytest.mark.parametrize(
        ("terms", "weights"),
        [
            (["a.tv"], [1.0]),
            (["a.tv", "b.tv"], [1.0, 1.0]),
            (["0.5", "a.tv", "b.tv"], [0.5, 1.0]),
            (["-1", "a.tv"], [-1.0]),
            (["+.5", "a.tv", "-1e-3", "b.tv"], [0.5, -1e-3]),
            (["2", "a.tv", "2", "a.tv"], [2.0, 2.0]),
        ],
    )
    def test_weights_and_vectors(self, family: Path, command: Command, terms: list[str], weights: list[float]) -> None:
        tv.diff("base", "math").save("a.tv")
        tv.diff("base", "code").save("b.tv")
        done = command("apply", "base", *terms, "-o", "edited", "--json")
        assert done.status == 0, done.err
        models = tv.Recipe.model_validate(json.loads(done.out)["recipe"]).models
        assert [m.weight for m in models] == weights
        assert [m.model for m in models] == [t for t in terms if t.endswith(".tv")]

    def test_diff_and_apply_give_the_fine_tune_back(self, family: Path, command: Command) -> None:
        command("diff", "base", "math", "-o", "math.tv")
        command("apply", "base", "math.tv", "-o", "again")
        assert tensors(family / "again") == tensors(family / "math")

    @pytest.mark.parametrize(
        ("words", "message"),
        [
            (["0.4"], "weights and vectors alternate, e.g. +0.4 math.tv -1 toxic.tv; got '0.4'."),
            (["math.tv", "-1"], "weights and vectors alternate"),
            (["1", "2", "math.tv"], "2 does not exist."),
        ],
    )
    def test_terms_that_make_no_sense(self, family: Path, command: Command, words: list[str], message: str) -> None:
        tv.diff("base", "math").save("math.tv")
        done = command("apply", "base", *words, "-o", "edited")
        assert done.status in (2, 3)
        assert message in done.err
        assert not (family / "edited").exists()

    def test_outputs_stay_unless_forced(self, family: Path, command: Command) -> None:
        (family / "math.tv").write_text("mine")
        done = command("diff", "base", "math", "-o", "math.tv")
        assert (done.status, done.out) == (3, "")
        assert "math.tv exists. Choose another name, or type --force to replace it." in done.err
        assert (family / "math.tv").read_text() == "mine"
        assert command("diff", "base", "math", "-o", "math.tv", "--force").status == 0
        assert len(tv.TaskVector.load("math.tv")) == 12

    def test_force_does_not_overwrite_an_input(self, family: Path, command: Command) -> None:
        before = (family / "math" / "model.safetensors").read_bytes()
        done = command("diff", "base", "math", "-o", "math/model.safetensors", "--force")
        assert done.status == 3
        assert "is read by this vector and is not overwritten" in done.err
        assert (family / "math" / "model.safetensors").read_bytes() == before


class TestVerify:
    @pytest.fixture
    def merged(self, family: Path) -> Path:
        """A merge without a config.json, which would be one of a model that is larger than its tensors."""
        for name in ("base", "math", "code"):
            (family / name / "config.json").unlink()
        return tv.run(tv.make_plan(tv.load_recipe("recipe.yaml")[0]), family / "merged").folder

    def test_one_that_is_in_order(self, merged: Path, command: Command) -> None:
        done = command("verify", "merged")
        assert (done.status, done.err) == (0, "")
        assert "merged: 13 tensors, " in done.out
        assert "all finite." in done.out
        facts = json.loads(command("verify", "merged", "--json").out)
        assert facts["tensors"] == 13
        assert facts["hashes"].startswith("2 files")
        assert facts["loads"] == "not tried (no config.json)"

    def test_one_with_a_flipped_bit(self, merged: Path, command: Command) -> None:
        raw = bytearray((merged / "model.safetensors").read_bytes())
        raw[-1] ^= 1
        (merged / "model.safetensors").write_bytes(raw)
        done = command("verify", "merged")
        assert (done.status, done.out) == (3, "")
        assert "model.safetensors has changed: its SHA-256 is" in done.err

    def test_one_without_a_receipt(self, family: Path, command: Command) -> None:
        (family / "math" / "config.json").unlink()
        assert "hashes: none known." in command("verify", "math").out

    def test_nothing(self, family: Path, command: Command) -> None:
        assert command("verify", "nowhere").status == 3

    def test_a_model_with_an_adapter(self, family: Path, adapter: Path, command: Command) -> None:
        done = command("verify", "base+lora")
        assert (done.status, done.err) == (0, "")
        assert "base+lora: 13 tensors, " in done.out
        assert "loads: not tried (the sum lies in no folder)." in done.out
        write_adapter(adapter, {name: x * np.float32(np.inf) for name, x in FACTORS.items()})
        wrong = command("verify", "base+lora")
        assert wrong.status == 4
        assert "q_proj.weight' in lora holds" in wrong.err
        assert "math in 'base+math' is no adapter" in command("verify", "base+math").err


class TestHelp:
    @pytest.mark.parametrize("name", list(command_table()))
    def test_every_command_shows_an_example_that_begins_with_its_name(self, command: Command, name: str) -> None:
        done = command(*name.split(), "--help")
        assert done.status == 0
        assert f"Example: taskvec {name}" in done.out.replace("`", "")

    @pytest.mark.parametrize("name", list(command_table()))
    def test_every_option_is_explained(self, command: Command, name: str) -> None:
        app = command_table()[name]
        for argument in app.assemble_argument_collection():
            text = argument.parameter.help
            assert text or argument.names == () or not argument.names[0].startswith("--"), argument.names

    def test_the_front_page_names_every_command(self, command: Command) -> None:
        done = command("--help")
        assert done.status == 0
        for name in command_table():
            assert f" {name.split()[0]} " in done.out
        assert "Example: taskvec merge recipe.yaml -o merged" in done.out.replace("`", "")

    def test_version(self, command: Command) -> None:
        assert command("--version").out.strip() == tv.__version__

    def test_the_card_of_a_command_line_merge_holds_a_recipe_that_runs(self, family: Path, command: Command) -> None:
        command("merge", "--method", "linear", "math", "code", "-o", "merged")
        text = (family / "merged" / "README.md").read_text().split("```yaml\n")[1].split("```")[0]
        (family / "again.yaml").write_text(text)
        assert yaml.safe_load(text)["method"] == "linear"
        assert command("merge", "again.yaml", "-o", "again").status == 0
        assert tensors(family / "again") == tensors(family / "merged")
