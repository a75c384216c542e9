"""The methods. The list is a list: a method is one file and one line here."""

from .arcee_fusion import arcee_fusion
from .breadcrumbs import breadcrumbs
from .breadcrumbs_ties import breadcrumbs_ties
from .cart import cart
from .consensus_ta import consensus_ta
from .dare_linear import dare_linear
from .dare_ties import dare_ties
from .della import della
from .della_linear import della_linear
from .ema import ema
from .epimer import epimer
from .expo import expo
from .fisher import fisher
from .geometric_median import geometric_median
from .gradient_matching import gradient_matching
from .iso_c import iso_c
from .iso_cts import iso_cts
from .karcher import karcher
from .knots import knots
from .linear import linear
from .lines import lines
from .magnitude_prune import magnitude_prune
from .mats import mats
from .metagpt import metagpt
from .model_soup import model_soup
from .model_stock import model_stock
from .multislerp import multislerp
from .nearswap import nearswap
from .nuslerp import nuslerp
from .passthrough import passthrough
from .pcb import pcb
from .ram import ram
from .ramplus_tl import ramplus_tl
from .regmean import regmean
from .sce import sce
from .slerp import slerp
from .subspace_boosting import subspace_boosting
from .task_arithmetic import task_arithmetic
from .ties import ties
from .tsv_m import tsv_m
from .wudi import wudi

__all__ = [
    "arcee_fusion",
    "breadcrumbs",
    "breadcrumbs_ties",
    "cart",
    "consensus_ta",
    "dare_linear",
    "dare_ties",
    "della",
    "della_linear",
    "ema",
    "epimer",
    "expo",
    "fisher",
    "geometric_median",
    "gradient_matching",
    "iso_c",
    "iso_cts",
    "karcher",
    "knots",
    "linear",
    "lines",
    "magnitude_prune",
    "mats",
    "metagpt",
    "model_soup",
    "model_stock",
    "multislerp",
    "nearswap",
    "nuslerp",
    "passthrough",
    "pcb",
    "ram",
    "ramplus_tl",
    "regmean",
    "sce",
    "slerp",
    "subspace_boosting",
    "task_arithmetic",
    "ties",
    "tsv_m",
    "wudi",
]
