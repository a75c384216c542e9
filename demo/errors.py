"""What the demo raises on purpose."""


class DemoError(Exception):
    """The demo cannot go on; the message says why in one sentence, and what to type."""
