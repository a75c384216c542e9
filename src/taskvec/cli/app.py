"""The commands. Nothing heavy is imported before a command needs it: `--help` must be instant."""

from pathlib import Path
from typing import Annotated, Any, Literal

from cyclopts import App, Parameter

from .._version import __version__
from . import catalog, curvature, locate, scoring, storing
from .options import Base, Force, Json, Memory, Method, Out, Quiet, Restart, Set, Slice, Sources, Terms, Threads

app = App(
    name="taskvec",
    version=__version__,
    help="""Task vectors: compute, combine and apply them; merge checkpoints at the speed of the disk.

    Example: `taskvec merge recipe.yaml -o merged`
    """,
    help_format="plaintext",
    result_action="return_value",
    suppress_keyboard_interrupt=False,
)


@app.command
def merge(
    sources: Sources,
    /,
    *,
    out: Out,
    method: Method = None,
    base: Base = None,
    set_: Set = None,
    force: Force = False,
    restart: Restart = False,
    memory: Memory = "512MB",
    threads: Threads = None,
    slice_: Slice = 0,
    json: Json = False,
    quiet: Quiet = False,
) -> int:
    """Merge models into one folder that any loader takes.

    An interrupted merge is continued by the same command and gives the same bytes.

    Example: `taskvec merge recipe.yaml -o merged`

    Example: `taskvec merge --method ties --base ./base ./math ./code -o merged --set settings.density=0.3`
    """
    from . import merging

    loaded = merging.recipes_from(sources, method, base, set_ or [])
    return merging.merge(loaded, out, force, restart, memory, threads, slice_, json, quiet)


@app.command
def plan(
    sources: Sources,
    /,
    *,
    out: Annotated[Path | None, Parameter(name=["--out", "-o"], help="The folder that a merge would write.")] = None,
    method: Method = None,
    base: Base = None,
    set_: Set = None,
    memory: Memory = "512MB",
    threads: Threads = None,
    slice_: Slice = 0,
    json: Json = False,
) -> int:
    """Print what a merge would do: tensors, bytes, memory, time; and every refusal. Reads headers and a sample only.

    Example: `taskvec plan recipe.yaml`
    """
    from . import merging

    loaded = merging.recipes_from(sources, method, base, set_ or [])
    return merging.plan(loaded, out, memory, threads, slice_, json)


@app.command(name="import")
def import_(recipe: Annotated[Path, Parameter(help="A recipe in mergekit's form.")], /, *, json: Json = False) -> int:
    """Print a recipe of mergekit's in our own form, with notes on where results differ.

    Example: `taskvec import recipe.yml > ours.yaml`
    """
    from . import importing

    return importing.import_recipe(recipe, json)


@app.command
def methods(*, json: Json = False) -> int:
    """List the merge methods.

    Example: `taskvec methods`
    """
    from . import describing

    return describing.methods(json)


@app.command
def show(name: str, /, *, json: Json = False) -> int:
    """Explain one merge method: its formula, settings and paper.

    Example: `taskvec show ties`
    """
    from . import describing

    return describing.show(name, json)


@app.command
def verify(folder: Path, /, *, json: Json = False, quiet: Quiet = False) -> int:
    """Re-read a model folder: headers, known hashes, NaN and Inf, and (with transformers) that it loads.

    A model+adapter is read as what they come to; that it loads is not tried.

    Example: `taskvec verify merged`
    """
    from . import verifying

    return verifying.verify(folder, json, quiet)


@app.command
def diff(
    base: Path,
    finetuned: Path,
    /,
    *,
    out: Annotated[Path, Parameter(name=["--out", "-o"], help="The file to write, ending in .tv.")],
    dtype: Annotated[str, Parameter(help="float32 keeps every bit; bfloat16 halves the file.")] = "float32",
    force: Force = False,
    json: Json = False,
    quiet: Quiet = False,
) -> int:
    """Write a task vector: fine-tuned minus base. Each may be model+adapter, and the fine-tuned a lone adapter.

    Example: `taskvec diff ./base ./math -o math.tv`
    """
    from . import vectors

    return vectors.diff(base, finetuned, out, dtype, force, json, quiet)


@app.command
def apply(
    base: Path,
    terms: Terms,
    /,
    *,
    out: Out,
    dtype: Annotated[str | None, Parameter(help="What floats are stored as; the base's own by default.")] = None,
    force: Force = False,
    restart: Restart = False,
    memory: Memory = "512MB",
    threads: Threads = None,
    json: Json = False,
    quiet: Quiet = False,
) -> int:
    """Add task vectors to a base, with a weight each, and write the model.

    Example: `taskvec apply ./base +0.4 math.tv -1 toxic.tv -o edited`
    """
    from ..recipe.load import Loaded
    from . import merging, vectors

    recipe = vectors.recipe_for(base, terms, dtype)
    return merging.merge([Loaded(recipe, [])], out, force, restart, memory, threads, 0, json, quiet)


@app.command(name="extract-lora")
def extract_lora(
    base: Path,
    finetuned: Path,
    /,
    *,
    out: Out,
    rank: Annotated[int | None, Parameter(name=["--rank", "-r"], help="The rank of every layer.")] = None,
    energy: Annotated[
        float | None, Parameter(help="Or the share of a layer's squared singular values that is kept, e.g. 0.9.")
    ] = None,
    budget: Annotated[
        str | None, Parameter(help="Or the size of the file, e.g. 50MB: the largest squares a byte over all layers.")
    ] = None,
    max_rank: Annotated[int | None, Parameter(help="The largest rank of a layer, with --energy or --budget.")] = None,
    sv_epsilon: Annotated[float, Parameter(help="Singular values up to this are left out.")] = 0.0,
    embeddings: Annotated[bool, Parameter(negative="", help="Embeddings get factors, too.")] = False,
    include_regex: Annotated[
        list[str] | None,
        Parameter(name=["--include-regex", "-i"], negative="", help="Only modules in whose name this is found."),
    ] = None,
    exclude_regex: Annotated[
        list[str] | None,
        Parameter(name=["--exclude-regex", "-e"], negative="", help="Modules that are not looked at."),
    ] = None,
    save_rest: Annotated[
        bool, Parameter(negative="", help="Store whole what changed and gets no factors: biases, norms, embeddings.")
    ] = False,
    save_module: Annotated[
        list[str] | None, Parameter(negative="", help="Store this module whole (repeatable).")
    ] = None,
    distribute_scale: Annotated[bool, Parameter(help="The root of each singular value to both factors.")] = True,
    dtype: Annotated[str, Parameter(help="What factors are stored as.")] = "float32",
    prefix: Annotated[
        str, Parameter(help="Put before the base's names, where PEFT's model has more, e.g. 'transformer.'.")
    ] = "",
    threads: Annotated[int | None, Parameter(help="Layers worked on at a time, at most 2.")] = None,
    force: Force = False,
    json: Json = False,
    quiet: Quiet = False,
) -> int:
    """Write a PEFT adapter of what fine-tuning added to a base: low-rank factors, and what they lack, layer by layer.

    The fine-tuned may be model+adapter. What the adapter cannot say (biases, norms) is told, with its share.

    Example: `taskvec extract-lora ./base ./math -o lora-math -r 16`

    Example: `taskvec extract-lora ./base ./math -o lora-math --budget 50MB --dtype bfloat16`
    """
    from . import extracting

    return extracting.extract(
        base,
        finetuned,
        out,
        json,
        quiet,
        rank=rank,
        energy=energy,
        budget=budget,
        max_rank=max_rank,
        sv_epsilon=sv_epsilon,
        embeddings=embeddings,
        include=include_regex or (),
        exclude=exclude_regex or (),
        save_rest=save_rest,
        save_modules=save_module or (),
        distribute_scale=distribute_scale,
        dtype=dtype,
        prefix=prefix,
        threads=threads,
        force=force,
    )


@app.command
def inspect(
    base: Annotated[Path, Parameter(help="The model that the others start from.")],
    models: Annotated[list[str], Parameter(help="Two or more fine-tunes, adapters or .tv files.")],
    /,
    *,
    report: Annotated[Path | None, Parameter(help="Write a page that shows it, ending in .html.")] = None,
    spectra: Annotated[int, Parameter(help="Look at so many leading directions of each matrix; takes longer.")] = 0,
    stats: Annotated[
        list[Path] | None,
        Parameter(
            negative="", consume_multiple=True, help="A folder of statistics a model (`taskvec curvature`), in order."
        ),
    ] = None,
    rank: Annotated[
        int, Parameter(help="With --stats: directions each task keeps of a matrix; 0: an equal share of them.")
    ] = 0,
    normalise: Annotated[
        Literal["model", "none"], Parameter(help="With --stats: divide a task's curvature by its trace, or do not.")
    ] = "model",
    dtype: Annotated[str | None, Parameter(help="What a merge would be stored as; the base's own by default.")] = None,
    kept: Annotated[float, Parameter(help="The share of a tensor's entries that count as its largest.")] = 0.2,
    set_: Annotated[
        list[str] | None,
        Parameter(name=["--set", "-s"], negative="", help="What is read, e.g. --set ignore=[lm_head.*] (repeatable)."),
    ] = None,
    memory: Annotated[
        str | None, Parameter(help="Anonymous memory it may take; 512MB by default, with --spectra or --stats 4GB.")
    ] = None,
    threads: Threads = None,
    force: Force = False,
    json: Json = False,
    quiet: Quiet = False,
) -> int:
    """Show how models relate and what a merge of them will run into: one pass over the disk, nothing is written.

    Norms, cosines, conflicts of sign, overlap of the largest entries, what is lost to the stored type; advice.

    With statistics of each model also what a merge is expected to cost each task, and whether curvature helps.

    Example: `taskvec inspect ./base ./math ./code`

    Example: `taskvec inspect ./base ./math ./code --report relations.html --spectra 16`

    Example: `taskvec inspect ./base ./math ./code --stats stats/math stats/code --report relations.html`
    """
    from . import inspecting

    changes = set_ or []
    given = stats or []
    return inspecting.inspect(
        base, models, report, spectra, given, rank, normalise, dtype, kept, changes, memory, threads, force, json, quiet
    )


@app.command(name="schema")
def schema() -> int:
    """Print the JSON schema of a recipe, for editors.

    Example: `taskvec schema > recipe.schema.json`
    """
    from ..recipe.schema import json_schema

    print(json_schema(), end="")
    return 0


app.command(scoring.eval_, name="eval")
app.command(scoring.tune)
app.command(scoring.bench)
app.command(storing.pack)
app.command(storing.unpack)
app.command(curvature.curvature)
app.command(locate.locate)
app.command(catalog.app)


def command_table() -> dict[str, Any]:
    """Return the commands by their words, such as 'catalog add'; docs and tests go through it."""
    table: dict[str, Any] = {}
    for name in _names(app):
        inner = _names(app[name])
        table |= {f"{name} {word}": app[name][word] for word in inner} if inner else {name: app[name]}
    return table


def _names(of: App) -> list[str]:
    return [name for name in of if not name.startswith("-")]
