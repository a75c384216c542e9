"""The methods. The list is a list: a method is one file and one line here."""

from .arcee_fusion import arcee_fusion
from .breadcrumbs import breadcrumbs
from .consensus_ta import consensus_ta
from .dare_linear import dare_linear
from .dare_ties import dare_ties
from .linear import linear
from .model_stock import model_stock
from .pcb import pcb
from .ram import ram
from .ramplus_tl import ramplus_tl
from .sce import sce
from .slerp import slerp
from .task_arithmetic import task_arithmetic
from .ties import ties

__all__ = [
    "arcee_fusion",
    "breadcrumbs",
    "consensus_ta",
    "dare_linear",
    "dare_ties",
    "linear",
    "model_stock",
    "pcb",
    "ram",
    "ramplus_tl",
    "sce",
    "slerp",
    "task_arithmetic",
    "ties",
]
