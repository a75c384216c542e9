"""Options that several commands share."""

from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

Out = Annotated[Path, Parameter(name=["--out", "-o"], help="The folder to write.")]
Json = Annotated[bool, Parameter(name="--json", negative="", help="Print JSON for a script.")]
Quiet = Annotated[bool, Parameter(name=["--quiet", "-q"], negative="", help="Print nothing but errors.")]
Calm = Annotated[bool, Parameter(name=["--quiet", "-q"], negative="", help="No progress and no notes.")]
Force = Annotated[bool, Parameter(negative="", help="Replace an existing output, once the new one is whole.")]
Restart = Annotated[bool, Parameter(negative="", help="Throw away the unfinished work of an earlier run.")]
Memory = Annotated[str, Parameter(help="Anonymous memory the run may take.")]
Threads = Annotated[int | None, Parameter(help="Threads; all cores by default. The result is the same.")]
Slice = Annotated[int, Parameter(name="--slice", help="Entries worked on at a time; the result is the same.")]
Method = Annotated[str | None, Parameter(help="A merge method, without a recipe; see `taskvec methods`.")]
Base = Annotated[Path | None, Parameter(help="The base, without a recipe.")]
Set = Annotated[
    list[str] | None,
    Parameter(name=["--set", "-s"], negative="", help="Change a key, e.g. --set settings.density=0.3 (repeatable)."),
]
Terms = Annotated[
    list[str], Parameter(allow_leading_hyphen=True, help="Weights and vectors: +0.4 math.tv -1 toxic.tv.")
]
Sources = Annotated[list[Path], Parameter(help="A recipe, or with --method the models.")]

Columns = Annotated[
    list[str] | None, Parameter(negative="", consume_multiple=True, help="Its columns, if it has no header.")
]
Labels = Annotated[
    list[str] | None,
    Parameter(negative="", consume_multiple=True, help="The labels' names, in the order of their numbers."),
]
Root = Annotated[Path | None, Parameter(help="Where the file's relative paths start; its own 'root' by default.")]
Device = Annotated[str, Parameter(help="cpu, cuda, cuda:1; auto is the first GPU if there is one.")]
Precision = Annotated[
    Literal["float32", "bfloat16", "float16"] | None,
    Parameter(help="What models are run in; what the file says, or float32, by default."),
]
Cache = Annotated[Path | None, Parameter(help="Where scores are kept; ~/.cache/taskvec by default.")]
Only = Annotated[list[str] | None, Parameter(negative="", help="Only this task of the file (repeatable).")]
