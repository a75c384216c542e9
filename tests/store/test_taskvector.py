"""The task vector: its laws, its laziness, its file, and what it refuses."""

import json
import os
from collections.abc import Callable
from functools import reduce
from operator import add
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.torch import load_file, save_file

import taskvec as tv
from taskvec.store.bridge import to_torch
from taskvec.store.tensors import Files
from taskvec.testing import finetuned, tiny_tensors, write_model

Models = dict[str, Path]


@pytest.fixture
def models(tmp_path: Path) -> Models:
    """A base and three fine-tunes, with a buffer of integers, in bf16."""
    base = tiny_tensors() | {"position_ids": np.arange(6, dtype=np.int64)}
    out = {"base": write_model(tmp_path / "base", base, dtype="BF16")}
    return out | {
        f"m{i}": write_model(tmp_path / f"m{i}", finetuned(base, i), dtype="BF16", shard_size=900) for i in range(3)
    }


@pytest.fixture
def vectors(models: Models) -> list[tv.TaskVector]:
    return [tv.diff(models["base"], models[f"m{i}"]) for i in range(3)]


def bits(x: torch.Tensor) -> list[int]:
    return x.reshape(-1).view(torch.uint8).tolist()


def equal(a: tv.TaskVector, b: tv.TaskVector) -> bool:
    return list(a) == list(b) and all(torch.equal(a[n], b[n]) for n in a)


class TestLaws:
    @settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
    @pytest.mark.parametrize(("dtype", "reach"), [(torch.bfloat16, 14), (torch.float16, 11)])
    @given(data=st.data())
    def test_a_base_plus_its_difference_is_the_fine_tune_bit_for_bit(
        self, tmp_path: Path, data: st.DataObject, dtype: torch.dtype, reach: int
    ) -> None:
        """Wherever an entry does not shrink below 2^-reach of the base's: float32 holds the difference well enough."""
        largest = 1e30 if dtype == torch.bfloat16 else 6e4
        number = st.floats(2.0**-10, largest) | st.floats(-largest, -(2.0**-10)) | st.just(0.0)
        pairs = data.draw(st.lists(st.tuples(number, number), min_size=1, max_size=20))
        base = torch.tensor([b for b, _ in pairs], dtype=torch.float64).to(dtype)
        tuned = torch.tensor([t for _, t in pairs], dtype=torch.float64).to(dtype)
        near = (tuned == 0) | (tuned.abs().double() * 2.0**reach >= base.abs().double())
        tuned = torch.where(near, tuned, base)
        save_file({"x": base}, tmp_path / "b.safetensors")
        save_file({"x": tuned}, tmp_path / "t.safetensors")
        tau = tv.diff(tmp_path / "b.safetensors", tmp_path / "t.safetensors")
        got = tau.apply(tmp_path / "b.safetensors")["x"]
        assert got.dtype == dtype
        assert bits(got) == bits(tuned)

    def test_a_whole_model_comes_back_bit_for_bit(self, models: Models, vectors: list[tv.TaskVector]) -> None:
        applied, tuned = vectors[0].apply(models["base"]), tv.Checkpoint(models["m0"])
        assert list(applied) == list(tv.Checkpoint(models["base"]))
        for name in applied:
            assert bits(applied[name]) == bits(tuned[name])

    def test_nothing_times_a_vector_changes_no_bit(self, models: Models, vectors: list[tv.TaskVector]) -> None:
        base = tv.Checkpoint(models["base"])
        for applied in (vectors[0].apply(base, scale=0.0), (0.0 * vectors[0]).apply(base)):
            assert all(bits(applied[name]) == bits(base[name]) for name in base)

    def test_a_vector_is_the_difference_in_float32(self, models: Models, vectors: list[tv.TaskVector]) -> None:
        base, tuned = tv.Checkpoint(models["base"]), tv.Checkpoint(models["m1"])
        for name, x in vectors[1].items():
            assert x.dtype == torch.float32
            assert torch.equal(x, tuned[name].float() - base[name].float())

    @settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
    @given(
        a=st.floats(-4, 4, width=32), b=st.floats(-4, 4, width=32), c=st.floats(-4, 4, width=32), at=st.integers(0, 10)
    )
    def test_expressions_are_what_numpy_says(
        self, vectors: list[tv.TaskVector], a: float, b: float, c: float, at: int
    ) -> None:
        x, y, z = vectors
        name = list(x)[at]
        f = np.float32
        # a factor of 1 is not multiplied with, which is the same in numpy; sums go from left to right
        expected = f(a) * x.entries(name) + f(b) * y.entries(name) - f(c) * z.entries(name)
        assert np.array_equal((a * x + y * b - c * z).entries(name), expected)

    def test_addition_is_associative_bit_for_bit(self, vectors: list[tv.TaskVector]) -> None:
        """Because a sum is a list of terms, added up from left to right however it was put together."""
        a, b, c = vectors
        assert equal((a + b) + c, a + (b + c))

    def test_addition_commutes_up_to_rounding_only_in_the_sum(self, vectors: list[tv.TaskVector]) -> None:
        a, b, _ = vectors
        assert equal(a + b, b + a)

    def test_a_vector_minus_itself_is_zero(self, vectors: list[tv.TaskVector]) -> None:
        assert all(not x.any() for x in (vectors[0] - vectors[0]).values())

    def test_negation_is_its_own_inverse_and_a_factor_of_minus_one(self, vectors: list[tv.TaskVector]) -> None:
        a = vectors[0]
        negated = -a
        assert equal(-negated, a)
        assert equal(-a, -1 * a)
        assert all(torch.equal((-a)[n], -a[n]) for n in a)

    def test_factors_distribute_over_sums(self, vectors: list[tv.TaskVector]) -> None:
        a, b, _ = vectors
        assert equal(2 * (a + b), 2 * a + 2 * b)
        assert all(torch.allclose((0.3 * (a + b))[n], 0.3 * (a[n] + b[n]), rtol=1e-6, atol=1e-7) for n in a)

    def test_entries_are_slices_of_the_tensor(self, vectors: list[tv.TaskVector]) -> None:
        total = vectors[0] - 0.5 * vectors[1]
        for name in total:
            whole = total.entries(name)
            assert total.entries(name, 2, 7).tolist() == whole[2:7].tolist()

    @pytest.mark.parametrize("other", [1, "x", None, torch.ones(2)])
    def test_other_things_do_not_add(self, vectors: list[tv.TaskVector], other: object) -> None:
        with pytest.raises(TypeError, match="unsupported operand"):
            _ = vectors[0] + other  # type: ignore[operator]
        with pytest.raises(TypeError, match="unsupported operand"):
            _ = vectors[0] - other  # type: ignore[operator]

    def test_vectors_do_not_multiply(self, vectors: list[tv.TaskVector]) -> None:
        with pytest.raises(TypeError, match="unsupported operand"):
            _ = vectors[0] * vectors[1]  # type: ignore[operator]


class TestMixedTypes:
    def test_integers_have_no_part_in_it_and_the_bases_stay(self, models: Models, vectors: list[tv.TaskVector]) -> None:
        assert "position_ids" not in vectors[0]
        assert vectors[0].apply(models["base"])["position_ids"].tolist() == list(range(6))

    def test_the_result_has_the_bases_types(self, tmp_path: Path) -> None:
        base = tiny_tensors()
        names = list(base)
        kinds = {names[0]: "F16", names[1]: "F64", names[2]: "F32"}
        write_model(tmp_path / "b", base, dtype="BF16", dtypes=kinds)
        write_model(tmp_path / "t", finetuned(base, 1), dtype="F32")
        applied = tv.diff(tmp_path / "b", tmp_path / "t").apply(tmp_path / "b")
        stored = tv.Checkpoint(tmp_path / "b")
        assert {n: applied[n].dtype for n in base} == {n: stored[n].dtype for n in base}

    def test_a_tied_head_is_compared_with_the_embedding(self, tmp_path: Path) -> None:
        base = tiny_tensors()
        tied = {n: x for n, x in finetuned(base, 1).items() if n != "lm_head.weight"}
        write_model(tmp_path / "b", base)
        write_model(tmp_path / "t", tied, config={"tie_word_embeddings": True})
        tau = tv.diff(tmp_path / "b", tmp_path / "t")
        expected = tied["model.embed_tokens.weight"] - base["lm_head.weight"]
        assert np.array_equal(tau["lm_head.weight"].numpy(), expected)


class TestLazy:
    @pytest.fixture
    def asked(self, monkeypatch: pytest.MonkeyPatch, vectors: list[tv.TaskVector]) -> list[str]:
        names: list[str] = []
        raw = Files.raw
        monkeypatch.setattr(Files, "raw", lambda self, info, *a: names.append(info.name) or raw(self, info, *a))
        return names

    def test_an_expression_of_twenty_reads_nothing(self, asked: list[str], vectors: list[tv.TaskVector]) -> None:
        total = reduce(add, [0.1 * i * vectors[i % 3] for i in range(20)]) - vectors[0]
        assert (len(total), len(total.terms), len(total.history)) == (12, 21, 21)
        assert asked == []

    def test_a_tensor_asked_for_is_the_only_one_read(self, asked: list[str], vectors: list[tv.TaskVector]) -> None:
        _ = (vectors[0] + vectors[1])["model.norm.weight"]
        assert asked == ["model.norm.weight"] * 4

    def test_applying_reads_no_more_than_is_asked_for(
        self, asked: list[str], models: Models, vectors: list[tv.TaskVector]
    ) -> None:
        applied = vectors[0].apply(models["base"])
        assert asked == []
        _ = applied["lm_head.weight"]
        assert set(asked) == {"lm_head.weight"}


class TestFile:
    def test_what_is_saved_is_loaded(self, tmp_path: Path, vectors: list[tv.TaskVector]) -> None:
        total = 0.4 * vectors[0] - vectors[1]
        path = total.save(tmp_path / "folder" / "edit.tv")
        again = tv.TaskVector.load(path)
        assert (again.base, again.space, again.history) == (total.base, "weights", total.history)
        assert equal(again, total)
        assert again.shapes == total.shapes

    def test_history_says_how_it_was_made(self, tmp_path: Path, vectors: list[tv.TaskVector]) -> None:
        total = 0.5 * (vectors[0] + vectors[1]) - vectors[2]
        assert total.history == ("0.5 * (m0 - base)", "0.5 * (m1 - base)", "-1 * (m2 - base)")
        assert "0.5 * (m0 - base)" in repr(total)

    def test_a_loaded_vector_joins_in_expressions_and_saves_again(
        self, tmp_path: Path, vectors: list[tv.TaskVector]
    ) -> None:
        loaded = tv.TaskVector.load(vectors[0].save(tmp_path / "a.tv"))
        assert equal(loaded + vectors[1], vectors[0] + vectors[1])
        assert equal(tv.TaskVector.load((2 * loaded).save(tmp_path / "b.tv")), 2 * vectors[0])

    def test_safetensors_reads_it_with_its_metadata(self, tmp_path: Path, vectors: list[tv.TaskVector]) -> None:
        path = vectors[0].save(tmp_path / "m.safetensors")
        with safe_open(path, framework="pt") as file:
            meta = file.metadata()
            assert meta["taskvec.format"] == "1"
            assert meta["taskvec.space"] == "weights"
            assert meta["taskvec.base"] == vectors[0].base
            assert json.loads(meta["taskvec.history"]) == ["m0 - base"]
            assert meta["taskvec.version"] == tv.__version__
        theirs = load_file(path)
        assert set(theirs) == set(vectors[0])
        assert all(torch.equal(theirs[n], vectors[0][n]) for n in theirs)

    @pytest.mark.parametrize("dtype", ["bfloat16", "float16", "float64"])
    def test_it_is_stored_as_asked(self, tmp_path: Path, vectors: list[tv.TaskVector], dtype: str) -> None:
        stored = load_file(vectors[0].save(tmp_path / "m.safetensors", dtype))
        for name, x in stored.items():
            assert x.dtype == getattr(torch, dtype)
            assert torch.equal(x, vectors[0][name].to(x.dtype))

    def test_progress_is_told_up_to_the_last_byte(self, tmp_path: Path, vectors: list[tv.TaskVector]) -> None:
        told: list[int] = []
        vectors[0].save(tmp_path / "m.tv", "float32", told.append)
        assert told == sorted(told)
        assert told[-1] == sum(4 * x.numel() for x in vectors[0].values())

    def test_a_large_tensor_is_written_slice_by_slice(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("taskvec.store.taskvector.SLICE", 1000)
        x = np.random.default_rng(0).standard_normal(4321).astype(np.float32)
        write_model(tmp_path / "b", {"x": x})
        write_model(tmp_path / "t", {"x": 2 * x})
        tau = tv.diff(tmp_path / "b", tmp_path / "t")
        assert np.array_equal(tv.TaskVector.load(tau.save(tmp_path / "m.tv"))["x"].numpy(), x)

    def test_an_interrupted_save_leaves_the_old_file_and_a_later_one_succeeds(
        self, tmp_path: Path, vectors: list[tv.TaskVector]
    ) -> None:
        path = vectors[0].save(tmp_path / "m.tv")
        before = path.read_bytes()

        def stop(done: int) -> None:
            raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            vectors[1].save(path, "float64", stop)
        assert path.read_bytes() == before
        # narrower than what the interrupted one had claimed
        assert equal(tv.TaskVector.load(vectors[1].save(path)), vectors[1])
        assert sorted(p.name for p in tmp_path.iterdir() if p.is_file()) == ["m.tv"]


class TestRefusals:
    def test_vectors_of_different_bases(self, tmp_path: Path, models: Models, vectors: list[tv.TaskVector]) -> None:
        other = tv.diff(models["m1"], models["m2"])
        for operation in (lambda: vectors[0] + other, lambda: other - vectors[0]):
            with pytest.raises(tv.MismatchError, match=r"different bases do not add: '.*m\d.*' belongs to tv1:"):
                operation()

    def test_another_base_than_its_own(self, models: Models, vectors: list[tv.TaskVector]) -> None:
        with pytest.raises(tv.MismatchError, match=r"'m0 - base' was made from the base tv1:\w+, but .*m1 is tv1:"):
            vectors[0].apply(models["m1"])

    def test_a_difference_is_no_model(self, tmp_path: Path, models: Models, vectors: list[tv.TaskVector]) -> None:
        saved = vectors[0].save(tmp_path / "x.tv")
        for pair in ((models["base"], saved), (saved, models["base"])):
            with pytest.raises(tv.MismatchError, match=r"x\.tv is a task vector, the difference of two models already"):
                tv.diff(*pair)

    def test_vectors_of_different_tensors(self, tmp_path: Path, vectors: list[tv.TaskVector]) -> None:
        x = {"x": torch.ones(3)}
        save_file(x, tmp_path / "x.safetensors", vectors[0].metadata())
        with pytest.raises(tv.MismatchError, match=r"different tensors do not add: '.*' \(.*\) is in one only"):
            _ = vectors[0] + tv.TaskVector.load(tmp_path / "x.safetensors")

    def test_a_plain_safetensors_file(self, models: Models) -> None:
        with pytest.raises(tv.FormatError, match=r"is not a task vector\. Make one: taskvec diff BASE FINETUNED -o"):
            tv.TaskVector.load(models["base"] / "model.safetensors")

    @pytest.mark.parametrize(
        ("changes", "message"),
        [
            ({"taskvec.format": "2"}, "format '2' in the space of 'weights'; this version reads format '1'"),
            ({"taskvec.space": "activations"}, "in the space of 'activations'; this version reads"),
            ({"taskvec.history": "{"}, "is damaged: "),
            ({"taskvec.history": "7"}, "is damaged: "),
            ({"taskvec.base": None}, "is damaged: "),
        ],
    )
    def test_what_this_version_does_not_know(
        self, tmp_path: Path, vectors: list[tv.TaskVector], changes: dict[str, str | None], message: str
    ) -> None:
        meta = {k: v for k, v in (vectors[0].metadata() | changes).items() if v is not None}
        save_file({"x": torch.ones(2)}, tmp_path / "x.tv", meta)
        with pytest.raises(tv.FormatError, match=message):
            tv.TaskVector.load(tmp_path / "x.tv")

    def test_a_name_without_the_ending(self, tmp_path: Path, vectors: list[tv.TaskVector]) -> None:
        with pytest.raises(tv.RecipeError, match=r"does not end in \.tv\. Type e\.g\. .*math\.tv\."):
            vectors[0].save(tmp_path / "math.bin")
        assert not list(tmp_path.glob("math*"))

    def test_an_unknown_dtype(self, tmp_path: Path, vectors: list[tv.TaskVector]) -> None:
        with pytest.raises(tv.RecipeError, match=r"unknown dtype 'int4'\. Known: float64, float32, float16, bfloat16"):
            vectors[0].save(tmp_path / "m.tv", "int4")

    @pytest.mark.parametrize("which", ["base", "m0"])
    def test_an_input_is_never_overwritten(self, models: Models, vectors: list[tv.TaskVector], which: str) -> None:
        file = sorted(models[which].glob("*.safetensors"))[0]
        before = file.read_bytes()
        with pytest.raises(tv.OutputError, match=r"is read by this vector and is not overwritten\. Choose another"):
            vectors[0].save(file)
        assert file.read_bytes() == before

    @pytest.mark.parametrize("make", [lambda a, b: a, lambda a, b: b, lambda a, b: 2 * b + a])
    def test_nor_is_a_vector_it_was_made_of(
        self, tmp_path: Path, vectors: list[tv.TaskVector], make: Callable[..., tv.TaskVector]
    ) -> None:
        path = vectors[0].save(tmp_path / "a.tv")
        os.symlink(path, tmp_path / "link.tv")
        vector = make(tv.TaskVector.load(path), tv.TaskVector.load(tmp_path / "link.tv"))
        with pytest.raises(tv.OutputError, match="is read by this vector"):
            vector.save(path)

    def test_shapes_names_and_kinds_that_differ(self, tmp_path: Path) -> None:
        base = tiny_tensors()
        write_model(tmp_path / "b", base)
        name = "model.norm.weight"
        cases = {
            r"'model.norm.weight' is F32 \(9,\) in .* but F32 \(8,\) in": base | {name: np.ones(9, np.float32)},
            r"'model.norm.weight' is I64 \(8,\) in .* but F32 \(8,\)": base | {name: np.ones(8, np.int64)},
            r"has 'extra', which .* lacks": base | {"extra": np.ones(1, np.float32)},
            r"lacks 'model.norm.weight', which": {n: x for n, x in base.items() if n != name},
        }
        for i, (message, tensors) in enumerate(cases.items()):
            with pytest.raises(tv.MismatchError, match=message):
                tv.diff(tmp_path / "b", write_model(tmp_path / str(i), tensors))


def test_a_copy_into_torch_does_not_hold_the_file() -> None:
    raw = np.array([1.0, 2.0], np.float32)
    tensor = to_torch(raw, "F32", (2,))
    raw[:] = 0
    assert tensor.tolist() == [1.0, 2.0]
