"""transformers, without what it prints about every file that it loads."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from ..errors import MissingExtraError


def transformers() -> Any:
    """Return the module transformers.

    Raises:
        MissingExtraError: it is not installed.
    """
    try:
        import transformers
    except ImportError as exc:
        raise MissingExtraError("running a model needs transformers. Type: pip install 'taskvec[hf]'") from exc
    return transformers


@contextmanager
def quietly() -> Iterator[Any]:
    """Give transformers with its warnings and bars off, and put them back as they were."""
    module = transformers()
    logging = module.utils.logging
    level, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield module
    finally:
        logging.set_verbosity(level)
        if bars:
            logging.enable_progress_bar()
