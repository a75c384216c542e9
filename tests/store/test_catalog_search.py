"""Inner products and searches of a catalogue, against all of it in memory."""

from pathlib import Path

import numpy as np
import pytest

import taskvec as tv
from taskvec.ops.sketch import Hashing
from taskvec.store.catalog import Catalog, known, products

from .catalogs import dense, family, filled, stranger

NAMES = ["m0", "m1", "m2", "m3", "near"]


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = stranger(family(tmp_path_factory.mktemp("models")))
    filled(folder, *NAMES).add(folder / "other", base=folder / "base2")
    return folder


@pytest.fixture
def catalog(models: Path) -> Catalog:
    return Catalog(models / "known")


@pytest.fixture
def rows(models: Path) -> np.ndarray:
    return np.stack([dense(tv.diff(models / "base", models / name)) for name in NAMES])


class TestInnerProducts:
    def test_a_gram_matrix_is_that_of_the_vectors(self, catalog: Catalog, rows: np.ndarray) -> None:
        found = catalog.gram(NAMES)
        np.testing.assert_allclose(found, rows @ rows.T, rtol=1e-12, atol=1e-12)
        assert np.array_equal(found, found.T)

    def test_the_tensors_of_it_add_up(self, catalog: Catalog) -> None:
        by_tensor = catalog.grams(NAMES)
        assert set(by_tensor) == set(catalog.vector("m0").shapes)
        np.testing.assert_allclose(sum(by_tensor.values()), catalog.gram(NAMES), rtol=1e-12)
        part = np.stack([catalog.vector(n).entries("lm_head.weight") for n in NAMES]).astype(np.float64)
        np.testing.assert_allclose(by_tensor["lm_head.weight"], part @ part.T, rtol=1e-12, atol=1e-13)

    def test_any_order_and_repeated_names_give_the_same_bits(self, catalog: Catalog) -> None:
        once, order = catalog.gram(NAMES), [3, 1, 1, 4]
        assert np.array_equal(catalog.gram([NAMES[i] for i in order]), once[np.ix_(order, order)])

    def test_no_vectors_have_an_empty_one(self, catalog: Catalog) -> None:
        assert catalog.gram([]).shape == (0, 0)
        assert catalog.grams([]) == {}

    def test_each_pair_is_computed_once(self, models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        family(tmp_path)
        catalog, asked = filled(tmp_path, "m0", "m1", "m2"), []

        def counting(vectors, pairs, told):  # type: ignore[no-untyped-def]
            asked.append((len(vectors), sum(i != j for i, j in pairs)))  # (i, i) is how each is checked
            return products.pair_products(vectors, pairs, told)

        monkeypatch.setattr(known, "pair_products", counting)
        first = catalog.gram(["m0", "m1"])
        catalog.grams(["m1", "m0"])
        assert asked == [(2, 1)]
        whole = catalog.gram(["m0", "m1", "m2"])
        assert asked == [(2, 1), (3, 2)]
        assert np.array_equal(whole[:2, :2], first)
        catalog.find("m2", top=2)
        catalog.products("m2", ["m0"])
        assert len(asked) == 2

    def test_many_pairs_take_several_passes_and_give_the_same_bits(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        family(tmp_path)
        once = filled(tmp_path, *NAMES).gram(NAMES)
        (tmp_path / "known").rename(tmp_path / "first")
        monkeypatch.setattr(known, "AT_ONCE", 3)
        monkeypatch.setattr(known, "GROUP", 2)
        assert np.array_equal(filled(tmp_path, *NAMES).gram(NAMES), once)

    def test_more_vectors_than_one_pass_reads(self, catalog: Catalog, monkeypatch: pytest.MonkeyPatch) -> None:
        once = catalog.products(catalog.vector("m0"), [*NAMES, "m1"])
        monkeypatch.setattr(products, "MOST", 3)
        again = catalog.products(catalog.vector("m0"), [*NAMES, "m1"])
        assert all(np.array_equal(once[name], again[name]) for name in once)

    def test_slices_and_threads_change_no_bit(self, catalog: Catalog, monkeypatch: pytest.MonkeyPatch) -> None:
        vectors = [catalog.vector(name) for name in NAMES]
        pairs = [(0, 1), (2, 2), (4, 3)]
        once = products.pair_products(vectors, pairs)
        monkeypatch.setattr(products, "HELD", 1)
        monkeypatch.setattr(products.os, "cpu_count", lambda: 1)
        again = products.pair_products(vectors, pairs)
        assert all(np.array_equal(once[name], again[name]) for name in once)

    def test_products_with_a_vector_outside(self, models: Path, catalog: Catalog, rows: np.ndarray) -> None:
        target = 0.5 * tv.diff(models / "base", models / "m0") - tv.diff(models / "base", models / "m1")
        found = catalog.products(target, ["m2", "near"])
        np.testing.assert_allclose(sum(found.values()), rows[[2, 4]] @ dense(target), rtol=1e-6)
        inside = catalog.products("m0", ["m2", "m0"])
        np.testing.assert_allclose(sum(inside.values()), rows[[2, 0]] @ rows[0], rtol=1e-12)

    def test_vectors_of_different_bases_have_none(self, models: Path, catalog: Catalog) -> None:
        with pytest.raises(tv.MismatchError, match="'other' belongs to the base base2, 'm0' to base; vectors of diff"):
            catalog.gram(["m0", "other"])
        with pytest.raises(tv.MismatchError, match="they have no inner product"):
            catalog.products(tv.diff(models / "base2", models / "other"), ["m0"])


class TestFinding:
    def cosines(self, rows: np.ndarray, target: np.ndarray) -> dict[str, float]:
        found = rows @ target / np.linalg.norm(rows, axis=1) / np.linalg.norm(target)
        return dict(zip(NAMES, found, strict=True))

    def test_an_entry_s_neighbours_are_those_of_brute_force(self, catalog: Catalog, rows: np.ndarray) -> None:
        findings = catalog.find("m0")
        expected = self.cosines(rows, rows[0])
        del expected["m0"]
        assert [f.entry.name for f in findings] == sorted(expected, key=lambda n: -expected[n])
        assert findings[0].entry.name == "near"
        for f in findings:
            assert f.exact
            assert f.cosine == pytest.approx(expected[f.entry.name], abs=1e-12)
        assert (findings.compared, findings.others, findings.near) == (4, {"of another base": 1}, 0)

    def test_a_model_is_found_by_itself(self, models: Path, catalog: Catalog) -> None:
        best = catalog.find(models / "m1", base=models / "base", top=1)[0]
        assert (best.entry.name, best.cosine) == ("m1", pytest.approx(1.0))

    def test_a_saved_vector_and_one_in_hand_find_the_same(self, models: Path, catalog: Catalog) -> None:
        tau = tv.diff(models / "base", models / "m2")
        tau.save(models / "m2.tv")
        assert list(catalog.find(models / "m2.tv")) == list(catalog.find(tau))

    def test_estimates_come_with_an_error_that_holds(self, catalog: Catalog, rows: np.ndarray) -> None:
        expected = self.cosines(rows, rows[3])
        findings = catalog.find("m3", exact=False)
        for f in findings:
            assert not f.exact
            assert 0.122 <= f.error <= 0.174  # 1.96 √((1 + c²) / 256)
            assert abs(f.cosine - expected[f.entry.name]) < 1.5 * f.error
        assert [f.cosine for f in findings] == sorted((f.estimate for f in findings), reverse=True)

    def test_a_tag_stands_for_the_mean_direction(self, catalog: Catalog, rows: np.ndarray) -> None:
        for name in ("m1", "m2"):
            catalog.edit(name, tags=["pair"])
        mean = sum(row / np.linalg.norm(row) for row in rows[1:3])
        found = {f.entry.name: f.cosine for f in catalog.find("tag:pair")}
        assert found == {n: pytest.approx(c, abs=1e-6) for n, c in self.cosines(rows, mean).items()}
        assert list(found)[:2] in (["m1", "m2"], ["m2", "m1"])

    def test_only_what_carries_a_tag(self, catalog: Catalog) -> None:
        catalog.edit("m3", tags=["only"])
        assert [f.entry.name for f in catalog.find("m0", tags=["only"])] == ["m3"]

    def test_those_that_may_belong_among_the_first_are_counted(self, catalog: Catalog) -> None:
        findings = catalog.find("m0", top=2)
        rest = [f for f in catalog.find("m0", exact=False) if f.entry.name not in {g.entry.name for g in findings}]
        assert findings.near == sum(f.estimate + f.error > findings[1].cosine for f in rest)

    def test_none_of_the_same_base(self, models: Path, tmp_path: Path) -> None:
        family(tmp_path)
        findings = filled(tmp_path, "m0").find(models / "other", base=models / "base2")
        assert (len(findings), findings.compared, findings.others) == (0, 0, {"of another base": 1})

    def test_sketches_are_the_same_however_the_vector_lies(self, models: Path, catalog: Catalog) -> None:
        tau = tv.diff(models / "base", models / "m0")
        sketch, norm = products.sketch_of(tau, Hashing(0, 256))
        with catalog.index.read() as db:
            blob = db.execute("select sketch from sketches where sha = ?", (catalog.entry("m0").sha,)).fetchone()[0]
        assert np.array_equal(np.frombuffer(blob, "<f4"), sketch.astype(np.float32))
        assert norm == catalog.entry("m0").norm

    @pytest.mark.parametrize(
        ("target", "match"),
        [
            ("neer", r"has no entry 'neer'\. Did you mean 'near'\?"),
            ("tag:nothing", "no entry of .* has the tag 'nothing'. Tags: "),
        ],
    )
    def test_a_target_that_is_not_there(self, catalog: Catalog, target: str, match: str) -> None:
        with pytest.raises(tv.RecipeError, match=match):
            catalog.find(target)

    def test_a_target_of_zeros(self, models: Path, catalog: Catalog) -> None:
        with pytest.raises(tv.RecipeError, match="is zero and has no direction"):
            catalog.find(models / "base", base=models / "base")

    def test_a_tag_of_several_bases(self, catalog: Catalog) -> None:
        for name in ("m1", "other"):
            catalog.edit(name, tags=["mixed"])
        with pytest.raises(tv.MismatchError, match="vectors of different bases carry the tag 'mixed'"):
            catalog.find("tag:mixed")

    def test_a_tag_of_vectors_that_cancel(self, models: Path, tmp_path: Path) -> None:
        catalog, tau = tv.Catalog(tmp_path / "known", create=True), tv.diff(models / "base", models / "m0")
        for name, scale in (("there", 3.0), ("back", -1.0)):
            catalog.add(tau * scale, name=name, tags=["both"])
        with pytest.raises(tv.RecipeError, match=r"the 2 vectors with the tag 'both' cancel each other.*: back, there"):
            catalog.find("tag:both")

    def test_none_are_asked_for(self, catalog: Catalog) -> None:
        with pytest.raises(tv.RecipeError, match="'top' must be at least 1, got 0"):
            catalog.find("m0", top=0)
