"""The table: for every recipe, whether our result must equal mergekit's, or where it differs, how far, and why.

`Equal` is meant for every tensor: max |ours - theirs| ≤ 1e-6 max |theirs|. The scale is the tensor's own largest
weight: the result is stored in float32, where half a step is already 6e-8 of a weight, and a task vector of 2 % would
have to be right to more digits than that for a scale of its own. A task vector is held to 5e-5 of its size by it.
(`scripts/make_golden.py --float64` says how far mergekit's own float64 results are from the numbers: under 3e-7 for
every recipe but `arcee-fusion-of-near-models`.)

A row that differs names the words that our notes must say it with, the tensors that may differ, and the most by which
they may, in shares of the tensor's largest weight. All others must be equal. And it must differ: a row that no longer
does belongs among the equal ones.
"""

from dataclasses import dataclass

from .models import BY_TOKEN

TOLERANCE = 1e-6


@dataclass(frozen=True)
class Row:
    """What is expected of one recipe. `note` and `within` are given together, by rows that differ."""

    note: str = ""
    within: float = 0.0
    where: tuple[str, ...] = ("*",)


EQUAL = Row()
COUNTS = "rounds down"
"""We round a share of entries to the nearest count. mergekit rounds down, and keeps one entry less of some tensors."""

SQUARE = ("*.q_proj.*", "*.o_proj.*")

TABLE = {
    "arcee-fusion": EQUAL,
    "arcee-fusion-of-near-models": Row(
        "arcee_fusion:", 0.05
    ),  # the importance of near models is lost in float32's rounding
    "breadcrumbs-lambda": Row(COUNTS, 0.02, ("*norm*", "*.mlp.*", *SQUARE, *BY_TOKEN)),
    "breadcrumbs-ties-gradients": Row(COUNTS, 0.02, (*SQUARE, *BY_TOKEN)),
    "chat-template-auto": EQUAL,
    "chat-template-by-name": EQUAL,
    "chat-template-in-full": EQUAL,
    "dare-linear-keeps-all": EQUAL,
    "dare-ties-keeps-all": EQUAL,
    "dare-ties-normalized": EQUAL,
    "della-keeps-all": EQUAL,
    "della-linear-keeps-all": EQUAL,
    "dumped-form": EQUAL,
    "karcher": EQUAL,
    "karcher-defaults": EQUAL,
    "linear-by-halves": EQUAL,
    "linear-filters-and-gradients": EQUAL,
    "linear-not-normalized": EQUAL,
    "linear-weights": EQUAL,
    "linear-with-a-base": EQUAL,
    "model-stock": EQUAL,
    # the models oppose each other in one row of each of these; mergekit goes up to 1.7 times backwards there
    "model-stock-by-rows": Row("clamped", 0.02, ("*.o_proj.*", "model.layers.0.mlp.up_proj.*")),
    # mergekit holds products of norms above 1e-6, which is much for a small tensor of a small change
    "model-stock-of-small-changes": Row("free of scale", 2e-4, ("*norm*", "*.self_attn.*")),
    "model-stock-slices": EQUAL,
    "model-stock-with-weights": EQUAL,
    "modules-models": EQUAL,
    "modules-slices": EQUAL,
    "multislerp": EQUAL,
    "multislerp-task-vectors": EQUAL,
    "nearswap": EQUAL,
    "nuslerp-gradients": EQUAL,
    "nuslerp-not-flattened": EQUAL,
    "nuslerp-row-wise": EQUAL,
    "nuslerp-task-vectors": EQUAL,
    "passthrough-interleaved": EQUAL,
    "passthrough-of-two-depths": EQUAL,
    "passthrough-one-model": EQUAL,
    "passthrough-overlapping": EQUAL,
    "passthrough-silent-copies": EQUAL,
    "ram": EQUAL,
    "ramplus-tl": EQUAL,
    "sce-by-filter": Row("sce:", 0.02, ("*.self_attn.*",)),  # counts
    "sce-of-small-changes": Row("sce:", 2e-4),  # mergekit weighs all alike where mean squares add up to less
    "sce-topk": EQUAL,
    "several-documents": EQUAL,
    "several-documents-stacked": EQUAL,
    "slerp-base-listed-last": EQUAL,
    "slerp-classic": EQUAL,
    "slerp-long-gradients": EQUAL,
    "slerp-of-near-models": Row("0.9995", 1e-4),  # mergekit takes the straight line above that cosine
    "slerp-only-the-other-model": EQUAL,
    "slices-of-other-depths": EQUAL,
    "slices-with-their-own-parameters": EQUAL,
    "task-arithmetic-lambda": EQUAL,
    "task-arithmetic-negative": EQUAL,
    "task-arithmetic-normalized": EQUAL,
    "task-arithmetic-slices": EQUAL,
    "ties-classic": EQUAL,
    "ties-density-by-filter": Row(COUNTS, 0.02, ("*.self_attn.*", "*.mlp.*", *BY_TOKEN)),
    "ties-gradients": Row(COUNTS, 0.02, ("model.layers.[123].*",)),
    "ties-not-normalized": EQUAL,
    "ties-rescaled": Row(COUNTS, 0.02, ("*.self_attn.*", *BY_TOKEN)),
    "tokenizer-of-a-model": EQUAL,
    "tokenizer-of-the-base": EQUAL,
    "tokenizer-other-ids": Row("0.9995", 1e-4),
    "tokenizer-padded-rows": EQUAL,
    "tokenizer-rules": EQUAL,
    "tokenizer-union": EQUAL,
    "tokenizer-union-without-a-base": EQUAL,
    "tokenizer-unused-rows": EQUAL,
}

STORED = {
    "linear-not-normalized": ("F16", 2.0**-11),
    "linear-weights": ("BF16", 2.0**-8),
    "model-stock-with-weights": ("BF16", 2.0**-8),
    "nuslerp-gradients": ("BF16", 2.0**-8),
}
"""Recipes that are also run as they stand: the type they ask for, and half its step, in shares of a number."""
