"""The whole job: a recipe and models in, one loadable model folder out."""

import os
import shutil
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import MismatchError, NumbersError, OutputError, TaskVecError
from ..progress import Progress, Silent
from ..store.hashes import known_hashes, sha256
from ..store.writer import PARTIAL, ShardWriter, output_error, put_in_place
from .finish import Told, write_folder
from .inputs import check_not_an_input
from .inspecting import Measured, Reporting, look_again
from .journal import NAME as JOURNAL
from .journal import Journal, finished_in
from .planned import Plan
from .run import Stream, stream
from .sinks import Files


@dataclass(frozen=True)
class Receipt:
    """What a merge did: the folder it wrote, and the facts of receipt.json."""

    folder: Path
    facts: dict[str, Any]


def staging_folder(out: Path) -> Path:
    """Return where an output grows until it is whole: a hidden folder beside it."""
    return out.parent / f".{out.name}.partial"


def run(
    plan: Plan, out: str | Path, *, force: bool = False, restart: bool = False, progress: Progress | None = None
) -> Receipt:
    """Merge as planned and write the folder `out`.

    The output grows in a hidden folder beside `out` and takes its name in one rename, so `out` is there whole or not
    at all. An interrupted run leaves the hidden folder; the same call continues from its journal and gives the same
    bytes.

    Args:
        plan: from `make_plan`.
        out: the folder to write. It must not exist (or be empty), unless `force`.
        force: replace an existing output once the new one is whole.
        restart: throw away the unfinished work of an earlier run.
        progress: told how far the run is.

    Raises:
        OutputError: the output exists, or cannot be written; or it is whole and in its place, but its report failed.
        NumbersError: NaN or Inf in an input, or a result that the stored type cannot hold.
    """
    began = time.monotonic()
    out, progress = Path(os.path.abspath(out)), progress or Silent()
    check_not_an_input(out, [place for i in plan.inputs for place in i.places])
    check_output(out, force)
    _check_hashes(plan, progress)
    staging = _stage(plan, out, restart)
    journal = Journal(staging, plan.digest())
    try:
        _check_unfinished(plan, staging, journal)
        with ShardWriter(staging, plan.layout, resume=journal.resumed) as writer:
            sink = Files(writer, journal, plan.budget.threads)
            measured = Measured(plan) if plan.recipe.report else None
            arithmetic = Reporting(plan, measured) if measured else None
            state = stream(plan, sink, progress, arithmetic=arithmetic)
            writer.finish()
        report, failed = _report(measured, state, progress, began) if measured else (None, None)
        facts = write_folder(plan, staging, out.name, state, sink, time.monotonic() - began, report)
        put_in_place(staging, out)
    except TaskVecError as exc:
        if isinstance(exc, NumbersError) or not journal.finished:
            shutil.rmtree(staging, ignore_errors=True)  # nothing that the same command could continue from
        raise
    except OSError as exc:
        raise output_error(out, exc) from exc
    finally:
        journal.close()
    if failed:
        raise OutputError(
            f"{out} is whole, but without its report, which failed ({_named(failed)}). Use the merge as it is, or look "
            f"at the models with `taskvec inspect`."
        ) from failed
    return Receipt(out, facts)


def _report(
    measured: Measured, state: Stream, progress: Progress, began: float
) -> tuple[Told, None] | tuple[Told, Exception]:
    """Return what the merge has seen of its inputs, or that this failed: no report may cost hours of merging.

    What an interrupted run had merged before is read once more. Where reading fails, the same command goes on later.
    """
    from ..diagnose.facts import facts
    from ..diagnose.page import render

    try:
        again = look_again(measured, progress)
        report = measured.report(state.bytes_read + again, time.monotonic() - began)
        return Told(facts(report), render(report)), None
    except OSError:
        raise
    except Exception as exc:
        return Told({"failed": _named(exc)}, None), exc


def _named(exc: Exception) -> str:
    return f"{type(exc).__name__}: {exc}"


def check_output(out: Path, force: bool = False) -> None:
    """Refuse to write over a file, or over an existing output unless `force`."""
    if out.exists() and not out.is_dir():
        raise OutputError(f"{out} is a file; the output is a folder. Choose another name.")
    if out.is_dir() and any(out.iterdir()) and not force:
        raise OutputError(f"{out} exists and is not empty. Choose another folder, or type --force to replace it.")


def continued(plan: Plan, out: Path) -> list[str]:
    """Return a note if a run of the plan would go on from an interrupted one.

    Raises:
        OutputError: what is unfinished there is of another plan, or is being written at this moment.
    """
    staging = staging_folder(Path(os.path.abspath(out)))
    done = finished_in(staging, plan.digest()) if (staging / JOURNAL).exists() else 0
    return [f"continuing an unfinished merge: {done} of {len(plan.units)} tensors are done."] if done else []


def _check_hashes(plan: Plan, progress: Progress) -> None:
    """Compare the inputs' files with the hashes that are known of them."""
    files = sorted({file for i in plan.inputs for file in i.checkpoint.on_disk})
    known = {} if "hashes" in plan.recipe.allow else known_hashes(files)
    if not known:
        return
    done = 0
    progress.begin("checking known hashes", sum(f.stat().st_size for f in known))

    def advance(count: int) -> None:
        nonlocal done
        done += count
        progress.advance(done)

    try:
        for file, expected in known.items():
            if (actual := sha256(file, advance)) != expected:
                raise MismatchError(
                    f"{file} is damaged: its SHA-256 is {actual[:12]}…, known is {expected[:12]}…. "
                    f"Get the file again, or type 'allow: [hashes]' in the recipe, or --set 'allow=[\"hashes\"]'."
                )
    finally:
        progress.end()


def _stage(plan: Plan, out: Path, restart: bool) -> Path:
    staging = staging_folder(out)
    if staging.exists() and (restart or not (staging / JOURNAL).exists()):
        shutil.rmtree(staging)  # without a journal nothing in it can be told from what another merge left
    try:
        staging.mkdir(parents=True, exist_ok=True)
        free = shutil.disk_usage(staging).free
    except OSError as exc:
        raise OutputError(f"{out.parent} cannot be written: {exc.strerror}. Choose another output folder.") from exc
    held = sum(p.stat().st_blocks * 512 for p in staging.rglob("*"))
    if plan.layout.nbytes > free + held:
        if not any(staging.iterdir()):
            staging.rmdir()
        raise OutputError(
            f"{out.parent} has {free / 1e9:.2f} GB free and the output takes {plan.layout.nbytes / 1e9:.2f} GB. "
            f"Make room or choose another output folder."
        )
    return staging


def _check_unfinished(plan: Plan, staging: Path, journal: Journal) -> None:
    """Refuse to continue where a file that holds finished tensors is gone: it would come out as zeros."""
    for file in plan.layout.files:
        if not any(t.name in journal.finished for t in file.tensors):
            continue
        held = [p for p in (staging / (file.name + PARTIAL), staging / file.name) if p.exists()]
        if not held or held[0].stat().st_size != file.nbytes:
            raise OutputError(
                f"{staging} lacks {file.name}, which its journal says is written. Type --restart to begin anew."
            )
