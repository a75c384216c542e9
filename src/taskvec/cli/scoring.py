"""The commands that run models: their options, and nothing heavy before one of them is called."""

from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from .options import Cache, Device, Json, Only, Precision, Quiet, Root

Tasks = Annotated[Path | None, Parameter(help="A file of tasks (YAML); see docs/evaluation.md.")]


def eval_(
    models: Annotated[list[str], Parameter(help="Model folders, or names on the hub.")],
    /,
    *,
    tasks: Tasks = None,
    only: Only = None,
    data: Annotated[str | None, Parameter(help="Without --tasks: labelled examples, such as test.tsv.")] = None,
    columns: Annotated[
        list[str] | None, Parameter(negative="", consume_multiple=True, help="Its columns, if it has no header.")
    ] = None,
    labels: Annotated[
        list[str] | None,
        Parameter(negative="", consume_multiple=True, help="The labels' names, in the order of their numbers."),
    ] = None,
    head: Annotated[
        str, Parameter(help="labels (frozen, of the labels' names), class_means, ridge, trained, or a head's file.")
    ] = "labels",
    base: Annotated[str | None, Parameter(help="The model that heads are made with.")] = None,
    split: Annotated[Literal["test", "validation"], Parameter(help="Which examples.")] = "test",
    root: Root = None,
    precision: Precision = None,
    device: Device = "auto",
    cache: Cache = None,
    fresh: Annotated[bool, Parameter(negative="", help="Neither look for kept scores nor keep new ones.")] = False,
    per_class: Annotated[bool, Parameter(negative="", help="Print how well each class is recognised.")] = False,
    figure: Annotated[Path | None, Parameter(help="Draw the scores into this SVG.")] = None,
    save_heads: Annotated[bool, Parameter(negative="", help="Write the heads into MODEL/heads.")] = False,
    json: Json = False,
    quiet: Quiet = False,
) -> int:
    """Score models: classification, similarity, retrieval, perplexity, lm-evaluation-harness.

    Example: `taskvec eval merged --tasks tasks.yaml`

    Example: `taskvec eval merged --base base --data sst2.tsv.gz --labels negative positive`
    """
    from . import evaluating

    one = {"data": data, "columns": columns or [], "labels": labels or [], "head": head}
    loaded = evaluating.loaded_from(tasks, one, base, root)
    how = evaluating.How(split, precision, device, cache, not fresh)
    return evaluating.evaluate(models, loaded, only or [], how, per_class, figure, save_heads, json, quiet)
