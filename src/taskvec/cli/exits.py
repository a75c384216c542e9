"""From what went wrong to a sentence on the error stream and an exit status."""

import os
import sys
import traceback
from collections.abc import Callable, Sequence
from typing import Any

from ..errors import TaskVecError
from .show import say

INTERRUPTED = 130

CONTINUED = ("merge", "apply", "unpack", "tune", "bench", "eval", "curvature")
"""Commands that keep what they did; the others leave nothing that looks finished, and begin anew."""


def run(app: Callable[..., Any], arguments: Sequence[str], *, debug: bool = False) -> int:
    """Run the application and return the exit status; messages go to the error stream, without a traceback."""
    if os.environ.get("TASKVEC_KERNELS") == "plain":
        from ..ops import kernels

        kernels.choice = "plain"
    try:
        status = app(arguments, exit_on_error=False, print_error=False)
    except TaskVecError as exc:
        return _say(exc, exc.exit_status, debug)
    except KeyboardInterrupt:
        kept = arguments[:1] and arguments[0] in CONTINUED
        next_time = "continues where this one stopped" if kept else "starts anew"
        print(f"interrupted; the same command {next_time}.", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:
        return 0
    except Exception as exc:
        if type(exc).__module__.startswith("cyclopts"):
            from .habits import complaint

            say(complaint(exc, arguments))
            return 2
        traceback.print_exc()
        print("this is a bug in taskvec; the lines above say where.", file=sys.stderr)
        return 1
    return status if isinstance(status, int) else 0


def _say(exc: TaskVecError, status: int, debug: bool) -> int:
    if debug:
        traceback.print_exc()
    else:
        say("\n".join([str(exc), *getattr(exc, "__notes__", [])]))
    return status
