"""`taskvec locate`: its options, and nothing heavy before it is called."""

import os
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from .options import Calm, Columns, Device, Force, Json, Labels


def locate(
    *,
    base: Annotated[str, Parameter(help="The model that the known ones start from.")],
    known: Annotated[
        list[str] | None, Parameter(negative="", consume_multiple=True, help="Known models, .tv files or adapters.")
    ] = None,
    catalog: Annotated[
        Path | None,
        Parameter(name=["--catalog", "-C"], help="Or a catalogue of their task vectors; else TASKVEC_CATALOG says it."),
    ] = None,
    data: Annotated[str | None, Parameter(help="A few labelled examples of the new task, such as few.jsonl.")] = None,
    columns: Columns = None,
    labels: Labels = None,
    head: Annotated[
        str, Parameter(help="labels (frozen, of the labels' names), class_means, ridge, or a head's file.")
    ] = "labels",
    examples: Annotated[int | None, Parameter(help="At most so many of the data, evenly over the labels.")] = None,
    seed: Annotated[int, Parameter(help="Of which examples, and of their order in training.")] = 0,
    checkpoint: Annotated[
        str | None, Parameter(help="A model fine-tuned on the new task, in place of a signal of examples.")
    ] = None,
    signal: Annotated[
        Literal["gradient", "sign", "preconditioned", "natural", "steps"],
        Parameter(help="What the examples say: one gradient, its sign, divided by Fisher, or a few steps."),
    ] = "gradient",
    metric: Annotated[
        Literal["euclidean", "tensors", "fisher"],
        Parameter(help="How vectors are compared: entry by entry, each tensor alike, or weighed by Fisher."),
    ] = "euclidean",
    weights: Annotated[
        Literal["model", "layer"], Parameter(help="What the merge has a weight for: a model, or a model in a layer.")
    ] = "model",
    top: Annotated[int, Parameter(help="Of a larger catalogue, only the nearest are fitted.")] = 50,
    calibrate: Annotated[
        Path | None,
        Parameter(help="A file of tasks (YAML) named as the known models: what the verdict is measured by."),
    ] = None,
    recipe: Annotated[Path | None, Parameter(help="Write the merge that realises it.")] = None,
    evaluate: Annotated[
        str | None, Parameter(help="Held-out examples: score it against base, nearest, uniform merge and fine-tuning.")
    ] = None,
    steps: Annotated[int, Parameter(help="Of fine-tuning, with --evaluate.")] = 30,
    rate: Annotated[float, Parameter(help="Of fine-tuning, with --evaluate.")] = 5e-5,
    unrelated: Annotated[
        bool, Parameter(negative="", help="Take known models that do not look like fine-tunes of the base, too.")
    ] = False,
    layers: Annotated[bool, Parameter(negative="", help="Print a line for each layer, too.")] = False,
    device: Device = "auto",
    force: Force = False,
    json: Json = False,
    quiet: Calm = False,
) -> int:
    """Say which known models a new task is made of, from a few of its examples, or that none of them will do.

    Example: `taskvec locate --base base --known math code --data few.jsonl --recipe located.yaml`

    Example: `taskvec locate --base base -C vectors --data few.jsonl --evaluate test.jsonl`
    """
    from . import locating

    if catalog is None and not known and (named := os.environ.get("TASKVEC_CATALOG")):
        catalog = Path(named)  # not by the parser: what is typed as --known wins over the environment
    few = locating.Few(data, columns or [], labels or [], head, examples, seed)
    how = locating.How(signal, metric, weights, checkpoint, top, calibrate, evaluate, steps, rate, unrelated)
    return locating.locate(base, known or [], catalog, few, how, recipe, layers, device, force, json, quiet)
