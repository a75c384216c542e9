"""Examples, read from files and data sets."""

from .examples import Examples, Source
from .images import decode
from .read import read, split_names
from .some import some_of

__all__ = ["Examples", "Source", "decode", "read", "some_of", "split_names"]
