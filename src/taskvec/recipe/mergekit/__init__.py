"""mergekit's recipes, as recipes of ours. What mergekit would pass over in silence is refused or noted."""

from .reading import is_mergekit
from .translating import translate

__all__ = ["is_mergekit", "translate"]
