"""A figure in a notebook's output: an HTML image that holds its own words.

The usual way, a PNG with the words in its metadata, loses them in pages: nbconvert leaves them out.
"""

import html
import re
from base64 import b64encode
from collections.abc import Mapping
from typing import Any

HTML = "text/html"
_IMAGE = re.compile(r'<img alt="([^"]*)" ')


def html_image(png: bytes, words: str) -> str:
    """An HTML image of a PNG file's bytes, with a description for those who cannot see it."""
    source = f"data:image/png;base64,{b64encode(png).decode()}"
    return f'<img alt="{html.escape(words)}" src="{source}">'


def described_in(data: Mapping[str, Any]) -> str | None:
    """The words of the image that an output's data shows; None where it shows none.

    Args:
        data: what is shown, by MIME type.
    """
    found = _IMAGE.match(data.get(HTML, ""))
    return html.unescape(found[1]) if found else None
