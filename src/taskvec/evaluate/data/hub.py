"""Data sets of the Hugging Face hub, through the `datasets` package: from its cache, a folder, or downloaded."""

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from ...errors import MissingExtraError, RecipeError, StoreError
from .table import Column, Parts, Table

PREFIX = "datasets:"


def read_dataset(path: str, label: str | None, root: Path) -> Parts:
    """Return the splits of `datasets:org/name`, `datasets:org/name:config` or `datasets:folder`.

    What the cache holds is taken as it is, without asking the hub for news. A folder is one that `save_to_disk` wrote,
    or one of data files.

    Raises:
        MissingExtraError: `datasets` is not installed.
        StoreError: it is not in the cache, and cannot be downloaded.
    """
    try:
        import datasets
    except ImportError as exc:
        raise MissingExtraError(f"{path} needs the datasets package; type: pip install 'taskvec[data]'") from exc
    name, _, config = path.removeprefix(PREFIX).partition(":")
    folder = root / Path(name).expanduser()
    found = _from_folder(path, folder, config or None) if folder.is_dir() else _from_hub(path, name, config or None)
    splits = found if isinstance(found, Mapping) else {None: found}
    splits = {split: _undecoded(data, datasets) for split, data in splits.items()}
    return {split: partial(_table, path, data, label) for split, data in splits.items()}


def _from_folder(path: str, folder: Path, config: str | None) -> Any:
    from datasets import load_dataset, load_from_disk

    saved = any((folder / name).is_file() for name in ("dataset_dict.json", "state.json"))
    try:
        return load_from_disk(folder) if saved else load_dataset(str(folder), config)
    except Exception as exc:  # whatever the reader of whatever format raises: it is a file that cannot be read
        raise StoreError(f"{path} cannot be read: {_reason(exc)}.") from exc


def _from_hub(path: str, name: str, config: str | None) -> Any:
    from datasets import load_dataset
    from datasets.exceptions import DatasetNotFoundError

    if not name or name.count("/") > 1 or name.startswith((".", "/", "~")):
        raise StoreError(f"{path} is neither a folder here nor a name of the hub, 'datasets:org/name[:config]'.")
    if (cached := _cached(name, config or "default")) is not None:
        return cached
    try:
        return load_dataset(name, config)
    except DatasetNotFoundError as exc:
        raise StoreError(
            f"{path} is neither a folder here, nor on the Hugging Face hub for everybody. "
            f"Check the name; for a private or gated data set type 'hf auth login'."
        ) from exc
    except ValueError as exc:  # a configuration that it does not have, or must have
        raise RecipeError(f"{path}: {_reason(exc)}. A configuration is named after a colon, '{name}:config'.") from exc
    except Exception as exc:
        raise StoreError(
            f"{path} is neither a folder here nor in the cache of datasets, and cannot be downloaded ({_reason(exc)})."
        ) from exc


def _cached(name: str, config: str) -> Any:
    """Return what the cache holds; None if it does not.

    `load_dataset` looks there, too, but only after half a minute of asking a hub that does not answer.
    """
    from datasets.packaged_modules.cache.cache import Cache

    try:
        builder = Cache(dataset_name=name.split("/")[-1], repo_id=name, config_name=config, version="auto", hash="auto")
        return builder.as_dataset()
    except (ValueError, OSError):
        return None  # not there, or not wholly


def _undecoded(data: Any, datasets: Any) -> Any:
    """Return a split whose images stay encoded, whatever format it was saved in."""
    data = data.with_format(None)
    for name, feature in data.features.items():
        if isinstance(feature, datasets.Image):
            data = data.cast_column(name, datasets.Image(decode=False))
    return data


def _table(path: str, data: Any, label: str | None) -> Table:
    loaders = {name: partial(_column, data, name) for name in data.column_names}
    classes = tuple(getattr(data.features.get(label), "names", None) or ())
    return Table(name=path, loaders=loaders, classes=classes)


def _column(data: Any, name: str) -> Column:
    return list(data[name])


def _reason(exc: Exception) -> str:
    lines = str(exc).strip().splitlines()
    return lines[0].rstrip(".") if lines else type(exc).__name__
