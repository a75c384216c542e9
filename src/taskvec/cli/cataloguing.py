"""What `taskvec catalog …` does."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ..errors import FormatError, RecipeError
from ..store.catalog import Catalog, Entry, Findings, Found
from ..store.catalog.catalog import open_any
from ..store.catalog.opening import check_related
from .show import as_json, progress, say, size, table

LISTED = ("name", "base", "norm", "stored as", "size", "tags", "metrics")
LARGEST = 5


@dataclass(frozen=True)
class About:
    """What is said of vectors that are added."""

    base: str | None
    name: str | None
    tags: Sequence[str]
    metrics: Sequence[str]
    licence: str | None
    base_name: str | None
    dtype: str | None
    force: bool
    allow: Sequence[str]


def _open(folder: Path, quiet: bool = True, create: bool = False) -> Catalog:
    catalog = Catalog(folder, create, progress=progress(quiet))
    for note in catalog.notes:
        say(note)
    return catalog


def add(folder: Path, sources: Sequence[str], about: About, json: bool, quiet: bool) -> int:
    """Add vectors, one after the other."""
    if about.name is not None and len(sources) > 1:
        raise RecipeError(f"--name names one vector, and {len(sources)} are given. Add them one at a time.")
    metrics = _metrics(about.metrics)
    if not folder.exists():
        for source in sources:
            # a word that was mistyped leaves no empty catalogue
            check_related(open_any(source, about.base), about.allow)
    catalog = _open(folder, quiet or json, create=True)
    added = []
    for source in sources:
        entry = catalog.add(
            source, base=about.base, name=about.name, tags=about.tags, metrics=metrics, licence=about.licence,
            base_name=about.base_name, dtype=about.dtype, replace=about.force, allow=about.allow,
        )  # fmt: skip
        added.append(entry)
        if not (json or quiet):
            lost = f", which lost {entry.lost:.2%} of it" if entry.lost else ""
            print(f"{entry.name}: {entry.count} entries as {entry.dtype}{lost}, norm {entry.norm:.4g}, "
                  f"{size(entry.size)}")  # fmt: skip
    if json:
        as_json([entry.facts for entry in added])
    return 0


def _metrics(pairs: Sequence[str]) -> dict[str, float]:
    out = {}
    for pair in pairs:
        key, equals, value = pair.partition("=")
        try:
            out[key] = float(value)
        except ValueError:
            equals = ""
        if not key or not equals:
            raise RecipeError(f"--metric {pair!r} is not of the form name=number. Type e.g. --metric accuracy=0.87.")
    return out


def list_(folder: Path, tags: Sequence[str], base: str | None, json: bool) -> int:
    """Print a table of entries."""
    entries = _open(folder).entries(tags=tags, base=base)
    if json:
        as_json([entry.facts for entry in entries])
        return 0
    table("", LISTED, [_row(entry) for entry in entries])
    stored = {entry.sha: entry.size for entry in entries}
    print(f"{len(entries)} entries, {len(stored)} vectors in {size(sum(stored.values()))}")
    return 0


def _row(entry: Entry) -> list[str]:
    return [entry.name, entry.base_name or entry.base, f"{entry.norm:.4g}", entry.dtype, size(entry.size),
            " ".join(entry.tags), _numbers(entry)]  # fmt: skip


def _numbers(entry: Entry) -> str:
    return " ".join(f"{key}={value:g}" for key, value in entry.metrics.items())


def show(folder: Path, name: str, json: bool) -> int:
    """Print what is known of an entry."""
    catalog = _open(folder)
    entry, norms = catalog.entry(name), catalog.norms(name)
    if json:
        as_json(entry.facts | {"path": str(catalog.path(name)), "norms": norms})
        return 0
    facts = {
        "name": entry.name, "base": f"{entry.base_name} {entry.base}".strip(), "space": entry.space,
        "entries": str(entry.count), "norm": f"{entry.norm:.6g}", "stored as": f"{entry.dtype}, {size(entry.size)}",
        "lost by that": f"{entry.lost:.2%}" if entry.lost else "nothing", "tags": " ".join(entry.tags),
        "metrics": _numbers(entry), "licence": entry.licence, "created": entry.created,
        "lineage": "; ".join(entry.lineage.get("history", ())), "file": str(catalog.path(name)),
        "in a recipe": f"{folder}#{entry.name}",
    }  # fmt: skip
    for key, value in facts.items():
        if value:
            print(f"{key:13} {value}")
    largest = sorted(norms.items(), key=lambda pair: -pair[1])[:LARGEST]
    rows = [[tensor, f"{norm:.4g}", f"{(norm / entry.norm) ** 2:.1%}"] for tensor, norm in largest]
    print()
    table("", ("largest tensors", "norm", "share of squares"), rows)
    return 0


def find(
    folder: Path, target: str, base: str | None, top: int, tags: Sequence[str], estimate: bool, json: bool, quiet: bool
) -> int:
    """Print the nearest entries."""
    catalog = _open(folder, quiet or json)
    findings = catalog.find(target, base=base, top=top, exact=not estimate, tags=tags)
    if json:
        as_json({
            "found": [{"name": f.entry.name, "cosine": f.cosine, "error": f.error, "estimate": f.estimate,
                       "norm": f.entry.norm, "tags": list(f.entry.tags)} for f in findings],
            "compared": findings.compared, "others": dict(findings.others), "near": findings.near,
        })  # fmt: skip
        return 0
    if findings:
        rows = [[f.entry.name, _cosine(f), f"{f.entry.norm:.4g}", " ".join(f.entry.tags)] for f in findings]
        table("", ("name", "cosine", "norm", "tags"), rows)
    print(_told(findings, catalog.hashing.width, estimate))
    return 0


def _cosine(found: Found) -> str:
    return f"{found.cosine:.4f}" if found.exact else f"{found.cosine:.3f} ± {found.error:.3f}"


def _told(findings: Findings, width: int, estimate: bool) -> str:
    """Say what was compared, how, and what was not."""
    others = ", ".join(f"{count} {reason}" for reason, count in findings.others.items())
    how = f"by sketches of {width} numbers (95 % of estimates lie within ±)" if estimate else "exact cosines"
    said = f"{findings.compared} entries compared, {how}" if findings.compared else "no entry can be compared"
    if findings.near:
        said += f"; {findings.near} more may lie as near, by the error of their sketches: --top {2 * len(findings)}"
    return f"{said}; not compared: {others}" if others else said


def edit(
    folder: Path,
    name: str,
    tags: Sequence[str],
    untag: Sequence[str],
    metrics: Sequence[str],
    licence: str | None,
    json: bool,
) -> int:
    """Change what is said of an entry."""
    entry = _open(folder).edit(name, tags=tags, untag=untag, metrics=_metrics(metrics), licence=licence)
    if json:
        as_json(entry.facts)
    else:
        print(f"{name}: tags {' '.join(entry.tags) or 'none'}; metrics {_numbers(entry) or 'none'}")
    return 0


def remove(folder: Path, names: Sequence[str], json: bool) -> int:
    """Take entries out."""
    catalog = _open(folder)
    for name in names:
        catalog.entry(name)  # all of them, before one is gone
    removed = [catalog.remove(name) for name in names]
    if json:
        as_json([entry.facts for entry in removed])
    else:
        print(f"removed {', '.join(names)}; 'taskvec catalog gc -C {folder}' gives the room back")
    return 0


def gc(folder: Path, lost: bool, json: bool) -> int:
    """Remove what nobody refers to."""
    collected = _open(folder).gc(lost=lost)
    if json:
        as_json({"files": list(collected.files), "bytes": collected.size, "kept": list(collected.kept)})
        return 0
    print(f"{len(collected.files)} files removed, {size(collected.size)}")
    if collected.kept:
        print(f"kept the notes of lost entries: {', '.join(collected.kept)}; --lost removes them, too")
    return 0


def rebuild(folder: Path, json: bool, quiet: bool) -> int:
    """Make the index anew.

    Raises:
        FormatError: something could not be entered; the index has all the rest.
    """
    found = _open(folder, quiet or json).rebuild()
    if json:
        as_json({"entries": found.entries, "vectors": found.vectors, "lost": list(found.lost)})
    elif not quiet:
        print(f"{folder}: {found.entries} entries, {found.vectors} vectors")
    if found.lost:
        raise FormatError("\n".join(found.lost))
    return 0
