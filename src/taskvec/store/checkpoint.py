"""A checkpoint: a read-only mapping from names to tensors, read when asked for."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import MismatchError
from ..ops.floats import Raw
from .bridge import to_torch
from .formats import Found, read
from .formats.config import read_config
from .tensors import Files, Tensor

if TYPE_CHECKING:
    import torch

OUTPUT_HEADS = ("lm_head.weight", "embed_out.weight", "cls.predictions.decoder.weight", "output.weight")
INPUT_EMBEDDINGS = ("embed_tokens.weight", "wte.weight", "word_embeddings.weight", "shared.weight", "embed_in.weight")


class Checkpoint(Mapping[str, "torch.Tensor"]):
    """The tensors of a model on disk: one file, a sharded index, or a model folder.

    Opening reads headers only. `checkpoint[name]` reads one tensor into a torch tensor of the stored dtype; `raw`
    gives a slice of its bits without a copy. Closing (or leaving the `with`) unmaps the files.

    Tied weights: where config.json says `tie_word_embeddings` and the output head is not stored, `resolve` answers
    a request for the head with the input embedding.
    """

    def __init__(self, path: str | Path) -> None:
        """Open the checkpoint at `path`.

        Raises:
            StoreError: nothing there, or not a checkpoint.
            FormatError: a header that does not hold.
        """
        self._take(Path(path), read(Path(path)))

    @classmethod
    def of(cls, path: str | Path, found: Found) -> "Checkpoint":
        """Return a checkpoint of tensors that were found otherwise than by reading `path` alone."""
        checkpoint = cls.__new__(cls)
        checkpoint._take(Path(path), found)
        return checkpoint

    def replaced(self, tensors: Mapping[str, Tensor], config: Mapping[str, Any] | None = None) -> "Checkpoint":
        """Return the same checkpoint with other tensors (and another config)."""
        config = self.config if config is None else config
        found = Found(tensors, self.folder, self.metadata, config, notes=self.notes, stems=self.stems)
        return Checkpoint.of(self.path, found)

    def _take(self, path: Path, found: Found) -> None:
        self.path = path
        self.tensors: dict[str, Tensor] = dict(found.tensors)
        self.folder = found.folder
        self.metadata = found.metadata
        self.stems = dict(found.stems)
        self.config = read_config(found.folder) if found.config is None else dict(found.config)
        self.notes = found.notes
        self.files = Files()

    def resolve(self, name: str) -> Tensor | None:
        """Return where a tensor lies, following the tie of the output head, or None."""
        if name in self.tensors:
            return self.tensors[name]
        return self.tensors.get(self.tied_to(name) or "")

    def tied_to(self, name: str) -> str | None:
        """Return the stored input embedding that the config ties an output head to, or None."""
        if name not in OUTPUT_HEADS or not self.config.get("tie_word_embeddings"):
            return None
        return next((n for n in self.tensors if n.endswith(INPUT_EMBEDDINGS)), None)

    def raw(self, name: str, start: int = 0, stop: int | None = None) -> Raw:
        """Return entries `start` … `stop` of a tensor, flat: a view of the file's bits (bf16 as uint16)."""
        return self.files.raw(self.info(name), start, stop)

    def info(self, name: str) -> Tensor:
        """Return what the header says of a tensor (or of the one it is tied to).

        Raises:
            MismatchError: no such tensor.
        """
        info = self.resolve(name)
        if info is None:
            raise MismatchError(f"{self.path} has no tensor '{name}'.")
        return info

    @property
    def on_disk(self) -> list[Path]:
        """Return the files that the tensors lie in, sorted."""
        return sorted({part.file for tensor in self.tensors.values() for part in tensor.on_disk})

    @property
    def nbytes(self) -> int:
        """Bytes of all tensors, as stored."""
        return sum(info.nbytes for info in self.tensors.values())

    def close(self) -> None:
        """Unmap the files."""
        self.files.close()

    def __enter__(self) -> "Checkpoint":
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def __getitem__(self, name: str) -> "torch.Tensor":
        if name not in self.tensors:
            raise KeyError(name)
        info = self.tensors[name]
        return to_torch(self.files.raw(info), info.dtype, info.shape)

    def __iter__(self) -> Iterator[str]:
        return iter(self.tensors)

    def __len__(self) -> int:
        return len(self.tensors)

    def __repr__(self) -> str:
        return f"Checkpoint({str(self.path)!r}, {len(self)} tensors, {self.nbytes / 1e9:.3f} GB)"
