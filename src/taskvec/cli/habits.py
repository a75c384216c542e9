"""What is typed out of the habit of another tool, and what to type here instead."""

import shlex
from collections.abc import Sequence
from itertools import pairwise

OUTPUTS = {
    "merge": ("the folder to write", "merged"),
    "apply": ("the folder to write", "edited"),
    "diff": ("the file to write", "vector.tv"),
    "curvature": ("the folder to write", "stats"),
}
"""Of each command with an --out: what that is, and a name for it."""

FLAGS = {"--force", "--restart", "--json", "--quiet", "-q"}
"""Options that no value follows."""


def complaint(exc: Exception, words: Sequence[str]) -> str:
    """Return what is wrong with a command that cannot be parsed: where we know what was meant, what to type.

    Args:
        exc: from the parser.
        words: the command, without `taskvec`.
    """
    missing = getattr(getattr(exc, "argument", None), "name", "")
    if type(exc).__name__ == "MissingArgumentError" and missing == "--out" and words[0] in OUTPUTS:
        return _without_output(words)
    unused = (getattr(exc, "unused_tokens", None) or [""])[0]
    for option, key, value in zip(words, words[1:], words[2:], strict=False):
        if option in ("--set", "-s") and "=" not in key and value == unused:
            return f"--set takes one word, got {key!r} and {value!r}. Type: --set {shlex.quote(f'{key}={value}')}."
    if type(exc).__name__ == "UnusedCliTokensError":
        apart = "--method" in words and words[0] in ("merge", "plan")
        what = "stands apart from the other models; name them in a row" if apart else "is a word too many"
        return f"{unused!r} {what}. See 'taskvec {words[0]} --help'."
    return f"{str(exc).strip()} See 'taskvec --help'."


def _without_output(words: Sequence[str]) -> str:
    """Say that --out is missing; the last word may be meant by it, as in `mergekit-yaml recipe.yaml out`."""
    what, name = OUTPUTS[words[0]]
    typed, places = list(words), _positional(words)
    named = {"merge": 2, "diff": 3}.get(words[0], 0) if "--method" not in words else 0
    if typed[-1] in ("-o", "--out"):
        typed.pop()
    elif named and len(places) == named:
        name = typed.pop(places[-1])
    return f"--out is missing: {what}. Type: taskvec {shlex.join([*typed, '-o', name])}."


def _positional(words: Sequence[str]) -> list[int]:
    """Return which words after the command are neither options nor their values."""
    pairs = enumerate(pairwise(words), 1)
    return [at for at, (last, word) in pairs if word[0:1] != "-" and (last[0:1] != "-" or last in FLAGS)]
