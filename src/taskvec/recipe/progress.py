"""What a run tells while it works; whoever shows it implements this."""

from typing import Protocol


class Progress(Protocol):
    """Told about long work. All calls come from one thread."""

    def begin(self, what: str, total: int) -> None:
        """Work of `total` bytes begins."""

    def advance(self, done: int) -> None:
        """`done` bytes of it are done, in all."""

    def end(self) -> None:
        """It is finished, or has stopped."""


class Silent:
    """Shows nothing."""

    def begin(self, what: str, total: int) -> None:
        """See `Progress`."""

    def advance(self, done: int) -> None:
        """See `Progress`."""

    def end(self) -> None:
        """See `Progress`."""
