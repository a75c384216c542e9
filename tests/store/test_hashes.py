"""Where a file's hash is already known."""

import hashlib
import json
from pathlib import Path

import pytest

from taskvec.store.hashes import known_hashes, sha256


def test_it_is_sha256(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"a" * 5_000_000)
    told: list[int] = []
    assert sha256(tmp_path / "x", told.append) == hashlib.sha256(b"a" * 5_000_000).hexdigest()
    assert sum(told) == 5_000_000


def test_a_receipt_beside_the_file_says_it(tmp_path: Path) -> None:
    file = tmp_path / "model.safetensors"
    file.write_bytes(b"x")
    (tmp_path / "receipt.json").write_text(json.dumps({"files": {"model.safetensors": {"sha256": "abc"}}}))
    assert known_hashes([file]) == {file: "abc"}


def test_a_link_into_a_hub_cache_says_it(tmp_path: Path) -> None:
    digest = hashlib.sha256(b"x").hexdigest()
    (tmp_path / "blobs").mkdir()
    (tmp_path / "blobs" / digest).write_bytes(b"x")
    link = tmp_path / "model.safetensors"
    link.symlink_to(tmp_path / "blobs" / digest)
    assert known_hashes([link]) == {link: digest}


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"files": []}', '{"files": {"other": {}}}', '{"files": null}'])
def test_another_tools_receipt_says_nothing(tmp_path: Path, text: str) -> None:
    (tmp_path / "model.safetensors").write_bytes(b"x")
    (tmp_path / "receipt.json").write_text(text)
    assert known_hashes([tmp_path / "model.safetensors"]) == {}


def test_a_link_to_anything_else_says_nothing(tmp_path: Path) -> None:
    (tmp_path / "real.safetensors").write_bytes(b"x")
    (tmp_path / "link.safetensors").symlink_to(tmp_path / "real.safetensors")
    assert known_hashes([tmp_path / "link.safetensors"]) == {}
