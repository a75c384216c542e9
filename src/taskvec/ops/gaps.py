"""Places in ascending order as the gaps between them, a byte each where they are short."""

import numpy as np
import numpy.typing as npt

Places = npt.NDArray[np.int64]
Bytes = npt.NDArray[np.uint8]
SKIP = 255
"""A byte of 255 stands for 255 entries without a place among them; any other ends a gap."""


def bytes_of_gaps(places: Places) -> int:
    """Return how many bytes `pack_gaps` takes.

    >>> bytes_of_gaps(np.array([0, 1, 300]))
    4
    """
    return int(places.size + (_gaps(places) // SKIP).sum())


def pack_gaps(places: Places) -> Bytes:
    """Return ascending places (from 0) as bytes: before each place how many entries are passed over.

        gap_i = place_i - place_(i-1) - 1,    gap_0 = place_0;    255s, then the rest (0 … 254)

    >>> pack_gaps(np.array([0, 1, 300])).tolist()
    [0, 0, 255, 43]
    """
    skips, rest = np.divmod(_gaps(places), SKIP)
    ends = np.cumsum(skips + 1)
    out = np.full(int(ends[-1]) if ends.size else 0, SKIP, np.uint8)
    out[ends - 1] = rest
    return out


def unpack_gaps(packed: Bytes) -> Places:
    """Return the places that bytes stand for.

    >>> unpack_gaps(np.array([0, 0, 255, 43], np.uint8)).tolist()
    [0, 1, 300]
    """
    passed = np.cumsum(packed, dtype=np.int64)[packed < SKIP]
    return passed + np.arange(passed.size)


def _gaps(places: Places) -> Places:
    return np.diff(places, prepend=-1) - 1
