"""Everything taskvec raises on purpose, one tree.

TaskVecError
├── RecipeError (ValueError)          what was asked for makes no sense            exit 2
├── MissingExtraError (ImportError)   an optional package is not installed         exit 2
├── StoreError (OSError)              a file cannot be read or written             exit 3
│   ├── FormatError (ValueError)      a file is not what it says it is
│   ├── MismatchError (ValueError)    files that do not belong together
│   └── OutputError                   the output cannot be written, or is not to be
└── NumbersError (ArithmeticError)    the numbers themselves are wrong             exit 4

Every message says which thing, what it is, what was expected, and what to type.
"""

from typing import ClassVar


class TaskVecError(Exception):
    """Anything taskvec raises on purpose; `exit_status` is what the command line exits with."""

    exit_status: ClassVar[int] = 1


class RecipeError(TaskVecError, ValueError):
    """A recipe or an argument asks for something that does not exist or cannot be done."""

    exit_status = 2


class MissingExtraError(TaskVecError, ImportError):
    """An optional package is needed; the message holds the exact `pip install`."""

    exit_status = 2


class StoreError(TaskVecError, OSError):
    """A file cannot be read or written."""

    exit_status = 3


class FormatError(StoreError, ValueError):
    """A file is damaged, or is not of the format that its name promises."""


class MismatchError(StoreError, ValueError):
    """Files that do not belong together: names, shapes, bases, spaces or tokenizers differ."""


class OutputError(StoreError):
    """The output cannot be written here, or must not be."""


class NumbersError(TaskVecError, ArithmeticError):
    """NaN, Inf or an overflow where finite numbers were expected."""

    exit_status = 4
