"""adapter_config.json of PEFT: which adapters are read, their ranks and scales."""

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ...errors import FormatError, MismatchError, StoreError

NAME = "adapter_config.json"

NO_DENSE_CHANGE = {
    "alora_invocation_tokens": "aLoRA, which changes weights for a part of the text only",
    "arrow_config": "Arrow, which chooses among adapters for each token",
    "kasa_config": "KaSA, which changes the base besides",
    "layer_replication": "layer_replication, which gives the base more layers",
    "monteclora_config": "MonteCLoRA, which draws its factors by chance",
    "target_parameters": "target_parameters (experts), whose tensors' names do not tell which parameter they change",
    "use_bdlora": "BD-LoRA, whose factors are cut into blocks",
    "use_qalora": "QALoRA, whose factors are pooled",
    "velora_config": "VeLoRA",
}
"""Settings that make an adapter something else than a change of the base that its factors alone tell."""

CHANGES_BASE = ("pissa", "corda", "olora", "lora_ga", "loftq")
"""Ways to begin that subtract the first factors from the base, so that the adapter belongs to what is left."""


@dataclass(frozen=True)
class LoraConfig:
    """What of an adapter's configuration decides its entries."""

    path: Path
    base_name: str | None
    rank: int
    alpha: float
    ranks: Mapping[str, Any] = field(default_factory=dict)
    alphas: Mapping[str, Any] = field(default_factory=dict)
    rslora: bool = False
    dora: bool = False
    bias: bool = False
    fan_in_fan_out: bool = False
    ties: bool = False
    tokens: Any = None

    def rank_of(self, module: str) -> int:
        """Return the rank of a module: of the first `rank_pattern` that its name ends with, else `r`."""
        rank = _of(self.path, "rank_pattern", self.ranks, module, self.rank)
        if not isinstance(rank, int) or isinstance(rank, bool) or rank < 1:
            raise FormatError(f"{self.path} gives '{module}' the rank {rank!r}; expected a whole number above 0.")
        return rank

    def scale_of(self, module: str) -> float:
        """Return alpha / rank, with rsLoRA alpha / √rank."""
        alpha = _of(self.path, "alpha_pattern", self.alphas, module, self.alpha)
        if not isinstance(alpha, int | float) or isinstance(alpha, bool) or not math.isfinite(alpha):
            raise FormatError(f"{self.path} gives '{module}' the alpha {alpha!r}; expected a number.")
        rank = self.rank_of(module)
        return float(alpha / math.sqrt(rank) if self.rslora else alpha / rank)

    def rows_of(self, module: str) -> list[int] | None:
        """Return `trainable_token_indices` of a module, or None where there are none."""
        known = self.tokens
        if isinstance(known, dict):
            known = next((rows for end, rows in known.items() if f".{module}".endswith(f".{end}")), None)
        if known is None:
            return None
        if not isinstance(known, list) or not all(type(row) is int and row >= 0 for row in known):
            raise FormatError(f"{self.path} has 'trainable_token_indices' that are not lists of rows.")
        return known


def _of(path: Path, key: str, patterns: Mapping[str, Any], module: str, default: Any) -> Any:
    """Return the value of the first pattern that matches the end of a module's name, from a dot or from its start."""
    for pattern, value in patterns.items():
        try:
            if re.match(rf"(.*\.)?({pattern})$", module):
                return value
        except re.error as exc:
            raise FormatError(f"{path} has a '{key}' {pattern!r} that is no pattern: {exc}.") from exc
    return patterns.get(module, default)


def read_config(folder: Path) -> LoraConfig:
    """Read an adapter's configuration; refuse what is not a dense change of the base.

    Raises:
        FormatError: it is damaged.
        MismatchError: an adapter of a kind that is not read.
    """
    path = folder / NAME
    data = _json(path)
    kind = data.get("peft_type")
    if kind != "LORA":
        raise MismatchError(f"{folder} is an adapter of the type {kind!r}; of PEFT's types, 'LORA' is read.")
    for key, what in NO_DENSE_CHANGE.items():
        if data.get(key):
            raise MismatchError(f"{folder} uses {what}. It is not read.")
    start = str(data.get("init_lora_weights", True)).lower()
    if start.startswith(CHANGES_BASE):
        raise MismatchError(
            f"{folder} was begun with init_lora_weights={data['init_lora_weights']!r}, which changes the base too. "
            f"Save it with PEFT's save_pretrained(…, path_initial_model_for_weight_conversion=…) as a plain LoRA."
        )
    config = LoraConfig(
        path,
        data.get("base_model_name_or_path"),
        data.get("r", 8),
        data.get("lora_alpha", 8),
        data.get("rank_pattern") or {},
        data.get("alpha_pattern") or {},
        bool(data.get("use_rslora")),
        bool(data.get("use_dora")),
        bool(data.get("lora_bias")),
        bool(data.get("fan_in_fan_out")),
        bool(data.get("ensure_weight_tying")),
        data.get("trainable_token_indices"),
    )
    for key, patterns in (("rank_pattern", config.ranks), ("alpha_pattern", config.alphas)):
        if not isinstance(patterns, dict):
            raise FormatError(f"{path} has a '{key}' that is no object of patterns and numbers.")
    return config


def _json(path: Path) -> dict[str, Any]:
    try:
        data = json.loads(path.read_text("utf-8"))
    except OSError as exc:
        raise StoreError(f"{path} cannot be read: {exc.strerror}.") from exc
    except (ValueError, RecursionError) as exc:
        raise FormatError(f"{path} is damaged: {exc}.") from exc
    if not isinstance(data, dict):
        raise FormatError(f"{path} is damaged: expected a JSON object, got {type(data).__name__}.")
    return data
