"""`taskvec inspect` says what the library finds."""

import json
from pathlib import Path

import numpy as np
import pytest

import taskvec as tv
from taskvec.diagnose import figures
from taskvec.diagnose.facts import facts
from taskvec.testing import tiny_tensors, write_model

from .conftest import Command


def test_tables_of_models_kinds_and_layers_and_advice(family: Path, command: Command) -> None:
    done = command("inspect", "base", "math", "code")
    assert (done.status, done.err) == (0, "")
    report = tv.inspect("base", ["math", "code"])
    total = report.total
    row = next(line for line in done.out.splitlines() if line.startswith("math")).split()
    assert row[1] == f"{total.norms[0]:.4g}"
    assert row[2] == f"{figures.relative_change(total)[0]:.2%}"
    assert row[5:] == ["code", f"{figures.cosines(total)[0, 1]:.3f}"]
    kind = next(line for line in done.out.splitlines() if line.startswith("mlp")).split()
    (mlp,) = [g for g in report.by_kind() if g.kind == "mlp"]
    assert kind[3] == f"{figures.sign_conflict(mlp).value[0, 1]:.2%}"
    assert sum(line.startswith("model.layers") for line in done.out.splitlines()) == 3
    assert "\n- " in done.out
    assert "signs and rounding are of 100% of the entries." in done.out


def test_json_is_what_the_library_finds(family: Path, command: Command) -> None:
    done = command("inspect", "base", "math", "code", "--json", "--spectra", "2", "--dtype", "float16", "--kept", "0.1")
    found = json.loads(done.out)
    expected = facts(tv.inspect("base", ["math", "code"], spectra=2, dtype="float16", kept=0.1))
    assert found.pop("advice")[0]["text"]
    for key in ("seconds", "bytes_read"):
        del found[key], expected[key]
    assert found == expected
    assert found["matrices"]


def test_a_page(family: Path, command: Command) -> None:
    done = command("inspect", "base", "math", "code", "--report", "out.html", "--quiet")
    assert (done.status, done.out, done.err) == (0, "", "")
    assert "math" in (family / "out.html").read_text()


def test_a_page_is_not_written_over_unless_forced(family: Path, command: Command) -> None:
    (family / "out.html").write_text("mine")
    done = command("inspect", "base", "math", "code", "--report", "out.html", "--quiet")
    assert (done.status, done.out) == (3, "")
    assert "out.html exists. Type --force to replace it, or another name." in done.err
    assert (family / "out.html").read_text() == "mine"
    forced = command("inspect", "base", "math", "code", "--report", "out.html", "--quiet", "--force")
    assert (forced.status, forced.err) == (0, "")
    assert "math" in (family / "out.html").read_text()


def test_what_is_read_may_be_set(family: Path, command: Command) -> None:
    done = command("inspect", "base", "math", "code", "--json", "--set", "ignore=[lm_head.*, '*norm*']")
    assert {k["kind"] for k in json.loads(done.out)["kinds"]} == {"embedding", "q", "mlp"}


@pytest.mark.parametrize(
    ("words", "status", "said"),
    [
        (["math"], 2, "two or more beside the base, got 1"),
        (["math", "nowhere"], 3, "nowhere"),
        (["math", "code", "--report", "out.txt"], 2, "Give it a name that ends in .html."),
        (["math", "code", "--report", "no/where/out.html"], 3, "there is no folder no/where"),
        (["math", "code", "--set", "scale=2"], 2, "--set 'scale=2' is about a merge; here it may set ignore, allow"),
        (["math", "code", "--dtype", "bf16"], 2, "Did you mean 'bfloat16'?"),
        (["math", "code", "--set", "models=3"], 2, "'models' input should be a valid list, got 3"),
        (["math", "code", "--set", "models=[./math]"], 2, "two or more beside the base, got 1"),
        (["math", "code", "--set", "ignore=['*']"], 2, "no tensor is left to tell how the models relate"),
        (["math", "code", "--kept", "2"], 2, "'kept' is a share"),
    ],
)
def test_what_cannot_be_done_is_one_sentence(
    family: Path, command: Command, words: list[str], status: int, said: str
) -> None:
    done = command("inspect", "base", *words)
    assert done.status == status
    assert said in done.err
    assert "Traceback" not in done.err


def test_a_stranger_is_refused_unless_allowed(family: Path, command: Command) -> None:
    write_model(family / "other", tiny_tensors(9) | {"position_ids": np.arange(4, dtype=np.int64)}, dtype="BF16")
    done = command("inspect", "base", "math", "other")
    assert done.status == 3
    assert "does not look like a relative of base" in done.err
    allowed = command("inspect", "base", "math", "other", "--quiet", "--set", 'allow=["unrelated"]')
    assert (allowed.status, allowed.err) == (0, "")
