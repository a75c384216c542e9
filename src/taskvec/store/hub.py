"""Models by their name on the Hugging Face hub: from the local cache, else downloaded into it.

huggingface_hub is imported here, when a name is first looked up.
"""

import json
import re
from collections.abc import Iterable
from pathlib import Path, PurePosixPath

from ..errors import MissingExtraError, StoreError
from .formats.folder import KINDS, OF_A_TRAINER
from .formats.sharded_index import INDEX
from .sidecars import WEIGHTS

NAME = re.compile(r"(?P<repo>[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*)(@(?P<revision>[\w./-]+))?", re.ASCII)
PIPELINE = "model_index.json"
STEMS = ("model", "pytorch_model", "diffusion_pytorch_model", "open_clip_model", "open_clip_pytorch_model",
    "adapter_model")  # fmt: skip
"""How files of weights are called that loaders look for, the first before the others."""
PATIENCE = 10.0
"""Seconds to wait for the hub's answer to what a model consists of."""


def locate(path: str) -> Path:
    """Return where a model lies: `path` itself if it exists, else the hub's model `org/name` or `org/name@revision`.

    What the cache holds is taken as it is, without asking the hub for news; what it lacks is downloaded.

    Raises:
        MissingExtraError: it looks like a name of the hub, and huggingface_hub is not installed.
        StoreError: it is not in the cache, or not wholly, and cannot be downloaded.
    """
    name = NAME.fullmatch(path)
    if name is None or Path(path).exists():
        return Path(path)
    repo, revision = name["repo"], name["revision"]
    folder = _cached(path, repo, revision)
    if folder and not _lacks(folder):
        return folder
    return _download(path, repo, revision, folder)


def _cached(path: str, repo: str, revision: str | None) -> Path | None:
    """Return the folder of a snapshot in the cache, whole or not."""
    try:
        from huggingface_hub import snapshot_download
        from huggingface_hub.errors import LocalEntryNotFoundError
    except ImportError as exc:
        raise MissingExtraError(
            f"{path} does not exist here. To look it up on the Hugging Face hub, type: pip install 'taskvec[hf]'"
        ) from exc
    try:
        # No pattern: whether it is whole depends on which of its files are needed, which `_lacks` tells.
        return Path(snapshot_download(repo, revision=revision, local_files_only=True, allow_patterns=[]))
    except LocalEntryNotFoundError:
        return None


def _lacks(folder: Path) -> str | None:
    """Return the first file that a snapshot should hold and does not; None if it is whole."""
    links = sorted(folder.rglob("*"))
    for path in links:
        if path.is_symlink() and not path.exists():
            return path.name
        if INDEX.search(path.name) and (gone := _absent_shard(path)):
            return gone
    return None if any(_is_weights(path.name) for path in links) else "a file of weights"


def _absent_shard(index: Path) -> str | None:
    try:
        named = json.loads(index.read_text("utf-8"))["weight_map"].values()
        return next((file for file in named if not (index.parent / file).exists()), None)
    except (ValueError, KeyError, TypeError, AttributeError):
        return None  # damaged: whoever reads it says how


def _is_weights(name: str) -> bool:
    return any(name.endswith(kind.endings) for kind in KINDS) and not name.startswith(OF_A_TRAINER)


def _download(path: str, repo: str, revision: str | None, partial: Path | None) -> Path:
    from huggingface_hub import HfApi, snapshot_download
    from huggingface_hub.errors import RepositoryNotFoundError, RevisionNotFoundError

    try:
        # One request, where `list_repo_files` repeats it for half a minute before it says that there is no network.
        listed = HfApi().model_info(repo, revision=revision, timeout=PATIENCE).siblings or []
        files = wanted(file.rfilename for file in listed)
        return Path(snapshot_download(repo, revision=revision, allow_patterns=files))
    except RevisionNotFoundError as exc:
        raise StoreError(f"{repo} has no revision '{revision}' on the Hugging Face hub.") from exc
    except RepositoryNotFoundError as exc:
        raise StoreError(
            f"{path} does not exist here, and {repo} is not on the Hugging Face hub or not for everybody. "
            f"Check the name; for a private or gated model type 'hf auth login'."
        ) from exc
    except Exception as exc:
        where = "neither a file here nor in the Hugging Face cache"
        if partial:
            where = f"only partly in the Hugging Face cache ({_lacks(partial)} is missing)"
        reason = getattr(exc, "strerror", None) or type(exc).__name__
        more = f" --revision {revision}" if revision else ""
        raise StoreError(
            f"{path} is {where}, and cannot be downloaded ({reason}). "
            f"Where there is a network, type 'hf download {repo}{more}'."
        ) from exc


def wanted(files: Iterable[str]) -> list[str]:
    """Choose what is needed of a repository: one set of weights, and the small files around it.

    >>> wanted(["config.json", "model.safetensors", "model.fp16.safetensors", "pytorch_model.bin", "onnx/model.onnx"])
    ['config.json', 'model.safetensors']
    """
    paths = [PurePosixPath(f) for f in files]
    pipeline = PurePosixPath(PIPELINE) in paths
    chosen = [p for p in paths if not _is_heavy(p.name) and not any(part.startswith(".") for part in p.parts)]
    for folder in dict.fromkeys(p.parent for p in paths):
        # The weights of a pipeline lie in its folders, those of any other model at the top.
        if (folder == PurePosixPath(".")) != pipeline:
            names = _weights([p.name for p in paths if p.parent == folder])
            chosen += [folder / name for name in names]
    return sorted(map(str, chosen))


def _is_heavy(name: str) -> bool:
    return name.endswith(WEIGHTS) or INDEX.search(name) is not None


def _weights(names: list[str]) -> list[str]:
    """Choose the weights among the files of one folder, as its loader would."""
    shard = r"(-\d+-of-\d+)?"
    for variant in ("", r"\.\w+"):
        for ending in ("safetensors", "bin"):
            for stem in STEMS:
                pattern = rf"{stem}{variant}{shard}\.{ending}|{stem}\.{ending}\.index{variant}\.json"
                if found := [n for n in names if re.fullmatch(pattern, n)]:
                    return found
    for kind in KINDS:
        if found := [n for n in names if n.endswith(kind.endings) and _is_weights(n)]:
            return found
    return []
