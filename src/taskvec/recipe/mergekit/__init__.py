"""mergekit's recipes, as recipes of ours. What mergekit would pass over in silence is refused or noted."""

from .conditions import filter_of
from .reading import is_mergekit
from .translating import translate

__all__ = ["filter_of", "is_mergekit", "translate"]
