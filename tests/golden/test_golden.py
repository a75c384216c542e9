"""What must never change by accident: the bytes of merges and files, of numbers that are counted, not drawn.

A line here changes together with a line in CHANGELOG.md that says why numbers differ from the release before.
Run this file as a script to print the table anew.
"""

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import taskvec as tv
from taskvec.store.layout import OutTensor, lay_out
from taskvec.store.writer import ShardWriter

TABLE = Path(__file__).with_name("golden.json")
SHAPES = {
    "model.embed_tokens.weight": (96, 64),
    "model.layers.0.w": (64, 48),
    "model.layers.1.w": (64, 48),
    "norm": (64,),
}
SAME_AS_LINEAR = ("model_soup", "geometric_median")
"""A soup is the average; and so is the median of two models."""
# Methods of whole matrices give what the library of linear algebra gives, to a rounding: see tests/merge for these.
# Methods of curvature need statistics beside the models: see tests/flows.
RECIPES: dict[str, dict[str, Any]] = {
    **{name: {"method": name} for name, m in tv.METHODS.items() if m.needs.scope != "tensor" and not m.needs.curvature},
    "linear, weighted": {"method": "linear", "weights": [0.75, 0.5]},
    "task_arithmetic, stochastic": {"method": "task_arithmetic", "rounding": "stochastic", "seed": 3},
    "ties as mergekit": {
        "method": "ties",
        "settings": {"scope": "tensor", "elect": "weighted", "tied": "positive", "density": 0.5},
        "weights": [1, -0.5],
    },
    "dare_linear, seed 7": {"method": "dare_linear", "seed": 7, "settings": {"density": 0.25}},
    "dare_ties without trim": {"method": "dare_ties", "settings": {"density": 0.5, "trim": 1.0}},
    "float16 over depth": {"method": "task_arithmetic", "scale": [0, 1], "dtype": "float16"},
}


def bits(model: int) -> dict[str, np.ndarray]:
    """Return bf16 bits made by counting: both signs, thirteen exponents, every fraction; a fine-tune is steps off."""
    out = {}
    for at, (name, shape) in enumerate(SHAPES.items()):
        i = np.arange(np.prod(shape), dtype=np.uint64) + np.uint64(1_000_003 * at)
        mixed = (i * np.uint64(0x9E3779B97F4A7C15)) >> np.uint64(20)
        sign, exponent, fraction = mixed & 1, 114 + (mixed >> np.uint64(1)) % 13, (mixed >> np.uint64(8)) & 0x7F
        step = (mixed >> np.uint64(16 + 3 * model)) % np.uint64(90 if model else 1)
        moved = np.minimum(fraction + step, 0x7F)
        out[name] = ((sign << np.uint64(15)) | (exponent << np.uint64(7)) | moved).astype(np.uint16).reshape(shape)
    return out


def write(folder: Path, tensors: dict[str, np.ndarray]) -> None:
    folder.mkdir(parents=True)
    layout = lay_out([OutTensor(n, "BF16", x.shape) for n, x in tensors.items()], 10**9, {"format": "pt"})
    with ShardWriter(folder, layout) as writer:
        for name, x in tensors.items():
            writer.write(name, 0, x.reshape(-1))
        writer.finish()


def family(folder: Path) -> Path:
    for i, name in enumerate(("base", "m0", "m1")):
        write(folder / name, bits(i))
    return folder


def merge(folder: Path, name: str) -> dict[str, Any]:
    data = dict(RECIPES[name])
    weights = data.pop("weights", [1] * min(2, tv.METHODS[data["method"]].needs.tasks.stop - 1))
    data["models"] = [{"model": str(folder / f"m{i}"), "weight": w} for i, w in enumerate(weights)]
    if tv.METHODS[data["method"]].needs.takes_base:
        data["base"] = str(folder / "base")
    receipt = tv.run(tv.make_plan(tv.Recipe.model_validate(data)), folder / "out" / name.replace(" ", "-"))
    sha256 = hashlib.sha256((receipt.folder / "model.safetensors").read_bytes()).hexdigest()
    return {"sha256": sha256, "lost": round(receipt.facts["rounding"]["lost"], 6)}


def others(folder: Path) -> dict[str, Any]:
    """Return what else must stay: fingerprints, and the bytes of a task vector (as of version 0)."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("taskvec.store.taskvector.__version__", "0")
        vector = tv.diff(folder / "base", folder / "m0").save(folder / "m0.tv").read_bytes()
    return {
        "fingerprint of base": tv.fingerprint(tv.Checkpoint(folder / "base")),
        "fingerprint of m1": tv.fingerprint(tv.Checkpoint(folder / "m1")),
        "task vector": hashlib.sha256(vector).hexdigest(),
    }


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return family(tmp_path_factory.mktemp("golden"))


@pytest.fixture(scope="module")
def table() -> dict[str, Any]:
    read: dict[str, Any] = json.loads(TABLE.read_text())
    return read


@pytest.mark.parametrize("name", RECIPES)
def test_merges(made: Path, table: dict[str, Any], name: str) -> None:
    assert merge(made, name) == table["merges"][name]


def test_files(made: Path, table: dict[str, Any]) -> None:
    assert others(made) == table["files"]


def test_the_table_holds_nothing_else(table: dict[str, Any]) -> None:
    assert list(table["merges"]) == list(RECIPES)
    shas = {name: row["sha256"] for name, row in table["merges"].items() if name not in SAME_AS_LINEAR}
    assert len(set(shas.values())) == len(shas)
    assert {table["merges"][name]["sha256"] for name in SAME_AS_LINEAR} == {shas["linear"]}


def test_the_inputs_are_counted_the_same_everywhere() -> None:
    """If this fails the table above says nothing."""
    whole = b"".join(bits(i)[name].tobytes() for i in range(3) for name in SHAPES)
    assert hashlib.sha256(whole).hexdigest()[:16] == "db355d4abb2927dc"


if __name__ == "__main__":
    from tempfile import TemporaryDirectory

    with TemporaryDirectory() as place:
        here = family(Path(place) / "golden")
        print(json.dumps({"merges": {name: merge(here, name) for name in RECIPES}, "files": others(here)}, indent=2))
