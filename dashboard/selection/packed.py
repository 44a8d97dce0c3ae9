"""Texts that are too long to be written out in a link: packed into one parameter, and back. Pure."""

from __future__ import annotations

import base64
import binascii
import json
import zlib
from typing import Any

LONGEST = 4_000
"""Characters of a packed value in a link: browsers, mail and chat programs take links of twice that length."""
LARGEST = 1_000_000
"""Bytes of a value that a link unpacks to."""


def pack(value: Any) -> str | None:
    """A JSON value as letters, digits, - and _; None if it is too long for a link."""
    data = json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "surrogatepass")
    packed = base64.urlsafe_b64encode(zlib.compress(data, 9)).decode().rstrip("=")
    return packed if len(packed) <= LONGEST else None


def unpack(text: str) -> Any:
    """The value of a link. Raises ValueError for anything that `pack` would not make."""
    if len(text) > LONGEST:
        raise ValueError("too long")
    try:
        reader = zlib.decompressobj()
        data = reader.decompress(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)), LARGEST)
    except (binascii.Error, zlib.error) as error:
        raise ValueError(str(error)) from None
    if not reader.eof:
        raise ValueError("cut off, or too large")
    try:
        return json.loads(data.decode("utf-8", "surrogatepass"))
    except RecursionError:
        raise ValueError("too deep") from None
