"""From a recipe to a model folder: YAML → Recipe → Plan → run → Receipt."""
