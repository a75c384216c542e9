"""The methods that take matrices apart: the authors' definitions on every kind of matrix, and their laws."""

import tracemalloc
from collections.abc import Callable, Sequence
from itertools import permutations
from typing import Any

import numpy as np
import pytest
import torch

import taskvec as tv
from reference import matrix_methods as slow
from taskvec.merge import METHODS
from taskvec.merge.matrices import role_of

Array = np.ndarray
T = 4


def near_to(merged: Any, expected: Array) -> None:
    """Compare within the promised 1e-4 of the norm of the merged delta."""
    off = np.linalg.norm(np.asarray(merged, np.float64) - expected)
    assert off <= 1e-4 * np.linalg.norm(expected) + 1e-12


def matrices(kind: str, shape: tuple[int, int], rng: np.random.Generator) -> Array:
    """Task vectors like those of fine-tuned models, some with a steep spectrum, of low rank, or zero."""
    rows, columns = shape
    rank = {"low rank": 3, "one": 1}.get(kind, min(shape))
    out = []
    for _ in range(T):
        u = np.linalg.qr(rng.standard_normal((rows, min(shape))))[0][:, :rank]
        v = np.linalg.qr(rng.standard_normal((columns, min(shape))))[0][:, :rank]
        s = np.arange(1, rank + 1.0) ** {"steep": -1.5, "flat": -0.1}.get(kind, -0.6)
        out.append(1e-2 * (u * s) @ v.T)
    if kind == "one is zero":
        out[1][:] = 0
    return np.stack(out).astype(np.float32)


SHAPES = [(60, 60), (120, 40), (40, 120), (300, 41), (7, 90), (130, 128)]
KINDS = ["usual", "flat", "steep", "one is zero", "low rank", "one"]
FULL: dict[str, Callable[[Sequence[Array]], Array]] = {
    "tsv_m": slow.tsv_m,
    "iso_c": slow.iso_c,
    "iso_cts": slow.iso_cts,
    "cart": slow.cart,
    "subspace_boosting": slow.subspace_boosting,
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("name", FULL)
def test_the_authors_definition(name: str, shape: tuple[int, int], kind: str, rng: np.random.Generator) -> None:
    deltas = matrices(kind, shape, rng)
    expected = FULL[name](list(deltas))
    near_to(METHODS[name].function(deltas, np.ones(T)), expected)
    near_to(METHODS[name].function(torch.from_numpy(deltas), np.ones(T)), expected)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("settings", [{"share": 0.1}, {"share": 0.2}, {"share": 0.01}], ids=str)
def test_tsv_m_with_another_share(shape: tuple[int, int], settings: dict[str, float], rng: np.random.Generator) -> None:
    deltas = matrices("usual", shape, rng)
    near_to(tv.tsv_m(deltas, np.ones(T), **settings), slow.tsv_m(list(deltas), **settings))


@pytest.mark.parametrize("common", [0.0, 0.3, 0.5, 1.0])
def test_iso_cts_with_another_common_share(common: float, rng: np.random.Generator) -> None:
    deltas = matrices("usual", (70, 50), rng)
    near_to(tv.iso_cts(deltas, np.ones(T), common=common), slow.iso_cts(list(deltas), common))


def test_iso_cts_with_nothing_but_common_directions_is_iso_c(rng: np.random.Generator) -> None:
    deltas = matrices("usual", (30, 50), rng)
    near_to(tv.iso_cts(deltas, np.ones(T), common=1.0), tv.iso_c(deltas, np.ones(T)))


@pytest.mark.parametrize(("share", "strength"), [(0.08, 0.5), (0.3, 2.0), (1.0, 1.0)])
def test_cart_with_other_settings(share: float, strength: float, rng: np.random.Generator) -> None:
    deltas = matrices("usual", (50, 70), rng)
    merged = tv.cart(deltas, np.ones(T), share=share, strength=strength)
    near_to(merged, slow.cart(list(deltas), share, strength))
    if share == 1:
        near_to(merged, deltas.astype(np.float64).mean(0))


@pytest.mark.parametrize("beta", [0.0, 0.02, 0.1, 0.5, 0.99])
def test_subspace_boosting_with_another_beta(beta: float, rng: np.random.Generator) -> None:
    deltas = matrices("usual", (50, 70), rng)
    near_to(tv.subspace_boosting(deltas, np.ones(T), beta=beta), slow.subspace_boosting(list(deltas), beta))


def test_subspace_boosting_to_the_end_is_the_sum(rng: np.random.Generator) -> None:
    deltas = matrices("steep", (20, 30), rng)
    near_to(tv.subspace_boosting(deltas, np.ones(T), beta=1.0), deltas.astype(np.float64).sum(0))


@pytest.mark.parametrize("shape", SHAPES[:4], ids=str)
@pytest.mark.parametrize("kind", ["usual", "low rank", "one is zero"])
def test_wudi_takes_the_authors_steps(shape: tuple[int, int], kind: str, rng: np.random.Generator) -> None:
    deltas = matrices(kind, shape, rng)
    near_to(tv.wudi(deltas, np.ones(T), steps=60), slow.wudi(list(deltas), 60))


def test_wudi_takes_all_of_its_steps(rng: np.random.Generator) -> None:
    deltas = matrices("usual", (24, 36), rng)
    near_to(tv.wudi(deltas, np.ones(T)), slow.wudi(list(deltas)))


@pytest.mark.parametrize("kind", ["usual", "low rank", "one is zero"])
def test_wudi_exact_is_below_every_other_point(kind: str, rng: np.random.Generator) -> None:
    deltas = matrices(kind, (40, 30), rng)
    exact = np.asarray(tv.wudi(deltas, np.ones(T), solve="exact"), np.float64)
    best = slow.wudi_loss(exact, list(deltas))
    assert best <= slow.wudi_loss(slow.wudi(list(deltas), 300), list(deltas))
    for _ in range(20):
        step = 1e-3 * rng.standard_normal(exact.shape)
        assert slow.wudi_loss(exact + step, list(deltas)) >= best * (1 - 1e-6)


def test_wudi_exact_leaves_what_no_task_sees(rng: np.random.Generator) -> None:
    """Task vectors of one column alone: their sum is already there, and no other column is touched."""
    deltas = np.zeros((2, 5, 4), np.float32)
    deltas[:, :, 2] = rng.standard_normal((2, 5))
    merged = tv.wudi(deltas, np.ones(2), solve="exact")
    assert not merged[:, [0, 1, 3]].any()
    assert merged[:, 2].any()


@pytest.mark.parametrize("shape", [(30, 40), (40, 12), (6, 50)], ids=str)
@pytest.mark.parametrize("density", [1.0, 0.3])
@pytest.mark.parametrize("elect", [True, False])
def test_knots_is_the_authors_definition_with_each_tasks_own_weight(
    shape: tuple[int, int], density: float, elect: bool, rng: np.random.Generator
) -> None:
    deltas, weights = matrices("usual", shape, rng), np.array([0.5, -0.1, 2.0, 1.0])
    merged = tv.knots(deltas, weights, density=density, combine="mean" if elect else "add")
    near_to(merged, slow.knots(list(deltas), weights.tolist(), density, elect))


def test_knots_of_all_entries_added_is_the_weighted_sum(rng: np.random.Generator) -> None:
    """The authors' code gives the first weight to every task: with [.5, .1] a sum five times too large."""
    deltas = np.ones((2, 3, 5), np.float32) * np.array([1.0, 10.0])[:, None, None].astype(np.float32)
    merged = tv.knots(deltas, np.array([0.5, 0.1]), keep="all", combine="add")
    np.testing.assert_allclose(merged, 1.5, rtol=1e-6)


def test_knots_draws_with_its_chance(rng: np.random.Generator) -> None:
    deltas = matrices("usual", (30, 40), rng)
    drawn = [
        tv.knots(deltas, np.ones(T), keep="random", density=0.5, chance=tv.Chance(seed, tuple("abcd"), "x")).tobytes()
        for seed in (0, 0, 1)
    ]
    assert drawn[0] == drawn[1] != drawn[2]


@pytest.mark.parametrize("name", ["iso_c", "subspace_boosting", "cart", "tsv_m", "iso_cts"])
def test_of_low_rank_only_the_real_directions_count(name: str, rng: np.random.Generator) -> None:
    """The authors' code gives directions that are rounding the strength of the others."""
    deltas = matrices("low rank", (50, 40), rng)
    merged = np.asarray(METHODS[name].function(deltas, np.ones(T)), np.float64)
    span = np.linalg.svd(np.concatenate(list(deltas), axis=1))[0][:, : 3 * T]
    assert np.linalg.norm(merged - span @ (span.T @ merged)) <= 1e-4 * np.linalg.norm(merged)
    if name in ("iso_c", "subspace_boosting"):
        s = np.linalg.svd(merged, compute_uv=False)
        np.testing.assert_allclose(s[: 3 * T], s[0], rtol=1e-3)


def test_a_zero_task_moves_the_authors_result(rng: np.random.Generator) -> None:
    """Vectors of a singular value of 0 are arbitrary, and their code whitens them with the real ones."""
    deltas = matrices("one is zero", (60, 60), rng)
    parts = [np.linalg.svd(x, full_matrices=False) for x in deltas.astype(np.float64)]
    u, s = np.concatenate([p[0][:, :15] for p in parts], axis=1), np.concatenate([p[1][:15] for p in parts])
    vt = np.concatenate([p[2][:15] for p in parts])
    theirs = slow.whole_procrustes(u) @ np.diag(s) @ slow.whole_procrustes(vt)
    without = slow.tsv_m([x for x in deltas if x.any()], share=0.25)
    assert np.linalg.norm(theirs - without) > 0.5 * np.linalg.norm(without)
    near_to(tv.tsv_m(deltas, np.ones(T)), without)


@pytest.mark.parametrize("name", [*FULL, "wudi", "knots"])
def test_nothing_comes_of_zeros(name: str) -> None:
    for shape in ((5, 7), (7, 5), (1, 4), (4, 1), (6, 6)):
        assert not np.any(METHODS[name].function(np.zeros((3, *shape), np.float32), np.ones(3)))


@pytest.mark.parametrize("name", [*FULL, "wudi", "knots"])
def test_a_weight_is_a_factor_of_its_task_vector(name: str, rng: np.random.Generator) -> None:
    deltas, weights = matrices("usual", (30, 40), rng), np.array([0.5, -2.0, 0.0, 1.5])
    # knots by default takes a mean of those that agree, whose weights are shares
    given = {"keep": "all", "combine": "add"} if name == "knots" else {}
    merged = METHODS[name].function(deltas, weights, **given)
    scaled = (weights[:, None, None] * deltas).astype(np.float32)
    near_to(merged, np.asarray(METHODS[name].function(scaled, np.ones(T), **given), np.float64))


@pytest.mark.parametrize("name", [*FULL, "wudi", "knots"])
def test_the_order_of_the_tasks_does_not_matter(name: str, rng: np.random.Generator) -> None:
    deltas = matrices("usual", (25, 31), rng)[:3]
    first = np.asarray(METHODS[name].function(deltas, np.ones(3)), np.float64)
    for order in permutations(range(3)):
        near_to(METHODS[name].function(deltas[list(order)], np.ones(3)), first)


@pytest.mark.parametrize("name", FULL)
def test_turned_inputs_and_outputs_turn_the_result(name: str, rng: np.random.Generator) -> None:
    """The methods know no axes: an orthogonal change of basis on either side goes through. (Adam's steps do.)"""
    deltas = matrices("usual", (30, 20), rng).astype(np.float64)
    left, right = (np.linalg.qr(rng.standard_normal((n, n)))[0] for n in (30, 20))
    near_to(
        METHODS[name].function(left @ deltas @ right.T, np.ones(T)),
        left @ METHODS[name].function(deltas, np.ones(T)) @ right.T,
    )


def test_wudi_exact_knows_no_axes_and_no_scale(rng: np.random.Generator) -> None:
    deltas = matrices("usual", (12, 9), rng).astype(np.float64)
    left, right = (np.linalg.qr(rng.standard_normal((n, n)))[0] for n in (12, 9))
    exact = tv.wudi(deltas, np.ones(T), solve="exact")
    near_to(tv.wudi(1e3 * left @ deltas @ right.T, np.ones(T), solve="exact"), 1e3 * left @ exact @ right.T)


@pytest.mark.parametrize("name", ["tsv_m", "cart"])
def test_one_task_with_all_of_its_rank_comes_back(name: str, rng: np.random.Generator) -> None:
    deltas = matrices("usual", (20, 30), rng)[:1]
    near_to(METHODS[name].function(deltas, np.ones(1), share=1.0), deltas[0].astype(np.float64))


def test_what_is_a_matrix() -> None:
    names = {
        "model.layers.3.self_attn.q_proj.weight": ((8, 8), "matrix"),
        "encoder.layer.0.intermediate.dense.weight": ((16, 8), "matrix"),
        "model.vision_embed_tokens.img_processor.layers.0.q_proj.weight": ((8, 8), "matrix"),
        "time_embedding.linear_1.weight": ((16, 8), "matrix"),
        "embeddings_project.weight": ((16, 8), "matrix"),
        "patch_embed.proj.weight": ((8, 588), "matrix"),
        "model.embed_tokens.weight": ((100, 8), "table"),
        "lm_head.weight": ((100, 8), "table"),
        "output.weight": ((100, 8), "table"),
        "cls.predictions.decoder.weight": ((100, 8), "table"),
        "proj_out.weight": ((100, 8), "table"),
        "model.shared_head.head.weight": ((100, 8), "table"),
        "score.weight": ((3, 8), "table"),
        "transformer.wte.weight": ((100, 8), "table"),
        "transformer.wpe.weight": ((16, 8), "table"),
        "embeddings.position_embeddings.weight": ((512, 8), "table"),
        "block.0.layer.0.SelfAttention.relative_attention_bias.weight": ((32, 8), "table"),
        "attn.relative_position_bias_table": ((49, 8), "table"),
        "visual.positional_embedding": ((50, 8), "table"),
        "visual.proj": ((8, 6), "turned"),
        "text_projection": ((8, 6), "turned"),
        "embeddings.position_embeddings": ((1, 50, 8), "vector"),
        "embeddings.cls_token": ((1, 1, 8), "vector"),
        "embeddings.patch_embeddings.projection.weight": ((8, 3, 14, 14), "convolution"),
        "network._blocks.0._project_conv.weight": ((16, 32, 1, 1), "convolution"),
        "model.layers.0.mlp.experts.gate_up_proj": ((8, 16, 32), "experts"),
        "model.layers.0.mlp.experts.gate_up_proj_bias": ((8, 32), "vector"),
        "backbone.layers.0.mixer.A_log": ((16, 8), "vector"),
        "r_w_bias": ((4, 8), "vector"),
        "model.norm.weight": ((8,), "vector"),
        "logit_scale": ((), "vector"),
    }
    assert {name: role_of(shape, name) for name, (shape, _) in names.items()} == {n: r for n, (_, r) in names.items()}


@pytest.mark.parametrize("name", [*FULL, "wudi", "knots"])
def test_other_tensors_get_the_mean_or_the_sum(name: str, rng: np.random.Generator) -> None:
    deltas, weights = rng.standard_normal((T, 6, 5)), np.array([1.0, 2.0, -1.0, 0.5])
    total = np.tensordot(weights, deltas, 1)
    method = METHODS[name].function
    for role in ("vector", "table", "convolution", "experts"):
        np.testing.assert_allclose(method(deltas, weights, role=role), total / T, rtol=1e-12)
        np.testing.assert_allclose(method(deltas, weights, role=role, others="sum"), total, rtol=1e-12)
    np.testing.assert_allclose(method(deltas, weights, role="matrix", spectral="none"), total / T, rtol=1e-12)
    taken = method(deltas, weights, role="matrix")
    for role, spectral in (("table", "tables"), ("convolution", "all"), ("table", "all")):
        assert np.array_equal(method(deltas, weights, role=role, spectral=spectral), taken)


def test_a_convolution_is_taken_apart_as_rows_against_the_rest(rng: np.random.Generator) -> None:
    deltas = matrices("usual", (12, 18), rng)
    merged = tv.tsv_m(deltas.reshape(T, 12, 2, 9), np.ones(T), spectral="all")
    assert np.array_equal(merged.reshape(12, 18), tv.tsv_m(deltas, np.ones(T)))


@pytest.mark.parametrize("name", [*FULL, "wudi", "knots"])
def test_a_layer_that_is_stored_in_out_is_merged_as_its_transpose(name: str, rng: np.random.Generator) -> None:
    deltas = matrices("usual", (20, 33), rng)
    given = {"steps": 20} if name == "wudi" else {}
    turned = METHODS[name].function(np.ascontiguousarray(deltas.transpose(0, 2, 1)), np.ones(T), role="turned", **given)
    near_to(turned.T, np.asarray(METHODS[name].function(deltas, np.ones(T), **given), np.float64))


@pytest.mark.parametrize("part", [0.1, 0.01])
@pytest.mark.parametrize("tasks", [3, 8])
@pytest.mark.parametrize("name", ["tsv_m", "iso_cts"])
def test_tasks_that_share_most_of_what_they_change(
    name: str, tasks: int, part: float, rng: np.random.Generator
) -> None:
    """Vectors of different tasks are nearly the same, and what is left of them decides the polar factors."""
    common, *own = (matrices("usual", (96, 60), rng)[0].astype(np.float64) for _ in range(tasks + 1))
    deltas = np.stack([common + part * x for x in own]).astype(np.float32)
    near_to(METHODS[name].function(deltas, np.ones(tasks)), FULL[name](list(deltas)))


class OneByOne:
    """Tasks that are made when asked for, as the stream gives them."""

    def __init__(self, deltas: Array) -> None:
        self.deltas, self.shape, self.dtype, self.asked = deltas, deltas.shape, deltas.dtype, 0

    def __len__(self) -> int:
        return len(self.deltas)

    def __getitem__(self, task: int) -> Array:
        self.asked += 1
        return self.deltas[task].copy()


@pytest.mark.parametrize("shape", [(300, 300), (1200, 150), (150, 1200)], ids=str)
@pytest.mark.parametrize(
    ("name", "given"),
    [
        *((name, {}) for name in FULL),
        ("wudi", {"steps": 2}),
        ("wudi", {"solve": "exact"}),
        ("knots", {}),
        ("knots", {"keep": "random", "density": 1.0}),
        ("tsv_m", {"share": 0.9}),
        ("tsv_m", {"share": 0.3}),
        ("iso_cts", {"common": 0.1}),
        ("cart", {"share": 0.9}),
    ],
    ids=str,
)
def test_a_method_holds_no_more_than_it_says(
    name: str, given: dict[str, Any], shape: tuple[int, int], rng: np.random.Generator
) -> None:
    method, tasks = METHODS[name], OneByOne(rng.standard_normal((6, *shape)).astype(np.float32))
    method.function(tasks, np.ones(6), **given)  # what is imported on first use is not counted
    assert tasks.asked % 6 == 0
    tracemalloc.start()
    try:
        method.function(tasks, np.ones(6), **given)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak <= 4 * method.needs.holds(6, *shape, method.check(given))
