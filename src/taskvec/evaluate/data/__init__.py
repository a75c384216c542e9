"""Examples, read from files and data sets."""

from .examples import Examples, Source
from .images import decode
from .read import read, split_names

__all__ = ["Examples", "Source", "decode", "read", "split_names"]
