"""Where a tensor stands, and what a value is there."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from taskvec.errors import RecipeError
from taskvec.recipe.depth import Depth, in_layers, matches, unmatched
from taskvec.store.layers import layer_of


@pytest.mark.parametrize(
    ("name", "place"),
    [
        ("model.layers.12.mlp.up_proj.weight", ("model.layers", 12)),
        ("h.0.attn.c_attn.weight", ("h", 0)),
        ("encoder.layer.3.output.dense.bias", ("encoder.layer", 3)),
        ("layers.7", ("layers", 7)),
        ("model.layers.4.experts.31.w1", ("model.layers", 4)),
        ("model.norm.weight", None),
        ("conv1.weight", None),
        ("fc2.0x", None),
    ],
)
def test_layers_are_found_by_the_first_number(name: str, place: tuple[str, int] | None) -> None:
    assert layer_of(name) == place


NAMES = ["embed.weight", *(f"enc.{i}.w" for i in range(5)), *(f"dec.{i}.w" for i in range(3)), "head.weight"]


@pytest.mark.parametrize(
    ("value", "name", "expected"),
    [
        ([0, 1], "enc.0.w", 0),
        ([0, 1], "enc.1.w", 0.25),
        ([0, 1], "enc.4.w", 1),
        ([0, 1], "dec.1.w", 0.5),
        ([0, 10, 0], "enc.1.w", 5),
        ([0, 10, 0], "enc.2.w", 10),
        ([0, 10, 0], "dec.2.w", 0),
        ([3], "enc.2.w", 3),
        ([7, 1], "embed.weight", 7),
        ([7, 1], "head.weight", 7),
        (0.4, "enc.2.w", 0.4),
        ("tensor", "enc.2.w", "tensor"),
        (True, "enc.2.w", True),
    ],
)
def test_a_list_is_interpolated_over_each_stack(value: object, name: str, expected: object) -> None:
    assert Depth(NAMES).at(value, name) == expected


def test_a_single_layer_is_the_last_one() -> None:
    assert Depth(["h.0.w"]).at([1, 5], "h.0.w") == 5


@given(st.lists(st.floats(-10, 10), min_size=1, max_size=6), st.integers(1, 9))
def test_both_ends_are_met_and_nothing_lies_outside(values: list[float], layers: int) -> None:
    depth = Depth([f"h.{i}.w" for i in range(layers)])
    got = [depth.at(values, f"h.{i}.w") for i in range(layers)]
    assert got[-1] == values[-1]
    assert layers == 1 or got[0] == values[0]
    assert all(min(values) - 1e-9 <= x <= max(values) + 1e-9 for x in got)


@pytest.mark.parametrize(
    ("layers", "inside"),
    [(2, [2]), ("2", [2]), ("1-3", [1, 2, 3]), (" 0 - 1 ", [0, 1]), (None, [0, 1, 2, 3, 4, None]), ("9", [])],
)
def test_ranges_hold_both_ends(layers: str | int | None, inside: list[int | None]) -> None:
    names = {**{i: f"h.{i}.w" for i in range(5)}, None: "norm"}
    assert [i for i, name in names.items() if in_layers(name, layers)] == inside


@pytest.mark.parametrize("layers", ["3-1", "x", "-1", "1-", "1-2-3", "", "1.5", -1])
def test_what_is_no_range_is_refused(layers: str | int) -> None:
    with pytest.raises(RecipeError, match=r"'layers' must be a layer or a range such as '0-3', got"):
        in_layers("h.0.w", layers)


def test_globs_match_whole_names_and_their_case() -> None:
    assert matches("model.layers.0.mlp.w", "*.mlp.*")
    assert matches("h.3.w", "h.[0-4].?")
    assert not matches("model.layers.0.mlp.w", "mlp")
    assert not matches("Head.weight", "head.*")
    assert unmatched(["*.w", "z*", "y"], ["a.w"]) == "z*"
    assert unmatched(["*.w"], ["a.w"]) is None


@pytest.mark.parametrize(
    ("name", "expected"),
    [("model.embed_tokens.weight", 0), ("h.0.w", 0), ("h.1.w", 0.5), ("h.2.w", 1), ("lm_head.weight", 1), ("ln_f", 1)],
)
def test_the_way_through_a_model_ends_after_its_layers(name: str, expected: float) -> None:
    assert Depth(["h.0.w", "h.1.w", "h.2.w"]).through(name) == expected
