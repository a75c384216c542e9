"""Data sets through `datasets`: from a folder, from its cache, or one sentence. Nothing here asks the network."""

import io
import sys
from pathlib import Path
from typing import Any

import datasets
import pytest
from PIL import Image

from taskvec.errors import MissingExtraError, RecipeError, StoreError
from taskvec.evaluate.data import Source, decode, read


def made(**columns: Any) -> Any:
    features = datasets.Features({"text": datasets.Value("string"), "label": datasets.ClassLabel(names=["no", "yes"])})
    return datasets.Dataset.from_dict(columns, features=features)


@pytest.fixture
def two_splits() -> Any:
    return datasets.DatasetDict(
        train=made(text=["a", "b", "c"], label=[0, 1, 1]), test=made(text=["d", "e"], label=[1, -1])
    )


def test_a_saved_data_set_and_its_classes(two_splits: Any, tmp_path: Path) -> None:
    two_splits.save_to_disk(tmp_path / "saved")
    found = read(Source(path="datasets:saved", split="train"), root=tmp_path)
    assert (list(found.inputs), found.names) == (["a", "b", "c"], ("no", "yes"))
    assert found.labels is not None and found.labels.tolist() == [0, 1, 1]
    with pytest.raises(RecipeError, match=r"datasets:saved has no split 'val', only train, test"):
        read(Source(path="datasets:saved", split="val"), root=tmp_path)
    with pytest.raises(RecipeError, match=r"datasets:saved has the splits train, test; say which"):
        read(Source(path="datasets:saved"), root=tmp_path)
    with pytest.raises(StoreError, match=r"datasets:saved, index 1: label -1 is not among 0 to 1, the numbers of no"):
        read(Source(path="datasets:saved", split="test"), root=tmp_path)
    assert len(read(Source(path="datasets:saved", split="test", label=None), root=tmp_path)) == 2


def test_images_stay_encoded(tmp_path: Path) -> None:
    file = io.BytesIO()
    Image.new("RGB", (4, 2), (1, 2, 3)).save(file, "png")
    features = datasets.Features({"image": datasets.Image(), "label": datasets.Value("string")})
    rows = {"image": [{"bytes": file.getvalue(), "path": None}], "label": ["cat"]}
    datasets.Dataset.from_dict(rows, features=features).save_to_disk(tmp_path / "pictures")
    found = read(Source(path="datasets:pictures"), root=tmp_path)
    assert found.kind == "image" and found.inputs[0] == file.getvalue()
    assert decode(found.inputs[0]).size == (4, 2)


@pytest.fixture
def cache(two_splits: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache that holds `org/name`, as `load_dataset` leaves it, and no way to the network."""
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    for split, data in two_splits.items():
        data.to_parquet(tmp_path / f"{split}.parquet")
    files = {split: str(tmp_path / f"{split}.parquet") for split in two_splits}
    builder = datasets.load_dataset_builder("parquet", "small", data_files=files, cache_dir=str(tmp_path / "made"))
    folder = tmp_path / "cache" / "org___name" / "small" / "0.0.0" / "0123456789abcdef"
    builder.download_and_prepare(str(folder))
    for arrow in folder.glob("*.arrow"):
        arrow.rename(folder / arrow.name.replace("parquet-", "name-"))
    return folder


def test_what_the_cache_holds_is_read_without_a_network(cache: Path) -> None:
    found = read(Source(path="datasets:org/name:small", split="train"))
    assert list(found.inputs) == ["a", "b", "c"] and found.names == ("no", "yes")


def test_a_data_set_that_is_nowhere(cache: Path) -> None:
    with pytest.raises(StoreError, match=r"datasets:org/other is neither a folder here nor in the cache of datasets"):
        read(Source(path="datasets:org/other", split="train"))
    with pytest.raises(StoreError, match=r"datasets:\./other is neither a folder here nor a name of the hub"):
        read(Source(path="datasets:./other", split="train"))
    with pytest.raises(RecipeError, match=r"datasets:org/name:large: .*A configuration is named after a colon"):
        read(Source(path="datasets:org/name:large", split="train"))


def test_a_folder_of_files_is_read_as_datasets_reads_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    (tmp_path / "files").mkdir()
    (tmp_path / "files" / "test.csv").write_text("text,label\na,no\nb,yes\n")
    (tmp_path / "files" / "train.csv").write_text("text,label\na,perhaps\n")
    found = read(Source(path="datasets:files", split="test"), root=tmp_path)
    assert list(found.inputs) == ["a", "b"] and found.names == ("no", "perhaps", "yes")


def test_a_folder_that_is_no_data_set(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(StoreError, match=r"datasets:empty cannot be read"):
        read(Source(path="datasets:empty"), root=tmp_path)


def test_without_the_package_the_message_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(MissingExtraError, match=r"datasets:a/b needs the datasets package.*'taskvec\[data\]'"):
        read(Source(path="datasets:a/b"))
