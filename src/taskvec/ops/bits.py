"""Yes and no, eight to a byte: the first entry in the lowest bit."""

import numpy as np
import numpy.typing as npt

Bools = npt.NDArray[np.bool_]
Bytes = npt.NDArray[np.uint8]


def bytes_for(count: int) -> int:
    """Return how many bytes so many bits take.

    >>> bytes_for(0), bytes_for(8), bytes_for(9)
    (0, 1, 2)
    """
    return -(-count // 8)


def pack_bits(bits: Bools) -> Bytes:
    """Return bits as bytes; the last byte is filled up with zeros.

    >>> pack_bits(np.array([True, False, True])).tolist()
    [5]
    """
    return np.packbits(bits.reshape(-1), bitorder="little")


def unpack_bits(packed: Bytes, start: int, stop: int) -> Bools:
    """Return bits `start` … `stop`, given the bytes from byte start // 8 on.

    >>> unpack_bits(np.array([5], np.uint8), 1, 4).tolist()
    [False, True, False]
    """
    skipped = start % 8
    wanted = packed[: bytes_for(skipped + stop - start)]
    bits: Bools = np.unpackbits(wanted, bitorder="little")[skipped : skipped + stop - start].view(np.bool_)
    return bits
