"""The command line: parse, call one function of the library, print, exit status.

Exit statuses: 0 done; 1 a bug of ours; 2 the recipe or the command; 3 a file; 4 the numbers; 130 interrupted.
"""

import gc
import os
import sys
from contextlib import suppress


def main() -> None:
    """Run the command and exit."""
    gc.set_threshold(200_000)  # imports make few cycles; looking for them would be a tenth of a command's start
    from .app import app
    from .exits import run

    status = run(app, sys.argv[1:], debug=bool(os.environ.get("TASKVEC_DEBUG")))
    for stream in filter(None, (sys.stdout, sys.stderr)):  # None: closed by whoever started us
        with suppress(OSError, ValueError):
            stream.flush()
    os._exit(status)  # all is written and synced; taking the interpreter down would be another half second


__all__ = ["main"]
