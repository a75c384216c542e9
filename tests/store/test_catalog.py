"""A catalogue: what is stored of a vector, how it is told, and every way to ask for something that is not there."""

import hashlib
import json
import math
from pathlib import Path

import numpy as np
import pytest

import taskvec as tv
from taskvec.packs import pack
from taskvec.store.catalog import Catalog
from taskvec.store.catalog.opening import licence_of
from taskvec.store.pack import Pack
from taskvec.testing import finetuned, tiny_tensors, write_adapter, write_model

from .catalogs import SMALL, dense, family, filled, stranger


@pytest.fixture
def models(tmp_path: Path) -> Path:
    return family(tmp_path)


class TestAdding:
    def test_an_entry_says_what_the_vector_is(self, models: Path) -> None:
        catalog = Catalog(models / "known", create=True, hashing=SMALL)
        entry = catalog.add(models / "m0", base=models / "base", tags=["b", "a", "b"], metrics={"accuracy": 0.5})
        tau = tv.diff(models / "base", models / "m0")
        assert (entry.name, entry.base, entry.base_name, entry.space) == ("m0", tau.base, "base", "weights")
        assert (entry.tags, entry.metrics, entry.dtype, entry.lost) == (("a", "b"), {"accuracy": 0.5}, "float32", 0)
        assert entry.count == dense(tau).size
        assert entry.norm == pytest.approx(np.linalg.norm(dense(tau)), rel=1e-14)
        assert catalog.entries() == [entry]
        norms = catalog.norms("m0")
        assert norms == {name: pytest.approx(float(np.linalg.norm(tau.entries(name)))) for name in tau.shapes}
        assert math.hypot(*norms.values()) == pytest.approx(entry.norm)

    def test_the_vector_comes_back_bit_for_bit(self, models: Path) -> None:
        catalog, tau = filled(models, "m0"), tv.diff(models / "base", models / "m0")
        back = catalog.vector("m0")
        assert back.base == tau.base
        assert all(np.array_equal(back.entries(name), tau.entries(name)) for name in tau.shapes)

    def test_equal_vectors_are_stored_once(self, models: Path) -> None:
        catalog = filled(models, "m0", "m1")
        tau = tv.diff(models / "base", models / "m0")
        tau.save(models / "again.tv")
        again = catalog.add(models / "again.tv")
        in_hand = catalog.add(tau, name="in-hand")
        assert again.sha == in_hand.sha == catalog.entry("m0").sha != catalog.entry("m1").sha
        assert len(list(catalog.place.vectors.iterdir())) == 2

    def test_the_hash_is_of_the_content_and_its_base(self, models: Path) -> None:
        catalog = filled(models, "m0")
        loaded = catalog.vector("m0")
        elsewhere = tv.TaskVector("tv1:0123", loaded.terms, ("x",))
        assert catalog.add(elsewhere, name="x").sha != catalog.entry("m0").sha

    def test_the_hash_is_what_the_format_says(self, models: Path) -> None:
        entry = filled(models, "m0").entry("m0")
        whole = hashlib.sha256(f"taskvec\0weights\0{entry.base}\0".encode())
        tau = tv.diff(models / "base", models / "m0")
        for name, shape in sorted(tau.shapes.items()):
            whole.update(f"{name}\0F32\0{shape}\0".encode())
            whole.update(hashlib.sha256(tau.entries(name).tobytes()).digest())
        assert entry.sha == whole.hexdigest()

    def test_bfloat16_halves_the_file_and_says_what_it_lost(self, models: Path) -> None:
        catalog, tau = filled(models, "m0"), tv.diff(models / "base", models / "m0")
        entry = catalog.add(models / "m0", base=models / "base", name="half", dtype="bfloat16")
        stored = dense(catalog.vector("half"))
        lost = np.linalg.norm(stored - dense(tau)) / np.linalg.norm(dense(tau))
        assert 0 < entry.lost == pytest.approx(lost, rel=1e-6)
        assert entry.norm == pytest.approx(np.linalg.norm(stored), rel=1e-12)
        assert entry.dtype == catalog.add(catalog.path("half"), name="copy").dtype == "bfloat16"

    def test_an_adapter_is_stored_as_its_change(self, models: Path) -> None:
        factors = {
            f"base_model.model.model.layers.0.self_attn.q_proj.lora_{half}.weight": np.full(shape, 0.5, np.float32)
            for half, shape in (("A", (2, 8)), ("B", (8, 2)))
        }
        catalog = filled(models)
        entry = catalog.add(write_adapter(models / "lora", factors), base=models / "base")
        assert entry.name == "lora"
        changed = [name for name, norm in catalog.norms("lora").items() if norm]
        assert changed == ["model.layers.0.self_attn.q_proj.weight"]

    def test_a_task_of_a_pack_is_stored_as_it_comes_back(self, models: Path) -> None:
        pack(models / "base", [str(models / "m0")], models / "tasks.pack", method="sparse", settings={"density": 0.1})
        catalog = filled(models)
        entry = catalog.add(f"{models}/tasks.pack#m0", base=models / "base")
        change = Pack(models / "tasks.pack").open("m0", tv.Checkpoint(models / "base"))
        assert entry.name == "m0"
        assert all(np.array_equal(catalog.vector("m0").entries(name), change.raw(name)) for name in change)

    def test_what_lies_beside_a_model_is_remembered(self, models: Path) -> None:
        (models / "m0" / "README.md").write_text("---\nlicense: mit\ntags:\n- x\n---\n# m0\n")
        (models / "m0" / "finetune.json").write_text('{"steps": 30}')
        (models / "m0" / "receipt.json").write_text('{"recipe": {"method": "ties"}}')
        catalog = filled(models, "m0")
        entry = catalog.entry("m0")
        assert entry.licence == "mit"
        assert entry.lineage == {
            "history": ["m0 - base"], "finetune": {"steps": 30}, "recipe": {"method": "ties"}
        }  # fmt: skip
        assert catalog.add(models / "m0", base=models / "base", name="free", licence="cc0").licence == "cc0"

    @pytest.mark.parametrize(
        ("front", "licence"),
        [
            ("license: apache-2.0", "apache-2.0"),
            ('license: "mit"', "mit"),
            ("license:\n- mit\n- cc-by-4.0", "mit, cc-by-4.0"),
            ("license: [mit, cc0]", "mit, cc0"),
            ("license: other\nlicense_name: llama3", "llama3"),
            ("license: other", "other"),
            ("language: en", ""),
        ],
    )
    def test_a_licence_is_read_from_the_model_card(self, tmp_path: Path, front: str, licence: str) -> None:
        (tmp_path / "README.md").write_text(f"---\nlanguage: en\n{front}\ntags:\n- merge\n---\nlicense: no\n")
        assert licence_of(tmp_path) == licence

    def test_an_entry_of_another_catalogue(self, models: Path) -> None:
        was = filled(models, "m0", "near").entry("m0")
        other = Catalog(models / "other", create=True, hashing=SMALL)
        entry = other.add(f"{models}/known#m0")
        assert (entry.sha, entry.name, entry.lineage, entry.base_name) == (was.sha, "m0", was.lineage, "base")
        assert [f.entry.name for f in other.find(f"{models}/known#near")] == ["m0"]
        with pytest.raises(tv.RecipeError, match="known has no entry 'm9'"):
            other.add(f"{models}/known#m9")
        write_model(models / "base2", tiny_tensors(5, layers=1))
        with pytest.raises(tv.MismatchError, match="Give the base it was made from"):
            other.add(f"{models}/known#near", base=models / "base2")

    def test_a_name_is_replaced_when_told_so(self, models: Path) -> None:
        catalog = filled(models, "m0")
        entry = catalog.add(models / "m1", base=models / "base", name="m0", replace=True)
        assert catalog.entries() == [entry]
        assert entry.sha != filled(models).add(models / "m0", base=models / "base", name="x").sha


class TestEditing:
    def test_tags_and_metrics_change_and_survive_the_loss_of_the_index(self, models: Path) -> None:
        catalog = filled(models, "m0")
        catalog.edit("m0", tags=["kept"], metrics={"accuracy": 0.9}, licence="mit")
        edited = catalog.edit("m0", tags=["added"], metrics={"accuracy": 0.95, "loss": 2})
        assert (edited.tags, edited.licence) == (("added", "kept"), "mit")
        assert edited.metrics == {"accuracy": 0.95, "loss": 2.0}
        edited = catalog.edit("m0", untag=["added"])
        assert edited.tags == ("kept",)
        catalog.place.index.unlink()
        assert Catalog(catalog.folder).entries() == [edited]

    def test_an_entry_is_removed_and_gc_gives_the_room_back(self, models: Path) -> None:
        catalog = filled(models, "m0", "m1")
        catalog.add(models / "m1", base=models / "base", name="same")
        path = catalog.path("m0")
        catalog.remove("m0")
        catalog.remove("same")
        assert path.exists()
        size = path.stat().st_size
        collected = catalog.gc()
        assert (collected.files, collected.size) == ((path.name,), size)
        assert catalog.path("m1").exists()
        assert "m0" not in catalog
        assert len(catalog) == 1
        assert catalog.gc().files == ()

    def test_gc_leaves_folders_alone(self, models: Path) -> None:
        catalog = filled(models, "m0")
        for place in (catalog.place.vectors, catalog.place.entries):
            (place / "mine").mkdir()
            (place / "left").write_text("")
        assert catalog.gc().files == ("left", "left")
        assert (catalog.place.vectors / "mine").is_dir()
        assert (catalog.place.entries / "mine").is_dir()


class TestChoosing:
    def test_entries_are_chosen_by_tags_and_base(self, models: Path) -> None:
        stranger(models)
        catalog = filled(models, "m0", "m1")
        catalog.edit("m0", tags=["x", "y"])
        other = catalog.add(models / "other", base=models / "base2", tags=["x"])

        def names(**how: object) -> list[str]:
            return [entry.name for entry in catalog.entries(**how)]  # type: ignore[arg-type]

        assert names() == ["m0", "m1", "other"]
        assert names(tags=["x"]) == ["m0", "other"]
        assert names(tags=["x", "y"]) == ["m0"]
        assert names(base="base2") == names(base=other.base) == ["other"]
        assert names(space="activations") == []


class TestRefusals:
    def test_a_name_that_is_taken(self, models: Path) -> None:
        with pytest.raises(tv.RecipeError, match=r"has an entry 'm0' already. Type another --name, or --force to"):
            filled(models, "m0", "m0")

    @pytest.mark.parametrize("name", ["", "a/b", "a#b", ".hidden", "tag:x", "a\nb", "ä" * 101])
    def test_a_name_that_cannot_be_one(self, models: Path, name: str) -> None:
        with pytest.raises(tv.RecipeError, match="cannot be the name of an entry"):
            filled(models).add(models / "m0", base=models / "base", name=name)

    def test_a_model_without_a_base(self, models: Path) -> None:
        with pytest.raises(tv.RecipeError, match=r"it needs the base it was made from. Type --base BASE"):
            filled(models).add(models / "m0")

    def test_a_saved_vector_of_another_base(self, models: Path) -> None:
        stranger(models)
        tv.diff(models / "base", models / "m0").save(models / "m0.tv")
        with pytest.raises(tv.MismatchError, match="Give the base it was made from"):
            filled(models).add(models / "m0.tv", base=models / "base2")

    def test_a_model_of_another_base(self, models: Path) -> None:
        ids = {"position_ids": np.arange(4, dtype=np.int64)}
        write_model(models / "base2", tiny_tensors(5, layers=1) | ids, dtype="BF16")
        catalog = filled(models)
        with pytest.raises(
            tv.MismatchError, match=r"m0 does not look like a fine-tune of .*base2: .*--allow unrelated"
        ):
            catalog.add(models / "m0", base=models / "base2")
        assert len(catalog) == 0
        assert catalog.add(models / "m0", base=models / "base2", allow=["unrelated"]).name == "m0"
        with pytest.raises(tv.RecipeError, match="'allow' takes 'unrelated', got 'all'"):
            catalog.add(models / "m1", base=models / "base", allow=["all"])

    def test_a_vector_of_zeros(self, models: Path) -> None:
        catalog = filled(models)
        with pytest.raises(tv.RecipeError, match=r"base is a vector of zeros, without a direction. Give a model that"):
            catalog.add(models / "base", base=models / "base")
        assert list(catalog.place.vectors.iterdir()) == []

    @pytest.mark.parametrize("wrong", [np.nan, np.inf])
    def test_entries_that_are_no_numbers(self, models: Path, wrong: float) -> None:
        broken = finetuned(tiny_tensors(layers=1), 0)
        broken["lm_head.weight"][3, 2] = wrong
        write_model(models / "broken", broken, dtype="BF16")
        tau = tv.diff(models / "base", models / "m0")
        assert set(tau.shapes) <= set(broken)
        (models / "base3").mkdir()
        write_model(models / "base3", tiny_tensors(layers=1), dtype="BF16")
        with pytest.raises(tv.NumbersError, match=r"'lm_head.weight' of broken holds NaN or Inf"):
            filled(models).add(models / "broken", base=models / "base3")

    def test_a_type_that_cannot_hold_it(self, models: Path) -> None:
        large = finetuned(tiny_tensors(layers=1), 0)
        large["lm_head.weight"][0, 0] = 1e6
        write_model(models / "base3", tiny_tensors(layers=1))
        write_model(models / "large", large)
        with pytest.raises(tv.NumbersError, match=r"'lm_head.weight' of large is too large for its type"):
            filled(models).add(models / "large", base=models / "base3", dtype="float16", allow=["unrelated"])
        with pytest.raises(tv.RecipeError, match="is stored as float32, bfloat16, float16, not as 'int8'"):
            filled(models).add(models / "large", base=models / "base3", dtype="int8")

    @pytest.mark.parametrize(("tags", "match"), [(["a b"], "'a b' is not one word"), ([""], "not one word")])
    def test_a_tag_that_is_not_one_word(self, models: Path, tags: list[str], match: str) -> None:
        with pytest.raises(tv.RecipeError, match=match):
            filled(models).add(models / "m0", base=models / "base", tags=tags)

    def test_tags_in_one_text(self, models: Path) -> None:
        with pytest.raises(tv.RecipeError, match="a list of words, got the text 'math'"):
            filled(models).add(models / "m0", base=models / "base", tags="math")

    @pytest.mark.parametrize("value", [math.nan, "0.5", True])
    def test_a_metric_that_is_no_number(self, models: Path, value: object) -> None:
        with pytest.raises(tv.RecipeError, match="'accuracy' must be a finite number"):
            filled(models, "m0").edit("m0", metrics={"accuracy": value})  # type: ignore[dict-item]

    def test_an_entry_that_is_not_there(self, models: Path) -> None:
        with pytest.raises(tv.RecipeError, match=r"has no entry 'neer'. Did you mean 'near'\?"):
            filled(models, "near").remove("neer")

    def test_no_catalogue(self, models: Path) -> None:
        with pytest.raises(tv.StoreError, match=r"nothing does not exist. Make a catalogue: taskvec catalog add"):
            Catalog(models / "nothing")
        with pytest.raises(tv.FormatError, match=r"base is not a catalogue: it has no catalog\.json"):
            Catalog(models / "base")
        with pytest.raises(tv.FormatError, match=r"not a catalogue and not empty \(it has 'config.json'\)"):
            Catalog(models / "base", create=True)

    def test_a_newer_version(self, models: Path) -> None:
        catalog = filled(models)
        with catalog.index.read() as db:
            db.execute("pragma user_version = 99")
        with pytest.raises(tv.FormatError, match=r"is a catalogue of version 99; this taskvec reads up to 1. Install"):
            Catalog(catalog.folder)
        marker = catalog.folder / "catalog.json"
        marker.write_text(json.dumps(json.loads(marker.read_text()) | {"format": 7}))
        with pytest.raises(tv.FormatError, match="of version 7"):
            Catalog(catalog.folder)

    def test_a_damaged_marker(self, models: Path) -> None:
        catalog = filled(models)
        (catalog.folder / "catalog.json").write_text('{"format": 1}')
        with pytest.raises(tv.FormatError, match=r"catalog\.json is damaged: a format and a sketch's seed and width"):
            Catalog(catalog.folder)
