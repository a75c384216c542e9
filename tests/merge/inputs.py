"""What the methods are fed: stacks of any shape, weights of any sign, shares for all tasks or one each."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

Array = npt.NDArray[np.float64]

SHAPES = st.one_of(
    st.just(()),
    array_shapes(min_dims=1, max_dims=3, min_side=0, max_side=6),
    st.sampled_from([(64,), (7, 31), (257,)]),
)

TASKS = st.integers(1, 5)


@st.composite
def stacks(draw: st.DrawFn, tasks: st.SearchStrategy[int] = TASKS, step: float = 2.0**-20) -> Array:
    """Eighths, with many equal magnitudes and exact cancellations; or noise, in multiples of `step`.

    Every number is a float32, too. Multiples of 2⁻¹⁰ add up without rounding in float32, so that votes that are
    near a tie go the same way as in float64.
    """
    shape = (draw(tasks), *draw(SHAPES))
    if draw(st.booleans()):
        return draw(arrays(np.int64, shape, elements=st.integers(-24, 24))) / 8
    noise = np.random.default_rng(draw(st.integers(0, 1 << 32))).standard_normal(shape)
    return (np.round(noise / step) * step).astype(np.float32).astype(np.float64)


def quarters(tasks: int) -> st.SearchStrategy[list[float]]:
    """A weight a task: quarters, negative ones and zeros among them."""
    return st.lists(st.integers(-8, 8).map(lambda k: k / 4), min_size=tasks, max_size=tasks)


def shares(tasks: int, low: float = 0.01) -> st.SearchStrategy[float | tuple[float, ...]]:
    """A share of entries for all tasks, or one a task."""
    share = st.one_of(st.sampled_from([0.1, 0.2, 0.25, 0.5, 0.9, 1.0]), st.floats(low, 1.0))
    return st.one_of(share, st.lists(share, min_size=tasks, max_size=tasks).map(tuple))


def each(value: float | Sequence[float], tasks: int) -> list[float]:
    """A setting's value for each task."""
    return list(value) if isinstance(value, Sequence) else [value] * tasks


def flat(stack: Array) -> list[list[float]]:
    """The tasks as lists of floats."""
    return [row.reshape(-1).tolist() for row in stack]


def assert_agree(
    got: npt.NDArray[np.floating], expected: Sequence[float], stack: npt.NDArray[np.floating], reach: npt.ArrayLike
) -> None:
    """Compare a result with that of a slow loop: to 1e-12 of `reach` in float64, to four steps in float32.

    `reach` is how large the terms of each entry's sum are together: what their rounding is measured by.
    """
    assert got.dtype == stack.dtype
    assert got.shape == stack.shape[1:]
    tolerance = 1e-12 if stack.dtype == np.float64 else 4 * float(np.finfo(np.float32).eps)
    error = np.abs(np.asarray(got, np.float64).reshape(-1) - np.array(expected, np.float64))
    bound = tolerance * np.asarray(reach, np.float64).reshape(-1)
    worst = int(np.argmax(error - bound)) if error.size else 0
    assert np.all(error <= bound), f"entry {worst}: {got.reshape(-1)[worst]!r}, the loop gives {expected[worst]!r}"
