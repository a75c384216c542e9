"""`taskvec catalog …`: the commands' options, and nothing heavy before one of them is called."""

from pathlib import Path
from typing import Annotated

from cyclopts import App, Parameter

from .options import Calm, Json

app = App(
    name="catalog",
    help="""Keep task vectors in a folder, and find them by what they are like.

    Example: `taskvec catalog add ./math ./code --base ./base -C vectors`
    """,
    help_format="plaintext",
)

Folder = Annotated[
    Path, Parameter(name=["--catalog", "-C"], env_var="TASKVEC_CATALOG", help="The folder of the catalogue.")
]
Name = Annotated[str, Parameter(help="The name of an entry.")]
Tags = Annotated[
    list[str] | None, Parameter(name="--tag", negative="", help="Only entries with this tag (repeatable).")
]
Origin = Annotated[str | None, Parameter(help="The model that it was made from; a .tv file needs none.")]
Metrics = Annotated[
    list[str] | None, Parameter(name="--metric", negative="", help="A number to remember, e.g. accuracy=0.87.")
]


@app.command
def add(
    sources: Annotated[
        list[str], Parameter(help=".tv files, fine-tuned models, adapters, tasks.pack#math or vectors#math.")
    ],
    /,
    *,
    catalog: Folder,
    base: Origin = None,
    name: Annotated[str | None, Parameter(help="What a single one is called; its file's name by default.")] = None,
    tag: Annotated[list[str] | None, Parameter(negative="", help="A word to choose by (repeatable).")] = None,
    metric: Metrics = None,
    licence: Annotated[str | None, Parameter(help="What the model card says, by default.")] = None,
    base_name: Annotated[str | None, Parameter(help="What the base is called; its folder's name by default.")] = None,
    dtype: Annotated[
        str | None, Parameter(help="What is stored: float32 keeps every bit; bfloat16 halves it, and the loss is told.")
    ] = None,
    force: Annotated[bool, Parameter(negative="", help="Replace an entry of that name.")] = False,
    allow: Annotated[
        list[str] | None,
        Parameter(negative="", help="unrelated: a model that does not look like a fine-tune of the base."),
    ] = None,
    json: Json = False,
    quiet: Calm = False,
) -> int:
    """Add task vectors, each there whole or not at all; the catalogue is made if there is none.

    Example: `taskvec catalog add ./math --base ./base -C vectors --tag reasoning --metric gsm8k=0.41`
    """
    from . import cataloguing

    about = cataloguing.About(base, name, tag or [], metric or [], licence, base_name, dtype, force, allow or [])
    return cataloguing.add(catalog, sources, about, json, quiet)


@app.command(name="list")
def list_(
    *,
    catalog: Folder,
    tag: Tags = None,
    base: Annotated[str | None, Parameter(help="Only of the base with this name or fingerprint.")] = None,
    json: Json = False,
) -> int:
    """List the entries.

    Example: `taskvec catalog list -C vectors --tag reasoning`
    """
    from . import cataloguing

    return cataloguing.list_(catalog, tag or [], base, json)


@app.command
def show(name: Name, /, *, catalog: Folder, json: Json = False) -> int:
    """Say all that is known of an entry.

    Example: `taskvec catalog show math -C vectors`
    """
    from . import cataloguing

    return cataloguing.show(catalog, name, json)


@app.command
def find(
    target: Annotated[str, Parameter(help="The name of an entry, tag:WORD, a .tv file, a model or an adapter.")],
    /,
    *,
    catalog: Folder,
    base: Origin = None,
    top: Annotated[int, Parameter(help="How many.")] = 10,
    tag: Tags = None,
    estimate: Annotated[bool, Parameter(negative="", help="Do not compute the cosines of the first exactly.")] = False,
    json: Json = False,
    quiet: Calm = False,
) -> int:
    """Find the vectors that are most like another one: all by sketches, the first ones exactly.

    Example: `taskvec catalog find math -C vectors`

    Example: `taskvec catalog find ./new-model --base ./base -C vectors --top 5`
    """
    from . import cataloguing

    return cataloguing.find(catalog, target, base, top, tag or [], estimate, json, quiet)


@app.command
def edit(
    name: Name,
    /,
    *,
    catalog: Folder,
    tag: Annotated[list[str] | None, Parameter(negative="", help="Add this tag (repeatable).")] = None,
    untag: Annotated[list[str] | None, Parameter(negative="", help="Take this tag off (repeatable).")] = None,
    metric: Metrics = None,
    licence: Annotated[str | None, Parameter(help="Another licence.")] = None,
    json: Json = False,
) -> int:
    """Change an entry's tags, metrics or licence.

    Example: `taskvec catalog edit math -C vectors --tag reasoning --metric gsm8k=0.43`
    """
    from . import cataloguing

    return cataloguing.edit(catalog, name, tag or [], untag or [], metric or [], licence, json)


@app.command
def remove(
    names: Annotated[list[str], Parameter(help="Names of entries.")], /, *, catalog: Folder, json: Json = False
) -> int:
    """Take entries out. `gc` then gives the room back.

    Example: `taskvec catalog remove math -C vectors`
    """
    from . import cataloguing

    return cataloguing.remove(catalog, names, json)


@app.command
def gc(
    *,
    catalog: Folder,
    lost: Annotated[bool, Parameter(negative="", help="Also remove notes whose vectors are lost.")] = False,
    json: Json = False,
) -> int:
    """Remove vectors that no entry has, and what interrupted adds left.

    Example: `taskvec catalog gc -C vectors`
    """
    from . import cataloguing

    return cataloguing.gc(catalog, lost, json)


@app.command
def rebuild(*, catalog: Folder, json: Json = False, quiet: Calm = False) -> int:
    """Read every vector, compare it with its hash, and make the index anew.

    Example: `taskvec catalog rebuild -C vectors`
    """
    from . import cataloguing

    return cataloguing.rebuild(catalog, json, quiet)
