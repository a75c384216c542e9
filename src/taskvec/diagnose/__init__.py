"""How models relate: what one pass over them finds, what follows from it, and a page that shows it."""

from .report import Counts, Group, Matrix, Report, Rounding

__all__ = ["Counts", "Group", "Matrix", "Report", "Rounding"]
