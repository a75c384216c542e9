"""Masks by magnitude, ranks, and the streaming k-th largest."""

from collections.abc import Callable
from itertools import product
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from taskvec.ops.select import Bins, KthLargest, count_of, keep_between, kth_largest, magnitude_bits
from taskvec.ops.slices import Slice, survey

from .samples import bf16, float_of, floats32

Twins = Callable[[str, Callable[[], Any]], tuple[Any, Any]]
Floats = npt.NDArray[np.floating]


def find(x: Floats, k: int, *, sample: Floats | None = None, max_bins: int = 1 << 20, block: int = 100) -> float:
    """Show a search every block of x, as often as it asks for."""
    search = KthLargest(k, x.size, x.dtype, sample, max_bins)
    passes = 0
    while not search.settled:
        for start in reversed(range(0, x.size, block)):
            search.add(*search.look(x[start : start + block]))
        search.end_pass()
        passes += 1
        assert passes <= 100, "the search does not end"
    return search.value


def by_partition(x: Floats, k: int) -> float:
    """The k-th largest magnitude."""
    return float(np.partition(np.abs(x), x.size - k)[x.size - k])


@pytest.mark.parametrize("n", [1, 15, 16, 17, 1025, 5001])
def test_a_sift_sees_the_same_fused_and_plain(twins: Twins, rng: np.random.Generator, n: int) -> None:
    block = floats32(rng, n)
    top = 0x7FFFFFFF
    for low, high in ((0, top), (0, 0), (1, 0x3F800000), (0x3F800000, 0x3F800000), (0x40000000, top), (top, top)):
        (_, fused), (_, plain) = twins(
            "survey", lambda low=low, high=high: survey(Slice.of(block[None]), None, [(0, low, high)])
        )
        sizes = [int(b) & top for b in block.view(np.uint32)]
        for seen in (fused[0], plain[0]):
            assert seen[0] == sum(s > high for s in sizes)
            assert seen[1] == sum(s == low for s in sizes)
            assert seen[2].dtype == np.uint32
            assert seen[2].tolist() == [s for s in sizes if low < s <= high]


@pytest.mark.parametrize("shift", [0, 3])
def test_bins_count_the_same_fused_and_plain(twins: Twins, rng: np.random.Generator, shift: int) -> None:
    patterns = rng.integers(1000, 1100, 5000).astype(np.uint32)

    def counted() -> Bins:
        bins = Bins(1000, 1099, shift, np.uint32)
        bins.add(patterns[:2000])
        bins.add(patterns[2000:])
        return bins

    by_size = np.sort(patterns)[::-1]
    for bins in twins("tally", counted):
        assert bins.counts.sum() == 5000
        for rank in (1, 2, 700, 5000):
            least, greatest = bins.holding(rank)
            same_bin = patterns[(patterns - 1000) >> shift == (by_size[rank - 1] - 1000) >> shift]
            assert (least, greatest) == (same_bin.min(), same_bin.max())


def test_both_ends_are_kept(kernels: str) -> None:
    stack = np.array([[3.0, -2.0, 2.0, -1.0, 1.0, 0.5]], np.float32)
    assert keep_between(stack, np.array([1.0]), np.array([2.0])).tolist() == [[0, -2, 2, -1, 1, 0]]


def test_what_is_dropped_becomes_positive_zero(kernels: str) -> None:
    kept = keep_between(np.array([[-0.5, -3.0]], np.float32), np.array([1.0]))
    assert kept.tobytes() == np.array([[0.0, -3.0]], np.float32).tobytes()


@given(arrays(np.float32, st.integers(1, 60), elements=st.floats(-4, 4, width=32)), st.integers(-1, 70))
def test_kth_largest_is_the_kth_in_order(x: Floats, k: int) -> None:
    if k < 1:
        expected = np.inf
    elif k > x.size:
        expected = 0.0
    else:
        expected = sorted(np.abs(x).tolist(), reverse=True)[k - 1]
    assert kth_largest(x[None], k).tolist() == [expected]


@given(st.floats(0, 1), st.integers(0, 10**9))
@example(0.29, 100)
def test_a_share_is_the_nearest_count(share: float, total: int) -> None:
    count = count_of(share, total)
    assert 0 <= count <= total
    assert abs(count - share * total) <= 0.5 + 1e-6


@given(arrays(np.float32, st.integers(2, 40), elements=st.floats(width=32, allow_nan=False)))
def test_bit_patterns_are_ordered_as_magnitudes_are(x: Floats) -> None:
    by_bits, by_size = np.argsort(magnitude_bits(x), kind="stable"), np.argsort(np.abs(x), kind="stable")
    assert by_bits.tolist() == by_size.tolist()


TIED = st.sampled_from([0.0, -0.0, 1.0, -1.0, 1.0078125, 0.5, 1e-45, 3e38])
NEIGHBOURS = st.integers(0x3F800000, 0x3F800010).map(lambda bits: float(np.uint32(bits).view(np.float32)))
ANY = st.floats(width=32, allow_nan=False, allow_infinity=False)


@given(
    st.data(),
    st.one_of(
        arrays(np.float32, st.integers(1, 300), elements=TIED),
        arrays(np.float32, st.integers(1, 300), elements=NEIGHBOURS),
        arrays(np.float32, st.integers(1, 300), elements=ANY),
        arrays(np.float64, st.integers(1, 300), elements=st.one_of(TIED, st.floats(-1e300, 1e300))),
    ),
    st.sampled_from([2, 3, 4, 64, 1 << 20]),
    st.sampled_from(["none", "part", "all", "too small", "too large", "one number"]),
)
@pytest.mark.parametrize("wide", [False, True], ids=["own precision", "in float64"])
def test_the_streaming_search_finds_what_partition_finds(
    kernels: str, wide: bool, data: st.DataObject, x: Floats, max_bins: int, hint: str
) -> None:
    x = x.astype(np.float64) if wide else x
    k = data.draw(st.integers(1, x.size))
    sample = {
        "none": None,
        "part": x[::3],
        "all": x,
        "too small": x * 0,
        "too large": np.full(x.size, 3e38, x.dtype),
        "one number": np.full(x.size, x[-1]),
    }[hint]
    assert find(x, k, sample=sample, max_bins=max_bins, block=data.draw(st.integers(1, 300))) == by_partition(x, k)


@pytest.mark.parametrize("hint", ["none", "part", "misleading", "from elsewhere"])
@pytest.mark.parametrize("kind", ["noise", "bf16 deltas", "all equal", "zeros", "half zeros", "two scales"])
def test_the_search_is_exact_on_many_entries(kernels: str, rng: np.random.Generator, kind: str, hint: str) -> None:
    n = 40_000
    noise = rng.standard_normal(n).astype(np.float32)
    coarse = float_of(bf16(1 + noise / 100))
    x = {
        "noise": noise,
        "bf16 deltas": coarse - np.float32(1),
        "all equal": np.where(noise > 0, np.float32(0.25), np.float32(-0.25)),
        "zeros": np.zeros(n, np.float32),
        "half zeros": np.where(noise > 0, noise, np.float32(-0.0)),
        "two scales": np.where(np.arange(n) < n // 2, noise, noise / 25),
    }[kind]
    sample = {
        "none": None,
        "part": np.ascontiguousarray(x.reshape(-1, 100)[:, :8]).reshape(-1),
        "misleading": 1000 * x[:2000],
        "from elsewhere": x[: n // 50] / 25,
    }[hint]
    for k in (1, 2, n // 5, n // 2, n - 1, n):
        for max_bins in (1 << 8, 1 << 20):
            assert find(x, k, sample=sample, max_bins=max_bins, block=4096) == by_partition(x, k)


def test_a_good_sample_needs_one_pass(kernels: str, rng: np.random.Generator) -> None:
    x = rng.standard_normal(200_000).astype(np.float32)
    search = KthLargest(40_000, x.size, x.dtype, x[::20])
    search.add(*search.look(x))
    search.end_pass()
    assert search.settled
    assert search.value == by_partition(x, 40_000)


@pytest.mark.parametrize("max_bins", [4, 1 << 20])
def test_a_first_bracket_of_any_one_pattern_leads_to_its_neighbours(kernels: str, max_bins: int) -> None:
    x = (np.uint32(0x3F800000) + np.arange(10, dtype=np.uint32)).view(np.float32)
    for k, misleading in product(range(1, 11), x):
        assert find(x, k, sample=np.full(10, misleading), max_bins=max_bins) == by_partition(x, k)


@pytest.mark.parametrize(("k", "value"), [(0, np.inf), (-3, np.inf), (6, 0.0)])
def test_there_is_nothing_to_search_outside_the_ranks(k: int, value: float) -> None:
    search = KthLargest(k, 5, np.dtype("f4"))
    assert search.settled
    assert search.value == value


def test_the_sample_may_be_of_another_precision(kernels: str, rng: np.random.Generator) -> None:
    x = rng.standard_normal(5000).astype(np.float32)
    assert find(x, 1000, sample=x[::5].astype(np.float64)) == by_partition(x, 1000)
