"""Sketches: the same bits whatever the slices, unbiased, and as far off as the formula says."""

import hashlib
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from taskvec.ops.sketch import STEP, Hashing, Sketching, cosines_from, deviation, sketch

Tensors = dict[str, np.ndarray]


def lumpy(rng: np.random.Generator, shapes: dict[str, int]) -> Tensors:
    """Entries of very different sizes, as those of task vectors."""
    return {
        name: (rng.standard_normal(n) * np.exp(1.5 * rng.standard_normal(n))).astype(np.float32)
        for name, n in shapes.items()
    }


def blocks(tensors: Tensors, width: int) -> list[np.ndarray]:
    return [x[at : at + width].astype(np.float64) for x in tensors.values() for at in range(0, x.size, width)]


def variance(x: Tensors, y: Tensors, width: int) -> float:
    """The formula of the module, block by block."""
    pairs = list(zip(blocks(x, width), blocks(y, width), strict=True))
    inner = sum(a @ b for a, b in pairs)
    energy = sum(a @ a for a, _ in pairs) * sum(b @ b for _, b in pairs)
    within = sum((a @ a) * (b @ b) + (a @ b) ** 2 for a, b in pairs)
    return (energy + inner**2 - within) / width


class TestEstimates:
    @pytest.mark.parametrize("share", [0.0, 0.8])
    def test_they_are_unbiased_and_vary_as_the_formula_says(self, rng: np.random.Generator, share: float) -> None:
        shapes, width, seeds = {"a": 500, "b": 130}, 64, 500
        x, noise = lumpy(rng, shapes), lumpy(rng, shapes)
        y = {name: (share * x[name] + noise[name]).astype(np.float32) for name in shapes}
        inner = sum(float(x[n].astype(np.float64) @ y[n]) for n in shapes)
        found = np.array([sketch(x, h) @ sketch(y, h) for h in (Hashing(seed, width) for seed in range(seeds))])
        expected = variance(x, y, width)
        assert abs(found.mean() - inner) < 4 * np.sqrt(expected / seeds)
        assert found.var() == pytest.approx(expected, rel=0.3)
        norms = np.sqrt(sum(float(x[n] @ x[n]) for n in shapes) * sum(float(y[n] @ y[n]) for n in shapes))
        assert expected <= deviation(inner, norms, width) ** 2

    def test_the_error_bar_holds_for_nearly_as_many_as_it_says(self, rng: np.random.Generator) -> None:
        n, width = 4096, 256
        target = {"w": rng.standard_normal(n).astype(np.float32)}
        others = [{"w": rng.standard_normal(n).astype(np.float32)} for _ in range(400)]
        rows = np.stack([sketch(other, Hashing(0, width)) for other in others])
        norm, norms = np.linalg.norm(target["w"]), [float(np.linalg.norm(other["w"])) for other in others]
        cosines, errors = cosines_from(sketch(target, Hashing(0, width)), float(norm), rows, norms)
        true = [float(target["w"] @ other["w"]) / norm / m for other, m in zip(others, norms, strict=True)]
        assert 0.91 <= np.mean(np.abs(cosines - true) <= 1.96 * errors) <= 0.99

    def test_entries_of_one_block_never_meet(self, rng: np.random.Generator) -> None:
        x = rng.standard_normal(256).astype(np.float32)
        found = sketch({"w": x}, Hashing(3, 256))
        assert sorted(np.abs(found)) == sorted(np.abs(x.astype(np.float64)))
        assert not np.array_equal(np.abs(found), np.abs(x))

    def test_entries_of_different_blocks_meet_once_in_so_many(self) -> None:
        drawn = np.array([Hashing(seed, 64).rotations("w", 0, 128) for seed in range(1500)])
        assert np.mean(drawn[:, 0] == drawn[:, 1]) == pytest.approx(1 / 64, abs=0.012)
        assert drawn.min() == 0
        assert drawn.max() == 63

    def test_it_is_linear(self, rng: np.random.Generator) -> None:
        x, y = lumpy(rng, {"a": 900}), lumpy(rng, {"a": 900})
        both = {"a": 2 * x["a"] - y["a"]}
        h = Hashing(0, 128)
        np.testing.assert_allclose(sketch(both, h), 2 * sketch(x, h) - sketch(y, h), atol=1e-4)

    def test_a_vector_of_zeros_has_cosine_zero(self) -> None:
        cosines, _ = cosines_from(np.ones(64), 8.0, np.zeros((1, 64)), [0.0])
        assert cosines.tolist() == [0.0]


def by_the_format(tensors: Tensors, seed: int, width: int) -> np.ndarray:
    """What docs/formats.md says, word by word."""

    def draws(stream: str, count: int) -> np.ndarray:
        key = np.frombuffer(hashlib.sha256(stream.encode()).digest()[:16], "<u8")
        return np.random.Philox(key=key).random_raw(count)

    out = np.zeros(width)
    for name, x in tensors.items():
        signs = draws(f"{seed}\0signs of a sketch\0{name}", x.size // 64 + 32).view("<u4")
        rotations = draws(f"{seed}\0rotations of a sketch\0{name}", x.size // width // 4 + 1).view("<u2")
        for i, entry in enumerate(x.tolist()):
            turned = int(signs[i // 2048 * 64 + i % 64]) >> (i % 2048 // 64) & 1
            out[(i % width + int(rotations[i // width]) % width) % width] += -entry if turned else entry
    return out


class TestSameBits:
    def test_a_sketch_is_what_the_format_says(self, kernels: str) -> None:
        whole = {"a": np.arange(-1300, 1301, dtype=np.float32), "b": np.float32([3, -5])}
        assert np.array_equal(sketch(whole, Hashing(4, 64)), by_the_format(whole, 4, 64))

    SHAPES = ((STEP * 2 + 777), 100, 8192 * 3)

    @pytest.fixture
    def vector(self, rng: np.random.Generator) -> Tensors:
        return {f"t{i}": rng.standard_normal(n).astype(np.float32) for i, n in enumerate(self.SHAPES)}

    def test_whatever_the_order_the_slices_and_the_threads(self, vector: Tensors) -> None:
        once = sketch(vector)
        other = Sketching()
        parts = [
            (n, at, x[at : at + step])
            for (n, x), step in zip(vector.items(), (STEP, 2 * STEP, STEP), strict=True)
            for at in range(0, x.size, step)
        ]
        with ThreadPoolExecutor(4) as pool:
            list(pool.map(lambda part: other.add(*part), reversed(parts)))
        assert np.array_equal(other.value, once)

    @pytest.mark.parametrize("width", [64, 1024, 65536])
    def test_with_the_fused_kernel_and_without(self, vector: Tensors, width: int, twins) -> None:  # type: ignore[no-untyped-def]
        fused, plain = twins("sketch", lambda: sketch(vector, Hashing(1, width)))
        assert np.array_equal(fused, plain)

    def test_another_seed_or_name_gives_another_sketch(self, vector: Tensors) -> None:
        once = sketch(vector)
        assert not np.array_equal(sketch(vector, Hashing(1)), once)
        assert not np.array_equal(sketch({f"{n}.": x for n, x in vector.items()}), once)


class TestRefusals:
    @pytest.mark.parametrize("width", [0, 32, 1000, 1 << 17])
    def test_a_width_that_is_no_power_of_two_or_too_large(self, width: int) -> None:
        with pytest.raises(ValueError, match="power of two from 64 to 65536"):
            Hashing(0, width)

    def test_a_slice_that_begins_within_a_step(self) -> None:
        with pytest.raises(ValueError, match="must begin at a multiple of 262144, got 10"):
            Sketching().add("w", 10, np.zeros(4, np.float32))
