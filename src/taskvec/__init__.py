"""taskvec: task vectors, computed, measured, combined and applied.

    import taskvec as tv

    tau = tv.diff("base", "math") * 0.4 - tv.diff("base", "toxic")
    tau.save("edit.tv")
    tv.apply(tau, "base", out="edited")

    plan = tv.make_plan(tv.load_recipe("recipe.yaml")[0])
    tv.run(plan, "merged")

Names are imported when first used, so `import taskvec` costs next to nothing.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from ._version import __version__

if TYPE_CHECKING:
    from .diagnose import Report
    from .errors import (
        FormatError,
        MismatchError,
        MissingExtraError,
        NumbersError,
        OutputError,
        RecipeError,
        StoreError,
        TaskVecError,
    )
    from .locating.locate import locate
    from .merge import METHODS, Method, Needs, merge_method
    from .merge.methods import (
        arcee_fusion,
        breadcrumbs,
        breadcrumbs_ties,
        cart,
        consensus_ta,
        dare_linear,
        dare_ties,
        della,
        della_linear,
        ema,
        epimer,
        expo,
        fisher,
        geometric_median,
        gradient_matching,
        iso_c,
        iso_cts,
        karcher,
        knots,
        linear,
        lines,
        magnitude_prune,
        mats,
        metagpt,
        model_soup,
        model_stock,
        multislerp,
        nearswap,
        nuslerp,
        passthrough,
        pcb,
        ram,
        ramplus_tl,
        regmean,
        sce,
        slerp,
        subspace_boosting,
        task_arithmetic,
        ties,
        tsv_m,
        wudi,
    )
    from .ops.chance import Chance
    from .packs import pack, unpack
    from .recipe.apply import apply
    from .recipe.in_memory import Merged, merge_in_memory
    from .recipe.inspecting import inspect
    from .recipe.load import load_recipe, load_recipes
    from .recipe.lora.extract import extract_lora
    from .recipe.lora.merge import merge_adapters
    from .recipe.merge import Receipt, run
    from .recipe.plan import Plan, describe, make_plan
    from .recipe.reweighted import Reweighted
    from .recipe.schema import Recipe
    from .recipe.series import run_series
    from .recipe.verify import verify
    from .store import Checkpoint, TaskVector, diff, fingerprint
    from .store.catalog import Catalog

_PLACES = {
    ".diagnose": "Report",
    ".errors": (
        "FormatError MismatchError MissingExtraError NumbersError OutputError RecipeError StoreError TaskVecError"
    ),
    ".locating.locate": "locate",
    ".merge": "METHODS Method Needs merge_method",
    ".merge.methods": (
        "arcee_fusion breadcrumbs breadcrumbs_ties cart consensus_ta dare_linear dare_ties della della_linear "
        "ema epimer expo fisher geometric_median gradient_matching iso_c iso_cts karcher knots linear lines "
        "magnitude_prune mats metagpt model_soup model_stock multislerp nearswap nuslerp passthrough pcb ram "
        "ramplus_tl regmean sce slerp subspace_boosting task_arithmetic ties tsv_m wudi"
    ),
    ".ops.chance": "Chance",
    ".packs": "pack unpack",
    ".recipe.apply": "apply",
    ".recipe.in_memory": "Merged merge_in_memory",
    ".recipe.inspecting": "inspect",
    ".recipe.load": "load_recipe load_recipes",
    ".recipe.lora.extract": "extract_lora",
    ".recipe.lora.merge": "merge_adapters",
    ".recipe.merge": "Receipt run",
    ".recipe.plan": "Plan describe make_plan",
    ".recipe.reweighted": "Reweighted",
    ".recipe.schema": "Recipe",
    ".recipe.series": "run_series",
    ".recipe.verify": "verify",
    ".store": "Checkpoint TaskVector diff fingerprint",
    ".store.catalog": "Catalog",
}
_PLACE_OF = {name: place for place, names in _PLACES.items() for name in names.split()}

__all__ = [
    "METHODS",
    "Catalog",
    "Chance",
    "Checkpoint",
    "FormatError",
    "Merged",
    "Method",
    "MismatchError",
    "MissingExtraError",
    "Needs",
    "NumbersError",
    "OutputError",
    "Plan",
    "Receipt",
    "Recipe",
    "RecipeError",
    "Report",
    "Reweighted",
    "StoreError",
    "TaskVecError",
    "TaskVector",
    "__version__",
    "apply",
    "arcee_fusion",
    "breadcrumbs",
    "breadcrumbs_ties",
    "cart",
    "consensus_ta",
    "dare_linear",
    "dare_ties",
    "della",
    "della_linear",
    "describe",
    "diff",
    "ema",
    "epimer",
    "expo",
    "extract_lora",
    "fingerprint",
    "fisher",
    "geometric_median",
    "gradient_matching",
    "inspect",
    "iso_c",
    "iso_cts",
    "karcher",
    "knots",
    "linear",
    "lines",
    "load_recipe",
    "load_recipes",
    "locate",
    "magnitude_prune",
    "make_plan",
    "mats",
    "merge_adapters",
    "merge_in_memory",
    "merge_method",
    "metagpt",
    "model_soup",
    "model_stock",
    "multislerp",
    "nearswap",
    "nuslerp",
    "pack",
    "passthrough",
    "pcb",
    "ram",
    "ramplus_tl",
    "regmean",
    "run",
    "run_series",
    "sce",
    "slerp",
    "subspace_boosting",
    "task_arithmetic",
    "ties",
    "tsv_m",
    "unpack",
    "verify",
    "wudi",
]


def __getattr__(name: str) -> Any:
    if name not in _PLACE_OF:
        raise AttributeError(f"module 'taskvec' has no attribute {name!r}")
    value = getattr(import_module(_PLACE_OF[name], __name__), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
