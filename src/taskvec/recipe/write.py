"""A recipe as the text of a YAML file."""

from collections.abc import Iterable
from typing import Any

import yaml

from .schema import Recipe
from .yaml_lines import Loader


class _Dumper(yaml.SafeDumper):
    """Lists of numbers stand on one line; words that a reader of YAML 1.1 or 1.2 takes for something else in quotes."""

    def represent_list(self, data: Iterable[Any]) -> yaml.SequenceNode:
        data = list(data)
        plain = all(x is None or isinstance(x, int | float | str) for x in data)
        return self.represent_sequence("tag:yaml.org,2002:seq", data, flow_style=plain)


_EITHER = {*yaml.SafeDumper.yaml_implicit_resolvers, *Loader.yaml_implicit_resolvers}
_Dumper.yaml_implicit_resolvers = {
    first: [r for kind in (yaml.SafeDumper, Loader) for r in kind.yaml_implicit_resolvers.get(first, ())]
    for first in _EITHER
}
_Dumper.add_representer(list, _Dumper.represent_list)


def as_yaml(recipe: Recipe) -> str:
    """Return a recipe in our form, without what is said by default.

    >>> print(as_yaml(Recipe.model_validate({"method": "linear", "models": ["./math", "./code"]})), end="")
    method: linear
    models:
    - model: ./math
    - model: ./code
    """
    return yaml.dump(recipe.written, Dumper=_Dumper, sort_keys=False, allow_unicode=True)
