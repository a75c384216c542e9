"""Models of several vocabularies made models of one: rows matched by their tokens' text, and the tokenizer files."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ...errors import RecipeError
from ..checkpoint import Checkpoint
from ..computed.rows import Rows
from ..dtypes import LONG_NAMES
from ..tensors import Tensor
from .chat import choose_template, template_of, write_template
from .config import config_updates, merged, renumbered_ids, token_ids_of
from .members import find_input, find_owner, read_members, same_files
from .request import RULES, ZERO_ROW, ModelToken, TokenRule, VocabularyRequest
from .target import Member, target_vocabulary
from .tensors import check_known, is_vocabulary_tensor
from .tokenizer_files import changed_files, write_tokenizer
from .tokens import as_text, read_json
from .unite import Donor, RowPlan, TokenRow, unite


@dataclass(frozen=True)
class VocabularyPlan:
    """Models brought to one vocabulary.

    base, models: the same checkpoints as were given, with rows in the new order; those that need no change are the
        very same objects. Their configs say what the result's will.
    size: rows of the new embedding.
    rows: which row of which model each new row is.
    config_updates: what changes in the reference's config.json; nested where the config is.
    dtypes: tensor → the type it has in the reference, before rows of other types came in.
    notes: what is worth saying.
    template: the chat template that is written, if one is asked for.
    """

    base: Checkpoint | None
    models: tuple[Checkpoint, ...]
    rows: RowPlan
    config_updates: Mapping[str, Any]
    dtypes: Mapping[str, str]
    notes: tuple[str, ...]
    template: str | None = None

    @property
    def size(self) -> int:
        """Rows of the new embedding."""
        return self.rows.target.size

    def checkpoint(self, i: int) -> Checkpoint:
        """Return model `i`, in the new order of rows."""
        return self.models[i]

    def write(self, folder: Path) -> list[str]:
        """Write the tokenizer files, the chat template, and the rows that generation_config.json names.

        The folder's other files must lie there already. Returns the names of what was written.
        """
        written = write_tokenizer(self.rows.target, folder)
        if self.template is not None:
            written += write_template(self.template, folder)
        path = folder / "generation_config.json"
        if path.is_file() and (changed := self._generation(read_json(path))):
            path.write_text(as_text(changed), "utf-8")
            written.append(path.name)
        return sorted(set(written))

    def _generation(self, config: dict[str, Any]) -> dict[str, Any] | None:
        """Return a generation config with the tokenizer's own token rows, or None where it has them."""
        target = self.rows.target
        if target.renumbered:
            new = renumbered_ids(config, target, "generation_config.json")
        else:
            path = target.owner.folder / "generation_config.json"
            new = token_ids_of(read_json(path)) if path.is_file() else {}
        changed = {**config, **new}
        return changed if changed != config else None


def plan_vocabulary(
    base: Checkpoint | None, models: Sequence[Checkpoint], request: VocabularyRequest
) -> VocabularyPlan | None:
    """Bring models to one vocabulary; None where they have it already and nothing else is asked for.

    Raises:
        RecipeError: a rule names what does not exist, or loses what is needed.
        MismatchError: a model without a vocabulary, or vocabularies that cannot be matched.
        FormatError: tokenizer files that contradict themselves.
    """
    inputs = ([base] if base else []) + list(models)
    if request == VocabularyRequest(request.source) and request.source in RULES and same_files(inputs):
        return None
    members, notes = read_members(inputs)
    owner, rows = find_owner(request.source, inputs, members)
    target = target_vocabulary(
        request.source, owner, rows, members, list(request.tokens),
        keep_padding=request.keep_padding, multiple=request.pad_to_multiple_of,
    )  # fmt: skip
    tokens = {text: row for text, rule in request.tokens.items() if (row := _token_row(text, rule, inputs, members))}
    plan = unite(target, members, 0 if base else None, tokens)
    changed_files(target)  # refuses what cannot be written
    template = choose_template(request.chat_template, [c.folder for c in inputs]) if request.chat_template else None
    if request.chat_template and template is None:
        notes.append("no model has a chat template, so 'chat_template: auto' writes none.")
    own_files = owner is members[0].vocabulary and not target.added and not target.renumbered
    same_template = not request.chat_template or (template and template.strip() == _own_template(inputs[0]))
    if own_files and same_template and _unmoved(plan, members):
        return None
    updates = config_updates(inputs[0].config, target, owner is members[0].vocabulary)
    rolled = _reroll_all(inputs, members, plan, updates)
    dtypes, more = _types(inputs, members, rolled)
    said = (*notes, *target.notes, *plan.notes, *_changes(plan, members), *more)
    return VocabularyPlan(rolled[0] if base else None, rolled[bool(base) :], plan, updates, dtypes, said, template)


def _own_template(checkpoint: Checkpoint) -> str:
    return (template_of(checkpoint.folder) or "").strip()


def _unmoved(plan: RowPlan, members: Sequence[Member]) -> bool:
    return all(plan.picks[i].keeps(i, member.rows) for i, member in enumerate(members))


def _token_row(
    text: str, rule: TokenRule, inputs: Sequence[Checkpoint], members: Sequence[Member]
) -> TokenRow | None:  # fmt: skip
    if rule.source is None:
        return None
    if rule.source == ZERO_ROW:
        return TokenRow(None, rule.force)
    source = rule.source if isinstance(rule.source, ModelToken) else ModelToken(rule.source, text)
    at = find_input(source.model, inputs)
    if at is None or members[at].delta:
        known = ", ".join(m.name for m in members if not m.delta)
        raise RecipeError(f"the token {text!r} is taken from '{source.model}', which is none of the models: {known}.")
    row = members[at].row(source.token) if source.token is not None else int(source.token_id or 0)
    if not 0 <= row < members[at].rows:
        what = f"no token {source.token!r}" if source.token is not None else f"no row {row}"
        raise RecipeError(f"the token {text!r} is taken from '{source.model}', which has {what}.")
    return TokenRow(Donor(at, row), rule.force)


def _reroll_all(
    inputs: Sequence[Checkpoint], members: Sequence[Member], plan: RowPlan, updates: Mapping[str, Any]
) -> tuple[Checkpoint, ...]:
    rolled = []
    for i, (checkpoint, member) in enumerate(zip(inputs, members, strict=True)):
        if plan.picks[i].keeps(i, member.rows):
            rolled.append(reroll(checkpoint, {}, updates if i == 0 else {}) if i == 0 and updates else checkpoint)
            continue
        check_known(checkpoint, member.rows)
        names = dict.fromkeys(
            [n for n, t in checkpoint.tensors.items() if is_vocabulary_tensor(n, t.shape, member.rows)]
            + [n for n in inputs[0].tensors if checkpoint.tied_to(n)]
        )
        new = {name: Rows(name, _sources(name, inputs, members), plan.picks[i]) for name in names}
        rolled.append(reroll(checkpoint, new, updates))
    return tuple(rolled)


def _sources(name: str, inputs: Sequence[Checkpoint], members: Sequence[Member]) -> list[Tensor | None]:
    """Return every model's tensor of that name, its embedding where the head is tied to it."""
    found = [c.resolve(name) for c in inputs]
    return [t if t and t.shape[0] == m.rows else None for t, m in zip(found, members, strict=True)]


def reroll(checkpoint: Checkpoint, tensors: Mapping[str, Tensor], updates: Mapping[str, Any]) -> Checkpoint:
    """Return a checkpoint with some tensors replaced (or a head added), and its config brought up to date."""
    config = merged(checkpoint.config, updates) if checkpoint.config else {}
    return checkpoint.replaced({**checkpoint.tensors, **tensors}, config)


def _changes(plan: RowPlan, members: Sequence[Member]) -> list[str]:
    """Say of each model how many of its tokens move or are left out, and how many it gets from others."""
    rows = np.arange(plan.rows.shape[1])
    named = np.isin(rows, list(plan.target.ids.values()))
    notes = []
    for member, own in zip(members, plan.rows, strict=True):
        lacking, elsewhere = own < 0, (own >= 0) & (own != rows)
        left_out = member.vocabulary.named & frozenset(range(member.rows)) - frozenset(own.tolist())
        added = "added, with zeros" if member.delta else "added"
        counts = [
            (int((lacking & named).sum()), "token", added),
            (int((lacking & ~named).sum()), "row without a token", added),
            (int((elsewhere & named).sum()), "token", "moved to another row"),
            (int((elsewhere & ~named).sum()), "row without a token", "moved"),
            (len(left_out), "token", "left out"),
        ]
        if said := [_counted(*count) for count in counts if count[0]]:
            notes.append(f"vocabulary of {member.name}: {', '.join(said)}.")
    return notes


def _counted(count: int, what: str, done: str) -> str:
    """Return how many of something are done something to.

    >>> _counted(1, "token", "moved to another row"), _counted(2, "row without a token", "added")
    ('1 token is moved to another row', '2 rows without a token are added')
    """
    if count == 1:
        return f"1 {what} is {done}"
    noun, _, rest = what.partition(" ")
    return f"{count} {noun}s{rest and f' {rest}'} are {done.replace('another row', 'other rows')}"


def _types(
    inputs: Sequence[Checkpoint], members: Sequence[Member], rolled: Sequence[Checkpoint]
) -> tuple[dict[str, str], list[str]]:  # fmt: skip
    """Return the reference's own types of its vocabulary tensors, and notes on those that became wider."""
    before = {n: t.dtype for n, t in inputs[0].tensors.items() if is_vocabulary_tensor(n, t.shape, members[0].rows)}
    notes = [
        f"'{name}' is read as {LONG_NAMES[rolled[0].tensors[name].dtype]}, because rows of several types come together."
        for name, code in before.items()
        if rolled[0].tensors[name].dtype != code
    ]
    return before, notes
