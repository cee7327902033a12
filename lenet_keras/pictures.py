"""One picture, from a file or an array, as the 32 × 32 pixels that a network sees."""

import warnings
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from lenet_keras.recipe import InputError

SIDE = 32  # pixels, of what the network sees
DRAFT = (16 * SIDE, 16 * SIDE)  # of a JPEG too large to be read whole: more than enough for 32 × 32


def open_picture(file: Path) -> Image.Image:
    """The picture in a file as a viewer shows it: upright, if its EXIF data says how it was held;
    of an animation the first. Mode RGB or RGBA; 16 bits a channel become 8.

    Raises:
        InputError: it is not there, no picture that Pillow reads, damaged, of 32 bits a channel, or
            of more pixels than Pillow thinks wise.
    """
    try:
        if file.is_dir():
            raise ValueError("is a folder; name the pictures in it")
        # What Pillow warns of, such as odd EXIF data, is no news to who sees the picture.
        with warnings.catch_warnings(action="ignore"), Image.open(file) as image:
            return _in_colour(image)
    except Image.UnidentifiedImageError:
        reason = "is no picture that Pillow can read"
    except Image.DecompressionBombError:
        reason = f"has more than {Image.MAX_IMAGE_PIXELS:,} pixels; make it smaller"
    except Exception as error:  # what Pillow raises on a damaged file depends on its kind
        reason = getattr(error, "strerror", None) or str(error).strip() or type(error).__name__
    raise InputError(f"{file}: {reason.splitlines()[0]}.")


def as_seen(picture: Image.Image) -> np.ndarray:
    """The square in the middle of a picture, as what a network sees: uint8 (32, 32, 3).

    It is what `keras.utils.load_img` gives with `keep_aspect_ratio=True` and bilinear
    interpolation, which in Pillow is an average over all pixels that it covers. What is
    transparent is as on white paper.
    """
    side = min(picture.size)
    left, top = (picture.width - side) // 2, (picture.height - side) // 2
    box = (left, top, left + side, top + side)
    small = picture.resize((SIDE, SIDE), Image.Resampling.BILINEAR, box)
    if small.has_transparency_data:
        small = Image.alpha_composite(Image.new("RGBA", small.size, "white"), small.convert("RGBA"))
    return np.asarray(small.convert("RGB"))


def _in_colour(image: Image.Image) -> Image.Image:
    """An opened picture, read to its end, upright, in mode RGB or RGBA."""
    most = Image.MAX_IMAGE_PIXELS or image.width * image.height
    if image.width * image.height > most:
        image.draft("RGB", DRAFT)  # of these formats, JPEG can be read at an eighth of its size
    if image.width * image.height > most:
        raise Image.DecompressionBombError
    ImageOps.exif_transpose(image, in_place=True)
    if image.mode.startswith("I;16") or (image.mode, image.format) == ("I", "PPM"):
        return Image.fromarray((np.asarray(image) >> 8).astype(np.uint8)).convert("RGB")
    if image.mode[0] in "IF":
        raise ValueError("has 32 bits a channel; save it with 8 or 16")
    return image.convert("RGBA" if image.has_transparency_data else "RGB")
