"""An adapter as PEFT stores it: what its tensors are called, and the adapter_config.json that makes PEFT load them."""

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..layout import OutTensor
from .parts import PREFIX

HEAD = "lm_head"
"""What a tied output head is called in most models."""


@dataclass(frozen=True)
class OutLora:
    """A module's factors, to be written: B (out, rank) and A (rank, *inner).

    embedding: it is an embedding, whose change is stored turned: (entries of a vector, rank) and (rank, tokens).
    turned: the base stores the matrix (in, out), as GPT-2 does.
    twin: the tied output head that takes the same change, turned.
    """

    module: str
    rank: int
    out: int
    inner: tuple[int, ...]
    embedding: bool = False
    turned: bool = False
    twin: str | None = None

    @property
    def names(self) -> tuple[str, str]:
        """What A and B are called."""
        ends = ("lora_embedding_A", "lora_embedding_B") if self.embedding else ("lora_A.weight", "lora_B.weight")
        return f"{PREFIX}{self.module}.{ends[0]}", f"{PREFIX}{self.module}.{ends[1]}"

    @property
    def twins(self) -> tuple[str, str]:
        """What A and B of the tied head are called."""
        return f"{PREFIX}{self.twin}.lora_A.weight", f"{PREFIX}{self.twin}.lora_B.weight"

    def tensors(self, code: str) -> list[OutTensor]:
        """Return what is to be written of it."""
        a, b = self.names
        kernel = (1,) * (len(self.inner) - 1)
        out = [OutTensor(a, code, (self.rank, *self.inner)), OutTensor(b, code, (self.out, self.rank, *kernel))]
        if self.twin:
            a, b = self.twins
            out += [OutTensor(a, code, (self.rank, self.out)), OutTensor(b, code, (*self.inner, self.rank))]
        return out


def adapter_config(
    loras: Sequence[OutLora],
    modules: Collection[str],
    *,
    base_name: str,
    whole: Sequence[str] = (),
    tied: Sequence[str] = (),
    biases: bool = False,
    task_type: str | None = None,
) -> dict[str, Any]:
    """Return what adapter_config.json says, so that each module's scale is 1.

    Args:
        loras: the modules with factors.
        modules: all modules of the base: short names of targets must not reach others.
        base_name: where the base is, for whoever loads the adapter.
        whole: modules that are stored whole.
        tied: output heads that are tied to one of these.
        biases: whether biases are stored.
        task_type: PEFT's name of the model's kind, where it is known.
    """
    rank = Counter(lora.rank for lora in loras).most_common(1)[0][0]
    # PEFT takes the first pattern that a name ends with: longer ones first, so that none hides another.
    others = sorted((one for one in loras if one.rank != rank), key=lambda one: (-len(one.module), one.module))
    twins = sorted({one.twin for one in loras if one.twin})  # PEFT ties what is named, and knows heads by their names
    patterns = {one.module: one.rank for one in others}
    return {
        "peft_type": "LORA",
        "task_type": task_type,
        "base_model_name_or_path": base_name,
        "r": rank,
        "lora_alpha": rank,
        "rank_pattern": patterns,
        "alpha_pattern": patterns,
        "target_modules": sorted([*targets([one.module for one in loras], modules), *twins]),
        # PEFT takes any module whose name ends so, from whatever letter on: only full names are safe.
        "modules_to_save": sorted([*whole, *tied]) or None,
        "fan_in_fan_out": any(one.turned for one in loras),
        "ensure_weight_tying": bool(twins or tied),
        "bias": "all" if biases else "none",
        "lora_dropout": 0.0,
        "use_rslora": False,
        "use_dora": False,
        "init_lora_weights": True,
        "inference_mode": True,
    }


def targets(chosen: Sequence[str], modules: Collection[str]) -> list[str]:
    """Return the shortest names that mean the chosen modules and no other: their last parts, or all in full.

    >>> targets(["h.0.q", "h.1.q"], ["h.0.q", "h.1.q", "h.1.k"]), targets(["h.0.q"], ["h.0.q", "h.1.q"])
    (['q'], ['h.0.q'])
    """
    short = {module.rpartition(".")[2] for module in chosen}
    meant = {module for module in modules if module.rpartition(".")[2] in short}
    return sorted(short if meant <= set(chosen) else set(chosen))


def task_of(config: Mapping[str, Any]) -> str | None:
    """Return PEFT's name of what a model is for, from its config.json; None where PEFT would add layers of its own.

    >>> task_of({"architectures": ["LlamaForCausalLM"]}), task_of({"architectures": ["BertModel"]})
    ('CAUSAL_LM', None)
    """
    kinds = config.get("architectures") or [""]
    return "CAUSAL_LM" if str(kinds[0]).endswith(("ForCausalLM", "LMHeadModel")) else None
