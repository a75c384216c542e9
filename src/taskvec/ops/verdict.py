"""What to do with a target: take what is known, recombine it, or learn; and the numbers that said so."""

from math import isnan, nan
from typing import Literal, NamedTuple

from .explained_by_chance import Share

Verdict = Literal["retrieve", "recombine", "learn", "undecided"]

CLEARLY = 4.0
"""Standard deviations above the mean of a random direction that are no chance."""

ROUNDING = 1e-9


class Rule(NamedTuple):
    """The thresholds of a verdict.

    Args:
        reference: The share that a target which is one of the known tasks has explained: 1 for noiseless vectors.
        tolerance: By how much the hull may fall short of that, as a share of it.
        enough: What share of the reference the span must explain for the target not to be outside.
        scale_free: Whether the target's length means nothing: the hull is then taken at its best scale, a cone.
    """

    reference: float
    tolerance: float
    enough: float
    scale_free: bool


class Decision(NamedTuple):
    """A verdict, one sentence that holds the numbers that decided, and x of span and hull (NaN where undecided)."""

    verdict: Verdict
    reason: str
    inside: float = nan
    in_hull: float = nan


def decide(span: float, hull: float, random: Share | None, rule: Rule) -> Decision:
    """Return what to do with a target of which span and hull explain these shares.

        x_S = (s_S - s₀) / (ρ - s₀)                            S the span or the hull; ρ the reference, s₀ chance

        undecided   ρ ≤ s₀ + 4σ₀                               a known task could not be told from chance
        learn       x_span < enough  or  s_span ≤ s₀ + 4σ₀      otherwise; mostly outside, or no more than chance
        retrieve    x_hull ≥ (1 - tolerance) max(1, x_span)     otherwise
        recombine                                              otherwise

    x is 0 at chance and 1 for a known task. Of a target that is its task vector and isotropic noise, x estimates the
    share of the task vector alone: if p of that lies in S and r of the target's energy is no noise, in expectation
    s_S = rp + (1 - r)s₀ and ρ = r + (1 - r)s₀, so x_S = (p - s₀) / (1 - s₀). The max matters for targets that are less
    noisy than a typical one: the hull must then hold nearly all of what the span holds.

    Zero:  without chance s₀ = σ₀ = 0. With a reference of NaN nothing is decided. The chance of a hull is at most that
        of its span, which is taken for both.
    """
    chance, sure = (random.mean, random.mean + CLEARLY * random.spread) if random else (0.0, 0.0)
    if isnan(rule.reference):
        return Decision("undecided", "what a known task would have explained is not known")
    if rule.reference <= sure:
        return Decision("undecided", f"a known task would have {rule.reference:.3g} explained, {_against(random)}")
    inside, in_hull = ((share - chance) / (rule.reference - chance) for share in (span, hull))
    verdict, reason = _of_shares(span, hull, inside, in_hull, sure, random, rule)
    return Decision(verdict, reason, inside, in_hull)


def _of_shares(
    span: float, hull: float, inside: float, in_hull: float, sure: float, random: Share | None, rule: Rule
) -> tuple[Verdict, str]:
    asked = (1 - rule.tolerance) * max(1.0, inside)
    of_known = f"of what a known task has ({rule.reference:.3g})"
    by_span = f"the span explains {span:.3g} of it"
    by_hull = f"the {'cone' if rule.scale_free else 'simplex'} explains {hull:.3g}"
    if span <= sure:
        return "learn", f"{by_span}, {_against(random)}"
    if inside < rule.enough - ROUNDING:
        return "learn", f"{by_span}, {inside:.3g} {of_known}; {rule.enough:.3g} is asked"
    if in_hull >= asked - ROUNDING:
        return "retrieve", f"{by_hull} of it, {in_hull:.3g} {of_known}; {asked:.3g} is asked"
    return "recombine", f"{by_span}, {inside:.3g} {of_known}; {by_hull}, {in_hull:.3g}; {asked:.3g} is asked"


def _against(random: Share | None) -> str:
    """Say what chance would explain."""
    if random is None:
        return "which is nothing"
    return f"and a random direction {random.mean:.3g} ± {random.spread:.2g}"
