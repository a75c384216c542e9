"""Which tensors of a model have one row a token."""

import re
from collections.abc import Sequence

from ...errors import MismatchError
from ..checkpoint import INPUT_EMBEDDINGS, OUTPUT_HEADS, Checkpoint

EMBEDDINGS = (*INPUT_EMBEDDINGS, "tok_embeddings.weight")
HEADS = (
    *OUTPUT_HEADS, "output_layer.weight", "lm_head.decoder.weight", "predictions.decoder.weight",
    "vocab_projector.weight", "lm_head.bias", "lm_head.decoder.bias", "embed_out.bias", "predictions.bias",
    "predictions.decoder.bias", "vocab_projector.bias", "output.bias",
)  # fmt: skip
BARE = ("output.weight", "output.bias")
"""Names of heads only where nothing stands before them."""

ALWAYS = ("embed_tokens.weight", "wte.weight", "word_embeddings.weight", "lm_head.weight", "lm_head.bias")
"""Names that always mean one row a token."""

SUSPECT = re.compile(r"embed|wte|head|logits|vocab|predictions")
NOT_TOKENS = re.compile(r"position|token_type|wpe|norm|patch|head_dim", re.IGNORECASE)


def embedding_rows(checkpoint: Checkpoint) -> int | None:
    """Return how many rows of tokens a model has, or None where it has no input embedding."""
    return next((t.shape[0] for n, t in checkpoint.tensors.items() if n.endswith(EMBEDDINGS) and t.shape), None)


def is_vocabulary_tensor(name: str, shape: Sequence[int], rows: int) -> bool:
    """Tell a tensor that has one row a token."""
    head = any(name == end or (end not in BARE and name.endswith(f".{end}")) for end in HEADS)
    return bool(shape) and shape[0] == rows and (head or name.endswith(EMBEDDINGS))


def check_known(checkpoint: Checkpoint, rows: int) -> None:
    """Refuse a tensor that seems to have an entry a token, of which it is not known what to do with it."""
    for name, tensor in checkpoint.tensors.items():
        if name.endswith(ALWAYS) and tensor.shape[:1] != (rows,):
            raise MismatchError(
                f"'{name}' {tensor.shape} in {checkpoint.path} has other rows than its embedding, {rows}, so it is not "
                f"known which tokens they are. Use models of one vocabulary."
            )
        if rows not in tensor.shape or is_vocabulary_tensor(name, tensor.shape, rows):
            continue
        if SUSPECT.search(name) and not NOT_TOKENS.search(name):
            raise MismatchError(
                f"'{name}' {tensor.shape} in {checkpoint.path} seems to have an entry for each of the {rows} "
                f"tokens, and this version does not know how to move them. Use models of one vocabulary."
            )
