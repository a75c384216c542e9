"""Exit statuses, where messages go, and what is loaded when."""

import inspect
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

import taskvec as tv
from taskvec import errors
from taskvec.cli.app import app
from taskvec.cli.exits import run
from taskvec.cli.show import width
from taskvec.store.writer import ShardWriter
from taskvec.testing import finetuned, tiny_tensors, write_model

from .conftest import Command


class TestStatus:
    def test_0_when_done(self, family: Path, command: Command) -> None:
        assert command("merge", "recipe.yaml", "-o", "merged").status == 0

    @pytest.mark.parametrize(
        ("words", "message"),
        [
            (["merge", "nothing.yml", "-o", "x"], "nothing.yml does not exist.\n"),
            (["merge", "recipe.yml", "-o", "x"], "recipe.yml does not exist. Did you mean 'recipe.yaml'?\n"),
            (["plan", "nothing"], "nothing does not exist. Give a YAML file, or use --method, --base and models."),
            (["merge", "base/config.json", "-o", "x"], "base/config.json is no recipe: it has no 'method', and "),
            (["merge", "--method", "ties", "math", "-o", "x"], "needs the base they start from. Type --base ./base."),
            (["plan", "--method", "linear", "math", "code", "--base", "base"], "takes no base. Remove --base, or"),
            (
                ["apply", "base", "+", "0.4", "math", "-o", "x"],
                "'+' is neither a weight nor a vector. Type: +0.4 m",
            ),
            (["apply", "base", "-", "math", "-o", "x"], "Type: -1 math.\n"),
            (["apply", "base", "+", "-o", "x"], "Type: +1 math.tv.\n"),
            (["apply", "base", "+0.4*math", "-o", "x"], "Type: +0.4 math.\n"),
            (["apply", "base", "0.4*", "math", "-o", "x"], "Type: 0.4 math.\n"),
            (["apply", "base", "-math", "-o", "x"], "Type: -1 math.\n"),
            (["merge", "base", "math", "-o", "x"], "give one recipe file, or --method with models"),
            (["merge", "math", "-o", "x"], "give one recipe file, or --method with models"),
            (
                ["merge", "recipe.yaml", "--base", "base", "-o", "x"],
                "--base goes with --method; a recipe names its own.",
            ),
            (["merge", "--method", "tise", "math", "-o", "x"], "unknown merge method 'tise'. Did you mean 'ties'?"),
            (["merge", "recipe.yaml", "-o", "x", "--set", "density"], "--set 'density' is not of the form key=value"),
            (
                ["merge", "recipe.yaml", "-o", "x", "--set", "models.9.weight=1"],
                "the recipe has no place 'models.9.weight'",
            ),
            (
                ["merge", "recipe.yaml", "-o", "x", "--set", "models.x.weight=1"],
                "the recipe has no place 'models.x.weight'",
            ),
            (["merge", "recipe.yaml", "-o", "x", "--set", "method.name=1"], "the recipe has no place 'method.name'"),
            (["merge", "recipe.yaml", "-o", "x", "--set", "scale=[1"], "not valid YAML"),
            (["merge", "recipe.yaml", "-o", "x", "--set", "scala=1"], "unknown key 'scala'. Did you mean 'scale'?"),
            (["merge", "recipe.yaml", "-o", "x", "--memory", "much"], "'much' is not a size."),
            (["merge", "recipe.yaml", "-o", "x", "--memory", "1MB"], "the merge needs"),
            (["merge", "recipe.yaml", "-o", "math"], "would lie over the input"),
            (["merge", "recipe.yaml"], "is missing: the folder to write. Type: taskvec merge recipe.yaml -o merged."),
            (
                ["merge", "recipe.yaml", "out"],
                "Type: taskvec merge recipe.yaml -o out.",
            ),
            (
                ["merge", "recipe.yaml", "out", "--set", "a=b c"],
                "merge recipe.yaml --set 'a=b c' -o out.",
            ),
            (["merge", "recipe.yaml", "--force", "out"], "Type: taskvec merge recipe.yaml --force -o out."),
            (
                ["merge", "--method", "linear", "math", "code"],
                "Type: taskvec merge --method linear math code -o m",
            ),
            (["merge", "recipe.yaml", "-o"], "Type: taskvec merge recipe.yaml -o merged."),
            (["diff", "base", "math", "math.tv"], "the file to write. Type: taskvec diff base math -o math.tv."),
            (["apply", "base", "math.tv"], "Type: taskvec apply base math.tv -o edited."),
            (["merge", "recipe.yaml", "out", "-o", "x"], "If out is the output, type: recipe.yaml -o out."),
            (["plan", "recipe.yaml", "out"], "one recipe, got recipe.yaml and out. If out is the output, type: "),
            (["plan", "recipe.yaml", "--set", "scale", "0.5"], "got 'scale' and '0.5'. Type: --set scale=0.5."),
            (["plan", "recipe.yaml", "-s", "ignore", "[a, b]"], "Type: --set 'ignore=[a, b]'."),
            (["merge", "--method", "linear", "math", "-o", "x", "code"], "'code' stands apart from the other models"),
            (["verify", "math", "code"], "'code' is a word too many. See 'taskvec verify --help'."),
            (
                ["merge", "recipe.yaml", "-o", "x", "--set", "density=0.5"],
                "'density' is a setting of 'ties' and stands under 'settings'. "
                "Type 'settings: {density: 0.5}', or --set settings.density=0.5.",
            ),
            (["plan", "recipe.yaml", "--set", "densty=1"], "unknown key 'densty'. Did you mean 'settings.density'?"),
            (["plan", "recipe.yaml", "--set", "models.0.density=1"], "or --set models.0.settings.density=1."),
            (["plan", "recipe.yaml", "--set", "models.0.scope=tensor"], "or --set settings.scope=tensor."),
            (["merge", "-o", "x"], "SOURCES"),
            (["merge", "recipe.yaml", "-o", "x", "--threads", "two"], "two"),
            (["merge", "recipe.yaml", "-o", "x", "--dense"], "--dense"),
            (["mergw", "recipe.yaml"], "mergw"),
            (["diff", "base", "-o", "x.tv"], "FINETUNED"),
            (["diff", "base", "math", "-o", "x.bin"], "does not end in .tv."),
            (["diff", "base", "math", "-o", "x.tv", "--dtype", "int4"], "unknown dtype 'int4'."),
            (["apply", "base", "math", "-o", "x", "--dtype", "int4"], "unknown dtype 'int4'."),
        ],
    )
    def test_2_for_the_recipe_or_the_command(
        self, family: Path, command: Command, words: list[str], message: str
    ) -> None:
        before = sorted(family.rglob("*"))
        done = command(*words)
        assert done.status == 2
        assert message in done.err
        assert "Traceback" not in done.err
        assert done.out == ""
        assert sorted(family.rglob("*")) == before

    @pytest.mark.parametrize(
        ("words", "message"),
        [
            (["merge", "--method", "linear", "nowhere", "-o", "x"], "nowhere does not exist."),
            (["plan", "--method", "linear", "nowhere"], "nowhere does not exist."),
            (["merge", "recipe.yaml", "-o", "taken"], "taken exists and is not empty."),
            (["plan", "recipe.yaml", "-o", "taken"], "taken exists and is not empty."),
            (["diff", "base", "nowhere", "-o", "x.tv"], "nowhere does not exist."),
            (["apply", "math", "base.tv", "-o", "x"], "base.tv"),
        ],
    )
    def test_3_for_a_file(self, family: Path, command: Command, words: list[str], message: str) -> None:
        (family / "taken").mkdir()
        (family / "taken" / "x").touch()
        done = command(*words)
        assert done.status == 3
        assert message in done.err
        assert "Traceback" not in done.err

    def test_4_for_the_numbers(self, family: Path, command: Command) -> None:
        tuned = finetuned(tiny_tensors() | {"position_ids": np.arange(4)}, 0)
        tuned["lm_head.weight"][0, 0] = np.nan
        write_model(family / "math", tuned, dtype="BF16")
        done = command("merge", "recipe.yaml", "-o", "merged")
        assert done.status == 4
        assert "'lm_head.weight' in math holds 1 NaN or Inf among 128 entries." in done.err
        assert "while merging 'lm_head.weight' by 'ties'" in done.err
        assert "Traceback" not in done.err
        assert command("verify", "math").status == 4

    def test_130_when_interrupted(self, family: Path, command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
        def interrupt(*args: object, **kwargs: object) -> None:
            raise KeyboardInterrupt

        monkeypatch.setattr("taskvec.recipe.series.run", interrupt)
        done = command("merge", "recipe.yaml", "-o", "merged")
        assert done.status == 130
        assert done.err.endswith("interrupted; the same command continues where this one stopped.\n")

    def test_130_says_what_a_command_without_a_memory_does(
        self, family: Path, command: Command, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def interrupt(*args: object, **kwargs: object) -> None:
            raise KeyboardInterrupt

        monkeypatch.setattr("taskvec.cli.packing.pack_models", interrupt)
        done = command("pack", "base", "math", "-o", "tasks.pack")
        assert done.status == 130
        assert done.err.endswith("interrupted; the same command starts anew.\n")

    def test_1_for_a_bug_with_a_traceback(
        self, family: Path, command: Command, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def bug(*args: object, **kwargs: object) -> None:
            raise AttributeError("oops")

        monkeypatch.setattr("taskvec.recipe.series.run", bug)
        done = command("merge", "recipe.yaml", "-o", "merged")
        assert done.status == 1
        assert "Traceback" in done.err
        assert "AttributeError: oops" in done.err
        assert done.err.endswith("this is a bug in taskvec; the lines above say where.\n")

    def test_a_traceback_on_request(self, family: Path, command: Command) -> None:
        done = command("merge", "nowhere.yaml", "-o", "x", debug=True)
        assert done.status == 2
        assert "Traceback" in done.err

    @pytest.mark.parametrize("error", [e for e in vars(errors).values() if isinstance(e, type)])
    def test_every_error_of_ours_has_its_status(self, error: type[Exception]) -> None:
        expected = {"RecipeError": 2, "MissingExtraError": 2, "NumbersError": 4, "TaskVecError": 1}
        assert issubclass(error, tv.TaskVecError)
        assert error.exit_status == expected.get(error.__name__, 3)


class TestPrinting:
    def test_json_alone_stands_on_the_output(self, family: Path, command: Command) -> None:
        for words in (
            ["merge", "recipe.yaml", "-o", "merged"],
            ["plan", "recipe.yaml"],
            ["methods"],
            ["show", "ties"],
            ["diff", "base", "math", "-o", "math.tv"],
            ["apply", "base", "math.tv", "-o", "edited"],
        ):
            done = command(*words, "--json")
            assert done.status == 0
            assert json.loads(done.out)

    def test_the_json_of_a_merge_is_the_receipt(self, family: Path, command: Command) -> None:
        printed = json.loads(command("merge", "recipe.yaml", "-o", "merged", "--json").out)
        assert printed == json.loads((family / "merged" / "receipt.json").read_text())

    def test_quiet_prints_nothing_but_errors(self, family: Path, command: Command) -> None:
        (family / "mk.yml").write_text(
            "merge_method: task_arithmetic\nbase_model: base\nmodels: [{model: math, parameters: {weight: 1}}]\n"
        )
        for words in (
            ["merge", "recipe.yaml", "-o", "merged"],
            ["merge", "mk.yml", "-o", "from-mergekit"],
            ["diff", "base", "math", "-o", "math.tv"],
            ["apply", "base", "math.tv", "-o", "edited"],
        ):
            done = command(*words, "--quiet")
            assert (done.status, done.out, done.err) == (0, "", ""), words
        done = command("merge", "recipe.yaml", "-o", "merged", "-q")
        assert (done.status, done.out) == (3, "")
        assert "exists and is not empty" in done.err

    def test_lines_of_progress_where_there_is_no_terminal(
        self, family: Path, command: Command, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        write = ShardWriter.write
        monkeypatch.setattr("taskvec.cli.show.Lines.EVERY", 0.0)
        monkeypatch.setattr(ShardWriter, "write", lambda *args: time.sleep(0.03) or write(*args))
        done = command("merge", "recipe.yaml", "-o", "merged")
        assert "\r" not in done.err
        assert "merging: " in done.err
        assert "/s, " in done.err
        assert " left\n" in done.err

    def test_much_lost_is_said_with_the_remedy(self, family: Path, command: Command) -> None:
        done = command("merge", "recipe.yaml", "-o", "merged", "--set", "scale=0.001")
        assert "That is much." in done.out
        assert "--set dtype=float32" in done.out


class TestWidth:
    @pytest.fixture
    def narrow(self, command: Command, monkeypatch: pytest.MonkeyPatch) -> Command:
        """Run commands where COLUMNS is 80."""
        monkeypatch.setenv("COLUMNS", "80")
        return command

    def test_messages_are_wrapped_on_a_terminal_alone(
        self, family: Path, narrow: Command, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        words = ["plan", "recipe.yaml", "--set", "density=0.5", "--set", "methud=ties"]
        piped = narrow(*words).err
        assert max(map(len, piped.splitlines())) > 120
        monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
        shown = narrow(*words).err
        assert max(map(len, shown.splitlines())) <= 80
        assert shown.split() == piped.split()
        assert [line[0] == " " for line in shown.splitlines()].count(False) == len(piped.splitlines())

    def test_a_terminal_says_how_wide_it_is(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.delenv("COLUMNS", raising=False)
        monkeypatch.setattr("os.get_terminal_size", lambda number: os.terminal_size((72, 24)))
        with open(os.devnull) as stream:
            assert width(stream) == 72
        assert width(None) == 120
        monkeypatch.setenv("COLUMNS", "0")
        assert width(None) == 120

    @pytest.mark.parametrize("words", [["methods"], *(["show", name] for name in tv.METHODS)])
    def test_what_explains_methods_is_as_wide_as_asked(self, narrow: Command, words: list[str]) -> None:
        done = narrow(*words)
        assert done.status == 0
        assert all(len(line) <= 80 or line.startswith(">>>") for line in done.out.splitlines())

    def test_where_there_is_room_a_method_is_shown_as_it_is_written(self, command: Command) -> None:
        for name, method in tv.METHODS.items():
            text = f"{name}: {inspect.getdoc(method.function)}\n\nSource: {method.paper}\n\n"
            assert command("show", name).out.startswith(text)


PLAIN = os.environ | {"TASKVEC_KERNELS": "plain"}
HERE = {"cwd": "/", "capture_output": True, "text": True, "timeout": 60}


def loaded_after(code: str, *words: str, env: dict[str, str] | None = None) -> set[str]:
    """Return the top modules that are loaded after some code has run, in spite of its exit."""
    watch = f"import os, sys\nos._exit = sys.exit\ntry:\n    {code}\nexcept SystemExit:\n    pass\n"
    watch += "print('LOADED', *sorted({m.split('.')[0] for m in sys.modules}))"
    done = subprocess.run([sys.executable, "-c", watch, *words], env=env, **HERE)  # type: ignore[call-overload]
    assert done.returncode == 0, done.stderr
    return set(done.stdout.splitlines()[-1].split()[1:])


HEAVY = {"numpy", "torch", "pydantic", "numba", "transformers", "yaml", "safetensors", "huggingface_hub"}


class TestImports:
    @pytest.mark.parametrize("words", [["--help"], ["--version"], ["merge", "--help"]])
    def test_help_loads_nothing_heavy(self, words: list[str]) -> None:
        loaded = loaded_after("import taskvec.cli; taskvec.cli.main()", *words)
        assert "cyclopts" in loaded
        assert not loaded & HEAVY

    def test_taskvec_alone_loads_nothing(self) -> None:
        loaded = loaded_after("import taskvec; taskvec.__version__; dir(taskvec)")
        assert "taskvec" in loaded
        assert not loaded & (HEAVY | {"cyclopts"})

    def test_a_merge_never_loads_torch(self, family: Path) -> None:
        words = ["merge", str(family / "recipe.yaml"), "-o", str(family / "merged")]
        loaded = loaded_after("import taskvec.cli; taskvec.cli.main()", *words)
        assert (family / "merged" / "receipt.json").exists()
        assert {"numpy", "pydantic", "numba"} <= loaded
        assert not loaded & {"torch", "transformers", "safetensors"}

    def test_diff_and_apply_do_not_either(self, family: Path) -> None:
        code = "from taskvec.cli.app import app; from taskvec.cli.exits import run; "
        code += "base, math, tv, out = sys.argv[1:]; "
        code += "assert run(app, ['diff', base, math, '-o', tv]) == run(app, ['apply', base, tv, '-o', out]) == 0"
        paths = [str(family / name) for name in ("base", "math", "math.tv", "out")]
        assert not loaded_after(code, *paths, env=PLAIN) & {"torch", "transformers", "safetensors", "numba"}


class TestPublicNames:
    def test_each_is_there_and_says_what_it_is(self) -> None:
        for name in tv.__all__:
            value = getattr(tv, name)
            if name not in ("__version__", "METHODS"):
                assert (value.__doc__ or "").strip(), name

    def test_they_are_sorted_and_all_there_is(self) -> None:
        assert sorted(tv.__all__) == sorted(set(tv.__all__))
        assert dir(tv) == sorted(tv.__all__)
        assert len(set(tv.__all__) - set(tv.METHODS)) <= 40

    def test_every_method_is_public(self) -> None:
        assert set(tv.METHODS) <= set(tv.__all__)
        for name, method in tv.METHODS.items():
            assert getattr(tv, name) is method.function

    def test_every_error_is_public(self) -> None:
        ours = {n for n, e in vars(errors).items() if isinstance(e, type) and issubclass(e, errors.TaskVecError)}
        assert ours <= set(tv.__all__)

    def test_a_name_that_is_not_there(self) -> None:
        with pytest.raises(AttributeError, match="module 'taskvec' has no attribute 'marge'"):
            _ = tv.marge


WAITING = """
import itertools, pathlib, time
from taskvec.recipe import run
from taskvec.store.writer import ShardWriter

run.JOURNAL_EVERY = 0.0

write, count = ShardWriter.write, itertools.count()


def waiting(*args):
    while next(count) > 3 and not pathlib.Path("go").exists():
        time.sleep(0.02)
    write(*args)


ShardWriter.write = waiting
from taskvec.cli import main
main()
"""


def test_a_real_ctrl_c_exits_with_130_and_the_same_command_continues(family: Path) -> None:
    command = [sys.executable, "-c", WAITING, "merge", "recipe.yaml", "-o", "merged", "--threads", "1"]
    process = subprocess.Popen(
        command, cwd=family, env=PLAIN, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    journal = family / ".merged.partial" / "journal.jsonl"
    for _ in range(600):
        if journal.exists() and journal.read_text().count("\n") > 2:
            break
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    time.sleep(1.5)
    (family / "go").touch()
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "interrupted; the same command continues where this one stopped." in err
    assert "Traceback" not in err
    assert not (family / "merged").exists()
    assert journal.read_text().count("\n") > 1
    recipe = tv.load_recipe(family / "recipe.yaml")[0]
    assert run(app, ["merge", "recipe.yaml", "-o", "merged", "--quiet"]) == 0
    assert json.loads((family / "merged" / "receipt.json").read_text())["resumed"] is True
    expected = tv.run(tv.make_plan(recipe), family / "expected").folder
    assert (family / "merged" / "model.safetensors").read_bytes() == (expected / "model.safetensors").read_bytes()


@pytest.mark.parametrize("command", [["show", "ties"], ["methods"], ["methods", "--json"]])
def test_a_pipe_that_is_closed_is_no_error(command: list[str]) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    done = subprocess.run(
        [sys.executable, "-m", "taskvec", *command], stdout=writing, stderr=subprocess.PIPE, text=True, check=False
    )
    os.close(writing)
    assert done.returncode == 0
    assert "Traceback" not in done.stderr


def test_python_m_taskvec() -> None:
    done = subprocess.run([sys.executable, "-m", "taskvec", "--version"], **HERE)  # type: ignore[call-overload]
    assert (done.returncode, done.stdout.strip()) == (0, tv.__version__)


@pytest.mark.parametrize("closed", [">&-", "2>&-", ">&- 2>&-"])
def test_a_merge_that_nobody_listens_to_still_exits_with_0(family: Path, closed: str) -> None:
    command = f"exec {sys.executable} -m taskvec merge recipe.yaml -o merged --quiet {closed}"
    done = subprocess.run(["sh", "-c", command], cwd=family, env=PLAIN, stderr=subprocess.PIPE, timeout=60)
    assert (done.returncode, done.stderr) == (0, b"")
    assert (family / "merged" / "receipt.json").exists()
