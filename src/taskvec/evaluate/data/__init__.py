"""Examples, read from files and data sets."""

from .examples import Examples, Source

__all__ = ["Examples", "Source"]
