"""The rows of a result: for each model, which row of which model each new row is."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ...errors import MismatchError
from ..computed.rows import MEAN, ZERO, Ints, Picks
from .target import Member, Target


@dataclass(frozen=True)
class Donor:
    """A row of one model, for a token that others lack (or, forced, for all): `row` of the member numbered `member`."""

    member: int
    row: int


@dataclass(frozen=True)
class TokenRow:
    """What a token's row is where a model has none, or, forced, in every model. No donor: zero."""

    donor: Donor | None
    force: bool = False


@dataclass(frozen=True)
class RowPlan:
    """For each model: the row of its own embedding that each new row is, -1 where it has none (`rows`), and the picks
    that fill those from other models.
    """

    target: Target
    rows: npt.NDArray[np.int64]
    picks: tuple[Picks, ...]
    notes: tuple[str, ...] = ()


def unite(
    target: Target, members: Sequence[Member], base: int | None = None, tokens: Mapping[str, TokenRow] | None = None
) -> RowPlan:
    """Find every row of the target in every model, and what stands in for it where a model has none.

    A token that a model lacks has there the base's row; where the base has none, the mean of the models that have it;
    where none has it, zeros. So a fine-tune that lacks a token leaves it as the base has it, and where the base lacks
    one, it gets a row that those which have it agree on. A task vector has zeros.

    Args:
        target: the new vocabulary.
        members: the models.
        base: which of them is the base.
        tokens: text → the row to use instead of those.

    Raises:
        MismatchError: two tokens share a row of the target and not of a model.
    """
    rows = np.stack([_own_rows_of(target, member) for member in members])
    lend = np.array([not member.delta for member in members])
    has = (rows >= 0) & lend[:, None]
    count = has.sum(axis=0)
    donor = np.where(count > 0, has.argmax(axis=0), ZERO).astype(np.int32)
    donor[count > 1] = MEAN
    if base is not None:
        donor[has[base]] = base
    donor_row = np.where(donor >= 0, np.take_along_axis(rows, np.maximum(donor, 0)[None].astype(np.int64), 0)[0], 0)
    forced = np.zeros(target.count, bool)
    for text, rule in (tokens or {}).items():
        at = target.ids[text]
        donor[at], donor_row[at] = (rule.donor.member, rule.donor.row) if rule.donor else (ZERO, 0)
        forced[at] = rule.force
    average = np.where(has, rows, -1)
    picks = tuple(
        _picks(target, i, np.where(forced, -1, rows[i]), *_for(member, donor, donor_row), average)
        for i, member in enumerate(members)
    )
    unheard = [text for text, row in target.ids.items() if donor[row] == ZERO and not (tokens or {}).get(text)]
    return RowPlan(target, rows, picks, _zeros(unheard))


def _zeros(texts: list[str]) -> tuple[str, ...]:
    return (f"{len(texts)} tokens have no row in any model, the first {texts[0]!r}; theirs is zero.",) if texts else ()


def _for(member: Member, donor: npt.NDArray[np.int32], row: Ints) -> tuple[npt.NDArray[np.int32], Ints]:
    return (np.full_like(donor, ZERO), row) if member.delta else (donor, row)


def _picks(
    target: Target, i: int, own: Ints, donor: npt.NDArray[np.int32], donor_row: Ints, average: Ints
) -> Picks:  # fmt: skip
    source = np.where(own >= 0, i, donor).astype(np.int32)
    mean_at = np.flatnonzero(source == MEAN)
    return Picks(source, np.where(own >= 0, own, donor_row), mean_at, average[:, mean_at], target.size)


def _own_rows_of(target: Target, member: Member) -> Ints:
    rows = np.full(target.count, -1, np.int64)
    ids, named = member.vocabulary.ids, member.vocabulary.named
    first: dict[int, str] = {}
    for text, new in target.ids.items():
        old = ids.get(text, -1)
        if not 0 <= old < member.rows:
            continue
        if rows[new] not in (-1, old):
            raise MismatchError(
                f"{target.owner.name} has {first[new]!r} and {text!r} in one row, but {member.name} has them in rows "
                f"{rows[new]} and {old}. Give them rows of their own first."
            )
        rows[new] = old
        first[new] = text
    for new, old in target.nameless.items():
        if old < member.rows and old not in named:
            rows[new] = old
    return rows
