"""Everything that people bring, in one merge: adapters, files of PyTorch, other names, eight bits, names on the hub."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

import taskvec as tv
from taskvec.store import Checkpoint
from taskvec.testing import finetuned, tiny_tensors, write_adapter, write_model

Arrays = dict[str, np.ndarray]
MODULES = ("model.layers.0.self_attn.q_proj", "model.layers.1.mlp.up_proj", "model.layers.2.mlp.up_proj")


@pytest.fixture
def bench(tmp_path: Path, rng: np.random.Generator) -> Path:
    """Write a base, a whole fine-tune, and four adapters, each on its own module (the last on all)."""
    base = tiny_tensors()
    write_model(tmp_path / "base", base)
    write_model(tmp_path / "whole", finetuned(base, 1))
    for i in range(4):
        modules = MODULES[i : i + 1] or MODULES
        parts: Arrays = {}
        for module in modules:
            rows, columns = base[f"{module}.weight"].shape
            parts[f"base_model.model.{module}.lora_A.weight"] = rng.standard_normal((2, columns)).astype(np.float32)
            parts[f"base_model.model.{module}.lora_B.weight"] = rng.standard_normal((rows, 2)).astype(np.float32)
        write_adapter(tmp_path / f"a{i}", parts)
    return tmp_path


@pytest.fixture
def merged(bench: Path) -> Callable[..., Checkpoint]:
    """Return what merges models by their names in the bench."""

    def merge(method: str, models: list[Any], base: str | None = "base", **keys: Any) -> Checkpoint:
        entries = [m if isinstance(m, dict) else {"model": m} for m in models]
        for entry in entries:
            entry["model"] = "+".join(str(bench / name) for name in entry["model"].split("+"))
        data = {"method": method, "models": entries, "dtype": "float32", **keys}
        data |= {"base": str(bench / base)} if base else {}
        plan = tv.make_plan(tv.Recipe.model_validate(data), bench / "out")
        return Checkpoint(tv.run(plan, bench / "out", force=True).folder)

    return merge


def numbers(folder: Path) -> dict[str, np.ndarray]:
    checkpoint = Checkpoint(folder)
    return {name: checkpoint[name].double().numpy() for name in checkpoint}


def change(bench: Path, adapter: str) -> dict[str, np.ndarray]:
    """What an adapter adds, in float64."""
    parts = Checkpoint(bench / adapter / "adapter_model.safetensors")
    out = {}
    for name in numbers(bench / "base"):
        front = f"base_model.model.{name.removesuffix('.weight')}"
        if f"{front}.lora_A.weight" in parts:
            a, b = (parts[f"{front}.lora_{x}.weight"].double().numpy() for x in "AB")
            out[name] = 2.0 * b @ a
    return out


def near(merged: Checkpoint, expected: dict[str, np.ndarray]) -> None:
    assert set(merged) == set(expected)
    for name, x in expected.items():
        np.testing.assert_allclose(merged[name].double().numpy(), x, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("method", ["ties", "dare_ties", "della", "model_stock", "geometric_median", "sce", "pcb"])
def test_methods_of_task_vectors_take_adapters(method: str, bench: Path, merged: Callable[..., Checkpoint]) -> None:
    out, base = merged(method, ["a0", "a1", "a3", "whole"]), Checkpoint(bench / "base")
    assert any((out.raw(n) != base.raw(n)).any() for n in out)


def test_what_no_adapter_touches_keeps_its_bits(bench: Path, merged: Callable[..., Checkpoint]) -> None:
    out, base = merged("ties", ["a0", "a1"]), Checkpoint(bench / "base")
    untouched = [n for n in base if not n.startswith(MODULES[:2])]
    assert untouched
    assert all((out.raw(n) == base.raw(n)).all() for n in untouched)


def test_a_model_with_an_adapter_is_the_sum(bench: Path, merged: Callable[..., Checkpoint]) -> None:
    out = merged("linear", ["whole+a0", "base+a1+a2"], base=None, allow=["unrelated"])
    whole, base = numbers(bench / "whole"), numbers(bench / "base")
    first, (second, third) = change(bench, "a0"), (change(bench, m) for m in ("a1", "a2"))
    near(
        out,
        {
            n: ((whole[n] + first.get(n, 0)) + (base[n] + second.get(n, 0) + third.get(n, 0))) / 2
            for n in whole
        },
    )  # fmt: skip


def test_an_adapter_on_the_recipes_own_base_is_its_change(bench: Path, merged: Callable[..., Checkpoint]) -> None:
    by_sum = merged("task_arithmetic", ["base+a3", "whole"])
    values = {n: by_sum.raw(n).copy() for n in by_sum}
    by_itself = merged("task_arithmetic", ["a3", "whole"])
    assert all((values[n] == by_itself.raw(n)).all() for n in by_itself)


def test_files_of_pytorch_and_other_names(bench: Path, merged: Callable[..., Checkpoint]) -> None:
    """The same model as a .bin file, without the prefix, and under names of its own."""
    whole = Checkpoint(bench / "whole")
    state = {name: whole[name] for name in whole}
    (bench / "bin").mkdir()
    torch.save(state, bench / "bin" / "pytorch_model.bin")
    torch.save({n.removeprefix("model."): x for n, x in state.items()}, bench / "plain.pt")
    torch.save({n.replace("model.layers.", "blocks."): x for n, x in state.items()}, bench / "own.pt")
    expected = merged("task_arithmetic", ["whole"], scale=0.5)
    values = {n: expected.raw(n).copy() for n in expected}
    rename = [{"from": "blocks.", "to": "model.layers."}]
    for entry in ({"model": "bin"}, {"model": "plain.pt"}, {"model": "own.pt", "rename": rename}):
        out = merged("task_arithmetic", [dict(entry)], scale=0.5)
        assert all((values[n] == out.raw(n)).all() for n in values), entry


def test_a_prefix_is_noted(bench: Path) -> None:
    whole = Checkpoint(bench / "whole")
    torch.save({n.removeprefix("model."): whole[n] for n in whole}, bench / "plain.pt")
    data = {"method": "linear", "models": [str(bench / "base"), str(bench / "plain.pt")]}
    plan = tv.make_plan(tv.Recipe.model_validate(data))
    assert any("'model.' was put before the names" in note for note in plan.notes)


def test_a_name_on_the_hub(bench: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """From the cache, in its real layout, without a network."""
    pytest.importorskip("huggingface_hub")
    snapshot = bench / "cache" / "models--org--whole" / "snapshots" / ("0" * 40)
    snapshot.mkdir(parents=True)
    for file in (bench / "whole").iterdir():
        (snapshot / file.name).write_bytes(file.read_bytes())
    refs = bench / "cache" / "models--org--whole" / "refs"
    refs.mkdir()
    (refs / "main").write_text("0" * 40)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(bench / "cache"))
    data = {"method": "linear", "models": [{"model": str(bench / "base")}, {"model": "org/whole"}]}
    receipt = tv.run(tv.make_plan(tv.Recipe.model_validate(data)), bench / "out")
    base, whole = numbers(bench / "base"), numbers(bench / "whole")
    near(Checkpoint(receipt.folder), {n: (base[n] + whole[n]) / 2 for n in base})
    assert [i["path"] for i in receipt.facts["inputs"]][1] == "org/whole"


def test_a_base_in_eight_bits_is_stored_in_bf16(bench: Path) -> None:
    base = Checkpoint(bench / "base")
    state: dict[str, torch.Tensor] = {}
    for name in base:
        x = base[name]
        if x.ndim == 2 and ".layers." in name:
            scale = x.abs().amax() / 448
            state |= {name: (x / scale).to(torch.float8_e4m3fn), f"{name}_scale": scale.reshape(1)}
        else:
            state[name] = x.to(torch.bfloat16)
    (bench / "fp8").mkdir()
    save_file(state, bench / "fp8" / "model.safetensors")
    quantised = {"quant_method": "compressed-tensors", "format": "float-quantized"}
    config = {"model_type": "llama", "quantization_config": quantised}
    (bench / "fp8" / "config.json").write_text(json.dumps(config))
    data = {"method": "task_arithmetic", "base": str(bench / "fp8"), "models": [str(bench / "whole")]}
    out = Checkpoint(tv.run(tv.make_plan(tv.Recipe.model_validate(data)), bench / "out").folder)
    assert {info.dtype for info in out.tensors.values()} == {"BF16"}
    assert "quantization_config" not in out.config
    whole = numbers(bench / "whole")
    for name in whole:
        np.testing.assert_allclose(out[name].double().numpy(), whole[name], rtol=2**-8, atol=1e-6)


def test_all_ways_to_be_an_adapter_in_the_wrong_place(bench: Path, merged: Callable[..., Checkpoint]) -> None:
    with pytest.raises(tv.RecipeError, match="is an adapter, which needs the model it was trained on"):
        merged("linear", ["whole", "a0"], base=None)
    with pytest.raises(tv.RecipeError, match=r"whole in '.*' is no adapter: a folder with an adapter_config\.json"):
        merged("linear", ["base+whole"], base=None)
    with pytest.raises(tv.RecipeError, match="is an adapter; 'base' must be a model, or 'model"):
        merged("task_arithmetic", ["whole"], base="a0")


def test_an_adapter_saved_as_a_task_vector(bench: Path, merged: Callable[..., Checkpoint]) -> None:
    tv.diff(bench / "base", bench / "a3").save(bench / "a3.tv")
    by_file = merged("task_arithmetic", ["a3.tv"])
    values = {n: by_file.raw(n).copy() for n in by_file}
    by_adapter = merged("task_arithmetic", ["a3"])
    assert all((values[n] == by_adapter.raw(n)).all() for n in values)
