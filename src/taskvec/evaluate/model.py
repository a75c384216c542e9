"""A model in hand: its modules, its tokenizer or image processor, and its weights, which may be changed in place."""

import hashlib
from collections.abc import Container, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from ..errors import FormatError, MismatchError, RecipeError, StoreError
from ..store.hub import locate
from .quiet import quietly

if TYPE_CHECKING:
    import torch

Role = Literal["encoder", "causal", "seq2seq"]
CLASSES = {"encoder": "AutoModel", "causal": "AutoModelForCausalLM", "seq2seq": "AutoModelForSeq2SeqLM"}
SPOKEN = {"encoder": "an encoder", "causal": "a causal language model", "seq2seq": "a sequence-to-sequence model"}
PRECISIONS = ("float32", "bfloat16", "float16")
HASHED = (".safetensors", ".bin", ".json", ".txt", ".model", ".jinja")
POOLING = "1_Pooling/config.json"
"""Where a sentence-transformers folder says how states are pooled."""

OURS = ("receipt.json", "results.json", "finetune.json")
TOKENIZER = ("tokenizer.json", "tokenizer_config.json", "vocab.json", "vocab.txt", "spiece.model", "tokenizer.model")
IMAGES = ("preprocessor_config.json", "processor_config.json")
"""The files of which a folder holds at least one where it has a tokenizer, or an image processor."""


class Model:
    """A Hugging Face model folder (or hub id), loaded when it is first asked for, in evaluation mode.

    `module("encoder")` is the bare transformer, `module("causal")` and `module("seq2seq")` the language models.
    `put` replaces the weights in place: a search loads one model and scores many.
    """

    def __init__(
        self,
        path: str | Path,
        *,
        device: str = "auto",
        precision: Literal["float32", "bfloat16", "float16"] = "float32",
        inputs: str | Path | None = None,
    ) -> None:
        """Take a model folder; nothing is loaded yet.

        Args:
            path: a folder, or a name on the hub.
            device: "cpu", "cuda", "cuda:1"; "auto" is the first GPU if there is one.
            precision: what the weights are held in, and most of the arithmetic done in.
            inputs: another model's folder, the base's as a rule, whose tokenizer and image processor are used where
                this one has none: many fine-tuned models are published as config and weights alone.

        Raises:
            StoreError: there is no such folder.
            RecipeError: an unknown precision.
        """
        if precision not in PRECISIONS:
            raise RecipeError(f"'precision' must be one of {', '.join(PRECISIONS)}, got {precision!r}.")
        self.name = str(path)
        self.path = locate(str(path))
        if not (self.path / "config.json").is_file():
            what = "is not a model folder: it has no config.json" if self.path.is_dir() else "does not exist"
            raise StoreError(f"{path} {what}. Give a folder that transformers can load; merge an adapter first.")
        self.precision = precision
        self._inputs = self.path if inputs is None else Path(inputs)
        self._device = device
        self._modules: dict[Role, Any] = {}
        self._names: dict[str, Mapping[str, str]] = {}
        self._put: str | None = None

    @cached_property
    def device(self) -> "torch.device":
        """Where the weights lie."""
        import torch

        if self._device == "auto":
            return torch.device("cuda" if torch.cuda.is_available() else "cpu")
        return torch.device(self._device)

    @cached_property
    def config(self) -> Any:
        """The model's config, as transformers reads it."""
        with quietly() as library:
            try:
                return library.AutoConfig.from_pretrained(self.path)
            except (ValueError, OSError, KeyError) as exc:
                raise FormatError(f"{self.name} cannot be loaded: {_first_line(exc)}") from exc

    def module(self, role: Role = "encoder") -> Any:
        """Return the model as one of transformers' classes.

        Raises:
            MismatchError: this architecture has no such class, or the folder lacks weights of it.
        """
        if role not in self._modules:
            if self._put:
                raise RecipeError(f"{self.name} has other weights in it; ask for {SPOKEN[role]} before 'put'.")
            self._modules[role] = self._load(role)
        return self._modules[role]

    def names_in_files(self, role: Role = "encoder") -> Mapping[str, str]:
        """Return the names that a module's weights have in files; transformers renames some as it loads them."""
        if role not in self._names:
            self._names[role] = _renamed(self.module(role))
        return self._names[role]

    def places_in(self, files: Container[str], role: Role = "encoder") -> dict[str, str]:
        """Return what each weight of a module is called among the names of some files; without those that they lack."""
        module, names = self.module(role), self.names_in_files(role)
        prefix = getattr(module, "base_model_prefix", "")
        known = {n: [s for s in spellings(names.get(n, n), n, prefix) if s in files] for n in module.state_dict()}
        return {name: found[0] for name, found in known.items() if found}

    def _load(self, role: Role) -> Any:
        import torch

        known = self.config  # a broken config is told as such
        with quietly() as library:
            try:
                module, found = getattr(library, CLASSES[role]).from_pretrained(
                    self.path, config=known, dtype=getattr(torch, self.precision), output_loading_info=True
                )
            except (ValueError, OSError, KeyError) as exc:
                raise MismatchError(f"{self.name} cannot be loaded as {SPOKEN[role]}: {_first_line(exc)}") from exc
        lacking = sorted(name for name in found["missing_keys"] if not name.startswith("pooler."))
        if lacking:
            more = f" and {len(lacking) - 1} more" if len(lacking) > 1 else ""
            raise MismatchError(f"{self.name} is not {SPOKEN[role]}: it lacks the weights '{lacking[0]}'{more}.")
        if found["missing_keys"]:
            module.pooler = None  # transformers would fill it with random numbers
        return module.eval().to(self.device).requires_grad_(False)

    @cached_property
    def tokenizer(self) -> Any:
        """The tokenizer beside the weights; one that has no padding token pads with its end token.

        Raises:
            MismatchError: there is none.
        """
        with quietly() as library:
            try:
                tokenizer = library.AutoTokenizer.from_pretrained(self._holding(TOKENIZER))
            except (ValueError, OSError, KeyError, TypeError) as exc:
                raise MismatchError(
                    f"{self.name} has no tokenizer, so it cannot read text: {_first_line(exc)} "
                    f"Copy the base's tokenizer files into it."
                ) from exc
        if tokenizer.pad_token is None:
            tokenizer.pad_token = tokenizer.eos_token
        return tokenizer

    @cached_property
    def images(self) -> Any:
        """The image processor beside the weights.

        Raises:
            MismatchError: there is none.
        """
        with quietly() as library:
            try:
                return library.AutoImageProcessor.from_pretrained(self._holding(IMAGES))
            except (ValueError, OSError, KeyError, TypeError) as exc:
                raise MismatchError(
                    f"{self.name} has no image processor, so it cannot see images. "
                    f"Copy the base's preprocessor_config.json into it."
                ) from exc

    @cached_property
    def content(self) -> str:
        """SHA-256 of weights, configs and tokenizer: two models with the same content score the same."""
        return _digest(self.path)

    @property
    def fingerprint(self) -> str:
        """What identifies the weights in hand: the folder's content, or what was said when others were put in."""
        return self._put or self.content

    @property
    def is_changed(self) -> bool:
        """Whether other weights than those of its files were put into it."""
        return self._put is not None

    def mark(self, fingerprint: str) -> None:
        """Say what weights it holds that somebody else has written into it."""
        self._put = fingerprint

    @cached_property
    def inputs_digest(self) -> str:
        """SHA-256 of what turns texts and images into vectors beside weights: tokenizer, preprocessing, pooling."""
        folders = dict.fromkeys((self._holding(TOKENIZER), self._holding(IMAGES)))
        return " ".join(_digest(folder, weights=False) for folder in folders)

    def _holding(self, names: Sequence[str]) -> Path:
        """Return the folder that one of these files is taken from: this model's own, if either holds one."""
        own, other = (any((folder / name).is_file() for name in names) for folder in (self.path, self._inputs))
        return self._inputs if other and not own else self.path

    def put(self, weights: Mapping[str, Any], fingerprint: str) -> None:
        """Replace the weights in place, in every module loaded so far: all of them, or where they do not fit, none.

        Args:
            weights: name → torch tensor or float array, by the names of the folder's files or of the module.
            fingerprint: what identifies them, for results that are kept.

        Raises:
            MismatchError: a weight of the module is not among them, or has another shape.
        """
        pairs = [
            pair
            for role, module in self._modules.items()
            for pair in _pairs(module, self.names_in_files(role), weights, f"{self.name} as {SPOKEN[role]}")
        ]
        for held, new in pairs:
            held.copy_(_tensor(new))
        self._put = fingerprint

    def __repr__(self) -> str:
        return f"Model({self.name!r}, {self.precision})"


def _renamed(module: Any) -> dict[str, str]:
    try:
        from transformers.core_model_loading import revert_weight_conversion
    except ImportError:  # before version 5 nothing is renamed
        return {}
    own = module.state_dict()
    names = {id(held): name for name, held in own.items()}
    back = revert_weight_conversion(module, dict(own)).items()
    return {names[id(held)]: file for file, held in back if id(held) in names}


def _pairs(
    module: Any, names: Mapping[str, str], weights: Mapping[str, Any], where: str
) -> list[tuple["torch.Tensor", Any]]:
    """Return each weight of a module, and what is to be written into it."""
    prefix = getattr(module, "base_model_prefix", "")
    pairs, lacking = [], []
    for name, held in module.state_dict().items():
        known = next((n for n in spellings(names.get(name, name), name, prefix) if n in weights), None)
        new = None if known is None else weights[known]
        if new is None:
            lacking.append((name, held))
        elif tuple(new.shape) != tuple(held.shape):
            raise MismatchError(
                f"the weights do not fit {where}: '{name}' is {tuple(held.shape)}, and they have {tuple(new.shape)}."
            )
        else:
            pairs.append((held, new))
    filled = {held.data_ptr() for held, _ in pairs}
    for name, held in lacking:
        tied, optional = held.data_ptr() in filled, name.startswith("pooler.") or not held.is_floating_point()
        if not tied and not optional:
            raise MismatchError(f"the weights do not fit {where}: '{name}' is not among them.")
    return pairs


def _tensor(values: Any) -> "torch.Tensor":
    import numpy as np
    import torch

    if isinstance(values, torch.Tensor):
        return values
    return torch.from_numpy(np.require(values, requirements="W"))  # torch warns of arrays that may not be written


def spellings(file: str, name: str, prefix: str) -> list[str]:
    """Return what a weight may be called: as in files or in the module, with the prefix of the bare model or without.

    >>> spellings("encoder.w", "layers.w", "bert")
    ['encoder.w', 'bert.encoder.w', 'layers.w', 'bert.layers.w']
    """
    each = [known for n in (file, name) for known in (n, f"{prefix}.{n}", n.removeprefix(f"{prefix}."))]
    return list(dict.fromkeys(each))


def _digest(folder: Path, weights: bool = True) -> str:
    whole = hashlib.sha256()
    if not weights and (pooling := folder / POOLING).is_file():
        whole.update(pooling.read_bytes())
    for path in sorted(folder.iterdir()):
        heavy = path.suffix in (".safetensors", ".bin") or path.name.endswith("index.json")
        if not path.is_file() or path.suffix not in HASHED or path.name in OURS or path.name.startswith("."):
            continue
        if weights or not (heavy or path.name == "config.json"):
            with path.open("rb") as file:
                whole.update(path.name.encode() + b"\0" + hashlib.file_digest(file, "sha256").digest())
    return whole.hexdigest()


def _first_line(exc: Exception) -> str:
    line = str(exc).strip().split("\n")[0].rstrip(".")
    return f"{line or type(exc).__name__}."
