"""`taskvec curvature`: its options, and nothing heavy before it is called."""

from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from .options import Calm, Columns, Device, Force, Json, Labels, Only, Out, Precision, Root


def curvature(
    *,
    out: Out,
    model: Annotated[
        str | None, Parameter(help="The model, as a rule a fine-tuned one; with --tasks each task's own by default.")
    ] = None,
    data: Annotated[str | None, Parameter(help="Labelled examples, such as train.tsv; its split 'train'.")] = None,
    columns: Columns = None,
    labels: Labels = None,
    head: Annotated[
        str, Parameter(help="labels (frozen, of the labels' names), class_means, ridge, trained, or a head's file.")
    ] = "labels",
    base: Annotated[str | None, Parameter(help="The model that heads are made with.")] = None,
    tasks: Annotated[
        Path | None, Parameter(help="Or a file of tasks (YAML): their training splits; OUT gets a folder a task.")
    ] = None,
    only: Only = None,
    root: Root = None,
    estimator: Annotated[
        Literal["empirical_fisher", "batch_fisher", "fisher", "ggn", "kfac", "ekfac", "gram"],
        Parameter(help="What is measured; see docs/curvature.md."),
    ] = "empirical_fisher",
    examples: Annotated[int, Parameter(help="At most so many, evenly over the labels; 0: all.")] = 256,
    batch: Annotated[int, Parameter(help="Examples a pass, at most; only batch_fisher depends on it.")] = 32,
    draws: Annotated[int, Parameter(help="Labels drawn for an example, where labels are drawn.")] = 1,
    labels_from: Annotated[
        Literal["sampled", "data"], Parameter(help="kfac, ekfac: labels drawn from the model, or the data's own.")
    ] = "sampled",
    seed: Annotated[
        int, Parameter(help="Of which examples, of drawn labels, and of the halves that are compared.")
    ] = 0,
    gradient: Annotated[bool, Parameter(negative="", help="Keep the mean gradient, too.")] = False,
    precision: Precision = None,
    device: Device = "auto",
    force: Force = False,
    json: Json = False,
    quiet: Calm = False,
) -> int:
    """Measure how a model's loss bends around its weights, for merges that weigh by it: Fisher, GGN, K-FAC and others.

    Says beforehand what it will take. An interrupted run is continued by the same command.

    Example: `taskvec curvature --model math --base base --data train.tsv -o stats/math`

    Example: `taskvec curvature --tasks tasks.yaml --estimator kfac --examples 256 -o stats`
    """
    from ..curvature import Estimating
    from . import curvature_of

    one = {"data": data, "columns": columns or [], "labels": labels or [], "head": head}
    how = Estimating(
        estimator=estimator,
        examples=examples or None,
        batch=batch,
        draws=draws,
        seed=seed,
        labels=labels_from,
        gradient=gradient,
    )
    places = curvature_of.Places(model, base, tasks, only or [], root, precision, device)
    return curvature_of.measure(places, one, how, out, force, json, quiet)
