"""Arrays of images: three layouts, and what may be wrong with a file."""

import gzip
import io
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from taskvec.errors import FormatError, MissingExtraError, RecipeError
from taskvec.evaluate.data import Source, decode, read

COLOURS = [(255, 0, 0), (0, 255, 0), (0, 0, 255), (9, 9, 9)]
FILES = [b"first", b"2nd", b"", b"the last"]


def png(colour: Any, mode: str = "RGB") -> bytes:
    file = io.BytesIO()
    Image.new(mode, (3, 2), colour).save(file, "png")
    return file.getvalue()


def save(path: Path, **arrays: Any) -> Path:
    np.savez(path, **arrays)
    return path


def encoded(path: Path, files: list[bytes], **others: Any) -> Path:
    arrays = {
        "blob": np.frombuffer(b"".join(files), np.uint8),
        "off": np.cumsum([0, *map(len, files)]),
        "y": np.array([1, 0, 1, 0], np.uint8),
        "split": np.array([0, 1, 1, 0], np.uint8),
        "classes": np.array([b"left", b"right"]),
    }
    return save(path, **{name: value for name, value in (arrays | others).items() if value is not None})


@pytest.mark.parametrize("split", [np.array([0, 1, 1, 0]), np.array(["train", "test", "test", "train"])])
def test_encoded_images_of_a_split(split: Any, tmp_path: Path) -> None:
    encoded(tmp_path / "a.npz", FILES, split=split)
    found = read(Source(path="a.npz", split="test"), root=tmp_path)
    assert found.kind == "image" and list(found.inputs) == [b"2nd", b""] and found.names == ("left", "right")
    assert found.labels is not None and found.labels.tolist() == [0, 1]


def test_pixels_by_split_packed_or_not(tmp_path: Path) -> None:
    pixels = np.arange(24, dtype=np.uint8).reshape(2, 3, 4)
    path = save(tmp_path / "b.npz", x_train=pixels, y_train=[5, 7], x_test=pixels[:1] + 1, y_test=[7])
    (tmp_path / "b.npz.gz").write_bytes(gzip.compress(path.read_bytes()))
    found, packed = (read(Source(path=name, split="test"), root=tmp_path) for name in ("b.npz", "b.npz.gz"))
    assert found.names == ("5", "7") and found.labels is not None and found.labels.tolist() == [1]
    np.testing.assert_array_equal(found.inputs[0], pixels[0] + 1)
    assert found.digest == packed.digest


def test_arrays_by_the_names_that_the_source_gives(tmp_path: Path) -> None:
    save(tmp_path / "c.npz", pictures=np.zeros((2, 4, 4, 3), np.uint8), kinds=np.array(["b", "a"]))
    found = read(Source(path="c.npz", image="pictures", label="kinds"), root=tmp_path)
    assert found.names == ("a", "b") and found.inputs[0].shape == (4, 4, 3)


@pytest.mark.parametrize(
    ("labels", "numbers"),
    [(("right", "left"), [0, 1, 0, 1]), (("on the left", "on the right"), [1, 0, 1, 0])],
)
def test_the_source_orders_or_renames_the_names_in_the_file(
    labels: tuple[str, ...], numbers: list[int], tmp_path: Path
) -> None:
    encoded(tmp_path / "a.npz", FILES, split=None)
    found = read(Source(path="a.npz", labels=labels), root=tmp_path)
    assert found.names == labels and found.labels is not None and found.labels.tolist() == numbers


WRONG: dict[str, tuple[dict[str, Any], dict[str, Any], str]] = {
    "a split that is not there": ({}, {"split": "val"}, r"no split 'val', only test, train"),
    "no split named": ({}, {}, r"has the splits test, train; say which"),
    "other names": ({}, {"split": "test", "labels": ("a",)}, r"has 2 labels \(left, right\), and 'labels' names 1"),
    "a label without a name": ({"y": [0, 2, 0, 0]}, {"split": "test"}, r"index 1: label 2 is not among 0 to 1"),
    "labels missing": ({"y": None}, {"split": "test"}, r"has no 'label', only 'image', 'split'.*'label: null'"),
    "labels too few": ({"y": [0, 1]}, {"split": "test"}, r"'label' has 2 entries, and there are 4 inputs"),
    "splits too few": ({"split": [0, 1]}, {"split": "test"}, r"'split' has 2 entries, and there are 4 inputs"),
    "a split's number": ({"split": [0, 1, 2, 3]}, {"split": "test"}, r"'split' holds 3; numbers are 0 train"),
    "cuts beyond the end": ({"off": [0, 2, 3, 4, 99]}, {"split": "test"}, r"'off' does not rise from 0 to the 16 b"),
    "cuts that fall": ({"off": [0, 5, 3, 6, 7]}, {"split": "test"}, r"'off' does not rise"),
    "cuts that are no numbers": ({"off": [0.0, 1.0]}, {"split": "test"}, r"whole numbers that cut it"),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_file_that_contradicts_itself_or_the_source(case: str, tmp_path: Path) -> None:
    arrays, settings, match = WRONG[case]
    encoded(tmp_path / "a.npz", FILES, **arrays)
    with pytest.raises((FormatError, RecipeError), match=match):
        read(Source(path="a.npz", **settings), root=tmp_path)


@pytest.mark.parametrize(
    ("image", "match"),
    [
        (np.zeros((1, 2, 2)), r"index 0: an image of float64, where pixels are uint8"),
        (np.zeros((1, 3, 8, 8), np.uint8), r"an image of shape \(3, 8, 8\), where \(height, width\) or"),
        (np.zeros((1, 64), np.uint8), r"an image of shape \(64,\)"),
        (np.array(["a"]), r"'a' is no image"),
    ],
)
def test_an_array_that_is_no_image(image: Any, match: str, tmp_path: Path) -> None:
    save(tmp_path / "c.npz", image=image, label=[0])
    with pytest.raises(FormatError, match=match):
        read(Source(path="c.npz"), root=tmp_path)


def idx(*axes: int, entries: bytes) -> bytes:
    return bytes([0, 0, 8, len(axes)]) + b"".join(n.to_bytes(4, "big") for n in axes) + entries


def test_the_files_of_mnist(tmp_path: Path) -> None:
    images, labels = idx(2, 2, 3, entries=bytes(range(12))), idx(2, entries=bytes([4, 1]))
    (tmp_path / "t10k-images-idx3-ubyte.gz").write_bytes(gzip.compress(images))
    (tmp_path / "t10k-labels-idx1-ubyte.gz").write_bytes(gzip.compress(labels))
    found = read(Source(path="t10k-images-idx3-ubyte.gz", labels=tuple("abcde")), root=tmp_path)
    assert found.inputs[1].tolist() == [[6, 7, 8], [9, 10, 11]]
    assert found.labels is not None and found.labels.tolist() == [4, 1]


@pytest.mark.parametrize(
    "content", [b"", bytes([0, 0, 13, 1]), idx(2, 2, 3, entries=b"short"), idx(9, entries=b"")[:6]]
)
def test_a_damaged_file_of_mnist(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "a-images-idx3-ubyte").write_bytes(content)
    with pytest.raises(FormatError, match=r"a-images-idx3-ubyte is no"):
        read(Source(path="a-images-idx3-ubyte", label=None), root=tmp_path)


def test_images_without_pillow_say_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "PIL", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'taskvec\[data\]'"):
        decode(b"any")


def test_pickled_objects_are_refused_and_never_built(tmp_path: Path) -> None:
    built = []

    class Trap:
        def __reduce__(self) -> Any:
            return built.append, (1,)

    save(tmp_path / "p.npz", image=np.zeros((1, 2, 2), np.uint8), label=np.array([Trap()], object))
    with pytest.raises(FormatError, match=r"p\.npz holds pickled objects in 'label', which could run any code"):
        read(Source(path="p.npz"), root=tmp_path)
    assert not built


def test_a_damaged_npz_is_one_sentence(tmp_path: Path) -> None:
    path = encoded(tmp_path / "a.npz", FILES)
    whole = path.read_bytes()
    path.write_bytes(whole[:-30])
    with pytest.raises(FormatError, match=r"a\.npz is no npz file, or not the whole of one"):
        read(Source(path="a.npz", split="test"), root=tmp_path)
    path.write_bytes(whole.replace(b"2nd", b"3rd"))
    with pytest.raises(FormatError, match=r"a\.npz is damaged at 'blob' \(Bad CRC"):
        read(Source(path="a.npz", split="test"), root=tmp_path)
    np.save(tmp_path / "one.npy", np.zeros(3))
    (tmp_path / "one.npy").rename(tmp_path / "one.npz")
    with pytest.raises(FormatError, match=r"one\.npz is no npz file"):
        read(Source(path="one.npz"), root=tmp_path)


def test_images_of_every_mode_are_decoded_to_rgb() -> None:
    assert decode(png((9, 8, 7))).getpixel((0, 0)) == (9, 8, 7)
    assert decode(png(9, "L")).getpixel((0, 0)) == (9, 9, 9)
    assert decode(png((9, 8, 7, 100), "RGBA")).getpixel((0, 0)) == (9, 8, 7)
    for shape in ((2, 3), (2, 3, 1), (2, 3, 3), (2, 3, 4)):
        image = decode(np.full(shape, 9, np.uint8))
        assert (image.mode, image.size, image.getpixel((2, 1))) == ("RGB", (3, 2), (9, 9, 9))


def test_a_palette_with_several_transparent_colours_is_decoded_without_a_warning() -> None:
    image, file = Image.new("P", (3, 2), 1), io.BytesIO()
    image.putpalette([1, 2, 3, 4, 5, 6, 7, 8, 9])
    image.save(file, "png", transparency=b"\x00\x80\x00")
    assert decode(file.getvalue()).getpixel((0, 0)) == (4, 5, 6)


@pytest.mark.parametrize(
    ("image", "match"),
    [
        (b"no image", r"example 3 is no image that Pillow can read \(UnidentifiedImageError"),
        (png((1, 2, 3))[:50], r"example 3 is no image that Pillow can read"),
        (png(60000, "I;16"), r"example 3 has more than eight bits a channel \(Pillow's mode I;16\)"),
        (np.zeros((2, 2)), r"example 3: an image of float64"),
    ],
)
def test_what_is_no_image_is_named(image: Any, match: str) -> None:
    with pytest.raises(FormatError, match=match):
        decode(image, "example 3")
