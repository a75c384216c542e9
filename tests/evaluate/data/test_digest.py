"""A digest says what was read: content in its order, and nothing of the file."""

from pathlib import Path

import numpy as np
import pytest

from taskvec.evaluate.data import Source, read
from taskvec.evaluate.data.digest import digest

PIXELS = np.arange(6, dtype=np.uint8)
ONE = (["ab", "c"], np.array([0, 1]), ("x", "y"))


@pytest.mark.parametrize(
    "other",
    [
        (["a", "bc"], ONE[1], ONE[2]),
        (["c", "ab"], ONE[1], ONE[2]),
        ([b"ab", b"c"], ONE[1], ONE[2]),
        ([("ab", "c")], ONE[1], ONE[2]),
        (ONE[0], np.array([1, 0]), ONE[2]),
        (ONE[0], np.array([0.0, 1.0]), ONE[2]),
        (ONE[0], None, ONE[2]),
        (ONE[0], ONE[1], ("y", "x")),
        ([*ONE[0], "x"], ONE[1], ("y",)),
    ],
)
def test_any_difference_shows(other: tuple[list, np.ndarray | None, tuple[str, ...]]) -> None:
    assert digest(*ONE) != digest(*other)


def test_the_shape_of_an_image_shows_and_its_memory_does_not() -> None:
    square = PIXELS.reshape(2, 3)
    assert digest([square], None, ()) != digest([PIXELS.reshape(3, 2)], None, ())
    assert digest([square], None, ()) == digest([np.asfortranarray(square)], None, ())


def test_a_file_elsewhere_has_the_same_digest(tmp_path: Path) -> None:
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / f"{folder}.tsv").write_text("label\ttext\n0\tx\n")
    assert read(Source(path="a/a.tsv"), root=tmp_path).digest == read(Source(path="b.tsv"), root=tmp_path / "b").digest
