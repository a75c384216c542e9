"""The receipt says what was done, and every fact in it is true."""

import hashlib
import json
import platform
from collections.abc import Callable
from datetime import UTC, datetime
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import taskvec as tv
from taskvec.testing import finetuned, tiny_tensors, write_model

Make = Callable[..., tv.Recipe]


@pytest.fixture
def receipt(recipe: Make, tmp_path: Path) -> Callable[..., tuple[tv.Receipt, tv.Plan]]:
    def run(*args: Any, how: dict[str, Any] | None = None, **keys: Any) -> tuple[tv.Receipt, tv.Plan]:
        plan = tv.make_plan(recipe(*args, **keys), **(how or {}))
        return tv.run(plan, tmp_path / "merged", force=True), plan

    return run


class TestFacts:
    def test_the_file_holds_what_the_call_returns(self, receipt: Callable[..., Any]) -> None:
        made, _ = receipt("ties")
        assert json.loads((made.folder / "receipt.json").read_text()) == made.facts

    def test_the_hash_and_size_of_every_file(self, receipt: Callable[..., Any]) -> None:
        made, _ = receipt("ties", output={"shard_size": 80_000})
        files = {p.name: p for p in made.folder.iterdir() if p.name != "receipt.json"}
        assert len(files) > 6
        assert made.facts["files"] == {
            name: {"bytes": path.stat().st_size, "sha256": hashlib.sha256(path.read_bytes()).hexdigest()}
            for name, path in files.items()
        }

    def test_inputs_seed_method_and_recipe(self, receipt: Callable[..., Any], recipe: Make, soup: Any) -> None:
        made, _ = receipt("dare_linear", [1, 0], seed=5, scale=0.5)
        facts = made.facts
        assert facts["taskvec"] == tv.__version__
        assert (facts["method"], facts["seed"]) == ("dare_linear", 5)
        assert "2311.03099" in facts["paper"]
        assert tv.Recipe.model_validate(facts["recipe"]) == recipe("dare_linear", [1, 0], seed=5, scale=0.5)
        assert facts["inputs"] == [
            {
                "role": role,
                "kind": "weights",
                "path": str(soup() / name),
                "fingerprint": tv.fingerprint(tv.Checkpoint(soup() / name)),
                "bytes": tv.Checkpoint(soup() / name).nbytes,
            }
            for role, name in (("base", "base"), ("model", "m1"), ("model", "m0"))
        ]
        assert [k["cosine"] > 0.99 for k in facts["kinship"]] == [True, True]

    def test_bytes_threads_memory_and_time(self, receipt: Callable[..., Any]) -> None:
        before = datetime.now(UTC).replace(microsecond=0)
        made, plan = receipt("task_arithmetic", how={"threads": 2})
        facts = made.facts
        assert before <= datetime.fromisoformat(facts["created"]) <= datetime.now(UTC)
        assert facts["bytes"] == {"read": plan.bytes_read, "written": plan.layout.nbytes}
        assert facts["bytes"]["written"] == sum(p.stat().st_size for p in made.folder.glob("*.safetensors"))
        assert facts["threads"] == 2
        assert 0 < facts["seconds"] < 60
        assert 0 < facts["memory"]["planned"] <= 512_000_000
        assert facts["memory"]["peak_anonymous"] > 10_000_000
        assert facts["resumed"] is False

    def test_versions(self, receipt: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
        versions = receipt("linear")[0].facts["versions"]
        assert versions["python"] == platform.python_version()
        assert versions["numpy"] == np.__version__
        assert versions["kernels"] == ("fused" if find_spec("numba") else "plain")
        monkeypatch.setattr("taskvec.ops.kernels.choice", "plain")
        assert receipt("linear")[0].facts["versions"]["kernels"] == "plain"

    def test_what_was_copied_and_left_out(self, tmp_path: Path) -> None:
        base = tiny_tensors(layers=1) | {"ids": np.arange(3)}
        write_model(tmp_path / "b", base)
        write_model(tmp_path / "m", finetuned(base, 1) | {"value_head": np.ones(2, np.float32)})
        data = {
            "method": "task_arithmetic",
            "base": str(tmp_path / "b"),
            "models": [{"model": str(tmp_path / "m")}],
            "ignore": ["value_head", "lm_head.*"],
        }
        facts = tv.run(tv.make_plan(tv.Recipe.model_validate(data)), tmp_path / "out").facts
        assert facts["tensors"]["merged"] == 5
        assert sorted(facts["tensors"]["copied"]) == ["ids", "lm_head.weight"]
        assert facts["notes"] == ["'value_head' is left out, as 'ignore' says."]


class TestRounding:
    """How much of the merged task vector the stored type lost, against a brute-force float64 count."""

    def brute(self, folder: Path, base: Path, exact: dict[str, torch.Tensor]) -> tuple[float, float, dict[str, float]]:
        lost, moved, each = 0.0, 0.0, {}
        for name, x in tv.Checkpoint(folder).items():
            if not x.is_floating_point():
                continue
            error = float(((x.double() - exact[name]) ** 2).sum())
            step = float(((exact[name] - tv.Checkpoint(base)[name].double()) ** 2).sum())
            lost, moved = lost + error, moved + step
            if step:
                each[name] = (error / step) ** 0.5
        return (lost / moved) ** 0.5, moved**0.5, each

    @pytest.mark.parametrize(("method", "scale"), [("task_arithmetic", 1.0), ("task_arithmetic", 0.01), ("ties", 0.3)])
    @pytest.mark.parametrize("rounding", ["nearest", "stochastic"])
    def test_against_brute_force(
        self,
        receipt: Callable[..., Any],
        recipe: Make,
        soup: Any,
        tmp_path: Path,
        method: str,
        scale: float,
        rounding: str,
    ) -> None:
        precise = tv.run(tv.make_plan(recipe(method, scale=scale, dtype="float32")), tmp_path / "precise").folder
        exact = {n: x.double() for n, x in tv.Checkpoint(precise).items()}
        made, _ = receipt(method, scale=scale, rounding=rounding)
        lost, norm, each = self.brute(made.folder, soup() / "base", exact)
        report = made.facts["rounding"]
        assert report["dtype"] == "bfloat16"
        assert report["mode"] == rounding
        assert report["lost"] == pytest.approx(lost, rel=1e-3)
        assert report["task_vector_norm"] == pytest.approx(norm, rel=1e-4)
        worst = sorted(each, key=lambda n: -each[n])[:5]
        assert [w["lost"] for w in report["worst"]] == pytest.approx([each[n] for n in worst], rel=1e-3)
        assert {w["tensor"] for w in report["worst"]} == set(worst)

    def test_a_small_known_example(self, tmp_path: Path) -> None:
        """1 + 2^-9 is half-way between two neighbours of bf16 and goes to 1; 1.5 is stored as it is."""
        write_model(tmp_path / "b", {"w": np.ones((1, 2), np.float32)}, dtype="BF16")
        write_model(tmp_path / "m", {"w": np.array([[1 + 2.0**-9, 1.5]], np.float32)}, dtype="F32")
        data = {"method": "task_arithmetic", "base": str(tmp_path / "b"), "models": [{"model": str(tmp_path / "m")}]}
        made = tv.run(tv.make_plan(tv.Recipe.model_validate(data)), tmp_path / "out")
        assert tv.Checkpoint(made.folder)["w"].tolist() == [[1.0, 1.5]]
        report = made.facts["rounding"]
        assert report["lost"] == pytest.approx((2.0**-18 / (2.0**-18 + 0.25)) ** 0.5, rel=1e-6)
        assert report["task_vector_norm"] == pytest.approx((2.0**-18 + 0.25) ** 0.5, rel=1e-6)

    def test_all_of_a_tiny_step_is_lost_in_bf16_and_nothing_in_float32(self, tmp_path: Path) -> None:
        base = {"w": np.linspace(1, 1.9, 1000, dtype=np.float32).reshape(10, 100)}
        write_model(tmp_path / "b", base, dtype="BF16")
        exact = tv.Checkpoint(tmp_path / "b")["w"].float().numpy()
        write_model(tmp_path / "m", {"w": exact + np.float32(1e-4)}, dtype="F32")
        data = {"method": "task_arithmetic", "base": str(tmp_path / "b"), "models": [{"model": str(tmp_path / "m")}]}
        reports = {
            dtype: tv.run(tv.make_plan(tv.Recipe.model_validate(data | {"dtype": dtype})), tmp_path / dtype).facts[
                "rounding"
            ]
            for dtype in ("bfloat16", "float32")
        }
        assert reports["bfloat16"]["lost"] == pytest.approx(1.0)
        assert reports["float32"]["lost"] == 0.0

    def test_nothing_moved_nothing_lost(self, receipt: Callable[..., Any]) -> None:
        report = receipt("task_arithmetic", scale=0)[0].facts["rounding"]
        assert (report["lost"], report["task_vector_norm"], report["worst"]) == (0.0, 0.0, [])
        assert report["of"] == "the merged task vector"

    def test_without_a_base_the_first_model_is_the_reference(self, receipt: Callable[..., Any], soup: Any) -> None:
        made, _ = receipt("linear")
        models = [tv.Checkpoint(soup() / n) for n in ("m0", "m1")]
        exact = {n: (x.double() + models[1][n].double()) / 2 for n, x in models[0].items()}
        lost, norm, _ = self.brute(made.folder, soup() / "m0", exact)
        assert made.facts["rounding"]["lost"] == pytest.approx(lost, rel=1e-3)
        assert made.facts["rounding"]["task_vector_norm"] == pytest.approx(norm, rel=1e-4)
        assert made.facts["rounding"]["of"] == "what changed from m0"
