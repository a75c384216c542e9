"""Which examples are held out, and which a limit leaves: by content and seed, never by the order of the rows."""

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Literal

import numpy as np
import numpy.typing as npt

Chosen = npt.NDArray[np.int64]


def choose(
    identities: Sequence[bytes],
    labels: npt.NDArray[np.int64] | None,
    *,
    held_out: float = 0.0,
    part: Literal["all", "kept", "held_out"] = "all",
    limit: int | None = None,
    seed: int = 0,
) -> Chosen:
    """Return the indices of the chosen examples, rising.

    A share of every label is held out, rounded so that the whole comes out right to less than one example a label.
    Equal inputs stay together: a group of them goes to the side where it fits, so with many duplicates somewhat less
    than the share is held out.
    A limit takes equally many of each label; what a rare one lacks, the others give. A larger limit adds to a smaller.

    Args:
        identities: what equal inputs share.
        labels: Shape (example,); None puts all under one label.
        held_out: the share in [0, 1).
        part: all, or one of the two sides.
        limit: at most so many.
        seed: of both choices.
    """
    classes = [0] * len(identities) if labels is None else labels.tolist()
    chosen: Iterable[int] = range(len(identities))
    if part != "all":
        out = _held_out(identities, classes, held_out, seed)
        chosen = [i for i in chosen if (i in out) == (part == "held_out")]
    if limit is not None:
        chosen = _limited(identities, classes, list(chosen), limit, seed)
    return np.array(sorted(chosen), np.int64)


def _rank(identity: bytes, purpose: str, seed: int) -> bytes:
    """Return an example's place in an order that looks like chance, and is the same wherever its row stands."""
    return hashlib.blake2b(f"{purpose} {seed} ".encode() + identity, digest_size=16).digest()


def _held_out(identities: Sequence[bytes], classes: Sequence[int], share: float, seed: int) -> set[int]:
    groups: dict[bytes, list[int]] = defaultdict(list)
    for i, identity in enumerate(identities):
        groups[identity].append(i)
    strata: dict[int, list[bytes]] = defaultdict(list)
    for identity, members in groups.items():
        # Equal inputs with different labels count as the first of these.
        strata[min(classes[i] for i in members)].append(identity)
    sizes = {label: sum(len(groups[identity]) for identity in stratum) for label, stratum in strata.items()}
    out: set[int] = set()
    for label, room in _shares(sizes, share).items():
        for identity in sorted(strata[label], key=lambda identity: _rank(identity, "held out", seed)):
            if len(groups[identity]) <= room:
                out.update(groups[identity])
                room -= len(groups[identity])
    return out


def _shares(sizes: Mapping[int, int], share: float) -> dict[int, int]:
    """Return how many of each label: the share rounded down, and one more for those that lost most by it.

    >>> _shares({0: 5, 1: 5, 2: 90}, 0.1)
    {0: 1, 1: 0, 2: 9}
    """
    exact = {label: size * share for label, size in sizes.items()}
    counts = {label: int(value) for label, value in exact.items()}
    missing = round(sum(sizes.values()) * share) - sum(counts.values())
    for label in sorted(exact, key=lambda label: (counts[label] - exact[label], label))[: max(missing, 0)]:
        counts[label] += 1
    return counts


def _limited(
    identities: Sequence[bytes], classes: Sequence[int], chosen: Sequence[int], limit: int, seed: int
) -> list[int]:
    queues: dict[int, list[int]] = defaultdict(list)
    for i in sorted(chosen, key=lambda i: _rank(identities[i], "limit", seed)):
        queues[classes[i]].append(i)
    # Round by round, one of each label: the order in which a growing limit takes them.
    turns = [(turn, label, i) for label, queue in queues.items() for turn, i in enumerate(queue)]
    return [i for _, _, i in sorted(turns)[:limit]]
