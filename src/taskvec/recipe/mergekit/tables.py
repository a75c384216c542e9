"""What mergekit 0.1.5's methods take, and what that is with us."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

Said = dict[str, Any]
"""A piece of a recipe of ours: {"settings": {…}}, {"scale": …}, or nothing."""


def setting(name: str) -> Callable[[Any], Said]:
    """Return what makes a parameter the setting of that name."""
    return lambda value: {"settings": {name: value}}


def setting_if(name: str) -> Callable[[Any], Said]:
    """Return what makes a parameter that setting where it is true, and leaves it out where it is false."""
    return lambda value: {"settings": {name: True}} if value else {}


def combine(value: Any) -> Said:
    """`normalize` of methods that vote."""
    return {"settings": {"combine": "mean" if value else "sum"}}


def rows(value: Any) -> Said:
    """`filter_wise`."""
    return {"settings": {"over": "row"}} if value else {}


def by_norm(value: Any) -> Said:
    """`rescale` of methods that trim by magnitude."""
    return {"settings": {"rescale": "mergekit"}} if value else {}


def by_chance(value: Any) -> Said:
    """`rescale` of DELLA."""
    return {"settings": {"rescale": "own" if value else "none"}}


def scale(value: Any) -> Said:
    """`lambda`."""
    return {"scale": value}


def nothing(value: Any) -> Said:
    """A parameter that changes no number here."""
    del value
    return {}


@dataclass(frozen=True)
class Parameter:
    """One parameter of a method: what it is with us, mergekit's default, and whether each model may have its own.

    unsaid: what the default is with us, if it need not be said.
    """

    say: Callable[[Any], Said]
    default: Any = None
    each: bool = False
    flag: bool = False
    required: bool = False


@dataclass(frozen=True)
class Spec:
    """How a method of mergekit's is said here.

    base: what `base_model` is: the `base` of task vectors, the `first` model, or one `model` like the others.
    name: our method, where it has another name. settings: ours that are always said.
    """

    parameters: Mapping[str, Parameter]
    base: Literal["base", "first", "model"] = "base"
    name: str = ""
    settings: Mapping[str, Any] = field(default_factory=dict)
    weighted: bool = True
    note: str = ""


def _number(name: str, default: Any = None, each: bool = False, required: bool = False) -> Parameter:
    return Parameter(setting(name), default, each, required=required)


def _flag(say: Callable[[Any], Said], default: bool) -> Parameter:
    return Parameter(say, default, flag=True)


DENSITY = _number("density", 1.0, each=True)
VOTE = {"scope": "tensor", "elect": "weighted", "tied": "positive"}
LAMBDA = Parameter(scale, 1.0)
NO_RESCALE = _flag(by_norm, False)
RESCALE = _flag(setting("rescale"), True)
DARE = "kept entries are divided by their probability; mergekit restores each tensor's L1 norm."
DELLA = "kept entries are divided by their own probability, so the mean is right; mergekit's is 0.7 to 1.1 of it."
GAMMA = _number("gamma", 0.01, each=True)
COUNTS = "a share of entries is rounded to the nearest count, mergekit rounds down"

SPECS: dict[str, Spec] = {
    "linear": Spec({"normalize": _flag(setting("normalize"), True)}, base="model"),
    "slerp": Spec(
        {"t": _number("t", required=True)},
        base="first",
        weighted=False,
        note="the arc is taken at any angle; mergekit takes the straight line above a cosine of 0.9995.",
    ),
    "nuslerp": Spec({}),
    "multislerp": Spec(
        {"normalize_weights": _flag(setting("normalize"), True), "eps": Parameter(nothing)},
        note="norms and angles are exact; mergekit adds 'eps' to them.",
    ),
    "karcher": Spec(
        {"max_iter": Parameter(nothing), "tol": Parameter(nothing)},
        base="model",
        weighted=False,
        note="the mean is iterated until it stands still, whatever 'max_iter' and 'tol' say.",
    ),
    "nearswap": Spec({"t": _number("t", required=True)}, weighted=False),
    "passthrough": Spec({"scale": Parameter(setting("factor"), each=True)}, base="model", weighted=False),
    "model_stock": Spec(
        {"filter_wise": _flag(rows, False)},
        weighted=False,
        note="the ratio is clamped to [0, 1] and free of scale; mergekit's is neither.",
    ),
    "arcee_fusion": Spec(
        {},
        base="first",
        weighted=False,
        note="scores and quartiles are exact; mergekit's are mostly rounding noise where changes are small.",
    ),
    "sce": Spec(
        {"select_topk": _number("select_topk", 1.0)},
        weighted=False,
        settings={"tied": "positive"},
        note="squares count at any size; mergekit takes equal weights where their means sum to less than 1e-6. "
        f"Entries of equal variance share one fate; {COUNTS}.",
    ),
    "ram": Spec({"epsilon": _number("epsilon", 1e-5)}, weighted=False),
    "ramplus_tl": Spec(
        {"r": _number("r", 0.1), "alpha": _number("alpha", 0.2), "epsilon": _number("epsilon", 1e-5)}, weighted=False
    ),
    "task_arithmetic": Spec(
        {
            "normalize": _flag(setting("normalize"), False),
            "lambda": LAMBDA,
            "density": Parameter(nothing, each=True),
            "rescale": Parameter(nothing),
        }
    ),
    "ties": Spec(
        {"density": DENSITY, "normalize": _flag(combine, True), "lambda": LAMBDA, "rescale": NO_RESCALE},
        settings=VOTE,
        note="entries that tie exactly at the threshold are all kept, mergekit keeps an arbitrary part of them; "
        f"{COUNTS}; a negative weight negates its task, which mergekit's normalisation undoes.",
    ),
    "dare_ties": Spec(
        {"density": DENSITY, "normalize": _flag(combine, False), "lambda": LAMBDA, "rescale": RESCALE},
        settings={**VOTE, "trim": 1.0},
        note=DARE,
    ),
    "dare_linear": Spec(
        {"density": DENSITY, "normalize": _flag(setting_if("normalize"), False), "lambda": LAMBDA, "rescale": RESCALE},
        note=DARE,
    ),
    "breadcrumbs": Spec(
        {
            "density": DENSITY,
            "gamma": GAMMA,
            "normalize": _flag(setting_if("normalize"), False),
            "lambda": LAMBDA,
            "rescale": NO_RESCALE,
        },
        note=f"the gamma·n largest entries are always dropped, mergekit drops fewer where density + gamma exceeds 1; "
        f"{COUNTS}.",
    ),
    "breadcrumbs_ties": Spec(
        {
            "density": DENSITY,
            "gamma": GAMMA,
            "normalize": _flag(combine, False),
            "lambda": LAMBDA,
            "rescale": NO_RESCALE,
        },
        settings={"elect": "weighted", "tied": "positive"},
        note=f"the gamma·n largest entries are always dropped, mergekit drops fewer where density + gamma exceeds 1; "
        f"{COUNTS}.",
    ),
    "della": Spec(
        {
            "density": DENSITY,
            "epsilon": _number("epsilon", 0.15, each=True),
            "normalize": _flag(combine, True),
            "lambda": LAMBDA,
            "rescale": _flag(by_chance, True),
        },
        settings={"elect": "weighted", "tied": "positive"},
        note=DELLA,
    ),
    "della_linear": Spec(
        {
            "density": DENSITY,
            "epsilon": _number("epsilon", 0.15, each=True),
            "normalize": _flag(setting_if("normalize"), False),
            "lambda": LAMBDA,
            "rescale": _flag(by_chance, True),
        },
        note=DELLA,
    ),
}
"""The methods by their names there. `weight` and `int8_mask` are taken by all; see `translating`."""

EVERYWHERE = {"weight", "int8_mask", *(name for spec in SPECS.values() for name in spec.parameters)}
EVERYWHERE |= {"nuslerp_flatten", "nuslerp_row_wise"}
"""Every parameter that some method of mergekit's has. Others are misspelt."""

OLDER = {"embed_slerp"}
"""What only older versions of mergekit knew, and published recipes still have."""
