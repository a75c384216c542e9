"""Computed tensors: the same bits however they are cut, on any thread, fused or plain; read from where they say."""

import tracemalloc
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from taskvec.ops import kernels as taskvec_kernels
from taskvec.ops.floats import Raw, widen
from taskvec.store import Checkpoint
from taskvec.store.computed import dora as dora_module
from taskvec.store.computed import low_rank as low_rank_module
from taskvec.store.computed.difference import Difference
from taskvec.store.computed.dora import Dora
from taskvec.store.computed.low_rank import LowRank
from taskvec.store.computed.times import Times
from taskvec.store.computed.tokens import Tokens
from taskvec.store.computed.total import Total
from taskvec.store.computed.zeros import Zeros
from taskvec.store.tensors import Files, Tensor, TensorInfo
from taskvec.testing import write_model

ROWS, COLUMNS, RANK = 23, 37, 3
Make = Callable[[dict[str, Tensor]], Tensor]


@pytest.fixture
def parts(tmp_path: Path, rng: np.random.Generator) -> dict[str, Tensor]:
    """Return stored tensors of several types, to compute from."""
    shapes = {
        "w": (ROWS, COLUMNS), "new": (ROWS, COLUMNS), "rows": (4, COLUMNS), "bias": (COLUMNS,), "more": (COLUMNS,),
        "a": (RANK, COLUMNS), "b": (ROWS, RANK), "at": (RANK, ROWS), "bt": (COLUMNS, RANK), "m": (ROWS,),
        "mt": (COLUMNS,), "conv": (ROWS, 5, 2, 1), "ca": (RANK, 5, 2, 1), "cb": (ROWS, RANK, 1, 1),
    }  # fmt: skip
    tensors = {name: rng.standard_normal(shape).astype(np.float32) for name, shape in shapes.items()}
    types = {"w": "BF16", "new": "F16", "b": "BF16", "at": "F16", "m": "BF16", "rows": "BF16", "bias": "F64"}
    types |= {"new": "F64"}
    return dict(Checkpoint(write_model(tmp_path / "m", tensors, dtypes=types)).tensors)


def plain(p: dict[str, Tensor]) -> LowRank:
    return LowRank("w", (ROWS, COLUMNS), p["a"], p["b"], RANK, 0.7, turned=False)


def turned(p: dict[str, Tensor]) -> LowRank:
    return LowRank("w", (ROWS, COLUMNS), p["at"], p["bt"], RANK, 0.7, turned=True)


def convolution(p: dict[str, Tensor]) -> LowRank:
    return LowRank("conv", p["conv"].shape, p["ca"], p["cb"], RANK, 2.0, turned=False)


KINDS: dict[str, Make] = {
    "zeros": lambda p: Zeros("w", (ROWS, COLUMNS)),
    "low rank": plain,
    "low rank, turned": turned,
    "low rank, convolution": convolution,
    "dora": lambda p: Dora(plain(p), p["w"], p["m"], by_column=False),
    "dora, turned": lambda p: Dora(turned(p), p["w"], p["mt"], by_column=True),
    "dora, convolution": lambda p: Dora(convolution(p), p["conv"], p["m"], by_column=False),
    "difference": lambda p: Difference(p["new"], p["w"]),
    "scaled": lambda p: Times("w", p["bias"], 0.3),
    "tokens": lambda p: Tokens(p["rows"], [9, 0, 22, 8], p["w"]),
    "total": lambda p: Total("w", [p["w"], plain(p), turned(p)]),
    "total in float64": lambda p: Total("w", [p["new"], plain(p)]),
}


@pytest.fixture(params=KINDS)
def tensor(request: pytest.FixtureRequest, parts: dict[str, Tensor], monkeypatch: pytest.MonkeyPatch) -> Tensor:
    monkeypatch.setattr(dora_module, "BLOCK", 5 * COLUMNS)  # several blocks
    monkeypatch.setattr(low_rank_module, "TILE", 7 * RANK)  # several tiles
    return KINDS[request.param](parts)


def cuts(count: int, rng: np.random.Generator, number: int) -> list[tuple[int, int]]:
    at = [0, *sorted(rng.choice(count + 1, number).tolist()), count]
    return list(pairwise(at))


def test_the_bits_do_not_depend_on_the_cuts(tensor: Tensor, rng: np.random.Generator) -> None:
    files = Files()
    whole = files.raw(tensor)
    assert whole.size == tensor.count
    assert whole.itemsize == tensor.itemsize
    for number in (1, 4, 30):
        joined = np.concatenate([files.raw(tensor, *span) for span in cuts(tensor.count, rng, number)])
        assert joined.tobytes() == whole.tobytes()
    assert files.raw(tensor, 5, 5).size == files.raw(tensor, 9, 3).size == 0


def test_tiles_change_no_bit(tensor: Tensor, monkeypatch: pytest.MonkeyPatch) -> None:
    tiled = Files().raw(tensor).tobytes()
    monkeypatch.setattr(low_rank_module, "TILE", 1 << 20)
    assert Files().raw(tensor).tobytes() == tiled


def test_a_high_rank_takes_no_more_memory(tmp_path: Path, rng: np.random.Generator) -> None:
    """A budget counts what reading takes an entry, so nothing may grow with the rank or with the width."""
    rank, columns = 512, 8192
    factors = {"a": rng.standard_normal((rank, columns)), "b": rng.standard_normal((2, rank))}
    written = {name: x.astype(np.float32) for name, x in factors.items()}
    p = Checkpoint(write_model(tmp_path / "m", written, dtype="BF16")).tensors
    change, files = LowRank("w", (2, columns), p["a"], p["b"], rank, 1.0, turned=False), Files()
    files.raw(change, 0, 8)
    tracemalloc.start()
    files.raw(change)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 8_000_000 < 4 * rank * columns


def test_fused_and_plain_give_the_same_bits(
    tensor: Tensor, parts: dict[str, Tensor], request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    bits = set()
    for choice in ("fused", "plain"):
        monkeypatch.setattr(taskvec_kernels, "choice", choice)
        bits.add(Files().raw(KINDS[request.node.callspec.params["tensor"]](parts)).tobytes())
    assert bits == {Files().raw(tensor).tobytes()}


def test_threads_read_it_together(tensor: Tensor, rng: np.random.Generator) -> None:
    files = Files()
    spans = cuts(tensor.count, rng, 40)
    with ThreadPoolExecutor(4) as pool:
        joined = np.concatenate(list(pool.map(lambda span: files.raw(tensor, *span), spans)))
    assert joined.tobytes() == files.raw(tensor).tobytes()


class Watched(Files):
    """Files that know which entries a slice may be computed from."""

    allowed: Sequence[tuple[TensorInfo, int, int]] | None = None

    def view(self, info: TensorInfo, start: int, stop: int) -> Raw:
        if self.allowed is not None:
            assert any(i == info and a <= start and stop <= b for i, a, b in self.allowed), (info.name, start, stop)
        return super().view(info, start, stop)


def test_it_reads_only_what_it_says(tensor: Tensor, rng: np.random.Generator) -> None:
    files = Watched()
    files.raw(tensor, 0, 1)  # norms of columns take all entries, once
    for span in cuts(tensor.count, rng, 20):
        files.allowed = tensor.ranges(*span)
        files.raw(tensor, *span)
        files.load(tensor, *span)
        files.expect(tensor, *span)
        files.forget(tensor, *span)


def values(tensor: Tensor) -> np.ndarray:
    return widen(Files().raw(tensor), tensor.dtype, np.float64).reshape(tensor.shape)


def near(tensor: Tensor, expected: np.ndarray) -> None:
    mine = values(tensor)
    assert mine.shape == expected.shape
    assert np.linalg.norm(mine - expected) <= 2e-7 * np.linalg.norm(expected)


def test_the_formulas(parts: dict[str, Tensor]) -> None:
    x = {name: values(tensor) for name, tensor in parts.items()}
    change, other = 0.7 * x["b"] @ x["a"], 0.7 * (x["bt"] @ x["at"]).T
    near(plain(parts), change)
    near(turned(parts), other)
    moved = x["w"] + change
    near(KINDS["dora"](parts), x["m"][:, None] * moved / np.linalg.norm(moved, axis=1, keepdims=True) - x["w"])
    moved = x["w"] + other
    near(KINDS["dora, turned"](parts), x["mt"] * moved / np.linalg.norm(moved, axis=0) - x["w"])
    near(KINDS["difference"](parts), x["new"] - x["w"])
    near(KINDS["scaled"](parts), 0.3 * x["bias"])
    rows = np.zeros_like(x["w"])
    rows[[9, 0, 22, 8]] = x["rows"] - x["w"][[9, 0, 22, 8]]
    near(KINDS["tokens"](parts), rows)
    near(KINDS["total"](parts), x["w"] + change + other)
    near(KINDS["total in float64"](parts), x["new"] + values(plain(parts)))
    assert not values(KINDS["zeros"](parts)).any()


def test_zeros_are_one_block_that_cannot_be_written() -> None:
    files = Files()
    big, small = Zeros("big", (1 << 20,)), Zeros("small", (7,))
    first, second = files.raw(big), files.raw(small)
    assert np.shares_memory(first, second)
    assert not first.flags.writeable
    assert first.flags.c_contiguous
    assert (big.nbytes, big.scratch, list(big.on_disk)) == (0, 0.0, [])


def test_what_decides_the_entries_is_in_the_formula(parts: dict[str, Tensor]) -> None:
    formulas = [make(parts).formula for make in KINDS.values()]
    formulas += [
        LowRank("w", (ROWS, COLUMNS), parts["a"], parts["b"], RANK, 0.8, turned=False).formula,
        Times("w", parts["bias"], 0.31).formula,
        Tokens(parts["rows"], [9, 0, 22, 7], parts["w"]).formula,
        Tokens(parts["rows"], [0, 9, 22, 8], parts["w"]).formula,
    ]
    assert len(set(formulas)) == len(formulas)


def test_a_row_of_zeros_has_no_direction(tmp_path: Path, rng: np.random.Generator) -> None:
    """W + ΔW = 0: what m times its direction is, is not a number; a merge names it."""
    tensors = {"w": np.zeros((2, 4)), "a": np.zeros((1, 4)), "b": np.ones((2, 1)), "m": np.ones(2)}
    folder = write_model(tmp_path / "m", {n: x.astype(np.float32) for n, x in tensors.items()})
    p = Checkpoint(folder).tensors
    change = LowRank("w", (2, 4), p["a"], p["b"], 1, 1.0, turned=False)
    with np.errstate(invalid="ignore"):
        assert np.isnan(Files().raw(Dora(change, p["w"], p["m"], by_column=False))).all()
