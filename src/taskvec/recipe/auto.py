"""`scale: auto`: a coefficient from inner products of the inputs, found while planning."""

import threading
from collections.abc import Callable, Container, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from ..errors import NumbersError, RecipeError
from ..merge import find
from ..merge.statistics import SumSearch
from ..ops.coefficients import equal_energy, isotropic, norm_shares
from ..ops.slices import Finished, Slice, Stored, inner_products
from ..progress import Progress, Silent
from .arithmetic import Arithmetic, Scratch
from .choices import CHOICES, Choice
from .planned import Plan
from .run import stream
from .schema import Recipe
from .sinks import Nowhere
from .stack import Place
from .units import Unit, scaled_apart

DIGITS = 6
"""What is found is rounded to this many digits, so that typing it gives the same bytes."""


def choose(
    recipe: Recipe, places: Sequence[Place], plan: Callable[[Recipe], Plan], progress: Progress | None = None
) -> tuple[Recipe, Choice, str]:
    """Return a recipe with numbers instead of `scale: auto`, what was chosen, and a note that says so.

    Tensors to which an override or a part gives a scale of their own keep it, and do not count.

    Args:
        recipe: one with a `choice`.
        places: the tensors of the output.
        plan: what plans a recipe with numbers, with room to gather the inputs.
        progress: told how far the extra pass over the inputs is.

    Raises:
        RecipeError: the choice does not go with the method or its weights, or there is nothing to scale.
        NumbersError: NaN or Inf in an input.
    """
    name = str(recipe.choice)
    if name == "metagpt":
        _check_metagpt(recipe)
    apart = {place.name for place in places if name != "metagpt" and scaled_apart(recipe, place)}
    one = plan(recipe.model_copy(update={"scale": 1.0}))
    products = measure(one, apart, progress)
    if name == "metagpt":
        shares = norm_shares(np.diag(products.of_one_part)[1:])
        choice = Choice(name, 1.0, CHOICES[name], tuple(map(_rounded, _as_listed(one, shares))))
        models = [m.model_copy(update={"weight": w}) for m, w in zip(recipe.models, choice.weights or (), strict=True)]
        numbered = recipe.model_copy(update={"scale": 1.0, "models": models})
    else:
        choice = Choice(name, _rounded(_scale(name, products)), CHOICES[name])
        numbered = recipe.model_copy(update={"scale": choice.scale})
    note = (
        f"'scale: auto' is {choice.found}, by {name}, which assumes that {choice.assumption}; "
        f"the inputs were read once more to find it."
    )
    return numbered, choice, note


def _check_metagpt(recipe: Recipe) -> None:
    method = find(recipe.method)
    if "linear" not in method.laws or "any_order" not in method.laws or recipe.stack:
        where = "a stack" if recipe.stack else f"'{method.name}'"
        raise RecipeError(
            f"'auto: metagpt' finds the weights of a sum of task vectors, which {where} is not. "
            f"Type 'method: task_arithmetic', or 'scale: auto'."
        )
    if any(m.weight != 1 for m in recipe.models) or any(o.weights is not None for o in recipe.overrides):
        raise RecipeError("'auto: metagpt' finds the weights itself. Remove 'weight', or type 'scale: auto'.")


def _scale(name: str, products: "Products") -> float:
    energy, inner, energies = products.total
    if not energy > 0:
        raise RecipeError("the merged task vector is zero, so no 'scale: auto' can be found. Type a number.")
    found = isotropic(energy, inner) if name == "isotropic" else equal_energy(energy, energies)
    if not found > 0:
        raise RecipeError(
            f"'auto: {name}' finds {found:g}: with these weights the merge leads away from its models. "
            f"Type 'scale: auto', or a number."
        )
    return found


def _rounded(value: float) -> float:
    return float(f"{value:.{DIGITS}g}")


def _as_listed(plan: Plan, values: npt.NDArray[np.float64]) -> list[float]:
    """Put a number a model, in the order in which a plan adds them up, into the order of the recipe."""
    return [float(next(v for v, m in zip(values, plan.models, strict=True) if m is own)) for own in plan.listed]


@dataclass
class Products:
    """Gram matrices of D, τ_1 … τ_T, added up over tensors; one for each number T of models (parts may differ)."""

    sums: dict[int, SumSearch] = field(default_factory=dict)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def add(self, tasks: int, parts: list[npt.NDArray[np.float64]]) -> None:
        """Add the matrices of a slice's blocks."""
        with self.lock:
            if tasks not in self.sums:
                self.sums[tasks] = SumSearch(inner_products, (tasks + 1, tasks + 1))
            self.sums[tasks].add(0, parts)

    def end(self) -> None:
        """All is added."""
        for search in self.sums.values():
            search.end_pass()

    @property
    def of_one_part(self) -> npt.NDArray[np.float64]:
        """The matrix, where all tensors have as many models."""
        (search,) = self.sums.values()
        return search.value

    @property
    def total(self) -> tuple[float, npt.NDArray[np.float64], npt.NDArray[np.float64]]:
        """|D|², and the means over tasks of ⟨D, τ_t⟩ and of |τ_t|²."""
        values = [search.value for search in self.sums.values()]
        energy = sum(float(k[0, 0]) for k in values)
        inner = sum(float(k[0, 1:].mean()) for k in values)
        energies = sum(float(np.diag(k)[1:].mean()) for k in values)
        return energy, np.array([inner]), np.array([energies])


def measure(plan: Plan, apart: Container[str] = (), progress: Progress | None = None) -> Products:
    """Run a plan for the inner products of its merged task vector with the task vectors; nothing is stored.

    Args:
        plan: of a method of task vectors, with room to gather the inputs.
        apart: tensors that do not count.
        progress: told how far it is.
    """
    counted = tuple(u for u in plan.units if u.merged and u.name not in apart)
    if not counted:
        raise RecipeError("'scale: auto' is a scale for no tensor: all are ignored or have one of their own.")
    arithmetic = _Measuring(plan)
    skipped = {u.name for u in plan.units} - {u.name for u in counted}
    stream(plan, Nowhere(skipped), progress or Silent(), arithmetic=arithmetic, what="finding the scale")
    arithmetic.products.end()
    if not all(np.isfinite(search.value).all() for search in arithmetic.products.sums.values()):
        raise NumbersError("'scale: auto' cannot be found: an input holds NaN or Inf. Type a number.")
    return arithmetic.products


class _Measuring(Arithmetic):
    """Takes inner products where the plan would merge."""

    def __init__(self, plan: Plan) -> None:
        super().__init__(plan)
        self.products = Products()

    def merge(self, unit: Unit, start: int, stop: int, statistics: Mapping[str, Any], scratch: Scratch) -> Finished:
        """See `Arithmetic`; what it returns is empty."""
        part = self.part(unit, start, stop, scratch)
        finite, rows, _ = part.gather()
        if self.careful and not finite:
            self.blame(unit)
        merged = self.delta(unit, part, rows, statistics, scratch)
        code = "F32" if unit.numpy == np.float32 else "F64"
        both = Slice([Stored(x, code) for x in (merged, *rows)], None, unit.numpy)
        self.products.add(len(rows), inner_products(both)[1])
        return Finished(np.empty(0, np.uint8), 0.0, 0.0)
