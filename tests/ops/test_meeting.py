"""What a slice says of how its task vectors meet: fused and plain the same, and both what loops give."""

from collections.abc import Callable
from dataclasses import fields
from typing import Any

import numpy as np
import pytest

from taskvec.ops.floats import narrow, widen
from taskvec.ops.gram import BLOCK
from taskvec.ops.meeting import Meeting, measure
from taskvec.ops.slices import Slice, Stored

from .samples import SIZES, floats32

Twins = Callable[[str, Callable[[], Any]], tuple[Any, Any]]
F32 = np.dtype(np.float32)


def a_slice(rng: np.random.Generator, n: int, tasks: int, code: str) -> Slice:
    """Models near a base, of which every other is a task vector already."""
    base = floats32(rng, n)
    base[np.abs(base) > 60000] = 1
    tuned = [base + 0.01 * rng.standard_normal(n).astype(np.float32) * (rng.random(n) < 0.9) for _ in range(tasks)]
    stored = [Stored(narrow(x.astype(np.float32), code), code) for x in tuned]
    stored[0] = Stored(narrow(0.01 * floats32(rng, n).clip(-1, 1), code), code, delta=True)
    return Slice(stored, Stored(narrow(base, code), code), F32)


def the_same(one: Meeting, other: Meeting) -> None:
    """Counts and inner products to the bit; sums of errors, which may be added in any order, nearly."""
    for name in (f.name for f in fields(Meeting)):
        a, b = getattr(one, name), getattr(other, name)
        if name == "lost":
            np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-30, err_msg=name)
        else:
            np.testing.assert_array_equal(a, b, err_msg=name)


@pytest.mark.parametrize("n", [*SIZES, BLOCK - 1, BLOCK, 2 * BLOCK + 70])
def test_fused_and_plain_say_the_same(twins: Twins, rng: np.random.Generator, n: int) -> None:
    part = a_slice(rng, n, 3, "BF16")
    seen = np.arange(max(1, -(-n // BLOCK))) % 2 == 0
    least = np.array([0.01, 0.0, 1e-45], np.float32)
    the_same(*twins("measure", lambda: measure(part, seen, least, "BF16")))


@pytest.mark.parametrize(("code", "out"), [("F32", "BF16"), ("F32", "F16"), ("F16", "F32"), ("F16", "F16")])
@pytest.mark.parametrize("tasks", [1, 2, 5])
def test_fused_and_plain_say_the_same_for_every_type(
    twins: Twins, rng: np.random.Generator, code: str, out: str, tasks: int
) -> None:
    part = a_slice(rng, 2000, tasks, code)
    the_same(*twins("measure", lambda: measure(part, np.ones(1, bool), np.full(tasks, 0.01, np.float32), out)))


def test_it_is_what_a_loop_over_the_entries_gives(kernels: str, rng: np.random.Generator) -> None:
    part = a_slice(rng, 500, 3, "F32")
    least = np.array([0.005, 0.01, 0.02], np.float32)
    found = measure(part, np.ones(1, bool), least, "BF16")
    _, rows, base = part.gather()
    for i in range(3):
        for j in range(3):
            x, y = rows[i], rows[j]
            both = [(a, b) for a, b in zip(x, y, strict=True) if a != 0 and b != 0]
            kept = [(a, b) for a, b in both if abs(a) >= least[i] and abs(b) >= least[j]]
            assert found.nonzero[i, j] == len(both)
            assert found.kept[i, j] == len(kept)
            assert found.opposite[i, j] == sum((a < 0) != (b < 0) for a, b in both)
            assert found.kept_opposite[i, j] == sum((a < 0) != (b < 0) for a, b in kept)
    assert found.base[0] == pytest.approx(float(np.sum(base.astype(float) ** 2)), rel=1e-12)
    assert found.largest.tolist() == [float(np.abs(x).max()) for x in rows]
    for t, change in enumerate([*rows, (rows[0] + rows[1] + rows[2]) * np.float32(1 / 3)]):
        total = base + change
        stored, before = narrow(total, "BF16"), narrow(base, "BF16")
        error = widen(stored, "BF16").astype(float) - total
        assert found.lost[0, t] == pytest.approx(float(error @ error), rel=1e-5)
        assert found.gone[t] == sum((stored == before) & (change != 0))
        assert found.changed[t] == np.count_nonzero(change)


def test_only_the_blocks_that_are_looked_at_are_counted(kernels: str, rng: np.random.Generator) -> None:
    part = a_slice(rng, 2 * BLOCK + 100, 2, "BF16")
    least = np.full(2, 0.01, np.float32)
    all_, first, last = (
        measure(part, np.array(seen), least, "F16") for seen in ([True] * 3, [True, True, False], [False, False, True])
    )
    assert (first.sampled, last.sampled, all_.sampled) == (2 * BLOCK, 100, 2 * BLOCK + 100)
    np.testing.assert_array_equal(first.kept + last.kept, all_.kept)
    np.testing.assert_array_equal(first.gone + last.gone, all_.gone)
    np.testing.assert_array_equal(first.lost + last.lost, all_.lost)
    np.testing.assert_array_equal(first.grams, all_.grams)
    np.testing.assert_array_equal(first.largest, all_.largest)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_nan_and_inf_are_told(kernels: str, rng: np.random.Generator, bad: float) -> None:
    part = a_slice(rng, 100, 2, "F32")
    assert measure(part, np.ones(1, bool), np.ones(2, np.float32), "F32").finite
    part.inputs[1].raw[7] = bad
    with np.errstate(invalid="ignore"):
        assert not measure(part, np.ones(1, bool), np.ones(2, np.float32), "F32").finite


def test_a_slice_without_a_base_is_refused() -> None:
    alone = Slice.of(np.ones((2, 3), np.float32))
    with pytest.raises(ValueError, match="the slice has none"):
        measure(alone, np.ones(1, bool), np.ones(2, np.float32), "F32")


def test_inputs_of_other_lengths_are_refused() -> None:
    one = [Stored(np.ones(n, np.float32), "F32") for n in (3, 4)]
    with pytest.raises(ValueError, match="as many entries"):
        measure(Slice(one, one[0], F32), np.ones(1, bool), np.ones(2, np.float32), "F32")
