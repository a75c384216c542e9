"""What long work tells while it runs; whoever shows it implements this."""

from typing import Protocol


class Progress(Protocol):
    """Told about long work. All calls come from one thread."""

    def begin(self, what: str, total: int, unit: str = "B") -> None:
        """Work begins: so many bytes, or so many of `unit` ("examples", "steps")."""

    def advance(self, done: int, note: str = "") -> None:
        """So much of it is done, in all; `note` says how it stands, e.g. the loss."""

    def end(self) -> None:
        """It is finished, or has stopped."""


class Silent:
    """Shows nothing."""

    def begin(self, what: str, total: int, unit: str = "B") -> None:
        """See `Progress`."""

    def advance(self, done: int, note: str = "") -> None:
        """See `Progress`."""

    def end(self) -> None:
        """See `Progress`."""
