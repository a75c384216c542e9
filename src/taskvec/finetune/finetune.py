"""Fine-tune an encoder against frozen heads, into a model folder."""

import hashlib
import json
import os
import shutil
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from ..errors import NumbersError, RecipeError
from ..evaluate.features import encode, pooling_of
from ..evaluate.heads import Head
from ..evaluate.model import Model, spellings
from ..evaluate.quiet import quietly
from ..progress import Progress, Silent
from ..store import Checkpoint
from ..store.writer import write_whole
from .lessons import Lesson, batches, make_ready, steps_of
from .training import Training, rate_at

NOTE = "finetune.json"
FORMAT = "1"


def finetune(
    base: str | Path,
    lessons: Sequence[Lesson],
    out: Path,
    training: Training,
    *,
    device: str = "auto",
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Fine-tune a model on one task, or on several at once, and write the folder `out`.

        loss = mean over the batch of cross-entropy(head(f(x; θ)), y),    θ ← AdamW(θ, clip(∇loss))

    The heads stay as they are. With several lessons every step takes a batch of one of them, in random order: joint
    multi-task training, the reference that merges are measured against. What was trained before from the same base,
    data and settings is found again, and nothing is done.

    Returns:
        The note beside the weights (finetune.json): settings, hashes, losses, time; `"found"` says it was there.

    Raises:
        RecipeError: no lesson, no labels, or globs in `frozen` that match nothing.
        MismatchError: a lesson whose head or examples the model does not fit.
        NumbersError: the loss is no number.
    """
    if not lessons:
        raise RecipeError("there is no lesson to learn. Give a task with training examples.")
    model = Model(base, device=device)
    key = key_of(model, lessons, training)
    if (found := read_note(out)) and found.get("key") == key:
        return {**found, "found": True}
    out.parent.mkdir(parents=True, exist_ok=True)
    note = {"format": FORMAT, "key": key, "base": str(base), "settings": asdict(training), **_data_of(lessons)}
    note |= train_in_place(model, lessons, training, progress, f"training {out.name}")
    beside = out.parent / f".{out.name}.partial"
    shutil.rmtree(beside, ignore_errors=True)
    beside.mkdir()
    _save(model, beside)
    write_whole(beside / NOTE, json.dumps(note, indent=2, ensure_ascii=False))
    shutil.rmtree(out, ignore_errors=True)
    os.replace(beside, out)
    return {**note, "found": False}


def read_note(folder: Path) -> dict[str, Any]:
    """Return what was noted when a folder was trained; nothing where there is none."""
    try:
        note = json.loads((folder / NOTE).read_text("utf-8"))
    except (FileNotFoundError, ValueError):
        return {}
    return note if isinstance(note, dict) else {}


def _data_of(lessons: Sequence[Lesson]) -> dict[str, Any]:
    return {"lessons": {a.name: {"examples": len(a.examples), "data": a.examples.digest} for a in lessons}}


def key_of(model: Model, lessons: Sequence[Lesson], training: Training) -> str:
    """Return what names a fine-tune by all that decides it: base, examples, heads, settings; its note holds it."""
    heads = [hashlib.sha256(b"".join(_arrays(a.head))).hexdigest() for a in lessons]
    scales = [(a.head.scale, a.reading.pooling, a.reading.tokens) for a in lessons]
    facts = [FORMAT, model.content, _data_of(lessons), heads, scales, asdict(training)]
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:32]


def _arrays(head: Head) -> list[bytes]:
    return [x.tobytes() for x in (head.weight, head.bias, head.projection) if x is not None]


def train_in_place(
    model: Model,
    lessons: Sequence[Lesson],
    training: Training,
    progress: Progress | None = None,
    what: str = "training",
) -> dict[str, Any]:
    """Fine-tune the weights in hand, in memory; see `finetune` for the loss.

    Returns:
        Steps, the loss of the first and the last tenth of them, and the time.

    Raises:
        RecipeError: no labels, or globs in `frozen` that match nothing.
        MismatchError: a lesson whose head or examples the model does not fit.
        NumbersError: the loss is no number.
    """
    import torch

    progress = progress or Silent()
    ready = [make_ready(model, lesson) for lesson in lessons]
    module, device = model.module(), model.device
    pooling = {a.name: pooling_of(model, a.reading) for a in lessons}
    trained = _unfreeze(module, training.frozen)
    optimiser = torch.optim.AdamW(trained, lr=training.rate, weight_decay=training.decay, fused=True)
    steps = training.epochs * steps_of(ready, training.batch)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, rate_at(training, steps))
    padding = getattr(getattr(module, "config", None), "pad_token_id", None) or 0
    losses, began, cpu = [], time.perf_counter(), time.process_time()
    progress.begin(what, steps, "steps")
    try:
        with (
            torch.random.fork_rng(devices=[device] if device.type == "cuda" else []),
            plain_attention(module, device.type),
        ):
            torch.manual_seed(training.seed)
            module.train(training.dropout)
            parts = batches(ready, training.batch, training.epochs, training.seed, padding)
            for step, (lesson, inputs, answers) in enumerate(parts, start=1):
                with torch.autocast(device.type, torch.bfloat16, enabled=training.precision == "bfloat16"):
                    on_device = {name: x.to(device) for name, x in inputs.items()}
                    vectors = encode(module, on_device, pooling[lesson.name])
                loss = torch.nn.functional.cross_entropy(lesson.head.logits(vectors.float()), answers.to(device))
                optimiser.zero_grad()
                loss.backward()  # type: ignore[no-untyped-call]
                torch.nn.utils.clip_grad_norm_(trained, training.clip)
                optimiser.step()
                schedule.step()
                losses.append(_finite(float(loss.detach()), step))
                progress.advance(step, f"loss {losses[-1]:.3f}")
    finally:
        progress.end()
    module.eval().requires_grad_(False)
    return {
        "steps": steps,
        "loss": {"first": _mean(losses[: max(1, steps // 10)]), "last": _mean(losses[-max(1, steps // 10) :])},
        "seconds": time.perf_counter() - began,
        "cpu_seconds": time.process_time() - cpu,
    }


@contextmanager
def plain_attention(module: Any, device: str) -> Iterator[None]:
    """Use plain attention on a CPU: the backward pass of the fused one takes half of a step's time there."""
    used = getattr(module.config, "_attn_implementation", None)
    if device != "cpu" or used != "sdpa":
        yield
        return
    module.set_attn_implementation("eager")
    try:
        yield
    finally:
        module.set_attn_implementation(used)


def _unfreeze(module: Any, frozen: Sequence[str]) -> list[Any]:
    """Return the parameters that are trained.

    Raises:
        RecipeError: a glob that matches nothing, or globs that leave nothing to train.
    """
    names = [name for name, _ in module.named_parameters()]
    for pattern in frozen:
        if not any(fnmatchcase(name, pattern) for name in names):
            raise RecipeError(f"'frozen: {pattern}' matches no parameter. The first of them is '{names[0]}'.")
    trained = []
    for name, parameter in module.named_parameters():
        parameter.requires_grad_(not any(fnmatchcase(name, pattern) for pattern in frozen))
        trained += [parameter] if parameter.requires_grad else []
    if not trained:
        raise RecipeError(f"'frozen: {list(frozen)}' leaves nothing to train.")
    return trained


def _finite(loss: float, step: int) -> float:
    if loss != loss or loss in (float("inf"), float("-inf")):
        raise NumbersError(f"the loss is {loss} at step {step}. Type a smaller 'rate'.")
    return loss


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def _as_in(model: Model) -> dict[str, Any]:
    """Return the weights in hand by the names of the model's files, and whatever else these hold."""
    module, names = model.module(), model.names_in_files()
    out: dict[str, Any] = {}
    with Checkpoint(model.path) as checkpoint:
        for name, held in module.state_dict().items():
            known = spellings(names.get(name, name), name, module.base_model_prefix)
            out[next((n for n in known if n in checkpoint), known[0])] = held
        return out | {name: checkpoint[name].clone() for name in checkpoint if name not in out}


def _save(model: Model, folder: Path) -> None:
    """Write what `from_pretrained` reads: config, weights, and the base's tokenizer and preprocessing files.

    The weights have the names of the base's files, and what the encoder does not have (a language model's head) is
    the base's, so that the two can be merged whatever class the base was saved as.
    """
    with quietly():
        model.module().save_pretrained(folder, state_dict=_as_in(model))
    config = json.loads((folder / "config.json").read_text("utf-8"))
    if named := model.config.architectures:
        write_whole(folder / "config.json", json.dumps({**config, "architectures": named}, indent=2) + "\n")
    for path in model.path.iterdir():
        beside = path.is_file() and path.suffix in (".json", ".txt", ".model", ".jinja")
        ours = path.name in ("config.json", "receipt.json", NOTE) or path.name.endswith(".index.json")
        if beside and not ours and not (folder / path.name).exists():
            shutil.copy(path, folder / path.name)
    pooling = model.path / "1_Pooling"
    if pooling.is_dir():
        shutil.copytree(pooling, folder / "1_Pooling")
