"""What every computed tensor must do: the same bits however it is cut, from no more of the disk than it says."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from taskvec.store.tensors import Files, Tensor, TensorInfo


def bits(x: np.ndarray) -> bytes:
    return np.ascontiguousarray(x).tobytes()


def places(tensor: Tensor, rng: np.random.Generator, count: int) -> list[tuple[int, int]]:
    """Return random cuts, the ends of the tensor and of its first rows, and empty cuts."""
    n, width = tensor.count, max(1, tensor.shape[-1] if tensor.shape else 1)
    edges = sorted({0, 1, width - 1, width, width + 1, 2 * width, n - 1, n} & set(range(n + 1)))
    fixed = [(a, b) for a in edges for b in edges if a <= b]
    return fixed + [tuple(sorted(map(int, rng.integers(0, n + 1, 2)))) for _ in range(count)]


def check_cuts(tensor: Tensor, rng: np.random.Generator, count: int = 40) -> np.ndarray:
    """Check a tensor, and return all of it."""
    files = Files()
    whole = np.array(files.raw(tensor))
    assert whole.shape == (tensor.count,)
    assert whole.itemsize == tensor.itemsize
    cuts = places(tensor, rng, count)
    with ThreadPoolExecutor(4) as pool:
        for (start, stop), part in zip(
            cuts, pool.map(lambda cut: np.array(files.raw(tensor, *cut)), cuts), strict=True
        ):
            assert part.dtype == whole.dtype
            assert bits(part) == bits(whole[start:stop]), (start, stop)
    for step in (7, 100):
        number = tensor.count // step
        if number:
            expected = whole[: number * step].reshape(number, step)[:, :3]
            assert bits(tensor.runs(files, 3, step, number)) == bits(expected)
    files.close()
    for start, stop in cuts[:: max(1, len(cuts) // 12)]:
        _check_ranges(tensor, start, stop, whole[start:stop])
    return whole


def _check_ranges(tensor: Tensor, start: int, stop: int, expected: np.ndarray) -> None:
    """Spoil every byte outside of the ranges that a cut names; it must not notice."""
    ranges = tensor.ranges(start, stop)
    originals = {part.file: part.file.read_bytes() for part in tensor.on_disk}
    try:
        for path, original in originals.items():
            path.write_bytes(_spoiled(path, original, ranges))
        files = Files()
        assert bits(np.array(files.raw(tensor, start, stop))) == bits(expected), (start, stop)
        files.close()
    finally:
        for path, original in originals.items():
            path.write_bytes(original)


def _spoiled(path: Path, original: bytes, ranges: Sequence[tuple[TensorInfo, int, int]]) -> bytes:
    kept = np.zeros(len(original), bool)
    for info, begin, end in ranges:
        if info.file == path:
            kept[info.begin + begin * info.itemsize : info.begin + end * info.itemsize] = True
    raw = np.frombuffer(original, np.uint8)
    return np.where(kept, raw, raw ^ 0x5A).astype(np.uint8).tobytes()
