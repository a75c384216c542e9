"""A folder with an adapter: it grows beside its place and takes its name when it is whole."""

import json
import shutil
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import numpy.typing as npt

from ...errors import OutputError
from ...ops.floats import Raw, narrow
from ...store.adapter import WEIGHTS
from ...store.hashes import sha256
from ...store.layout import Layout, OutFile, OutTensor, out_file
from ...store.peft.config import NAME
from ...store.peft.write import OutLora
from ...store.writer import ShardWriter, output_error, put_in_place, write_whole

F32 = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Kept:
    """Where an array lies in a spool."""

    begin: int
    shape: tuple[int, ...]


class Spool:
    """Arrays of float32 on disk, put there by any thread, until it is known how much of each is wanted."""

    def __init__(self, path: Path) -> None:
        """Begin an empty file."""
        self._file = path.open("w+b")
        self._end = 0
        self._lock = threading.Lock()

    def put(self, array: npt.NDArray[np.floating]) -> Kept:
        """Keep an array."""
        data = np.ascontiguousarray(array, np.float32)
        with self._lock:
            kept = Kept(self._end, data.shape)
            self._file.write(data.tobytes())
            self._end += data.nbytes
            return kept

    def get(self, kept: Kept, rows: int) -> F32:
        """Return the first rows of an array."""
        count = rows * int(np.prod(kept.shape[1:]))
        self._file.flush()
        self._file.seek(kept.begin)
        read = np.frombuffer(self._file.read(4 * count), np.float32)
        self._file.seek(0, 2)
        return read.reshape(rows, *kept.shape[1:])

    def close(self) -> None:
        """Close the file."""
        self._file.close()


class AdapterFolder:
    """The output of an extraction or a merge of adapters. Leaving the `with` after an error leaves nothing."""

    def __init__(self, out: Path) -> None:
        """Make the hidden folder beside `out`; the caller has checked that `out` may be written."""
        self.out = out
        self.staging = out.parent / f".{out.name}.adapter"  # not that of a model, whose unfinished work is kept

    def __enter__(self) -> "AdapterFolder":
        try:
            if self.staging.exists():
                shutil.rmtree(self.staging)
            self.staging.mkdir(parents=True)
            self._spool = self.staging / "spool"
            self.spool = Spool(self._spool)
        except OSError as exc:
            raise OutputError(f"{self.out.parent} cannot be written: {exc.strerror}. Choose another folder.") from exc
        return self

    def __exit__(self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None) -> None:
        self.spool.close()
        if kind:
            shutil.rmtree(self.staging, ignore_errors=True)
        if isinstance(exc, OSError) and type(exc) is OSError:
            raise output_error(self.out, exc) from exc

    def begin(self, loras: Sequence[OutLora], code: str, whole: Sequence[OutTensor] = ()) -> "AdapterFile":
        """Lay out the file of tensors."""
        return AdapterFile(self.staging, loras, code, layout(loras, code, whole))

    def finish(self, config: Mapping[str, Any], report: str, facts: dict[str, Any]) -> dict[str, Any]:
        """Write the configuration and the report, with the hashes of all files, and give the folder its name."""
        self.spool.close()
        self._spool.unlink()
        write_whole(self.staging / NAME, json.dumps(config, indent=2) + "\n")
        files = sorted(path for path in self.staging.iterdir() if path.is_file())
        facts["files"] = {path.name: {"bytes": path.stat().st_size, "sha256": sha256(path)} for path in files}
        write_whole(self.staging / report, json.dumps(facts, indent=2, ensure_ascii=False) + "\n")
        put_in_place(self.staging, self.out)
        return facts


def layout(loras: Sequence[OutLora], code: str, whole: Sequence[OutTensor] = ()) -> OutFile:
    """Return the file of tensors, its size and header, before anything is written."""
    tensors = [tensor for lora in loras for tensor in lora.tensors(code)]
    return out_file(WEIGHTS, [*tensors, *whole], {"format": "pt"})


class AdapterFile:
    """adapter_model.safetensors, written module by module."""

    def __init__(self, folder: Path, loras: Sequence[OutLora], code: str, file: OutFile) -> None:
        """See `AdapterFolder.begin`."""
        self.code, self.file = code, file
        self._writer = ShardWriter(folder, Layout((file,)))

    def __enter__(self) -> "AdapterFile":
        return self

    def __exit__(self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None) -> None:
        if not kind:
            self._writer.finish()
        self._writer.close()

    def lora(self, lora: OutLora, a: F32, b: F32) -> None:
        """Write a module's factors: A (rank, in) and B (out, rank), in float32."""
        pairs = list(zip(lora.names, (a, b), strict=True))
        pairs += list(zip(lora.twins, (b.T, a.T), strict=True)) if lora.twin else []
        for name, factor in pairs:
            self.raw(name, 0, narrow(np.ascontiguousarray(factor, np.float32).reshape(-1), self.code))

    def raw(self, name: str, start: int, raw: Raw) -> None:
        """Write entries of a tensor as they are."""
        self._writer.write(name, start, raw)
