"""Where a vector lies among known ones: in their span, their affine hull, their cone, their simplex, or outside."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from ..errors import RecipeError
from .active_set import least_squares_on, nonnegative
from .balanced import Balanced, balanced
from .explained_by_chance import (
    Share,
    share_of_a_random_direction,
    share_of_one_like_the_others,
    shares_among_the_others,
)
from .locate_input import Given, check_semidefinite, check_share, given
from .location import Location, Nearest
from .shapes import Float64
from .verdict import Decision, Rule, decide

NOTHING = Decision("undecided", "the target is a vector of zeros")


def locate(
    gram: npt.ArrayLike,
    products: npt.ArrayLike,
    energy: npt.ArrayLike,
    *,
    ridge: float | None = None,
    entries: npt.ArrayLike | None = None,
    reference: npt.ArrayLike = 1.0,
    tolerance: float = 0.1,
    enough: float = 0.5,
    scale_free: bool = False,
) -> Location:
    """Locate targets among known vectors, from inner products alone.

        K_ij = ⟨v_i, v_j⟩,   k_i = ⟨v_i, g⟩,   E = |g|²
        |g - Σ c_i v_i|² = E - 2 cᵀk + cᵀKc
        span     argmin over all c                affine     argmin over Σ c_i = 1
        cone     argmin over c ≥ 0                simplex    argmin over c ≥ 0, Σ c_i = 1
        explained = 1 - |g - Σ c_i v_i|² / E
        x_S = (explained_S - s₀) / (reference - s₀),   s₀ = rank/entries

        learn      x_span < enough, or the span explains no more than s₀ + 4 of its standard deviations
        retrieve   otherwise, where x_hull ≥ (1 - tolerance) max(1, x_span); the hull is the simplex, or the cone where
                   `scale_free`
        recombine  otherwise

    Any inner product will do, the same for K, k and E, with a row of V a known vector:
    Euclidean  K = VVᵀ, k = Vg, E = gᵀg
    Fisher     K = VFVᵀ, k = VFg, E = gᵀFg: distances as the model's outputs change, to second order
    NTK        K = VJᵀJVᵀ, k = VJᵀJg, E = |Jg|², J the Jacobian of the outputs on given examples: the outputs' change
    Inner products add up over groups of tensors, so the whole model's location is that of the sums.

    Gradients have a sign and a direction, but no length that could be compared: take g = -∇L, `scale_free`, and as
    `reference` what the known tasks' own gradients have explained (`reference_share`).

    Args:
        gram: K.
        products: k.
        energy: E.
        ridge: The least ridge. More is taken where K has a condition number above 1e10, once its vectors are scaled to
            one length: (largest eigenvalue)/1e10 - smallest, which leaves the sets as they are and makes coefficients
            unique, equal for equal vectors.
        entries: The dimensions of the space, for the share of a random direction. A number, or one a target.
        reference: The share that a target which is one of the known tasks has explained. A number, or one a target.
        tolerance: By how much the hull may fall short.
        enough: The share of the reference that the span must explain.
        scale_free: Whether the length of the target means nothing.

    Shape: `gram` (*group, T, T), `products` (*batch, T), `energy` (*batch). Group and batch broadcast as in numpy, from
        the right: for groups (L, T, T), targets are (B, L, T) and (B, L).
    Zero:  a target of zeros has coefficients 0 in span and cone, explained NaN and the verdict "undecided". A vector of
        zeros has coefficient 0 in span and cone; to hull and simplex it is the origin. Equal vectors get equal parts.
    Time:  an inverse and two sets of eigenvalues a group, one solve for span and one for affine hull for all of its
        targets, and a handful of smaller solves a target for cone and simplex.

    Raises:
        RecipeError: Where shapes or settings make no sense.
        NumbersError: Where the numbers are not finite, or cannot be inner products of one set of vectors.

    >>> found = locate([[1.0, 0.0], [0.0, 1.0]], [0.5, 0.5], 1.0)
    >>> found.simplex.coefficients.tolist(), float(found.span.explained), str(found.verdict)
    ([0.5, 0.5], 0.5, 'recombine')
    """
    inputs = given(gram, products, energy)
    _check_settings(ridge, tolerance, enough)
    least = 0.0 if ridge is None else float(ridge)
    groups = [_located(inputs, g, least) for g in range(len(inputs.grams))]
    ranks = np.array([group.known.rank for group in groups])[inputs.group]
    random = None if entries is None else _random(ranks, inputs.spread(entries, "entries"))
    rules = [Rule(float(r), tolerance, enough, scale_free) for r in _references(inputs, reference)]
    found: dict[str, Any] = {
        name: _over_targets(inputs, groups, name) for name in ("span", "affine", "cone", "simplex")
    }
    hull = found["cone" if scale_free else "simplex"].explained.reshape(-1)
    decisions = _decisions(found["span"].explained.reshape(-1), hull, random, rules)
    return Location(**found, **_beside(inputs, groups, ranks, random, decisions))


def reference_share(
    gram: npt.ArrayLike, products: npt.ArrayLike, energies: npt.ArrayLike, quantile: float = 0.5
) -> npt.NDArray[np.float64]:
    """Return the share that a probe of a known task has explained in the span: the `reference` of noisy targets.

    A row of `products` is the probe of one known task (say, its gradient on a few examples, got as the target's was)
    with all known vectors, its own among them; the quantile is taken over the probes. The median is what is typical; a
    lower quantile calls more targets known.

    Shape: `gram` (*group, T, T), `products` (probe, *group, T), `energies` (probe, *group); the result is (*group).
    Zero:  probes of zeros are left out; NaN where all are.

    Raises:
        RecipeError: Where shapes do not fit, or the quantile is not between 0 and 1.

    >>> float(reference_share([[4.0]], [[1.0], [1.0]], [2.0, 1.0]))
    0.1875
    """
    if not 0 <= quantile <= 1:
        raise RecipeError(f"quantile is {quantile}, but must be between 0 and 1")
    shares = locate(gram, products, energies).span.explained
    if not shares.ndim:
        raise RecipeError("products holds one probe without a side for probes: give (probe, T), a row a known task")
    columns = shares.reshape(len(shares), -1).T
    of_group = [float(np.quantile(c[~np.isnan(c)], quantile)) if (~np.isnan(c)).any() else np.nan for c in columns]
    return np.array(of_group).reshape(shares.shape[1:])


class _Group(NamedTuple):
    """What was found for the targets of one group of tensors."""

    targets: npt.NDArray[np.intp]
    found: dict[str, Nearest]
    cosines: Float64[np.ndarray, "target task"]
    known: Balanced
    hull_ridge: float
    among: Float64[np.ndarray, " task"]


def _located(inputs: Given, group: int, least: float) -> _Group:
    targets = np.flatnonzero(inputs.group == group)
    gram, energies = inputs.grams[group], inputs.energies[targets]
    known = balanced(gram, least)
    check_semidefinite(known.negative)
    lengths = np.sqrt(energies)
    units = np.where(lengths > 0, lengths, 1.0)[:, None]
    # Targets of length 1, unless they have none: then k is 0 too.
    cosines = inputs.products[targets] / units / known.lengths
    hessian = known.hessian
    combined = {"span": least_squares_on(hessian, cosines), "cone": _each(hessian, cosines, None)}
    scaled = {name: u * units / known.lengths for name, u in combined.items()}
    hulls, hull_ridge = _in_hulls(gram, inputs.products[targets], least)
    found = {name: _nearest(c, known, cosines, units, lengths > 0) for name, c in {**scaled, **hulls}.items()}
    check_share(found["span"].explained[lengths > 0])
    return _Group(targets, found, cosines, known, hull_ridge, shares_among_the_others(known))


def _in_hulls(
    gram: Float64[np.ndarray, "task task"], products: Float64[np.ndarray, "target task"], least: float
) -> tuple[dict[str, Float64[np.ndarray, "target task"]], float]:
    """Return the coefficients in affine hull and simplex, and the ridge that they needed.

    All vectors, and the targets, get one further entry √s, which is the same for all and so changes nothing where the
    coefficients add up to 1: K + s, k + s. Vectors of zeros then have a length, and vectors that are linearly dependent
    but not affinely so are independent.
    """
    mean = float(np.diag(gram).mean())
    s = mean if mean > 0 else 1.0
    lifted = balanced(gram / s + 1, least)
    linear, weights = (products / s + 1) / lifted.lengths, 1 / lifted.lengths
    hessian = lifted.hessian
    found = {"affine": least_squares_on(hessian, linear, weights), "simplex": _each(hessian, linear, weights)}
    return {name: u / lifted.lengths for name, u in found.items()}, lifted.ridge


def _each(
    hessian: Float64[np.ndarray, "task task"],
    linear: Float64[np.ndarray, "target task"],
    weights: Float64[np.ndarray, " task"] | None,
) -> Float64[np.ndarray, "target task"]:
    out = np.zeros_like(linear)
    for target, k in enumerate(linear):
        out[target] = nonnegative(hessian, k, weights)
    return out


def _nearest(
    coefficients: Float64[np.ndarray, "target task"],
    known: Balanced,
    cosines: Float64[np.ndarray, "target task"],
    units: Float64[np.ndarray, "target 1"],
    some: npt.NDArray[np.bool_],
) -> Nearest:
    """Return the points and what they explain: 2 uᵀk - uᵀCu in vectors of length 1, without the ridge."""
    u = np.where(known.zeros, 0.0, coefficients * known.lengths / units)
    explained = (u * (2 * cosines - u @ known.cosines)).sum(axis=1)
    return Nearest(coefficients, np.where(some, explained, np.nan))


def _over_targets(inputs: Given, groups: list[_Group], name: str) -> Nearest:
    """Return one set's points for all targets, in the order they were given."""
    coefficients, explained = np.zeros_like(inputs.products), np.zeros_like(inputs.energies)
    for group in groups:
        coefficients[group.targets] = group.found[name].coefficients
        explained[group.targets] = np.minimum(group.found[name].explained, 1.0)
    return Nearest(coefficients.reshape(*inputs.batch, -1), explained.reshape(inputs.batch))


def _beside(
    inputs: Given,
    groups: list[_Group],
    ranks: npt.NDArray[np.int64],
    random: list[Share] | None,
    decisions: list[Decision],
) -> dict[str, Any]:
    """Return all that a location holds beside its four points."""
    cosines = np.zeros_like(inputs.products)
    for group in groups:
        cosines[group.targets] = group.cosines
    typical = [share_of_one_like_the_others(group.among) for group in groups]
    per_group = {
        "ridge": [group.known.ridge for group in groups],
        "hull_ridge": [group.hull_ridge for group in groups],
        "among": [group.among for group in groups],
        "among_mean": [share.mean for share in typical],
        "among_spread": [share.spread for share in typical],
    }
    flat: dict[str, npt.NDArray[Any]] = {name: np.array(values)[inputs.group] for name, values in per_group.items()}
    flat |= {"cosines": cosines, "rank": ranks}
    shares = random or [Share(np.nan, np.nan)] * len(inputs.group)
    flat |= {"random_mean": np.array([s.mean for s in shares]), "random_spread": np.array([s.spread for s in shares])}
    flat |= {"inside": np.array([d.inside for d in decisions]), "in_hull": np.array([d.in_hull for d in decisions])}
    flat |= {"verdict": np.array([d.verdict for d in decisions], dtype=object)}
    flat |= {"reason": np.array([d.reason for d in decisions], dtype=object)}
    return {name: values.reshape(inputs.batch + values.shape[1:]) for name, values in flat.items()}


def _decisions(
    span: Float64[np.ndarray, " target"],
    hull: Float64[np.ndarray, " target"],
    random: list[Share] | None,
    rules: list[Rule],
) -> list[Decision]:
    chance: Sequence[Share | None] = random or [None] * len(span)
    some = zip(span.tolist(), hull.tolist(), chance, rules, strict=True)
    return [NOTHING if np.isnan(s) else decide(s, h, r, rule) for s, h, r, rule in some]


def _check_settings(ridge: float | None, tolerance: float, enough: float) -> None:
    if ridge is not None and not 0 <= ridge < np.inf:
        raise RecipeError(f"ridge is {ridge}, but must be 0 or more: leave it out, and what K needs is taken")
    if not 0 <= tolerance < 1:
        raise RecipeError(f"tolerance is {tolerance}, but must be at least 0 and below 1")
    if not 0 < enough <= 1:
        raise RecipeError(f"enough is {enough}, but must be above 0 and at most 1")


def _references(inputs: Given, reference: npt.ArrayLike) -> npt.NDArray[np.float64]:
    values = inputs.spread(reference, "reference").astype(np.float64)
    wrong = values[(values < 0) | (values > 1)]
    if len(wrong):
        raise RecipeError(f"reference is {wrong[0]}, but it is a share, between 0 and 1")
    return values


def _random(ranks: npt.NDArray[np.int64], entries: npt.NDArray[Any]) -> list[Share]:
    for rank, n in zip(ranks.tolist(), entries.tolist(), strict=True):
        if not n >= max(rank, 1) or n % 1:
            said = f"entries is {n}, but the known vectors have {rank} directions"
            raise RecipeError(f"{said}: give the number of entries of one vector")
    return [share_of_a_random_direction(r, int(n)) for r, n in zip(ranks.tolist(), entries.tolist(), strict=True)]
