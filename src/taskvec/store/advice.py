"""Advice to the system about mapped memory, given without holding up other threads.

Python's own `mmap.madvise` keeps the interpreter locked while the disk reads; the same call through ctypes does not.
"""

import ctypes
import errno
import mmap

WILLNEED = getattr(mmap, "MADV_WILLNEED", 3)
DONTNEED = getattr(mmap, "MADV_DONTNEED", 4)
POPULATE_READ = 22
"""Linux 5.14: read pages in and map them, and answer with an error (not a signal) when that fails."""

_libc = ctypes.CDLL(None, use_errno=True)
_libc.madvise.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)
_NOT_KNOWN = (errno.EINVAL, errno.ENOSYS)


def advise(address: int, length: int, advice: int) -> int:
    """Give advice about a range of pages; return 0, or the error's number. A system without it is no error."""
    if _libc.madvise(address, length, advice) == 0:
        return 0
    number = ctypes.get_errno()
    return 0 if number in _NOT_KNOWN else number
