"""Known models: folders, task vectors, a catalogue; and what is no set of known models."""

from pathlib import Path

import pytest

import encoders
from taskvec import FormatError, MismatchError, RecipeError
from taskvec.locating.known import known_in, known_models
from taskvec.locating.realise import recipe_of
from taskvec.recipe.plan import make_plan
from taskvec.store import diff
from taskvec.store.catalog import Catalog


def test_folders_and_vectors_are_called_by_their_last_names(folder: Path, tmp_path: Path) -> None:
    diff(folder / "base", folder / "pets").save(tmp_path / "cats.tv")
    known = known_models(str(folder / "base"), [str(folder / "taste"), str(tmp_path / "cats.tv")])
    assert known.names == ("taste", "cats")
    assert known.models["cats"] == str(tmp_path / "cats.tv")
    assert known.without("taste").names == ("cats",)
    with pytest.raises(RecipeError, match="without 'cats' there is no known model"):
        known.without("taste").without("cats")


def test_a_model_in_one_file_is_no_saved_vector(folder: Path, tmp_path: Path) -> None:
    base, model = str(folder / "base"), str(folder / "taste" / "model.safetensors")
    vector = known_models(base, [model]).vectors["model.safetensors"]
    assert all((vector[n] == tau).all() for n, tau in diff(base, folder / "taste").items())
    saved = diff(base, folder / "pets").save(tmp_path / "pets.safetensors")
    assert known_models(base, [str(saved)]).vectors["pets.safetensors"].history
    (tmp_path / "odd.tv").write_bytes(Path(model).read_bytes())
    with pytest.raises(
        FormatError, match=r"odd.tv is not a task vector. Make one: taskvec diff .*base FINETUNED -o NAM"
    ):
        known_models(base, [str(tmp_path / "odd.tv")])


def test_an_entry_of_a_catalogue_among_models(folder: Path, tmp_path: Path) -> None:
    Catalog(tmp_path / "vectors", create=True).add(folder / "pets", base=folder / "base", name="cats")
    path = f"{tmp_path}/vectors#cats"
    known = known_models(str(folder / "base"), [str(folder / "taste"), path])
    assert known.names == ("taste", "cats") and known.models["cats"] == path
    with pytest.raises(RecipeError, match="dogs"):
        known_models(str(folder / "base"), [f"{tmp_path}/vectors#dogs"])


def test_a_stranger_is_no_known_model_unless_asked_for(folder: Path, tmp_path: Path) -> None:
    base, taste = str(folder / "base"), str(folder / "taste")
    stranger = encoders.changed(folder / "base", tmp_path / "stranger", seed=3, size=5.0)
    with pytest.raises(
        MismatchError, match=r"'stranger' does not look like a relative of .*base: .* or type --unrelat"
    ):
        known_models(base, [taste, str(stranger)])
    known = known_models(base, [taste, str(stranger)], unrelated=True)
    recipe = recipe_of(known, [0.5, 0.5])
    assert recipe and make_plan(recipe)
    assert known.without("taste").unrelated


def test_equal_last_names_are_whole_paths(folder: Path, tmp_path: Path) -> None:
    encoders.changed(folder / "base", tmp_path / "taste", seed=1)
    known = known_models(str(folder / "base"), [str(folder / "taste"), str(tmp_path / "taste")])
    assert known.names == (str(folder / "taste"), str(tmp_path / "taste"))


def test_what_is_no_set_of_known_models(folder: Path, tmp_path: Path) -> None:
    base, taste = str(folder / "base"), str(folder / "taste")
    with pytest.raises(RecipeError, match=r"there is no known model to locate among. Type --known MODEL …"):
        known_models(base, [])
    with pytest.raises(RecipeError, match="is named twice among the known models"):
        known_models(base, [taste, taste])
    diff(folder / "taste", folder / "pets").save(tmp_path / "other.tv")
    with pytest.raises(MismatchError, match=r"'other' is a task vector of the base .* Give its base"):
        known_models(base, [str(tmp_path / "other.tv")])
    encoders.bert(tmp_path / "wide", hidden_size=32)
    with pytest.raises(MismatchError, match="wide"):
        known_models(base, [taste, str(tmp_path / "wide")])


def test_the_nearest_of_a_catalogue_are_found_where_sketches_cannot_tell(folder: Path, tmp_path: Path) -> None:
    base, catalog = folder / "base", Catalog(tmp_path / "vectors", create=True)
    noise = [diff(base, encoders.changed(base, tmp_path / f"n{i}", seed=i, size=0.05)) for i in range(12)]
    target = noise[0]
    for i, one in enumerate(noise[1:]):
        catalog.add(one + target * (0.004 * i), base=base, name=f"v{i}")
    nearest = known_in(catalog, str(base), target, top=3)

    def product(name: str) -> float:
        vector = catalog.vector(name)
        own = sum(float((vector[n].double() ** 2).sum()) for n in vector) ** 0.5
        return sum(float((vector[n].double() * target[n].double()).sum()) for n in vector) / own

    assert nearest.names == tuple(sorted(sorted((e.name for e in catalog.entries()), key=product)[-3:]))


def test_a_catalogue(folder: Path, tmp_path: Path) -> None:
    base = str(folder / "base")
    catalog = Catalog(tmp_path / "vectors", create=True)
    with pytest.raises(RecipeError, match=r"vectors has no task vector of the base .*base: it is empty"):
        known_in(catalog, base)
    for name in ("noise", "pets", "taste"):
        catalog.add(folder / name, base=base)
    known = known_in(catalog, base)
    assert known.names == ("noise", "pets", "taste")
    assert known.models["pets"] == f"{tmp_path}/vectors#pets"
    nearest = known_in(catalog, base, diff(folder / "base", folder / "taste"), top=1)
    assert nearest.names == ("taste",)
    kept = known_in(catalog, base, diff(folder / "base", folder / "taste"), top=1, keep=["pets"])
    assert kept.names == ("pets",)
    kept = known_in(catalog, base, diff(folder / "base", folder / "taste"), top=2, keep=["pets"])
    assert kept.names == ("pets", "taste")
    with pytest.raises(RecipeError, match=r"its vectors belong to .*base"):
        known_in(catalog, str(folder / "taste"))
