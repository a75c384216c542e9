"""The methods. The list is a list: a method is one file and one line here."""

from .breadcrumbs import breadcrumbs
from .dare_linear import dare_linear
from .dare_ties import dare_ties
from .ema import ema
from .expo import expo
from .geometric_median import geometric_median
from .karcher import karcher
from .linear import linear
from .lines import lines
from .metagpt import metagpt
from .model_soup import model_soup
from .model_stock import model_stock
from .multislerp import multislerp
from .nearswap import nearswap
from .nuslerp import nuslerp
from .passthrough import passthrough
from .slerp import slerp
from .task_arithmetic import task_arithmetic
from .ties import ties

__all__ = [
    "breadcrumbs",
    "dare_linear",
    "dare_ties",
    "ema",
    "expo",
    "geometric_median",
    "karcher",
    "linear",
    "lines",
    "metagpt",
    "model_soup",
    "model_stock",
    "multislerp",
    "nearswap",
    "nuslerp",
    "passthrough",
    "slerp",
    "task_arithmetic",
    "ties",
]
