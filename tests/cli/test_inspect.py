"""`taskvec inspect` says what the library finds."""

import json
from pathlib import Path

import numpy as np
import pytest

import taskvec as tv
from measured import write_statistics
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


@pytest.fixture
def stats(family: Path) -> list[Path]:
    """Statistics of the family, in the order in which it is named below."""
    return [write_statistics(family / "stats" / name, family / name, seed=i) for i, name in enumerate(("code", "math"))]


def test_statistics_say_what_a_merge_is_expected_to_cost(family: Path, stats: list[Path], command: Command) -> None:
    done = command("inspect", "base", "code", "math", "--stats", *stats, "--rank", "2")
    assert (done.status, done.err) == (0, "")
    verdict = tv.inspect("base", ["code", "math"], statistics=stats, rank=2).mergeability
    assert verdict is not None
    lines = done.out.splitlines()
    at = next(i for i, line in enumerate(lines) if line.startswith("expected excess loss, by fisher"))
    curved = verdict.total.expected("curved")
    row = next(line for line in lines[at:] if line.startswith("math"))
    assert f"{curved.gains[1]:.3g}" in row
    assert f"{curved.excess[1]:.3g} ({curved.shares[1]:.0%})" in row
    assert f"η = {verdict.total.all.eta:.3g} of F(flat)" in done.out
    assert "is expected to lose" in done.out


def test_json_with_statistics_has_every_tensor(family: Path, stats: list[Path], command: Command) -> None:
    done = command("inspect", "base", "code", "math", "--json", "--stats", *stats)
    found = json.loads(done.out)["mergeability"]
    assert {one["name"] for one in found["tensors"]} == set(tiny_tensors())
    assert found["estimator"] == "fisher"
    assert len(found["total"]["means"]["curved"]["excess"]) == 2


def test_a_page_with_statistics(family: Path, stats: list[Path], command: Command) -> None:
    done = command("inspect", "base", "code", "math", "--report", "out.html", "--quiet", "--stats", *stats)
    assert (done.status, done.out, done.err) == (0, "", "")
    assert 'id="mergeability"' in (family / "out.html").read_text()


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
        (["math", "code", "--stats", "nowhere"], 2, "got 2 models and 1 folders of statistics"),
        (["math", "code", "--stats", "nowhere", "nowhere"], 3, "nowhere does not exist. Give a folder of statistics"),
        (["math", "code", "--rank", "3"], 2, "'rank' is of the subspaces in which curvature is looked at"),
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
