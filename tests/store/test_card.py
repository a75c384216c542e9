"""The model card, as huggingface_hub reads it."""

import yaml
from huggingface_hub import ModelCard

from taskvec.store.card import card

RECIPE = "method: ties\nbase: ./base\nmodels:\n- model: ./math\n"


def make(**changes: object) -> ModelCard:
    facts: dict = {
        "title": "merged",
        "base_models": ["org/base", "math"],
        "method": "ties",
        "recipe": RECIPE,
        "facts": ["two models"],
    }
    return ModelCard(card(**(facts | changes)))


def test_what_the_hub_reads() -> None:
    data = make().data
    assert data.base_model == ["org/base", "math"]
    assert "merge" in data.tags
    assert data.library_name == "transformers"
    assert data.to_dict()["base_model_relation"] == "merge"


def test_the_recipe_stands_inside_and_can_be_read_back() -> None:
    block = make().text.split("```yaml\n")[1].split("```")[0]
    assert yaml.safe_load(block) == yaml.safe_load(RECIPE)


def test_names_are_quoted_so_that_none_breaks_the_front_matter() -> None:
    names = ['a "b" \\c', "yes", "1.0", "x: y", "# no", "- dash", "Übung"]
    assert make(base_models=names).data.base_model == names
