"""The plain average, of all or of the best."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from reference.model_soup import model_soup as loop
from taskvec.errors import RecipeError
from taskvec.merge import find
from taskvec.merge.methods import linear, model_soup

from .inputs import Array, assert_agree, flat, stacks


@given(st.data(), stacks(tasks=st.integers(1, 5)))
def test_matches_the_slow_loop(dtype: np.dtype, data: st.DataObject, stack: Array) -> None:
    scores = tuple(data.draw(st.lists(st.sampled_from([0.1, 0.2, 0.3]), min_size=len(stack), max_size=len(stack))))
    best = data.draw(st.integers(0, 6))
    models = stack.astype(dtype)
    merged = model_soup(models, np.ones(len(stack)), score=scores, best=best)
    assert_agree(merged, loop(flat(stack), scores, best), models, np.abs(stack).sum(0))


def test_without_scores_it_is_the_uniform_soup(dtype: np.dtype, rng: np.random.Generator) -> None:
    models = rng.standard_normal((3, 50)).astype(dtype)
    same = linear(models, np.ones(3))
    assert (
        model_soup(models, np.ones(3)).tobytes() == model_soup(models, np.ones(3), best=1).tobytes() == same.tobytes()
    )


def test_models_that_tie_with_the_last_one_kept_are_kept() -> None:
    models = np.array([[1.0], [2.0], [3.0], [100.0]])
    assert model_soup(models, np.ones(4), score=(0.8, 0.9, 0.8, 0.1), best=2).tolist() == [2.0]


def test_a_number_of_models_is_a_whole_one() -> None:
    with pytest.raises(RecipeError, match=r"'best' must be a whole number, got 2\.5\."):
        find("model_soup").check({"best": 2.5})
    assert find("model_soup").check({"best": 2.0})["best"] == 2
    assert find("model_soup").settings["best"].expected() == "a whole number in [0, 100000]"
