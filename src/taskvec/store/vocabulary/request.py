"""What may be asked of a vocabulary: whose tokens, which rows for some of them, padding, a chat template."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ...errors import RecipeError

RULES = ("union", "base", "intersection")


@dataclass(frozen=True)
class ModelToken:
    """The row of a token (by its text, or by its number) in one model."""

    model: str
    token: str | None = None
    token_id: int | None = None


@dataclass(frozen=True)
class TokenRule:
    """Which row a token gets where a model lacks it; `force`: in every model.

    source: a ModelToken; a model's path, for the same token there; `zero`; None for what every other token gets.
    """

    source: ModelToken | str | None = None
    force: bool = False


ZERO_ROW = "zero"


@dataclass(frozen=True)
class VocabularyRequest:
    """How the vocabularies of several models become one.

    source: `union`, `base` (the first model's where there is no base), `intersection`, or a folder: its tokenizer.
    tokens: text → rule. A text that is no token yet becomes one.
    pad_to_multiple_of: pad the rows to a multiple of this with the mean row.
    chat_template: `auto`, a built-in name, or a template.
    keep_padding: keep the rows that no token stands in; mergekit does not.
    """

    source: str = "union"
    tokens: Mapping[str, TokenRule] = field(default_factory=dict)
    pad_to_multiple_of: int | None = None
    chat_template: str | None = None
    keep_padding: bool = True

    def __post_init__(self) -> None:
        multiple = self.pad_to_multiple_of
        if multiple is not None and (isinstance(multiple, bool) or not isinstance(multiple, int) or multiple < 1):
            raise RecipeError(f"'pad_to_multiple_of' must be a whole number from 1 on, got {multiple!r}.")
        for text, rule in self.tokens.items():
            if rule.force and rule.source is None:
                raise RecipeError(f"the token {text!r} is forced to no source. Type 'source: …', or remove 'force'.")

    @classmethod
    def parse(
        cls, value: str | Mapping[str, Any] | None, chat_template: str | None = None, keep_padding: bool = True
    ) -> "VocabularyRequest":
        """Read a source (`union`, a path) or a mapping with `source`, `tokens` and `pad_to_multiple_of`.

        Without a value only the chat template is asked for.

        Raises:
            RecipeError: unknown or contradictory keys.
        """
        if value is None or isinstance(value, str):
            return cls(value or "base", chat_template=chat_template, keep_padding=keep_padding)
        _only(value, ("source", "tokens", "pad_to_multiple_of"), "tokenizer")
        tokens = {text: _token_rule(text, rule) for text, rule in (value.get("tokens") or {}).items()}
        source = value.get("source", "union")
        if not isinstance(source, str):
            raise RecipeError(f"'tokenizer: source' must be {', '.join(RULES)} or a folder, got {source!r}.")
        return cls(source, tokens, value.get("pad_to_multiple_of"), chat_template, keep_padding)


def _token_rule(text: str, rule: Any) -> TokenRule:
    where = f"the token {text!r}"
    if not isinstance(rule, Mapping):
        raise RecipeError(f"{where} must have a mapping with 'source' and 'force', got {rule!r}.")
    _only(rule, ("source", "force"), where)
    force = rule.get("force", False)
    if not isinstance(force, bool):
        raise RecipeError(f"{where}: 'force' must be true or false, got {force!r}.")
    return TokenRule(_source(where, rule.get("source")), force)


def _source(where: str, source: Any) -> ModelToken | str | None:
    if source is None or isinstance(source, str):
        return source
    if not isinstance(source, Mapping) or source.get("kind") not in ("zero", "model_token"):
        raise RecipeError(
            f"{where}: 'source' must be a model, or have 'kind: zero' or 'kind: model_token', got {source!r}."
        )
    if source["kind"] == "zero":
        _only(source, ("kind",), where)
        return ZERO_ROW
    _only(source, ("kind", "model", "token", "token_id"), where)
    if not isinstance(source.get("model"), str) or (source.get("token") is None) == (source.get("token_id") is None):
        raise RecipeError(f"{where}: 'kind: model_token' takes a 'model' and either a 'token' or a 'token_id'.")
    return ModelToken(source["model"], source.get("token"), source.get("token_id"))


def _only(given: Mapping[str, Any], known: tuple[str, ...], where: str) -> None:
    if unknown := [key for key in given if key not in known]:
        raise RecipeError(f"{where}: unknown key {unknown[0]!r}. Known: {', '.join(known)}.")
