"""The random words: Philox-4x64-10 of Salmon et al. 2011 (SC'11, §3.3), in plain integers."""

import hashlib

FULL = (1 << 64) - 1
MULTIPLIERS = 0xD2E7470EE14C6C93, 0xCA5A826395121157
WEYL = 0x9E3779B97F4A7C15, 0xBB67AE8584CAA73B


def philox4x64(counter: int, key: tuple[int, int]) -> list[int]:
    """Ten rounds; the counter is 256 bits, the key twice 64, the answer four times 64."""
    x0, x1, x2, x3 = (counter >> 64 * i & FULL for i in range(4))
    k0, k1 = key
    for _ in range(10):
        high0, low0 = divmod(MULTIPLIERS[0] * x0, 1 << 64)
        high1, low1 = divmod(MULTIPLIERS[1] * x2, 1 << 64)
        x0, x1, x2, x3 = high1 ^ x1 ^ k0, low1, high0 ^ x3 ^ k1, low0
        k0, k1 = k0 + WEYL[0] & FULL, k1 + WEYL[1] & FULL
    return [x0, x1, x2, x3]


def word(stream: str, at: int) -> int:
    """The 16-bit word at a place of a named stream: sixteen words a step of the counter, which begins at 1."""
    digest = hashlib.sha256(stream.encode()).digest()
    key = int.from_bytes(digest[:8], "little"), int.from_bytes(digest[8:16], "little")
    step, place = divmod(at, 16)
    draws = philox4x64(step + 1, key)
    return draws[place // 4] >> 16 * (place % 4) & 0xFFFF
