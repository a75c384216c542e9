"""The same tensors under other names: a prefix that one library adds and another leaves off, or rules of a recipe."""

import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from ..errors import MismatchError, RecipeError
from .checkpoint import OUTPUT_HEADS, Checkpoint
from .computed.renamed import rename

DEPTH = 4
"""Parts that a prefix may have: `base_model.model.language_model.model.`"""

SPARE = (
    ".lm_head.weight",
    ".embed_out.weight",
    "position_ids",
    "rotary_emb.inv_freq",
    ".attn.bias",
    ".attn.masked_bias",
)
"""How the names of heads end, and of tensors that some versions of a library store and others make anew."""


def is_spare(name: str) -> bool:
    """Tell tensors that one of two equal models may lack: an output head, which may be tied, and known buffers."""
    return name in OUTPUT_HEADS or name.endswith(SPARE)


@dataclass(frozen=True)
class Renaming:
    """What the names of one model are in another (those that differ), and a sentence that says so."""

    mapping: Mapping[str, str]
    note: str


def find_prefix(
    ours: Iterable[str], theirs: Iterable[str], whose: str = "the model", spare: Callable[[str], bool] = is_spare
) -> Renaming | None:
    """Find the one prefix by which two sets of names differ.

    A prefix may be missing, superfluous or another one, before all names or before those that differ. Names agree when
    each of either side is found on the other, but for `spare` ones.

    >>> found = find_prefix(["model.norm.weight", "lm_head.weight"], ["norm.weight"], "b")
    >>> dict(found.mapping), found.note
    ({'norm.weight': 'model.norm.weight'}, "'model.' was put before the names of 1 tensor of b.")

    Returns:
        None where the names agree as they are, and where no prefix makes them agree.

    Raises:
        MismatchError: two prefixes would make them agree, in two ways.
    """
    ours, theirs = dict.fromkeys(ours), list(theirs)
    strange = next((name for name in theirs if name not in ours and not spare(name)), None)
    if strange is None:
        return None
    found: dict[tuple[tuple[str, str], ...], tuple[str, str]] = {}
    best = -1
    for old, new in _candidates(strange, ours):
        for some in (theirs, [name for name in theirs if name not in ours]):
            pairs = {name: new + name[len(old) :] for name in some if name.startswith(old)}
            # A prefix that is superfluous is so everywhere; one that is put before a name must lead to one of ours.
            mapping = {name: after for name, after in pairs.items() if old or after in ours}
            covered = _covered(mapping, theirs, ours, spare)
            if covered > best:
                found, best = {}, covered
            if covered == best >= 0:
                found.setdefault(tuple(mapping.items()), (old, new))
    if len(found) > 1:
        ways = " or ".join(f"'{old}' as '{new}'" for old, new in list(dict.fromkeys(found.values()))[:2])
        raise MismatchError(
            f"the names of {whose} could be read in {len(found)} ways ({ways}). Type 'rename' to choose one."
        )
    return next((_renaming(dict(changes), *prefixes, whose) for changes, prefixes in found.items()), None)


def _candidates(name: str, ours: Collection[str]) -> Iterator[tuple[str, str]]:
    """Yield the pairs (old prefix, new prefix) that make a name one of ours."""
    parts = name.split(".")
    for depth in range(min(DEPTH, len(parts) - 1) + 1):
        old, rest = "".join(f"{part}." for part in parts[:depth]), ".".join(parts[depth:])
        for other in ours:
            new = other.removesuffix(rest)
            if new == other or (new and not new.endswith(".")) or new.count(".") > DEPTH:
                continue
            if not (old and new) or old.split(".")[-2] != new.split(".")[-2]:  # else a shorter pair says the same
                yield old, new


def _covered(
    mapping: Mapping[str, str], theirs: Sequence[str], ours: Collection[str], spare: Callable[[str], bool]
) -> int:
    """Return how many of our names a renaming finds; -1 if it does not make the names agree."""
    names = {mapping.get(name, name): name for name in theirs}
    agree = (
        len(names) == len(theirs)
        and all(new in ours or spare(old) for new, old in names.items())
        and all(name in names or spare(name) for name in ours)
    )
    return sum(name in names for name in ours) if agree else -1


def _renaming(mapping: dict[str, str], old: str, new: str, whose: str) -> Renaming:
    tensors = f"{len(mapping)} tensor{'s' if len(mapping) > 1 else ''} of {whose}"
    if not old:
        return Renaming(mapping, f"'{new}' was put before the names of {tensors}.")
    if not new:
        return Renaming(mapping, f"'{old}' was taken from the names of {tensors}.")
    return Renaming(mapping, f"'{old}' was read as '{new}' in the names of {tensors}.")


def by_rules(names: Iterable[str], rules: Iterable[tuple[str, str]], whose: str = "the model") -> dict[str, str]:
    r"""Return the names that rules change, and to what.

    A rule is (from, to), applied to what the rule before it left. `from` is the beginning of a name; if it begins with
    ^ it is a regular expression, and `to` may name its groups.

    >>> by_rules(["bert.layer.0.w", "cls.b"], [("bert.", ""), (r"^layer\.(\d+)", r"h.\1")])
    {'bert.layer.0.w': 'h.0.w'}

    Raises:
        RecipeError: a rule that matches nothing or cannot be read, or two tensors that get one name.
    """
    now = {name: name for name in names}
    for source, target in rules:
        after = {name: _applied(source, target, old) for name, old in now.items()}
        if not any(new is not None for new in after.values()):
            first = next(iter(now.values()), "")
            raise RecipeError(f"'rename' from '{source}' matches no tensor of {whose}. The first of them is '{first}'.")
        now = {name: now[name] if new is None else new for name, new in after.items()}
    takers: dict[str, str] = {}
    for name, new in now.items():
        if not new:
            raise RecipeError(f"'rename' leaves nothing of the name '{name}' of {whose}.")
        if other := takers.get(new):
            raise RecipeError(f"'rename' gives '{other}' and '{name}' of {whose} the same name '{new}'.")
        takers[new] = name
    return {name: new for name, new in now.items() if new != name}


def _applied(source: str, target: str, name: str) -> str | None:
    """Return what a rule makes of a name; None where it does not match."""
    if not source.startswith("^"):
        return target + name.removeprefix(source) if name.startswith(source) else None
    try:
        new, count = re.subn(source, target, name, count=1)
    except (re.error, IndexError) as exc:
        raise RecipeError(f"'rename' from '{source}' to '{target}' is no regular expression: {exc}.") from exc
    return new if count else None


def renamed(checkpoint: Checkpoint, mapping: Mapping[str, str]) -> Checkpoint:
    """Return a checkpoint with other names; those that `mapping` lacks stay.

    Raises:
        MismatchError: two tensors would have one name.
    """
    tensors = {}
    for name, tensor in checkpoint.tensors.items():
        new = mapping.get(name, name)
        if new in tensors:
            raise MismatchError(f"two tensors of {checkpoint.path} would be called '{new}'.")
        tensors[new] = rename(tensor, new)
    return checkpoint.replaced(tensors)


def align(
    ours: Iterable[str],
    checkpoint: Checkpoint,
    rules: Sequence[tuple[str, str]] = (),
    whose: str = "the model",
    spare: Callable[[str], bool] = is_spare,
) -> tuple[Checkpoint, list[str]]:
    """Return a checkpoint under the names of another, by rules and then by the prefix that is left; and notes on it."""
    notes = []
    if rules:
        mapping = by_rules(checkpoint.tensors, rules, whose)
        checkpoint = renamed(checkpoint, mapping)
        notes.append(f"'rename' changed the names of {len(mapping)} tensors of {whose}.")
    if found := find_prefix(ours, checkpoint.tensors, whose, spare):
        checkpoint = renamed(checkpoint, found.mapping)
        notes.append(found.note)
    return checkpoint, notes
