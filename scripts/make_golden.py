"""Compute the golden numbers of the table of recipes, with mergekit itself.

    python -m pip install mergekit==0.1.5          # into an environment of its own
    python scripts/make_golden.py                  # all recipes
    python scripts/make_golden.py ties-classic     # only these
    python scripts/make_golden.py --float64        # how far float64 results are from the numbers

Runs every recipe of tests/golden/recipes/ on the models of tests/golden/models.py and writes all tensors of the result
to tests/golden/numbers/NAME.safetensors: in float32, whatever type the recipe computes or stores in, on the CPU. Beside
the numbers stand the versions, what they were computed from, and what the result's configuration and tokenizer say. The
rows of tokens are in the order of the tokens' texts.
"""

import argparse
import hashlib
import json
import logging
import os
import shutil
import sys
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
import transformers
import yaml
from mergekit.config import MergeConfiguration
from mergekit.merge import run_merge
from mergekit.options import MergeOptions
from mergekit.scripts.multimerge import main as merge_documents
from safetensors.numpy import load_file, save_file

GOLDEN = Path(__file__).resolve().parent.parent / "tests" / "golden"
sys.path.insert(0, str(GOLDEN.parent))

from golden.models import by_token, in_float32, write_family  # noqa: E402


def merge(recipe: str, out: Path) -> None:
    """Merge one recipe, or a recipe of several documents, in the current folder."""
    if sum(document is not None for document in yaml.safe_load_all(recipe)) == 1:
        config = MergeConfiguration.model_validate(yaml.safe_load(recipe))
        run_merge(config, str(out), MergeOptions(device="cpu", quiet=True, write_model_card=False))
        return
    path, between = out.with_suffix(".yml"), out.with_suffix(".between")
    path.write_text(recipe, "utf-8")
    words = [str(path), "--out-path", str(out), "--intermediate-dir", str(between), "--no-lazy"]
    words += ["--device", "cpu", "--quiet", "--no-write-model-card"]
    merge_documents(words, standalone_mode=False)


def token_ids(out: Path) -> dict[str, int]:
    """Return token → row of a model folder."""
    ids: dict[str, int] = transformers.AutoTokenizer.from_pretrained(out).get_vocab()
    return ids


def read(out: Path) -> dict[str, np.ndarray]:
    """Return all tensors of a model folder, rows by token."""
    tensors = {name: x for shard in sorted(out.glob("*.safetensors")) for name, x in load_file(shard).items()}
    return by_token(tensors, token_ids(out))


def facts(recipe: str, out: Path) -> dict[str, object]:
    """Return what the result's configuration and tokenizer say, as far as the recipe decides it.

    The text of a chat template that mergekit knows by name is mergekit's, and no business of ours.
    """
    config = json.loads((out / "config.json").read_text("utf-8"))
    found = {key: config[key] for key in ("num_hidden_layers", "vocab_size")} | {"tokens": sorted(token_ids(out))}
    asked = list(yaml.safe_load_all(recipe))[-1].get("chat_template", "")
    if asked == "auto" or "{" in asked:
        found["chat_template"] = transformers.AutoTokenizer.from_pretrained(out).chat_template
    return found


def compute(path: Path, models: str, out: Path) -> None:
    """Write the golden numbers of one recipe."""
    text = path.read_text("utf-8")
    merge(in_float32(text), out)
    tensors = read(out)
    assert all(x.dtype == "float32" for x in tensors.values()), f"{path.name}: not all of the result is float32"
    made = {
        "mergekit": version("mergekit"),
        "torch": torch.__version__,
        "recipe": hashlib.sha256(text.encode()).hexdigest()[:16],
        "models": models,
        **facts(text, out),
    }
    # One entry: safetensors writes several in an order that differs from run to run.
    save_file(tensors, numbers_of(path), metadata={"golden": json.dumps(made, ensure_ascii=False)})


def compare(path: Path, out: Path) -> float:
    """Return how far one recipe's result in float64 is from its numbers, in shares of a tensor's largest weight."""
    merge(in_float32(path.read_text("utf-8")).replace("float32", "float64"), out)
    exact = read(out)
    return max(
        float(np.abs(x - exact[name]).max() / (np.abs(x).max() or 1.0))
        for name, x in load_file(numbers_of(path)).items()
    )


def numbers_of(recipe: Path) -> Path:
    """Return where a recipe's numbers lie."""
    return GOLDEN / "numbers" / f"{recipe.stem}.safetensors"


def main() -> None:
    """Read the command line, make the models, compute."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", help="recipes, by their files' names without .yml; all when not given")
    parser.add_argument("--float64", action="store_true", help="compare with float64 instead of writing")
    arguments = parser.parse_args()
    names = arguments.names
    recipes = sorted((GOLDEN / "recipes").glob("*.yml"))
    if unknown := set(names) - {path.stem for path in recipes}:
        parser.error(f"no such recipe: {', '.join(sorted(unknown))}")
    torch.set_num_threads(1)
    logging.disable(logging.ERROR)
    transformers.utils.logging.set_verbosity_error()
    (GOLDEN / "numbers").mkdir(exist_ok=True)
    with TemporaryDirectory() as place:
        models = write_family(Path(place) / "models")
        os.chdir(Path(place) / "models")
        for path in recipes:
            if names and path.stem not in names:
                continue
            out = Path(place) / path.stem
            if arguments.float64:
                print(f"{compare(path, out):.1e} {path.stem}", flush=True)
            else:
                compute(path, models, out)
                print(path.stem, flush=True)
            shutil.rmtree(out)
        os.chdir("/")


if __name__ == "__main__":
    main()
