"""What is held out and what a limit leaves: shares, no leaks, and no dependence on the order of rows."""

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from taskvec.errors import RecipeError
from taskvec.evaluate.data import Source, read
from taskvec.evaluate.data.choose import choose

ROWS = st.lists(st.tuples(st.integers(0, 30), st.integers(0, 3)), min_size=1, max_size=60)
SHARES = st.floats(0.01, 0.99)


def content(rows: list[tuple[int, int]]) -> tuple[list[bytes], np.ndarray]:
    return [str(text).encode() for text, _ in rows], np.array([label for _, label in rows])


@given(ROWS, SHARES, st.integers(0, 5))
def test_both_sides_make_the_whole_and_share_no_input(rows: list[tuple[int, int]], share: float, seed: int) -> None:
    inputs, labels = content(rows)
    kept = choose(inputs, labels, held_out=share, part="kept", seed=seed)
    out = choose(inputs, labels, held_out=share, part="held_out", seed=seed)
    assert sorted([*kept, *out]) == list(range(len(rows)))
    assert not {inputs[i] for i in kept} & {inputs[i] for i in out}
    assert len(out) <= round(share * len(rows))


@given(st.lists(st.integers(0, 3), min_size=1, max_size=80), SHARES)
def test_every_label_gives_its_share_where_nothing_is_double(classes: list[int], share: float) -> None:
    inputs = [str(i).encode() for i in range(len(classes))]
    out = choose(inputs, np.array(classes), held_out=share, part="held_out")
    assert len(out) == round(len(classes) * share)
    given_by = Counter(classes[i] for i in out)
    assert all(abs(given_by[label] - share * size) < 1 for label, size in Counter(classes).items())


@given(ROWS, SHARES, st.integers(1, 70), st.randoms(use_true_random=False))
def test_the_order_of_rows_chooses_nothing(
    rows: list[tuple[int, int]], share: float, limit: int, random: np.random.Generator
) -> None:
    shuffled = list(rows)
    random.shuffle(shuffled)  # type: ignore[arg-type]
    picked = []
    for one in (rows, shuffled):
        inputs, labels = content(one)
        found = choose(inputs, labels, held_out=share, part="kept", limit=limit, seed=3)
        picked.append(Counter(one[i] for i in found))
    assert picked[0] == picked[1]


@given(ROWS, st.integers(1, 70))
def test_a_limit_is_even_over_labels_and_grows(rows: list[tuple[int, int]], limit: int) -> None:
    inputs, labels = content(rows)
    found = choose(inputs, labels, limit=limit)
    assert len(found) == min(limit, len(rows)) and (np.diff(found) > 0).all()
    sizes, taken = Counter(labels.tolist()), Counter(labels[found].tolist())
    most = max(taken.values())
    assert all(taken[label] >= min(size, most - 1) for label, size in sizes.items())
    assert set(found) <= set(choose(inputs, labels, limit=limit + 1))


def test_another_seed_chooses_others() -> None:
    inputs = [str(i).encode() for i in range(200)]
    held = [choose(inputs, None, held_out=0.2, part="held_out", seed=seed) for seed in (0, 1)]
    limited = [choose(inputs, None, limit=40, seed=seed) for seed in (0, 1)]
    assert len(set(held[0]) & set(held[1])) < 30 and len(set(limited[0]) & set(limited[1])) < 30


def test_a_limit_is_no_prefix_of_what_is_held_out() -> None:
    # The same order for both would leave, under a limit, only examples next to the border.
    inputs = [str(i).encode() for i in range(200)]
    held = choose(inputs, None, held_out=0.2, part="held_out")
    assert 0 < len(set(held) & set(choose(inputs, None, limit=40))) < 30


def test_what_is_read_is_split_and_limited(tmp_path: Path) -> None:
    rows = [f"{i % 4}\ttext {i}\n" for i in range(100)]
    (tmp_path / "t.tsv").write_text("label\ttext\n" + "".join(rows))
    kept, out = (read(Source(path="t.tsv", held_out=0.2, part=part), root=tmp_path) for part in ("kept", "held_out"))
    assert (len(kept), len(out)) == (80, 20) and not set(kept.inputs) & set(out.inputs)
    assert out.labels is not None and np.bincount(out.labels).tolist() == [5, 5, 5, 5]
    assert out.origin == "t.tsv, held out"
    few = read(Source(path="t.tsv", held_out=0.2, part="held_out", limit=6), root=tmp_path)
    assert set(few.inputs) < set(out.inputs) and few.digest != out.digest


def test_labels_keep_their_numbers_where_a_part_lacks_some(tmp_path: Path) -> None:
    (tmp_path / "t.tsv").write_text("label\ttext\na\tx\nb\ty\nc\tz\n")
    found = read(Source(path="t.tsv", limit=1), root=tmp_path)
    assert len(found) == 1 and found.names == ("a", "b", "c")


def test_a_side_that_is_empty_is_refused(tmp_path: Path) -> None:
    (tmp_path / "t.tsv").write_text("label\ttext\na\tx\nb\ty\n")
    with pytest.raises(RecipeError, match=r"t\.tsv: 'part: held_out' is empty, of 2 examples with 'held_out: 0\.1'"):
        read(Source(path="t.tsv", held_out=0.1, part="held_out"), root=tmp_path)
