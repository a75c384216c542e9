"""A catalogue of task vectors: entries by name, stored by content, searched by sketches."""

from .catalog import Catalog
from .entry import Entry
from .found import Findings, Found
from .rebuilt import Collected, Rebuilt

__all__ = ["Catalog", "Collected", "Entry", "Findings", "Found", "Rebuilt"]
