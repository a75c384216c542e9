"""Run a command and measure it: wall and CPU time, anonymous and total memory at their peaks."""

import os
import re
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

INTERVAL = 0.02


@dataclass(frozen=True)
class Measured:
    """One run of a command."""

    wall: float
    cpu: float
    anonymous: int
    total: int
    status: int
    output: str


def measure(command: Sequence[str], log: Path, env: dict[str, str] | None = None) -> Measured:
    """Run a command to its end, its output in `log`; memory is sampled every 20 ms from /proc."""
    began = time.perf_counter()
    with log.open("wb") as out:
        process = subprocess.Popen(command, stdout=out, stderr=subprocess.STDOUT, env={**os.environ, **(env or {})})
        anonymous = total = 0
        while True:
            pid, status, usage = os.wait4(process.pid, os.WNOHANG)
            if pid:
                break
            a, t = _memory(process.pid)
            anonymous, total = max(anonymous, a), max(total, t)
            time.sleep(INTERVAL)
    wall = time.perf_counter() - began
    process.returncode = os.waitstatus_to_exitcode(status)
    cpu = usage.ru_utime + usage.ru_stime
    return Measured(wall, cpu, anonymous, total, process.returncode, log.read_text(errors="replace"))


def _memory(pid: int) -> tuple[int, int]:
    try:
        text = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return 0, 0
    values = {key: int(kb) * 1024 for key, kb in re.findall(r"(RssAnon|VmRSS):\s+(\d+) kB", text)}
    return values.get("RssAnon", 0), values.get("VmRSS", 0)
