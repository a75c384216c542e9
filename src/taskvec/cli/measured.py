"""Statistics that a recipe asks for by naming tasks, on the way to its merge."""

from ..merge import find
from ..progress import Progress
from ..recipe.plan import check_request
from ..recipe.schema import Recipe
from .show import progress, say


def measured(recipe: Recipe, quiet: bool, json: bool, device: str = "auto") -> Recipe:
    """Return a recipe with the statistics of its models: found again, or measured now, once it can be merged."""
    if not recipe.unmeasured:
        return recipe
    from ..suite.statistics import with_statistics

    to_be = {id(m): "to be measured" for m in recipe.unmeasured}
    models = [m.model_copy(update={"statistics": to_be.get(id(m), m.statistics)}) for m in recipe.models]
    check_request(recipe.model_copy(update={"models": models}), find(recipe.method))

    def tell(text: str) -> None:
        if not quiet:
            say(f"note: {text}")

    shown: Progress = progress(quiet or json)
    return with_statistics(recipe, shown, tell, device=device)


def found(recipe: Recipe) -> tuple[Recipe, list[str], bool]:
    """Return a recipe with the statistics that are there, what is said of all, and whether all are there."""
    if not recipe.unmeasured:
        return recipe, [], True
    from ..suite.statistics import jobs_of, with_places

    jobs = jobs_of(recipe)
    return with_places(recipe, jobs), [job.said for job in jobs], all(job.is_done for job in jobs)
