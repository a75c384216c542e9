"""The tree is scipy's average linkage; the map is the best plane through the base."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.cluster.hierarchy import cophenet, linkage
from scipy.spatial.distance import squareform

from taskvec.diagnose.clusters import Tree, cluster, task_map
from taskvec.ops.gram import cosines, gram


def _far(tree: Tree, models: int) -> np.ndarray:
    """Return at which height each two models are first together."""
    members = [(t,) for t in range(models)]
    far = np.zeros((models, models))
    for (a, b), height in zip(tree.joined, tree.heights, strict=True):
        for i in members[a]:
            for j in members[b]:
                far[i, j] = far[j, i] = height
        members.append(members[a] + members[b])
    return far


@given(st.integers(2, 12), st.integers(0, 2**32 - 1))
def test_the_tree_is_that_of_scipy(models: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    cos = cosines(gram(rng.normal(size=(models, 5)) + rng.normal(size=5)))
    tree = cluster(cos)
    theirs = linkage(squareform(1 - cos, checks=False), "average")
    assert np.allclose(tree.heights, theirs[:, 2])
    assert np.allclose(_far(tree, models), squareform(cophenet(theirs)))


@given(st.integers(1, 12), st.integers(0, 2**32 - 1))
def test_no_two_branches_cross(models: int, seed: int) -> None:
    tree = cluster(cosines(gram(np.random.default_rng(seed).normal(size=(models, 4)))))
    assert sorted(tree.order) == list(range(models))
    members = [{t} for t in range(models)]
    for a, b in tree.joined:
        members.append(members[a] | members[b])
        places = sorted(tree.order.index(t) for t in members[-1])
        assert places == list(range(places[0], places[0] + len(places)))


def test_branches_are_turned_so_that_near_ends_meet() -> None:
    cos = np.eye(4)
    for i, j, value in [(0, 1, 0.9), (2, 3, 0.8), (0, 3, 0.5)]:
        cos[i, j] = cos[j, i] = value
    assert cluster(cos).order == (1, 0, 3, 2)


def test_copies_are_joined_first_and_opposites_last() -> None:
    cos = cosines(gram(np.array([[1.0, 0.0], [-1.0, 0.0], [1.0, 0.0]])))
    tree = cluster(cos)
    assert tree.joined[0] == (0, 2)
    assert tree.heights == pytest.approx((0.0, 2.0))


def test_two_vectors_keep_their_inner_products_on_the_map(rng: np.random.Generator) -> None:
    products = gram(rng.normal(size=(2, 30)))
    found = task_map(products)
    assert np.allclose(found.points @ found.points.T, products)
    assert found.shares.sum() == pytest.approx(1)


def test_the_map_is_the_best_plane_through_the_base(rng: np.random.Generator) -> None:
    vectors = rng.normal(size=(9, 40)) + rng.normal(size=40)
    found = task_map(gram(vectors))
    values = np.linalg.svd(vectors, compute_uv=False) ** 2
    assert np.allclose(found.shares, values[:2] / values.sum())
    assert np.allclose((found.points**2).sum(), values[:2].sum())
    assert (np.linalg.norm(found.points, axis=1) <= np.linalg.norm(vectors, axis=1) + 1e-9).all()


def test_vectors_of_zeros_lie_at_the_base() -> None:
    found = task_map(gram(np.array([[3.0, 4.0], [0.0, 0.0]])))
    assert np.allclose(found.points, [[5.0, 0.0], [0.0, 0.0]])
    assert task_map(np.zeros((3, 3))).shares.tolist() == [0.0, 0.0]


def test_the_map_does_not_depend_on_the_sign_that_eigenvectors_happen_to_have(rng: np.random.Generator) -> None:
    vectors = np.abs(rng.normal(size=(5, 20)))
    assert task_map(gram(vectors)).points[:, 0].min() > 0
