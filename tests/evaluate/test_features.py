"""Vectors are those of one input at a time, without padding, pooled as was asked."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import encoders
from taskvec import MismatchError
from taskvec.evaluate.batches import Batches, in_batches
from taskvec.evaluate.data import Examples
from taskvec.evaluate.features import Reading, encode, features, pooling_of, ready
from taskvec.evaluate.model import Model

from .conftest import Read

POOLED = {
    "mean": lambda found: found.last_hidden_state[0].mean(0),
    "cls": lambda found: found.last_hidden_state[0, 0],
    "last": lambda found: found.last_hidden_state[0, -1],
    "pooler": lambda found: found.pooler_output[0],
}


def alone(model: Model, texts: Any, pooling: str) -> torch.Tensor:
    """Run one text after the other."""
    rows = []
    for text in texts:
        with torch.no_grad():
            rows.append(POOLED[pooling](model.module()(**model.tokenizer(text, return_tensors="pt"))))
    return torch.stack(rows)


def vectors(model: Model, examples: Examples, **how: Any) -> torch.Tensor:
    reading = Reading(**how)
    return features(model, ready(model, examples, reading), reading)


class TestTexts:
    @pytest.mark.parametrize("pooling", POOLED)
    def test_a_padded_batch_gives_the_vectors_of_each_text_alone(self, bert: Model, taste: Read, pooling: str) -> None:
        examples = taste(12)
        lengths = [len(text.split()) for text in examples.inputs]
        assert lengths != sorted(lengths), "the order must be put back"
        expected = alone(bert, examples.inputs, pooling)
        for batch in (5, 128):
            found = vectors(bert, examples, pooling=pooling, batch=batch)
            torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)
        assert expected.std(0).min() > 1e-3, "texts must differ"

    def test_causal_models_give_their_last_state(self, folders: Path, taste: Read) -> None:
        gpt2, examples = Model(folders / "gpt2", device="cpu"), taste(6)
        assert pooling_of(gpt2, Reading()) == "last"
        expected = alone(gpt2, examples.inputs, "last")
        torch.testing.assert_close(vectors(gpt2, examples), expected, atol=1e-5, rtol=0)

    def test_pairs_are_read_together(self, bert: Model) -> None:
        pairs = [("the film", "good"), ("it was the very bad film", "a")]
        examples = Examples(kind="pair", inputs=pairs, labels=None, names=(), origin="pairs", digest="")
        with torch.no_grad():
            asked = [bert.tokenizer(*pair, return_tensors="pt") for pair in pairs]
            expected = torch.stack([bert.module()(**one).last_hidden_state[0].mean(0) for one in asked])
        assert asked[0]["token_type_ids"].max() == 1
        torch.testing.assert_close(vectors(bert, examples), expected, atol=1e-5, rtol=0)

    def test_longer_texts_are_cut(self, bert: Model, taste: Read) -> None:
        examples = taste(12)
        assert max(x["input_ids"].shape[1] for _, x in ready(bert, examples, Reading(tokens=4))) == 4

    def test_what_a_sentence_transformers_folder_says(self, folders: Path, tmp_path: Path) -> None:
        folder = tmp_path / "sentences"
        shutil.copytree(folders / "bert", folder)
        plain = Model(folder, device="cpu")
        digest = plain.inputs_digest
        assert pooling_of(plain, Reading()) == "mean"
        (folder / "1_Pooling").mkdir()
        (folder / "1_Pooling" / "config.json").write_text(json.dumps({"pooling_mode_cls_token": True}))
        said = Model(folder, device="cpu")
        assert pooling_of(said, Reading()) == "cls"
        assert pooling_of(said, Reading(pooling="mean")) == "mean"
        assert said.inputs_digest != digest, "scores that were kept must not be found again"

    def test_images(self, bert: Model, pictures: Examples) -> None:
        with pytest.raises(MismatchError, match=r"pictures\.npz holds images, and .*bert has no tower for images\."):
            ready(bert, pictures, Reading())

    def test_a_pooler_that_no_file_holds_is_not_made_up(self, tmp_path: Path, taste: Read) -> None:
        model = Model(encoders.bert(tmp_path / "bare", pooler=False), device="cpu")
        with pytest.raises(MismatchError, match=r"BertModel has no pooler\. Type 'pooling: mean', 'cls' or 'last'\."):
            vectors(model, taste(2), pooling="pooler")
        assert not [name for name in model.module().state_dict() if name.startswith("pooler.")]


class TestImages:
    @pytest.mark.parametrize("pooling", ["cls", "mean"])
    def test_each_picture_alone_gives_the_same(self, vit: Model, pictures: Examples, pooling: str) -> None:
        found = vectors(vit, pictures, pooling=pooling, batch=4)
        rows = []
        for array in pictures.inputs:
            pixels = np.asarray(Image.fromarray(array).resize((8, 8), Image.Resampling.BILINEAR), np.float32) / 255
            inputs = torch.tensor((pixels - 0.5) / 0.5).permute(2, 0, 1)[None]
            with torch.no_grad():
                rows.append(POOLED[pooling](vit.module()(pixel_values=inputs)))
        torch.testing.assert_close(found, torch.stack(rows), atol=1e-4, rtol=0)
        assert pooling_of(vit, Reading()) == "cls"

    def test_clips_image_tower(self, clip: Model, pictures: Examples) -> None:
        assert pooling_of(clip, Reading()) == "pooler"
        inputs = clip.images([Image.fromarray(x) for x in pictures.inputs], return_tensors="pt")["pixel_values"]
        with torch.no_grad():
            expected = clip.module().vision_model(pixel_values=inputs).pooler_output
        torch.testing.assert_close(vectors(clip, pictures), expected, atol=1e-5, rtol=0)

    def test_texts(self, vit: Model, taste: Read) -> None:
        with pytest.raises(MismatchError, match=r"holds texts, and .*vit has no tower for texts\."):
            ready(vit, taste(2), Reading())

    def test_no_processor(self, folders: Path, tmp_path: Path, pictures: Examples) -> None:
        shutil.copytree(folders / "vit", tmp_path / "blind")
        (tmp_path / "blind" / "preprocessor_config.json").unlink()
        with pytest.raises(MismatchError, match=r"has no image processor.*Copy the base's preprocessor_config\.json"):
            ready(Model(tmp_path / "blind", device="cpu"), pictures, Reading())


class TestBatches:
    def test_every_example_is_in_one_batch_of_like_lengths(self, rng: np.random.Generator) -> None:
        lengths = rng.integers(1, 60, 200).tolist()
        found = in_batches(lengths, batch=16, tokens=300)
        assert sorted(i for batch in found for i in batch) == list(range(200))
        assert all(len(b) <= 16 and len(b) * max(lengths[i] for i in b) <= 300 for b in found)
        assert [lengths[i] for batch in found for i in batch] == sorted(lengths)

    def test_a_text_longer_than_a_batch_stands_alone(self) -> None:
        assert in_batches([500, 500, 3], batch=4, tokens=300) == [[2], [0], [1]]

    def test_a_share_is_spread_evenly_and_is_the_same_each_time(self) -> None:
        whole = Batches(100, [([i], {}) for i in range(100)])
        assert [places for places, _ in whole.first(0.1)] == [[5 + 10 * i] for i in range(10)]
        assert whole.first(0.1) == whole.first(0.1)
        assert whole.first(1e-9).count == 1
        assert whole.first(1.0).batches == whole.batches

    @pytest.mark.parametrize(("share", "batches", "count"), [(0.25, 2, 32), (0.5, 2, 64), (0.75, 2, 96), (0.01, 1, 1)])
    def test_a_share_is_that_of_the_examples_however_few_batches_there_are(
        self, share: float, batches: int, count: int
    ) -> None:
        inputs = torch.arange(128.0).reshape(2, 64, 1)
        whole = Batches(128, [(list(range(64 * i, 64 * i + 64)), {"x": inputs[i]}) for i in range(2)])
        part = whole.first(share)
        assert (len(part.batches), part.count) == (batches, count)
        for places, rows in part:
            assert places == rows["x"].flatten().tolist()


def test_a_map_has_no_first_state_but_a_mean(rng: np.random.Generator) -> None:
    found = torch.from_numpy(rng.standard_normal((2, 5, 3, 4)))

    class Tower(torch.nn.Linear):
        def forward(self, pixel_values: Any) -> Any:
            return type("Out", (), {"last_hidden_state": found})

    for pooling in ("cls", "mean"):
        got = encode(Tower(1, 1), {"pixel_values": torch.zeros(2, 3, 8, 8)}, pooling)  # type: ignore[arg-type]
        torch.testing.assert_close(got, found.mean((2, 3)))
