"""Images: how they are stored, and from that to pixels."""

import io
import struct
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ...errors import FormatError, MissingExtraError
from .files import opened
from .table import shortened

if TYPE_CHECKING:
    from PIL.Image import Image

CHANNELS = (1, 3, 4)


def stored(value: Any, folder: Path | None, place: str) -> Any:
    """Return an image as it is kept: encoded bytes, or uint8 pixels.

    A path is that of a file, from the table's own `folder`; a mapping is what `datasets` stores.

    Raises:
        FormatError: it is neither, or an array of another type or shape.
        StoreError: the file does not exist.
    """
    if isinstance(value, dict) and (value.get("bytes") or value.get("path")):
        value = value.get("bytes") or Path(value["path"])
    if isinstance(value, str) and value and folder is not None:
        value = folder / value
    if isinstance(value, Path):
        with opened(value) as file:
            return file.read()
    if isinstance(value, bytes):
        return value
    if isinstance(value, np.ndarray):
        return _pixels(value, place)
    raise FormatError(f"{place}: {shortened(repr(value))} is no image: encoded bytes or an array were expected.")


def _pixels(array: np.ndarray[Any, Any], place: str) -> np.ndarray[Any, Any]:
    if array.dtype != np.uint8:
        raise FormatError(f"{place}: an image of {array.dtype}, where pixels are uint8, 0 to 255.")
    if not (array.ndim == 2 or (array.ndim == 3 and array.shape[2] in CHANNELS)) or not array.size:
        raise FormatError(
            f"{place}: an image of shape {array.shape}, where (height, width) or (height, width, channel) was expected."
        )
    return array


def decode(image: Any, name: str = "the image") -> "Image":
    """Return an image of `Examples` in RGB: grey three times, an alpha channel left out.

    Args:
        image: encoded bytes (anything that Pillow reads), or uint8 pixels (height, width[, channel]).
        name: which one it is, for the message, e.g. "eurosat.npz, test: example 3".

    Raises:
        FormatError: it is no image, damaged, or of more than eight bits a channel.
        MissingExtraError: Pillow is not installed.

    >>> decode(np.zeros((2, 3), np.uint8)).size
    (3, 2)
    """
    try:
        from PIL import Image
    except ImportError as exc:
        raise MissingExtraError("Images need Pillow; type: pip install 'taskvec[data]'") from exc

    if isinstance(image, np.ndarray):
        flat = image[..., 0] if image.ndim == 3 and image.shape[2] == 1 else image
        return Image.fromarray(_pixels(flat, name)).convert("RGB")
    try:
        with Image.open(io.BytesIO(image)) as opened_image:
            opened_image.load()
            return _rgb(opened_image, name)
    except FormatError:
        raise
    except (OSError, SyntaxError, ValueError, EOFError, struct.error, Image.DecompressionBombError) as exc:
        reason = shortened(exc, 80).replace("<_io.BytesIO object", "bytes")
        raise FormatError(f"{name} is no image that Pillow can read ({type(exc).__name__}: {reason}).") from exc


def _rgb(image: "Image", name: str) -> "Image":
    if image.mode.startswith(("I", "F")):
        # Converting would clip everything above 255 to white.
        raise FormatError(
            f"{name} has more than eight bits a channel (Pillow's mode {image.mode}); save it with eight."
        )
    # A palette with transparency goes through RGBA, or Pillow warns.
    return image.convert("RGBA").convert("RGB") if image.mode == "P" else image.convert("RGB")
