"""Eight bits decoded: every code of every type against torch."""

import numpy as np
import pytest
import torch

from taskvec.ops.eight_bits import CHUNK, INTEGERS, TABLES, decode

CODES = np.arange(256, dtype=np.uint8)


@pytest.mark.parametrize(
    ("code", "dtype"),
    [
        ("F8_E4M3", torch.float8_e4m3fn),
        ("F8_E5M2", torch.float8_e5m2),
        ("F8_E8M0", torch.float8_e8m0fnu),
        ("I8", torch.int8),
        ("U8", torch.uint8),
    ],
)
def test_all_256_codes_are_torchs(kernels: str, code: str, dtype: torch.dtype) -> None:
    theirs = torch.from_numpy(CODES.copy()).view(dtype).float().numpy()
    ours = decode(CODES.view(np.int8) if code == "I8" else CODES, code)
    assert ours.dtype == np.float32
    numbers = ~np.isnan(theirs)
    assert ours[numbers].tobytes() == theirs[numbers].tobytes()  # the sign of zero, too
    assert np.isnan(ours[~numbers]).all()


def test_what_is_no_number() -> None:
    e4m3, e5m2, e8m0 = (TABLES[c] for c in ("F8_E4M3", "F8_E5M2", "F8_E8M0"))
    assert np.flatnonzero(~np.isfinite(e4m3)).tolist() == [0x7F, 0xFF]
    assert np.flatnonzero(np.isinf(e5m2)).tolist() == [0x7C, 0xFC]
    assert np.flatnonzero(np.isnan(e5m2)).tolist() == [0x7D, 0x7E, 0x7F, 0xFD, 0xFE, 0xFF]
    assert np.flatnonzero(~np.isfinite(e8m0)).tolist() == [0xFF]


def test_more_than_a_chunk_by_either_kernel(twins) -> None:
    codes = np.resize(CODES, 2 * CHUNK + 7)
    fused, plain = twins("look_up", lambda: decode(codes, "F8_E4M3"))
    assert fused.tobytes() == plain.tobytes() == TABLES["F8_E4M3"][codes].tobytes()


@pytest.mark.parametrize("code", [c for c in INTEGERS if c[0] == "I"])
def test_integers(code: str) -> None:
    kind = np.dtype(f"<i{int(code[1:]) // 8}")
    assert decode(np.array([-128, 0, 127], kind), code).tolist() == [-128.0, 0.0, 127.0]


def test_wider_floats() -> None:
    assert decode(np.array([0x3F80], np.uint16), "BF16").tolist() == [1.0]
    assert decode(np.array([0.1], np.float64), "F64").tolist() == [float(np.float32(0.1))]
