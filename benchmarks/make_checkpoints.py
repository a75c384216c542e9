"""Make a base model and fine-tunes of it, of any size, as sharded bf16 folders in the Llama layout.

    python benchmarks/make_checkpoints.py /data/ckpt --hidden 2048 --layers 16 --models 4

Each fine-tune is the base plus a rank-16 part of 2 % of the weight's norm plus noise of 1 %, rounded to bf16, which
gives deltas the look of real ones: correlated, small, and full of exactly tied magnitudes. One shard is held in
memory at a time. `--sparse` writes files of the same layout whose data are holes (all zeros), so that sizes far
beyond the disk's can be tried.
"""

import argparse
import json
import os
import struct
from pathlib import Path

import torch
from safetensors.torch import save_file

RANK, LOW_RANK_SHARE, NOISE_SHARE = 16, 0.02, 0.01


def layout(hidden: int, layers: int, intermediate: int, vocab: int) -> dict[str, tuple[int, ...]]:
    """Return name -> shape of an untied Llama model with as many key-value heads as heads."""
    shapes: dict[str, tuple[int, ...]] = {"model.embed_tokens.weight": (vocab, hidden)}
    for i in range(layers):
        at = f"model.layers.{i}."
        shapes |= {at + f"self_attn.{p}_proj.weight": (hidden, hidden) for p in "qkvo"}
        shapes |= {at + f"mlp.{p}_proj.weight": (intermediate, hidden) for p in ("gate", "up")}
        shapes[at + "mlp.down_proj.weight"] = (hidden, intermediate)
        shapes |= {at + f"{p}_layernorm.weight": (hidden,) for p in ("input", "post_attention")}
    return shapes | {"model.norm.weight": (hidden,), "lm_head.weight": (vocab, hidden)}


def split(shapes: dict[str, tuple[int, ...]], shard_bytes: int) -> list[list[str]]:
    """Cut the names, in order, into shards of at most `shard_bytes` (or one tensor)."""
    shards: list[list[str]] = [[]]
    room = shard_bytes
    for name, shape in shapes.items():
        size = 2 * torch.Size(shape).numel()
        if shards[-1] and size > room:
            shards.append([])
            room = shard_bytes
        shards[-1].append(name)
        room -= size
    return shards


def base_tensor(name: str, shape: tuple[int, ...], position: int) -> torch.Tensor:
    chance = torch.Generator().manual_seed(position)
    if len(shape) == 1:
        return (1 + 0.1 * torch.randn(shape, generator=chance)).bfloat16()
    return (torch.randn(shape, generator=chance) * 0.02).bfloat16()


def tuned_tensor(base: torch.Tensor, model: int, position: int) -> torch.Tensor:
    chance = torch.Generator().manual_seed(1_000_003 * model + position)
    weight = base.float()
    scale = weight.norm() / weight.numel() ** 0.5
    weight += NOISE_SHARE * scale * torch.randn(base.shape, generator=chance)
    if base.ndim == 2:
        left = torch.randn(base.shape[0], RANK, generator=chance)
        right = torch.randn(RANK, base.shape[1], generator=chance)
        weight.addmm_(left, right, alpha=float(LOW_RANK_SHARE * scale / RANK**0.5))
    return weight.bfloat16()


def write_sparse(path: Path, names: list[str], shapes: dict[str, tuple[int, ...]]) -> None:
    """Write a safetensors file whose data section is a hole."""
    header: dict[str, object] = {"__metadata__": {"format": "pt"}}
    end = 0
    for name in names:
        begin, end = end, end + 2 * torch.Size(shapes[name]).numel()
        header[name] = {"dtype": "BF16", "shape": shapes[name], "data_offsets": [begin, end]}
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with path.open("wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        file.truncate(8 + len(text) + end)


def write_model(folder: Path, model: int, args: argparse.Namespace) -> None:
    """Write base (model 0) or fine-tune number `model`."""
    shapes = layout(args.hidden, args.layers, args.intermediate, args.vocab)
    shards = split(shapes, args.shard_bytes)
    positions = {name: i for i, name in enumerate(shapes)}
    folder.mkdir(parents=True, exist_ok=True)
    weight_map, total = {}, 0
    for i, names in enumerate(shards, 1):
        file = f"model-{i:05d}-of-{len(shards):05d}.safetensors"
        weight_map |= dict.fromkeys(names, file)
        total += sum(2 * torch.Size(shapes[name]).numel() for name in names)
        if args.sparse:
            write_sparse(folder / file, names, shapes)
            continue
        tensors = {name: base_tensor(name, shapes[name], positions[name]) for name in names}
        if model:
            tensors = {name: tuned_tensor(t, model, positions[name]) for name, t in tensors.items()}
        save_file(tensors, folder / file, metadata={"format": "pt"})
    index = {"metadata": {"total_size": total}, "weight_map": weight_map}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index, indent=2))
    config = {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "hidden_size": args.hidden,
        "intermediate_size": args.intermediate,
        "num_hidden_layers": args.layers,
        "num_attention_heads": args.hidden // 64,
        "num_key_value_heads": args.hidden // 64,
        "vocab_size": args.vocab,
        "rms_norm_eps": 1e-5,
        "tie_word_embeddings": False,
        "torch_dtype": "bfloat16",
    }
    (folder / "config.json").write_text(json.dumps(config, indent=2))


def main() -> None:
    """Make `out/base`, `out/m1`, … and print how large each is."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--hidden", type=int, default=2048)
    parser.add_argument("--layers", type=int, default=16)
    parser.add_argument("--intermediate", type=int, default=5632)
    parser.add_argument("--vocab", type=int, default=32000)
    parser.add_argument("--models", type=int, default=4)
    parser.add_argument("--shard-bytes", type=int, default=1_000_000_000)
    parser.add_argument("--sparse", action="store_true", help="holes instead of data")
    args = parser.parse_args()
    for model in range(args.models + 1):
        folder = args.out / (f"m{model}" if model else "base")
        write_model(folder, model, args)
        size = sum(os.path.getsize(p) for p in folder.glob("*.safetensors"))
        print(f"{folder}: {size / 1e9:.3f} GB")


if __name__ == "__main__":
    main()
