"""What is merged: a recipe for every method, with the settings people use."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Recipe:
    """One method's: how many models, on which base, and its parameters.

    base: whether there is one. listed: it stands among the models, too. shared, own: parameters of all models, and of
    each. peer: mergekit has the method, and both tools read the same file.
    """

    models: int = 4
    base: bool = True
    listed: bool = False
    shared: str = ""
    own: str = ""
    peer: bool = True

    @property
    def inputs(self) -> list[str]:
        """The checkpoints that are read."""
        return ["base"] * self.base + [f"m{i}" for i in range(1, self.models + 1)]

    @property
    def words(self) -> str:
        """What it merges, and how, in a few words."""
        count = "1 model" if self.models == 1 else f"{self.models} models"
        return ", ".join([count + (" and the base" if self.base else ""), *filter(None, [self.shared, self.own])])

    def text(self, name: str, data: Path) -> str:
        """Return the YAML: mergekit's, or ours for a method that mergekit lacks."""
        method = name.partition(" ")[0]
        lines = [f"merge_method: {method}" if self.peer else f"method: {method}", "models:"]
        for model in ["base"] * self.listed + self.inputs[self.base :]:
            lines.append(f"  - model: {data / model}")
            if self.own and model != "base":
                lines.append(f"    {'parameters' if self.peer else 'settings'}: {{{self.own}}}")
        if self.base:
            lines.append(f"{'base_model' if self.peer else 'base'}: {data / 'base'}")
        if self.shared:
            lines.append(f"{'parameters' if self.peer else 'settings'}: {{{self.shared}}}")
        return "\n".join([*lines, *(["dtype: bfloat16"] if self.peer else []), ""])


RECIPES = {
    "linear": Recipe(base=False, own="weight: 1.0"),
    "slerp": Recipe(models=1, listed=True, shared="t: 0.5"),
    "nuslerp": Recipe(models=2, own="weight: 1.0"),
    "nuslerp by rows": Recipe(models=2, own="weight: 1.0", shared="nuslerp_flatten: false"),
    "multislerp": Recipe(own="weight: 1.0"),
    "karcher": Recipe(base=False),
    "nearswap": Recipe(models=1, listed=True, shared="t: 0.0001"),
    "passthrough": Recipe(models=1, base=False),
    "task_arithmetic": Recipe(own="weight: 0.4"),
    "model_stock": Recipe(),
    "arcee_fusion": Recipe(models=1, listed=True),
    "sce": Recipe(shared="select_topk: 0.2"),
    "ram": Recipe(),
    "ramplus_tl": Recipe(),
    "breadcrumbs": Recipe(own="weight: 0.4, density: 0.9", shared="gamma: 0.01"),
    "breadcrumbs_ties": Recipe(own="weight: 0.4, density: 0.9", shared="gamma: 0.01"),
    "ties": Recipe(own="weight: 1.0, density: 0.2", shared="normalize: true"),
    "dare_linear": Recipe(own="weight: 0.4, density: 0.5"),
    "dare_ties": Recipe(own="weight: 0.4, density: 0.5"),
    "della": Recipe(own="weight: 0.4, density: 0.5, epsilon: 0.1"),
    "della_linear": Recipe(own="weight: 0.4, density: 0.5, epsilon: 0.1"),
    "model_soup": Recipe(base=False, peer=False),
    "ema": Recipe(base=False, peer=False),
    "expo": Recipe(models=1, peer=False),
    "lines": Recipe(peer=False),
    "metagpt": Recipe(peer=False),
    "geometric_median": Recipe(peer=False),
    "magnitude_prune": Recipe(shared="density: 0.2", peer=False),
    "consensus_ta": Recipe(peer=False),
    "pcb": Recipe(peer=False),
}
"""By method; what follows it in a name tells variants of one apart."""

USUAL = (
    "linear", "slerp", "nuslerp by rows", "task_arithmetic", "model_stock", "arcee_fusion", "breadcrumbs", "ties",
    "dare_linear", "dare_ties", "della",
)  # fmt: skip
"""Those that are run on large models, too: the most used, and those with the least lead over mergekit."""
