"""The tokens of a result: one tokenizer's own, all models', or those that all have."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ...errors import MismatchError, RecipeError
from .tokens import PLAIN, Vocabulary


@dataclass(frozen=True)
class Member:
    """One model's part in a vocabulary.

    name: what messages call it.
    vocabulary: its tokens.
    rows: rows of its embedding; a token beyond them has none.
    delta: it is a task vector, whose missing rows are zero and which lends no row to others.
    """

    name: str
    vocabulary: Vocabulary
    rows: int
    delta: bool = False

    def row(self, text: str) -> int:
        """Return the row of a token, -1 where it has none."""
        row = self.vocabulary.ids.get(text, -1)
        return row if row < self.rows else -1


@dataclass(frozen=True)
class Target:
    """The vocabulary of a result.

    owner: whose tokenizer it starts from.
    ids: text → row.
    nameless: new row → the owner's row, for rows that have no token.
    added: text → how it is matched, for tokens that the owner's tokenizer lacks or has not among its added ones.
    count: rows that stand for something; those after it, up to `size`, are padding.
    renumbered: the owner's tokens stand in other rows than in its own files.
    """

    owner: Vocabulary
    ids: Mapping[str, int]
    nameless: Mapping[int, int]
    added: Mapping[str, Mapping[str, Any]]
    count: int
    size: int
    renumbered: bool = False
    notes: tuple[str, ...] = ()


@dataclass
class _Growing:
    """The owner's vocabulary, and what is added to it."""

    owner: Vocabulary
    ids: dict[str, int] = field(default_factory=dict)
    added: dict[str, Mapping[str, Any]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.ids = self.ids or dict(self.owner.ids)
        self.free = self.owner.next_row

    def add(self, text: str, settings: Mapping[str, Any]) -> None:
        """Add a token behind all others; one that is there becomes an added one, in its row."""
        if text not in self.ids:
            self.ids[text] = self.free
            self.free += 1
        elif text in self.owner.added or text in self.added:
            return
        self.added[text] = settings


def target_vocabulary(
    rule: str, owner: Vocabulary, owner_rows: int, members: Sequence[Member], extra: Sequence[str] = (), *,
    keep_padding: bool = True, multiple: int | None = None,
) -> Target:  # fmt: skip
    """Return the vocabulary that a rule makes.

    Args:
        rule: `union`, `intersection`, or anything else: the owner's own.
        owner: whose tokenizer is extended, cut down, or taken as it is.
        owner_rows: rows of the owner's embedding.
        members: all models, in order.
        extra: texts that must be tokens, too.
        keep_padding: keep the owner's rows that have no token; without, only tokens have rows.
        multiple: pad the rows to a multiple of this, with the mean of all; then no other padding is kept.

    Raises:
        RecipeError: the intersection would lose a token that is needed.
        MismatchError: the owner's tokenizer cannot be extended.
    """
    growing, notes = _Growing(owner), list(owner.notes)
    if rule == "intersection":
        growing, more = _intersection(owner, members)
        notes += more
    if rule == "union":
        notes += _union(growing, members)
    for text in extra:
        if text not in growing.ids:
            growing.add(text, PLAIN)
    renumbered = any(growing.ids.get(text) != row for text, row in owner.ids.items())
    if not renumbered:
        _check_free(growing)
    end = 1 + max(growing.ids.values(), default=-1)
    taken = set(growing.ids.values())
    count = max(end, owner_rows) if keep_padding and not multiple and not renumbered else end
    nameless = {} if renumbered else {row: row for row in range(min(count, owner_rows)) if row not in taken}
    size = -(-count // multiple) * multiple if multiple else count
    return Target(owner, growing.ids, nameless, growing.added, count, size, renumbered, tuple(notes))


def _union(growing: _Growing, members: Sequence[Member]) -> list[str]:
    """Add what the models' own vocabularies have more than the owner's, then their added tokens."""
    known = {text for m in members for text in m.vocabulary.added if m.row(text) >= 0} | set(growing.owner.added)
    notes = []
    for member in members:
        more = [(r, t) for t, r in member.vocabulary.own.items() if r < member.rows and t not in growing.ids]
        more = [(row, text) for row, text in sorted(more) if text not in known]
        for _, text in more:
            growing.add(text, PLAIN)
        if more:
            notes.append(
                f"{len(more)} tokens of {member.name}'s own vocabulary, the first {more[0][1]!r}, are matched as whole "
                f"pieces of text from now on, because their merges cannot be joined to {growing.owner.name}'s."
            )
    for member in members:
        for text, settings in sorted(member.vocabulary.added.items(), key=lambda item: member.row(item[0])):
            if member.row(text) >= 0:
                growing.add(text, settings)
    return notes


def _intersection(owner: Vocabulary, members: Sequence[Member]) -> tuple[_Growing, list[str]]:
    """Keep the owner's tokens that every model has; number them anew, its own vocabulary's first."""
    kept = [text for text in owner.ids if all(member.row(text) >= 0 for member in members)]
    if len(kept) == len(owner.ids):
        return _Growing(owner), []
    if not kept:
        raise RecipeError(f"the models share no token with {owner.name}. Type 'union', or 'base'.")
    order = sorted(kept, key=lambda text: (text not in owner.own, owner.ids[text]))
    if len({owner.ids[text] for text in kept}) < len(kept):
        raise MismatchError(f"{owner.name} has rows that two tokens share, so it cannot be cut down. Type 'base'.")
    growing = _Growing(owner, {text: row for row, text in enumerate(order)})
    growing.free = len(order)
    lost = next(text for text in owner.ids if text not in growing.ids)
    return growing, [
        f"the intersection leaves out {len(owner.ids) - len(kept)} of {len(owner.ids)} tokens of {owner.name}, "
        f"the first {lost!r}."
    ]


def _check_free(growing: _Growing) -> None:
    new = {text: row for text, row in growing.ids.items() if text not in growing.owner.ids}
    taken = {row for text, row in growing.ids.items() if text not in new}
    if clash := [row for row in new.values() if row in taken]:
        raise MismatchError(
            f"{growing.owner.name} leaves rows without a token before its last one, so loaders would give a new token "
            f"row {clash[0]}, which is taken. Type 'base', or the path of another model as the source."
        )
