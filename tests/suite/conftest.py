"""What the tests of suites share: a tiny CLIP with its specialists, its data and its suite, made once."""

from pathlib import Path

import pytest

from . import tiny_clip


@pytest.fixture(scope="session")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that tests only read: base, specialists a and b, data, suite.yaml."""
    path = tmp_path_factory.mktemp("clip")
    tiny_clip.make(path)
    return path
