"""The model card of an output: front matter that the hub reads, and how to make the same model again."""

from collections.abc import Sequence

from .._version import __version__


def card(
    *,
    title: str,
    base_models: Sequence[str],
    method: str,
    recipe: str,
    facts: Sequence[str],
    library: str = "transformers",
) -> str:
    """Return the text of README.md.

    The front matter holds `base_model`, `base_model_relation: merge` and `tags`, as huggingface_hub.ModelCard
    parses it; the body holds the recipe itself.
    """
    front = ["---", "base_model:", *(f"- {_quoted(name)}" for name in base_models)]
    front += ["base_model_relation: merge", f"library_name: {library}", "tags:", "- merge", "- taskvec", "---"]
    body = [
        f"# {title}",
        "",
        f"Merged with taskvec {__version__} by the method `{method}`.",
        "",
        *(f"- {fact}" for fact in facts),
        "",
        "`receipt.json` holds the inputs' fingerprints, versions and the SHA-256 of every file; "
        "`taskvec verify` checks them.",
        "",
        "## Recipe",
        "",
        "```yaml",
        recipe.rstrip(),
        "```",
        "",
    ]
    return "\n".join([*front, *body])


def _quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'
