"""What the tests of the catalogue share."""

from pathlib import Path

import numpy as np

import taskvec as tv
from taskvec.ops.sketch import Hashing
from taskvec.testing import finetuned, tiny_tensors, write_model

SMALL = Hashing(0, 256)


def family(folder: Path, count: int = 4) -> Path:
    """Write `base` and fine-tunes `m0`, `m1`, …; two of them nearly the same."""
    base = tiny_tensors(layers=1) | {"position_ids": np.arange(4, dtype=np.int64)}
    write_model(folder / "base", base, dtype="BF16")
    for i in range(count):
        write_model(folder / f"m{i}", finetuned(base, i), dtype="BF16")
    near = finetuned(base, 0)
    near["lm_head.weight"] = near["lm_head.weight"] + np.float32(0.05)
    write_model(folder / "near", near, dtype="BF16")
    return folder


def stranger(folder: Path) -> Path:
    """Write `base2` and `other`, of another base."""
    base = tiny_tensors(5, layers=1)
    write_model(folder / "base2", base)
    write_model(folder / "other", finetuned(base, 0))
    return folder


def filled(folder: Path, *names: str) -> tv.Catalog:
    """Make a catalogue of some fine-tunes."""
    catalog = tv.Catalog(folder / "known", create=True, hashing=SMALL)
    for name in names:
        catalog.add(folder / name, base=folder / "base")
    return catalog


def dense(vector: tv.TaskVector) -> np.ndarray:
    """All entries of a vector, in float64."""
    return np.concatenate([vector.entries(name) for name in sorted(vector.shapes)]).astype(np.float64)
