"""How fast is this disk? A quick probe, for the plan's estimate of time."""

import os
import tempfile
import time
from pathlib import Path

from .plan import Plan

PROBE = 64_000_000
CHUNK = 1 << 22


def estimate(plan: Plan, out: Path | None) -> dict[str, float]:
    """Return seconds for a plan, from bytes and measured rates of reading and writing, in bytes a second.

    The rates are those of this moment: files that the system has cached read faster than the disk.
    """
    read, write = _read_rate(plan), _write_rate(out or Path())
    seconds = plan.bytes_read / read + (plan.layout.nbytes / write if write else 0.0)
    return {"seconds": seconds, "read": read, "write": write}


def _read_rate(plan: Plan) -> float:
    """Read the middle of the largest input file."""
    files = {file for i in plan.inputs for file in i.checkpoint.on_disk}
    path = max(files, key=lambda f: f.stat().st_size)
    size = path.stat().st_size
    buffer = bytearray(CHUNK)
    began, done = time.perf_counter(), 0
    with path.open("rb", buffering=0) as file:
        file.seek(max(0, size // 2 - PROBE // 2))
        while done < PROBE and (got := file.readinto(buffer)):
            done += got
    return max(done, 1) / max(time.perf_counter() - began, 1e-6)


def _write_rate(out: Path) -> float:
    """Write and sync a temporary file in the nearest existing folder; 0 where nothing may be written."""
    folder = next(p for p in (out.absolute(), *out.absolute().parents) if p.is_dir())
    if not os.access(folder, os.W_OK):
        return 0.0
    block = os.urandom(CHUNK)
    with tempfile.TemporaryFile(dir=folder) as file:
        began = time.perf_counter()
        for _ in range(PROBE // CHUNK):
            file.write(block)
        file.flush()
        os.fsync(file.fileno())
        return PROBE / max(time.perf_counter() - began, 1e-6)
