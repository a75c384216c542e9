"""What a file of tasks may say; each wrong thing is said with its line."""

from pathlib import Path

import pytest

from taskvec import RecipeError
from taskvec.suite.competitors import competitors
from taskvec.suite.load import load_suite
from taskvec.suite.schema import ClassifyEntry, MethodEntry, SimilarityEntry

TASK = "tasks:\n  a: {data: a.tsv}\n"


def load(tmp_path: Path, text: str) -> object:
    (tmp_path / "s.yaml").write_text(text)
    return load_suite(tmp_path / "s.yaml")


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (TASK + "bse: x\n", r"s\.yaml:3: unknown key 'bse'\. Did you mean 'base'\? Known: name, extends, root, base"),
        ("tasks:\n  a:\n    data: x\n    lables: [b]\n", r"s\.yaml:4: unknown key 'lables'\. Did you mean 'labels'\?"),
        (
            "tasks:\n  a:\n    data: x\n    head: {knd: ridge}\n",
            r"s\.yaml:4: unknown key 'knd'\. Did you mean 'kind'\?",
        ),
        (
            "tasks:\n  head:\n    data: x\n    lables: [b]\n",
            r"s\.yaml:4: unknown key 'lables'\. Did you mean 'labels'\?",
        ),
        (
            "tasks:\n  a:\n    data: x\n    kind: clasify\n",
            r":2: unknown kind of task 'clasify'\. Did you mean",
        ),
        ("tasks:\n  a: {labels: [b]}\n", r"s\.yaml:2: 'data' is missing\."),
        ("tasks:\n  a: {kind: retrieval, queries: q}\n", r"s\.yaml:2: 'documents' is missing\."),
        (TASK + "training:\n  epochs: many\n", r"s\.yaml:4: 'epochs' .*integer.*, got 'many'"),
        (TASK + "examples: {held_out: 1.5}\n", r"s\.yaml:3: 'held_out' .*less than 1, got 1\.5"),
        (TASK + "precision: int8\n", r"s\.yaml:3: 'precision' .*'float32', 'bfloat16' or 'float16', got 'int8'"),
        ("tasks: {}\n", r"s\.yaml:1: 'tasks' .*at least 1 item"),
        ("tasks:\n", r"s\.yaml:1: 'tasks' .*got None"),
        ("base: x\n", r"s\.yaml is no file of tasks: it has no 'tasks'\. Type e\.g\."),
        ("- a\n- b\n", r"is no file of tasks"),
        ("tasks:\n  a:\n    data: x\n    text: [b, c, d]\n", r"s\.yaml:4: 'text' .*at most 2 items"),
        (
            "tasks:\n  a:\n    data: x\n    splits: {train: all, test: all}\n",
            r"s\.yaml:4: 'splits' says 'test: all', but models are not scored on what they learn from\.$",
        ),
        ("tasks:\n  a:\n    data: x\n    splits: {validation: test}\n", r"s\.yaml:4: 'splits' says 'test: test'"),
    ],
)
def test_refused(tmp_path: Path, text: str, sentence: str) -> None:
    with pytest.raises(RecipeError, match=sentence):
        load(tmp_path, text)


def test_everything_that_is_wrong_at_once(tmp_path: Path) -> None:
    with pytest.raises(RecipeError) as caught:
        load(tmp_path, "tasks:\n  a: {data: x, b: 1}\n  c: {dta: y}\nbase: 3\n")
    lines = str(caught.value).splitlines()
    assert [line.split(": ")[0].split("yaml:")[1] for line in lines] == ["4", "2", "3", "3"]


def test_no_file(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"nothing\.yaml cannot be read as a file of tasks: No such file"):
        load_suite(tmp_path / "nothing.yaml")


def test_what_is_not_said(tmp_path: Path) -> None:
    loaded = load(tmp_path, TASK + "  b: {data: b.tsv, kind: similarity, text: [one, two]}\n")
    a, b = loaded.suite.tasks.values()  # type: ignore[attr-defined]
    assert isinstance(a, ClassifyEntry) and isinstance(b, SimilarityEntry)
    assert (a.head.kind, a.head.template, a.splits.test) == ("labels", ["{}"], "test")
    assert (loaded.name, loaded.place("a.tsv")) == ("s", str(tmp_path / "a.tsv"))  # type: ignore[attr-defined]
    assert loaded.place("datasets:org/name") == "datasets:org/name"  # type: ignore[attr-defined]


class TestCompetitors:
    def test_methods_of_two_models_are_left_out_of_three(self) -> None:
        names = {c.name for c in competitors(3)}
        assert {"task_arithmetic", "ties", "linear"} <= names
        assert not {"slerp", "nuslerp", "arcee_fusion", "passthrough", "model_soup"} & names
        assert "slerp" in {c.name for c in competitors(2)}

    def test_asked_for(self) -> None:
        with pytest.raises(RecipeError, match="'slerp' takes 2 models, and the suite has 3 tasks"):
            competitors(3, [MethodEntry(method="slerp")])
        with pytest.raises(RecipeError, match=r"unknown merge method 'tise'\. Did you mean 'ties'\?"):
            competitors(3, [MethodEntry(method="tise")])
        with pytest.raises(RecipeError, match=r"'ties' has no setting 'densty'\. Did you mean 'density'\?"):
            competitors(3, [MethodEntry(method="ties", settings={"densty": 0.1})])

    def test_sums_and_means_have_grids_of_their_own(self) -> None:
        known = {c.name: c for c in competitors(8)}
        assert known["task_arithmetic"].grid == tuple(round(0.05 * i, 2) for i in range(21))
        assert (known["task_arithmetic"].scale, known["ties"].scale, known["linear"].scale) == (0.3, 1.0, None)
        assert known["ties"].grid[-1] == 3.0 and known["linear"].grid == ()
