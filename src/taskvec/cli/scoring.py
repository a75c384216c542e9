"""The commands that run models: their options, and nothing heavy before one of them is called."""

from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from .options import Cache, Calm, Columns, Device, Force, Json, Labels, Only, Precision, Restart, Root

Tasks = Annotated[Path | None, Parameter(help="A file of tasks (YAML); see docs/evaluation.md.")]


def eval_(
    models: Annotated[list[str], Parameter(help="Model folders, or names on the hub.")],
    /,
    *,
    tasks: Tasks = None,
    only: Only = None,
    data: Annotated[str | None, Parameter(help="Without --tasks: labelled examples, such as test.tsv.")] = None,
    columns: Columns = None,
    labels: Labels = None,
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
    quiet: Calm = False,
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


def tune(
    recipe: Annotated[Path, Parameter(help="The merge whose numbers are searched.")],
    /,
    *,
    tasks: Annotated[Path, Parameter(help="A file of tasks (YAML); their validation examples are scored.")],
    out: Annotated[Path, Parameter(name=["--out", "-o"], help="The recipe to write.")],
    search: Annotated[
        list[str] | None,
        Parameter(
            negative="",
            consume_multiple=True,
            help="What is searched: scale, weights, settings.NAME; each may say where: scale=0:1:0.05, "
            "settings.density=0.1,0.2. By default the scale.",
        ),
    ] = None,
    by: Annotated[
        Literal["grid", "tpe", "cma", "adamerging"], Parameter(help="How; adamerging takes no labels.")
    ] = "grid",
    groups: Annotated[
        int, Parameter(help="So many groups of layers with numbers of their own (adamerging: each tensor).")
    ] = 0,
    evaluations: Annotated[float | None, Parameter(help="At most so many scorings of all examples.")] = None,
    minutes: Annotated[float | None, Parameter(help="At most so long.")] = None,
    rounds: Annotated[
        list[float] | None,
        Parameter(negative="", consume_multiple=True, help="Shares of the examples, e.g. 0.25 1: most stop early."),
    ] = None,
    steps: Annotated[int, Parameter(help="Of adamerging.")] = 500,
    rate: Annotated[float, Parameter(help="Of adamerging's Adam.")] = 1e-3,
    seed: Annotated[int, Parameter(help="Of the sampler, or of adamerging's batches.")] = 0,
    only: Only = None,
    root: Root = None,
    precision: Precision = None,
    device: Device = "auto",
    restart: Restart = False,
    force: Force = False,
    json: Json = False,
    quiet: Calm = False,
) -> int:
    """Choose a merge's numbers by data: score it at many points of a space, and write the best as a recipe.

    An interrupted search is continued by the same command.

    Example: `taskvec tune recipe.yaml --tasks tasks.yaml -o tuned.yaml`

    Example: `taskvec tune recipe.yaml --tasks tasks.yaml -o tuned.yaml --by cma --search weights --evaluations 60`
    """
    from ..tune.trials import Budget
    from . import tuning

    budget = Budget(evaluations=evaluations, minutes=minutes)
    how = tuning.Search(by, search or [], groups, budget, rounds or (), seed, restart, steps, rate)
    return tuning.tune(recipe, tasks, how, out, root, only or [], precision, device, force, json, quiet)


def bench(
    what: Annotated[
        Literal["train", "score", "negate", "locate"],
        Parameter(
            help="Train the specialists; score every merge of them; forget each task by negation; or leave each out "
            "and locate it among the others."
        ),
    ],
    suite: Annotated[Path, Parameter(help="A suite (YAML); see docs/evaluation.md.")],
    /,
    *,
    methods: Annotated[
        list[str] | None, Parameter(negative="", consume_multiple=True, help="Only these methods.")
    ] = None,
    choices: Annotated[bool, Parameter(negative="", help="Compare ways to choose coefficients, too.")] = False,
    control: Annotated[
        str | None, Parameter(help="The task that negation must leave alone; the suite's own by default.")
    ] = None,
    examples: Annotated[
        list[int] | None,
        Parameter(negative="", consume_multiple=True, help="locate: of a task left out; 16, 64 and 256 by default."),
    ] = None,
    seeds: Annotated[int, Parameter(help="locate: how often, each time with other examples.")] = 5,
    test: Annotated[int, Parameter(help="locate: at most so many held-out examples of each task are scored.")] = 500,
    only: Only = None,
    root: Root = None,
    cache: Annotated[Path | None, Parameter(help="Where specialists and results are kept; ROOT/suites.")] = None,
    device: Device = "auto",
    json: Json = False,
    quiet: Calm = False,
) -> int:
    """Train the specialists of a benchmark, score every merge of them, forget each task, or leave each out.

    A merge is scored at its default and at its best λ. A task is forgotten by subtracting its vector from the base, as
    far as a control task keeps 95 % of its score. A task that is left out is located among the others from a few of its
    examples; an interrupted run is continued by the same command.

    Example: `taskvec bench train benchmarks/suite/text8.yaml`

    Example: `taskvec bench score benchmarks/suite/text8.yaml --choices`

    Example: `taskvec bench negate benchmarks/suite/text8.yaml --control subj`

    Example: `taskvec bench locate benchmarks/suite/text8.yaml --examples 16 64 256 --seeds 5`
    """
    from . import benching

    if what == "train":
        return benching.train_suite(suite, root, cache, only or [], device, json, quiet)
    if what == "negate":
        return benching.negate_suite(suite, root, cache, control, only or [], device, json, quiet)
    if what == "locate":
        tried = benching.Tried(tuple(examples or (16, 64, 256)), seeds, test)
        return benching.locate_suite(suite, root, cache, tried, only or [], device, json, quiet)
    return benching.score_suite(suite, root, cache, only or [], methods or [], choices, device, json, quiet)
