"""Model soup: the plain average of models, of all or of the best."""

from collections.abc import Sequence
from typing import Annotated

import numpy as np
import numpy.typing as npt

from ...ops.arrays import Array
from ...ops.blend import Blend, blend
from ...ops.shapes import Float
from ..registry import MANY, Interval, Needs, each, merge_method


def coefficients(tasks: int, score: float | Sequence[float], best: int) -> npt.NDArray[np.float64]:
    """Return 1/n for the n models that are kept: the `best` highest scores and what equals the last of them.

    >>> coefficients(3, (0.5, 0.7, 0.5), 1), coefficients(3, (0.5, 0.7, 0.5), 2).round(2)
    (array([0., 1., 0.]), array([0.33, 0.33, 0.33]))
    """
    scores = np.array([each(score, task) for task in range(tasks)])
    last = np.sort(scores)[::-1][min(best or tasks, tasks) - 1]
    kept = np.asarray(scores >= last, dtype=np.float64)
    return kept / float(kept.sum())


def steps(weights: Float[np.ndarray, " task"], *, score: float | Sequence[float], best: int) -> Blend:
    """Return an average of those that are kept."""
    return Blend(coefficients(len(weights), score, best))


@merge_method(
    needs=Needs(space="weight", weighted=False, blend=steps),
    laws=("any_order", "idempotent"),
    paper="Wortsman et al. 2022, arXiv:2203.05482, §2",
)
def model_soup(
    models: Float[Array, " task *shape"],
    weights: Float[Array, " task"],
    *,
    score: Annotated[float | Sequence[float], Interval(-1e6, 1e6)] = 0.0,
    best: Annotated[int, Interval(0, MANY)] = 0,
) -> Float[Array, "*shape"]:
    """Average the models, or the best of them by a score that you give.

        A = {t : score_t is among the `best` highest}
        out = Σ_A θ_t / #A

    Shape: `models` is (task, *shape); the result is (*shape). Weights are not used: `linear` takes some.
    Units: those of the weights. No base is needed.
    Edge:  models that score as high as the last one kept are kept too, so that no order matters; `best: 0` keeps all.
    Same:  `linear` with equal weights.
    Paper: this is the uniform soup, and a soup of the best. The greedy soup (Algorithm 1) has to score soups on the
           way, which no list of scores can tell: it is `taskvec.recipe.soup.greedy_soup`.

    Args:
        models: the models' weights.
        weights: not used.
        score: how good a model is, larger is better; one number under each model.
        best: how many models are kept; 0 keeps all.

    >>> model_soup(np.array([[1.0], [2.0], [9.0]]), np.ones(3), score=(0.8, 0.7, 0.1), best=2)
    array([1.5])
    """
    return blend(models, steps(weights, score=score, best=best))
