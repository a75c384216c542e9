"""Do these models belong together?"""

from pathlib import Path

import numpy as np
import pytest

import taskvec as tv
from taskvec.recipe.inputs import Input, Pool, open_input
from taskvec.recipe.kinship import Pair, check_kinship, kinship
from taskvec.recipe.stack import places_by_name
from taskvec.testing import finetuned, tiny_tensors, write_model

Arrays = dict[str, np.ndarray]


def pairs(reference: Input, model: Input) -> list[Pair]:
    there = model.checkpoint
    return [(here, there.info(name)) for name, here in reference.checkpoint.tensors.items()]


def compared(folder: Path, base: Arrays, other: Arrays, dtype: str = "F32") -> tuple[float, float]:
    inputs = [open_input(str(write_model(folder / n, x, dtype=dtype)), "base") for n, x in (("b", base), ("m", other))]
    found = kinship(*inputs, pairs(*inputs))
    return found.cosine, found.relative_norm


def matrices(x: Arrays) -> np.ndarray:
    return np.concatenate([v.reshape(-1) for v in x.values() if v.ndim > 1]).astype(np.float64)


def test_small_models_are_compared_exactly(tmp_path: Path) -> None:
    base = tiny_tensors()
    tuned = finetuned(base, 1, 0.3)
    x, y = matrices(base), matrices(tuned)
    cosine, norm = compared(tmp_path, base, tuned)
    assert cosine == pytest.approx(x @ y / np.sqrt((x @ x) * (y @ y)), rel=1e-12)
    assert norm == pytest.approx(np.linalg.norm(y - x) / np.linalg.norm(x), rel=1e-12)


def test_a_sample_tells_large_ones_apart(tmp_path: Path) -> None:
    base = tiny_tensors(hidden=64, vocab=1000)
    assert compared(tmp_path / "near", base, finetuned(base, 1), "BF16")[0] > 0.98
    assert abs(compared(tmp_path / "far", base, tiny_tensors(9, hidden=64, vocab=1000), "BF16")[0]) < 0.2


def test_a_model_is_its_own_nearest_relative(tmp_path: Path) -> None:
    assert compared(tmp_path, tiny_tensors(), tiny_tensors()) == pytest.approx((1.0, 0.0))


def test_gains_near_one_do_not_make_strangers_relatives(tmp_path: Path) -> None:
    a, b = tiny_tensors(1), tiny_tensors(2)
    for x in (a, b):
        x |= {n: np.full_like(v, 100.0) for n, v in x.items() if v.ndim == 1}
    assert abs(compared(tmp_path, a, b)[0]) < 0.3


def test_entries_that_are_not_finite_do_not_hide_the_rest(tmp_path: Path) -> None:
    base = tiny_tensors()
    tuned = finetuned(base, 1)
    tuned["lm_head.weight"][0, 0] = np.nan
    tuned["lm_head.weight"][0, 1] = np.inf
    assert compared(tmp_path, base, tuned)[0] > 0.98


@pytest.mark.parametrize(
    ("a", "b", "expected"),
    [(0, 0, (1.0, 0.0)), (0, 1, (0.0, float("inf"))), (1, 0, (0.0, float("inf"))), (1, -1, (-1.0, 2.0))],
)
def test_zeros_and_opposites(tmp_path: Path, a: float, b: float, expected: tuple[float, float]) -> None:
    def full(x: float) -> Arrays:
        return {"w": np.full((4, 4), x, np.float32)}

    assert compared(tmp_path, full(a), full(b)) == pytest.approx(expected)


def test_strangers_are_refused_unless_allowed(tmp_path: Path) -> None:
    base = open_input(str(write_model(tmp_path / "b", tiny_tensors(1))), "base")
    other = open_input(str(write_model(tmp_path / "m", tiny_tensors(2))), "model")
    pool = Pool((base,), (other,))
    places = places_by_name(pool)
    recipe = tv.Recipe.model_validate({"method": "ties", "base": base.name, "models": [{"model": other.name}]})
    allowed = recipe.model_copy(update={"allow": ["unrelated"]})
    message = (
        r"m does not look like a relative of .*b: over a sample their cosine is -?0\.\d+ and they lie 1\.\d+ base n"
    )
    with pytest.raises(tv.MismatchError, match=message):
        check_kinship(pool, places, recipe)
    assert [k.model for k in check_kinship(pool, places, allowed)] == [other.name]


def test_a_saved_vector_is_seen_on_its_base(tmp_path: Path) -> None:
    base = tiny_tensors()
    write_model(tmp_path / "b", base)
    write_model(tmp_path / "m", finetuned(base, 1))
    saved = tv.diff(tmp_path / "b", tmp_path / "m").save(tmp_path / "m.tv")
    reference, model, vector = (open_input(str(p), "model") for p in (tmp_path / "b", tmp_path / "m", saved))
    one, two = (kinship(reference, m, pairs(reference, m)) for m in (model, vector))
    assert (one.cosine, one.relative_norm) == pytest.approx((two.cosine, two.relative_norm), rel=1e-6)
