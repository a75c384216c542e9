"""The commands that store many models in one file: their options, and nothing heavy before one of them is called."""

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from .options import Force, Json, Memory, Quiet, Restart, Set, Threads


def pack(
    base: Annotated[Path, Parameter(help="The model that all start from.")],
    models: Annotated[list[str], Parameter(help="Fine-tunes, adapters or .tv files; name=path names one.")],
    /,
    *,
    out: Annotated[Path, Parameter(name=["--out", "-o"], help="The file to write, ending in .pack.")],
    method: Annotated[str, Parameter(help="bits, sparse, low_rank, tall, emr or tsv_c.")] = "low_rank",
    set_: Set = None,
    budget: Annotated[str | None, Parameter(help="Bytes the file may take, e.g. 200MB: chooses the size.")] = None,
    error: Annotated[float | None, Parameter(help="Error each may have, e.g. 0.1: chooses the size.")] = None,
    force: Force = False,
    json: Json = False,
    quiet: Quiet = False,
) -> int:
    """Store fine-tunes of one base as one small file; `taskvec unpack` gives each of them back.

    Example: `taskvec pack ./base ./math ./code -o tasks.pack --method low_rank --error 0.3`

    Example: `taskvec pack ./base ./math ./code -o tasks.pack --method sparse --set density=0.05`
    """
    from . import packing

    return packing.pack(base, models, out, method, set_ or [], budget, error, force, json, quiet)


def unpack(
    file: Annotated[Path, Parameter(help="A file of `taskvec pack`.")],
    /,
    *,
    base: Annotated[Path | None, Parameter(help="The model that it was packed with.")] = None,
    task: Annotated[str | None, Parameter(help="Which of its models.")] = None,
    out: Annotated[Path | None, Parameter(name=["--out", "-o"], help="The folder to write.")] = None,
    list_: Annotated[bool, Parameter(name="--list", negative="", help="Only say what the file holds.")] = False,
    dtype: Annotated[str | None, Parameter(help="What floats are stored as; the base's own by default.")] = None,
    force: Force = False,
    restart: Restart = False,
    memory: Memory = "512MB",
    threads: Threads = None,
    json: Json = False,
    quiet: Quiet = False,
) -> int:
    """Write one model of a pack as a folder that any loader takes, or list what a pack holds.

    Example: `taskvec unpack tasks.pack --list`

    Example: `taskvec unpack tasks.pack --base ./base --task math -o math-again`
    """
    from . import packing

    if list_:
        return packing.show(file, json)
    how = packing.How(dtype, force, restart, memory, threads)
    return packing.unpack(file, base, task, out, how, json, quiet)
