"""Shapes in signatures, as in `Float[Array, " task n"]`: read by people and type checkers, enforced while tests run.

Importing jaxtyping takes a tenth of a second, which every command would pay and none would use. So it is imported
where something checks: by mypy, and in a process that has imported it already, as the tests do.
"""

import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING or "jaxtyping" in sys.modules:
    from jaxtyping import Float, Float32, Float64, Int64, UInt16
else:

    class _Unchecked:
        def __class_getitem__(cls, shape: Any) -> Any:
            return Any

    Float = Float32 = Float64 = Int64 = UInt16 = _Unchecked

__all__ = ["Float", "Float32", "Float64", "Int64", "UInt16"]
