"""A catalogue under several processes, a kill, and damage: nothing is lost that was said to be there."""

import os
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import taskvec as tv
from taskvec.store.catalog import Catalog

from .catalogs import family, filled


@pytest.fixture
def models(tmp_path: Path) -> Path:
    return family(tmp_path)


def started(script: str, *words: str | Path) -> "subprocess.Popen[str]":
    return subprocess.Popen([sys.executable, "-c", script, *map(str, words)], stderr=subprocess.PIPE, text=True)


class TestWriters:
    ADD = """
import sys
from taskvec.ops import kernels
kernels.choice = "plain"  # at once, where the others would first be loaded
from taskvec.store.catalog import Catalog
folder, writer = sys.argv[1:]
for i in range(4):
    Catalog(f"{folder}/shared", create=True).add(f"{folder}/m{i}", base=f"{folder}/base", name=f"{writer}-{i}",
                                                 tags=[writer])
"""

    def test_several_processes_at_once_lose_nothing(self, models: Path) -> None:
        writers = [started(self.ADD, models, name) for name in "abc"]
        errors = [writer.communicate()[1] for writer in writers]
        assert [(w.returncode, e) for w, e in zip(writers, errors, strict=True)] == [(0, "")] * 3
        catalog = Catalog(models / "shared")
        assert [e.name for e in catalog.entries()] == [f"{writer}-{i}" for writer in "abc" for i in range(4)]
        assert len({e.sha for e in catalog.entries()}) == len(list(catalog.place.vectors.iterdir())) == 4
        assert catalog.gc().files == ()
        assert catalog.rebuild().lost == ()

    def test_two_that_want_one_name_do_not_both_get_it(self, models: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        catalog = filled(models)
        real = Catalog._store

        def overtaken(self, opened, name, dtype):  # type: ignore[no-untyped-def]
            monkeypatch.setattr(Catalog, "_store", real)
            Catalog(catalog.folder).add(models / "m1", base=models / "base", name="one")
            return real(self, opened, name, dtype)

        monkeypatch.setattr(Catalog, "_store", overtaken)
        with pytest.raises(tv.RecipeError, match=r"another process has added 'one' to .* meanwhile. Name it anew"):
            catalog.add(models / "m0", base=models / "base", name="one")
        assert catalog.entry("one").lineage["history"] == ["m1 - base"]

    def test_gc_does_not_run_while_something_is_added(self, models: Path) -> None:
        catalog = filled(models, "m0")
        with catalog.place.held(), pytest.raises(tv.StoreError, match=r"is being changed by another process. Type it"):
            catalog.gc()


class TestKills:
    KILLED = """
import os, signal, sys
from taskvec.ops import kernels
kernels.choice = "plain"
from taskvec.store.catalog import Catalog, catalog as module
from taskvec.progress import Silent
folder, stage = sys.argv[1:]

def die(*args, **more):
    os.kill(os.getpid(), signal.SIGKILL)

class Dying(Silent):
    def advance(self, done, note=""):
        if done > 2000:
            die()

def then_die(real):
    def both(*args, **more):
        real(*args, **more)
        die()
    return both

known = Catalog(f"{folder}/known", progress=Dying() if stage == "written" else None)
if stage == "named":
    Catalog._enter = die
if stage == "entered":
    module.write_whole = then_die(module.write_whole)
known.add(f"{folder}/m1", base=f"{folder}/base", name="new", replace=True)
"""

    @pytest.mark.parametrize(
        ("stage", "replaced"), [("written", False), ("named", False), ("entered", False), ("entered", True)]
    )
    def test_a_kill_during_add_loses_nothing(self, models: Path, stage: str, replaced: bool) -> None:
        catalog = filled(models, "m0")
        if replaced:
            catalog.add(models / "m2", base=models / "base", name="new", tags=["old"])
        before = catalog.entries()
        killed = started(self.KILLED, models, stage)
        killed.communicate()
        assert killed.returncode == -signal.SIGKILL
        after = Catalog(catalog.folder)
        assert after.notes == []
        assert after.entries() == before
        left = after.gc().files
        (vector,) = [name for name in left if not name.endswith(".json")]
        assert vector.startswith("adding-") == (stage == "written")
        assert [name for name in left if name != vector] == (
            ["new.json"] if (stage, replaced) == ("entered", False) else []
        )
        assert {path.stem for path in after.place.vectors.iterdir()} == {e.sha for e in before}
        assert {path.stem for path in after.place.entries.iterdir()} == {e.name for e in before}
        after.place.index.unlink()
        assert Catalog(catalog.folder).entries() == before
        again = after.add(models / "m1", base=models / "base", name="new", replace=True)
        assert after.entry("new") == again

    def test_a_kill_while_a_catalogue_is_made(self, models: Path) -> None:
        for folder in ("vectors", "entries"):
            (models / "known" / folder).mkdir(parents=True)
        (models / "known" / ".catalog.json.partial").write_text("{")
        assert [e.name for e in filled(models, "m0").entries()] == ["m0"]

    def test_a_folder_with_vectors_of_another_is_still_refused(self, models: Path) -> None:
        (models / "known" / "vectors" / "mine").mkdir(parents=True)
        with pytest.raises(tv.FormatError, match=r"is not a catalogue and not empty .it has 'vectors'"):
            filled(models)


class TestDamage:
    def whole(self, models: Path) -> Catalog:
        catalog = filled(models, "m0", "m1", "m2")
        catalog.edit("m1", tags=["kept"], metrics={"accuracy": 0.5})
        catalog.gram(["m0", "m1"])
        return catalog

    @pytest.mark.parametrize("how", ["missing", "empty", "garbage", "torn", "another database"])
    def test_a_damaged_index_is_made_anew(self, models: Path, how: str) -> None:
        catalog = self.whole(models)
        entries, found, index = catalog.entries(), catalog.find("m0"), catalog.place.index
        if how == "torn":
            os.truncate(index, index.stat().st_size // 2)
        else:
            index.unlink()
        if how in ("empty", "garbage"):
            index.write_bytes(b"\x17garbage" * (1000 if how == "garbage" else 0))
        if how == "another database":
            with sqlite3.connect(index) as db:
                db.execute("create table x (y)")
            db.close()
        mended = Catalog(catalog.folder)
        was = "missing" if how == "missing" else "damaged"
        assert mended.notes == [f"{index} was {was}, and was made anew from 3 vectors."]
        assert mended.entries() == entries
        assert list(mended.find("m0")) == list(found)
        assert Catalog(catalog.folder).notes == []

    @pytest.mark.parametrize("earlier", [False, True])
    def test_a_lost_marker_is_made_anew(self, models: Path, earlier: bool) -> None:
        catalog = self.whole(models)
        if earlier:  # an index that was made without it has it once something is added
            with catalog.index.change() as db:
                db.execute("drop table hashing")
            catalog.add(models / "near", base=models / "base")
        marker, found = catalog.folder / "catalog.json", list(catalog.find("m0"))
        text = marker.read_text()
        marker.unlink()
        again = Catalog(catalog.folder, create=True)
        assert again.notes == [f"{marker} was missing, and was made anew from {catalog.place.index}."]
        assert (marker.read_text(), list(again.find("m0"))) == (text, found)

    def test_a_journal_of_the_old_index_is_not_taken_for_the_new_one_s(self, models: Path) -> None:
        catalog = self.whole(models)
        journal = catalog.place.index.with_name("index.sqlite-journal")
        journal.write_bytes(b"left by another")
        assert catalog.rebuild().entries == 3
        assert not journal.exists()

    def test_damage_that_is_met_later_says_what_to_type(self, models: Path) -> None:
        catalog = self.whole(models)
        whole = catalog.place.index.read_bytes()
        page = int.from_bytes(whole[16:18], "big")
        catalog.place.index.write_bytes(whole[:page] + b"\xff" * (len(whole) - page))
        with pytest.raises(tv.FormatError, match=r"is damaged .*Type: taskvec catalog rebuild -C .*known"):
            catalog.entries()
        assert catalog.rebuild().entries == 3
        assert len(catalog.entries()) == 3

    def test_a_rebuild_names_a_damaged_vector_and_keeps_the_rest(self, models: Path) -> None:
        catalog = self.whole(models)
        sha, path = catalog.entry("m1").sha, catalog.path("m1")
        bits = bytearray(path.read_bytes())
        bits[-3] ^= 1
        path.write_bytes(bits)
        found = catalog.rebuild()
        assert (found.entries, found.vectors) == (2, 2)
        assert found.lost == (
            f"{path} is damaged: its content is not what its name says.",
            f"'m1' is lost: its vector {sha[:12]}… is not there, or damaged. Its note is kept: add the vector again, "
            "by any --name, and rebuild.",
        )
        assert [e.name for e in catalog.entries()] == ["m0", "m2"]
        catalog.add(models / "m1", base=models / "base")
        assert catalog.rebuild().lost == ()

    @pytest.mark.parametrize("how", ["gone", "damaged", "note damaged"])
    def test_gc_keeps_what_is_known_of_a_lost_vector(self, models: Path, how: str) -> None:
        catalog = self.whole(models)
        was, path, note = catalog.entry("m1"), catalog.path("m1"), catalog.place.note("m1")
        if how == "gone":
            path.unlink()
        elif how == "damaged":
            path.write_bytes(path.read_bytes()[:-4] + b"\0\0\0\0")
        else:
            note.write_text(note.read_text()[:-20])
        catalog.rebuild()
        assert catalog.gc().kept == catalog.gc().kept == ("m1",)
        catalog.add(models / "m1", base=models / "base", name="again")
        if how != "note damaged":
            catalog.rebuild()
            assert catalog.entry("m1") == was
            return
        assert catalog.gc(lost=True).files == ("m1.json",)
        assert catalog.gc().kept == ()

    def test_a_rebuild_names_a_damaged_note(self, models: Path) -> None:
        catalog = self.whole(models)
        catalog.place.note("m2").write_text('{"format": 1}')
        (lost,) = catalog.rebuild().lost
        assert "m2.json is damaged: it is no note of an entry" in lost
        assert len(catalog) == 2

    def test_a_vector_that_is_gone_is_named(self, models: Path) -> None:
        catalog = self.whole(models)
        catalog.path("m0").unlink()
        match = (
            r"known has lost the vector of 'm0': .* does not exist\. Add it again: taskvec catalog add … --name m0 "
            r"--force -C .*known; or type: taskvec catalog remove m0 -C .*known\."
        )
        for asked in (lambda: catalog.vector("m0"), lambda: catalog.find("m0"), lambda: catalog.find("m2"),
                      lambda: catalog.gram(["m0", "m2"])):  # fmt: skip
            with pytest.raises(tv.StoreError, match=match):
                asked()


class TestDamagedVectors:
    """A vector whose file changed under the index gives no cosines, and none are kept of it."""

    @pytest.fixture
    def catalog(self, models: Path) -> Catalog:
        catalog = filled(models, "m0", "m1", "m2")
        catalog.edit("m1", tags=["mean"])
        catalog.edit("m2", tags=["mean"])
        path = catalog.path("m1")
        bits = bytearray(path.read_bytes())
        bits[-1] ^= 0x40  # an exponent: the last entry is now very large
        path.write_bytes(bits)
        return catalog

    MATCH = r"the vector of 'm1' is damaged: .* is not what was added\. Add it again: .* --name m1 --force -C .*known"

    @pytest.mark.parametrize("target", ["m0", "m1", "tag:mean"])
    def test_a_search_names_it(self, catalog: Catalog, target: str) -> None:
        with pytest.raises(tv.FormatError, match=self.MATCH):
            catalog.find(target)

    def test_the_mean_of_a_tag_is_not_taken_from_it(self, catalog: Catalog) -> None:
        catalog.edit("m0", tags=["asked"])
        with pytest.raises(tv.FormatError, match=self.MATCH):
            catalog.find("tag:mean", tags=["asked"])

    def test_a_search_for_a_model_names_it(self, models: Path, catalog: Catalog) -> None:
        with pytest.raises(tv.FormatError, match=self.MATCH):
            catalog.find(models / "near", base=models / "base")

    def test_inner_products_name_it(self, models: Path, catalog: Catalog) -> None:
        for asked in (lambda: catalog.gram(["m0", "m1"]),
                      lambda: catalog.products(tv.diff(models / "base", models / "near"), ["m1"])):  # fmt: skip
            with pytest.raises(tv.FormatError, match=self.MATCH):
                asked()

    def test_nothing_wrong_is_left_once_it_is_added_again(self, models: Path, catalog: Catalog) -> None:
        sha = sorted((catalog.entry("m0").sha, catalog.entry("m1").sha))
        with catalog.index.change() as db:  # as one that did not look kept it
            wrong = (1e30 * np.ones(len(catalog.norms("m0")))).tobytes()
            db.execute("insert into products values (?, ?, ?)", (*sha, wrong))
        with pytest.raises(tv.FormatError, match=r"they give cosines above 1\. Type: taskvec catalog rebuild -C"):
            catalog.find("m0", top=3)
        catalog.add(models / "m1", base=models / "base", replace=True)
        whole = Catalog(models / "whole", create=True, hashing=catalog.hashing)
        for name in ("m0", "m1", "m2"):
            whole.add(models / name, base=models / "base")
        assert [(f.entry.name, f.cosine) for f in catalog.find("m0")] == [
            (f.entry.name, f.cosine) for f in whole.find("m0")
        ]
