"""The methods. The list is a list: a method is one file and one line here."""

from .breadcrumbs import breadcrumbs
from .breadcrumbs_ties import breadcrumbs_ties
from .dare_linear import dare_linear
from .dare_ties import dare_ties
from .della import della
from .della_linear import della_linear
from .linear import linear
from .magnitude_prune import magnitude_prune
from .model_stock import model_stock
from .slerp import slerp
from .task_arithmetic import task_arithmetic
from .ties import ties

__all__ = [
    "breadcrumbs",
    "breadcrumbs_ties",
    "dare_linear",
    "dare_ties",
    "della",
    "della_linear",
    "linear",
    "magnitude_prune",
    "model_stock",
    "slerp",
    "task_arithmetic",
    "ties",
]
