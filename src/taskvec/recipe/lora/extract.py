"""An adapter from two models: the best low-rank factors of what fine-tuning changed, layer by layer."""

import os
from collections.abc import Sequence
from pathlib import Path

from ...progress import Progress, Silent
from ..inputs import check_not_an_input
from ..merge import Receipt, check_output
from .extraction import Extraction
from .folder import AdapterFolder
from .options import Options
from .pair import Pair

WORKERS = 2
"""Layers that are in memory at a time, at most."""


def extract_lora(
    base: str | Path,
    finetuned: str | Path,
    out: str | Path,
    *,
    rank: int | None = None,
    energy: float | None = None,
    budget: int | str | None = None,
    max_rank: int | None = None,
    sv_epsilon: float = 0.0,
    embeddings: bool = False,
    include: Sequence[str] = (),
    exclude: Sequence[str] = (),
    save_rest: bool = False,
    save_modules: Sequence[str] = (),
    distribute_scale: bool = True,
    dtype: str = "float32",
    prefix: str = "",
    threads: int | None = None,
    force: bool = False,
    progress: Progress | None = None,
) -> Receipt:
    """Write a PEFT adapter whose B A is nearest to what fine-tuning added to each matrix of a base.

        Δ = W_finetuned − W_base = U diag(s) Vᵀ
        B = U_r diag(√s_r),  A = diag(√s_r) V_rᵀ,  scale 1        nearest of rank r (Eckart–Young)

    The rank is the same number everywhere, or in each layer the smallest that holds a share of Σ s², or the largest
    squares a byte over all layers until the file is full. The error of each layer, ‖Δ − B A‖ / ‖Δ‖, is measured on what
    is stored. Layers that did not change get no factors. Biases, norms and whatever else moved and is no matrix of a
    layer is reported, and with `save_rest` stored whole.

    Args:
        base: the model; a path, a name on the hub, or model+adapter.
        finetuned: the same model fine-tuned, of the same names, or an adapter of the base.
        out: the folder to write.
        rank: the rank of every layer; a smaller matrix has its own.
        energy: or the share of the squared singular values of a layer that is kept, in (0, 1].
        budget: or the bytes of the file of tensors, such as '50MB'.
        max_rank: the largest rank of a layer, whatever energy or budget allow.
        sv_epsilon: singular values up to this are left out.
        embeddings: embeddings get factors, too.
        include: regular expressions; only modules in whose name one is found get factors.
        exclude: regular expressions of modules that are not looked at.
        save_rest: store whole what moved and gets no factors.
        save_modules: modules to store whole, by name or the end of it.
        distribute_scale: give the root of each singular value to both factors; else A has it all.
        dtype: what factors are stored as.
        prefix: what is put before the base's names, where PEFT's model has more of them, e.g. 'transformer.'.
        threads: layers worked on at a time, at most 2.
        force: replace an existing output.
        progress: told how far it is.

    Raises:
        RecipeError: numbers that make no sense, nothing to extract.
        StoreError: a model that cannot be read, models that do not belong together.
        OutputError: the output exists, or cannot be written.
        NumbersError: NaN or Inf in a difference.
    """
    options = Options(
        rank, energy, budget, max_rank, sv_epsilon, embeddings, tuple(include), tuple(exclude), save_rest,
        tuple(save_modules), distribute_scale, dtype, prefix,
    )  # fmt: skip
    options.check()
    place = Path(os.path.abspath(out))
    check_output(place, force)
    pair = Pair(base, finetuned, options.excluded)
    check_not_an_input(place, [*pair.base.on_disk, *pair.tuned.on_disk])
    workers = max(1, min(WORKERS, threads or os.cpu_count() or 1))
    with AdapterFolder(place) as folder:
        facts = Extraction(pair, options, folder, workers, progress or Silent()).run()
    return Receipt(place, facts)
