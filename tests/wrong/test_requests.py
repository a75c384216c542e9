"""Recipes that ask for what cannot be, and outputs that may not be."""

import errno
import os
import shutil
from collections import namedtuple
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import taskvec as tv

from .conftest import Family, snapshot

Refused = Callable[..., str]
Usage = namedtuple("Usage", "total used free")


class TestSettings:
    @pytest.mark.parametrize(
        ("method", "settings", "message"),
        [
            (
                "ties",
                {"densty": 0.3},
                r"'ties' has no setting 'densty'\. Did you mean 'density'\? Known: density, scope",
            ),
            ("linear", {"density": 0.3}, r"'linear' has no setting 'density'\. Known: normalize\."),
            ("model_stock", {"t": 1}, r"'model_stock' has no setting 't'\. Known: over\."),
            ("ties", {"density": 0}, r"'density' must be in \(0, 1\], got 0"),
            ("ties", {"density": 1.1}, r"'density' must be in \(0, 1\], got 1\.1"),
            ("slerp", {"t": -0.1}, r"'t' must be in \[0, 1\], got -0\.1"),
            (
                "ties",
                {"elect": "weihted"},
                r"'elect' must be one of sum, weighted, count, got 'weihted'\. Did you mean 'wei",
            ),
            ("linear", {"normalize": "yes"}, r"'normalize' must be true or false, got 'yes'"),
        ],
    )
    def test_that_do_not_exist_or_are_out_of_range(
        self, family: Family, refused: Refused, method: str, settings: dict[str, Any], message: str
    ) -> None:
        """mergekit: a misspelt density is no density, so nothing is trimmed (peers.md C5)."""
        refused(tv.RecipeError, message, method, settings=settings)

    def test_a_method_that_does_not_exist(self, family: Family) -> None:
        before = snapshot(family.folder)
        with pytest.raises(
            tv.RecipeError, match=r"unknown merge method 'tise'\. Did you mean 'ties'\? Known: .*breadcrumbs"
        ):
            tv.make_plan(family.recipe("tise"), family.out)
        assert snapshot(family.folder) == before

    def test_a_setting_of_one_model_that_is_for_all(self, family: Family, refused: Refused) -> None:
        models = [{"model": str(family.folder / "m0"), "settings": {"scope": "tensor"}}]
        refused(tv.RecipeError, r"'scope' is one for all models; set it under 'settings'", "ties", models=models)

    def test_too_little_memory(self, family: Family) -> None:
        with pytest.raises(
            tv.RecipeError, match=r"the merge needs \d+ MB .* and 'memory' is 1 MB\. Type e\.g\. --memory"
        ):
            tv.make_plan(family.recipe(), family.out, memory=1_000_000)


class TestModels:
    @pytest.mark.parametrize(("method", "count"), [("slerp", 1), ("slerp", 3), ("model_stock", 1)])
    def test_too_few_or_too_many(self, family: Family, refused: Refused, method: str, count: int) -> None:
        models = [{"model": str(family.folder / "m0")}] * count
        refused(tv.RecipeError, rf"'{method}' takes 2( or more)? models, got {count}\.", method, models=models)

    def test_a_base_where_there_is_none(self, family: Family, refused: Refused) -> None:
        refused(
            tv.RecipeError,
            r"'linear' merges whole models and takes no base\. Remove 'base', or list that model under 'models'\.",
            "linear",
            base=str(family.folder / "base"),
        )

    def test_no_base_where_there_must_be_one(self, family: Family, refused: Refused) -> None:
        refused(
            tv.RecipeError,
            r"'ties' merges task vectors and needs the base they start from\. Type 'base: …'\.",
            "ties",
            base=None,
        )

    def test_a_weight_where_there_is_none(self, family: Family, refused: Refused) -> None:
        models = [{"model": str(family.folder / "m0"), "weight": 2}, {"model": str(family.folder / "m1")}]
        refused(
            tv.RecipeError,
            r"'model_stock' takes no weights: it finds its own numbers\. Remove 'weight'\.",
            "model_stock",
            models=models,
        )

    def test_a_scale_where_there_is_no_task_vector(self, family: Family, refused: Refused) -> None:
        refused(tv.RecipeError, r"'linear' .* no task vector to scale\. Remove 'scale'\.", "linear", scale=0.5)

    def test_a_glob_that_matches_nothing(self, family: Family, refused: Refused) -> None:
        refused(tv.RecipeError, r"'ignore: lm_haed\.\*' matches no tensor\.", ignore=["lm_haed.*"])


class TestOutputs:
    def test_that_are_an_input(self, family: Family, refused: Refused) -> None:
        for name in ("base", "m0"):
            refused(
                tv.RecipeError,
                rf"the output .*{name} would lie over the input .*{name}\. Choose another output folder\.",
                out=family.folder / name,
            )

    def test_that_lie_in_an_input(self, family: Family, refused: Refused) -> None:
        refused(tv.RecipeError, "would lie over the input", out=family.folder / "m0" / "merged")

    def test_that_hold_an_input(self, family: Family, refused: Refused) -> None:
        refused(tv.RecipeError, "would lie over the input", out=family.folder)

    def test_that_are_an_input_by_another_name(self, family: Family, refused: Refused) -> None:
        (family.folder / "link").symlink_to(family.folder / "base")
        refused(tv.RecipeError, "would lie over the input", out=family.folder / "link")
        refused(tv.RecipeError, "would lie over the input", out=family.folder / "m0" / ".." / "base")

    def test_that_are_an_input_file(self, family: Family, refused: Refused) -> None:
        models = [{"model": str(family.file("m0"))}]
        refused(tv.RecipeError, "would lie over the input", models=models, out=family.file("m0"))

    @pytest.mark.parametrize("force", [False, True])
    def test_that_are_an_input_told_only_to_run(self, family: Family, force: bool) -> None:
        """`tv.run` may be given a folder that `make_plan` was not told of; --force changes nothing."""
        plan = tv.make_plan(family.recipe())
        before = snapshot(family.folder)
        for out in ("base", "m1", "m1/merged", "."):
            with pytest.raises(tv.RecipeError, match="would lie over the input"):
                tv.run(plan, family.folder / out, force=force)
        assert snapshot(family.folder) == before

    def test_that_hold_another_merge(self, family: Family, refused: Refused) -> None:
        tv.run(tv.make_plan(family.recipe("linear")), family.out)
        refused(
            tv.OutputError,
            r"out exists and is not empty\. Choose another folder, or type --force to replace it\.",
            planning=False,
        )

    def test_that_hold_anything(self, family: Family, refused: Refused) -> None:
        family.out.mkdir()
        (family.out / "thesis.txt").write_text("mine")
        refused(tv.OutputError, r"out exists and is not empty\.", planning=False)

    def test_that_are_a_file(self, family: Family, refused: Refused) -> None:
        family.out.write_text("mine")
        refused(tv.OutputError, r"out is a file; the output is a folder\.", planning=False, how={"force": True})

    def test_below_a_file(self, family: Family, refused: Refused) -> None:
        (family.folder / "note").write_text("mine")
        refused(
            tv.OutputError,
            r"note cannot be written: .*\. Choose another output folder\.",
            planning=False,
            out=family.folder / "note" / "out",
        )

    def test_on_a_disk_that_is_too_small(
        self, family: Family, refused: Refused, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(shutil, "disk_usage", lambda path: Usage(10**9, 10**9, 100))
        refused(
            tv.OutputError,
            r"has 0\.00 GB free and the output takes 0\.00 GB\. Make room or choose another output folder\.",
            planning=False,
        )

    @pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT])
    def test_on_a_disk_that_fills_up(
        self, family: Family, refused: Refused, monkeypatch: pytest.MonkeyPatch, code: int
    ) -> None:
        def full(*args: object) -> None:
            raise OSError(code, os.strerror(code))

        monkeypatch.setattr(os, "posix_fallocate", full)
        refused(tv.OutputError, r"cannot be written: the disk is full\. Make room or choose another", planning=False)

    def test_where_nothing_may_be_written(
        self, family: Family, refused: Refused, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def denied(self: Path, *args: object, **kwargs: object) -> None:
            raise PermissionError(errno.EACCES, "Permission denied")

        monkeypatch.setattr(Path, "mkdir", denied)
        refused(
            tv.OutputError, r"cannot be written: Permission denied\. Choose another output folder\.", planning=False
        )


class TestDiff:
    def test_an_output_that_is_an_input(self, family: Family) -> None:
        before = snapshot(family.folder)
        with pytest.raises(tv.OutputError, match="is read by this vector and is not overwritten"):
            tv.diff(family.folder / "base", family.folder / "m0").save(family.file("m0"))
        assert snapshot(family.folder) == before

    def test_models_of_other_tensors(self, family: Family) -> None:
        family.write("m0", {"x": family.base["lm_head.weight"]})
        with pytest.raises(tv.MismatchError, match=r"m0 lacks '.*', which .*base has\."):
            tv.diff(family.folder / "base", family.folder / "m0")
