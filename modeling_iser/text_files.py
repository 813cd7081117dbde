"""
Text files in the encodings that Chinese programs write: UTF-8, GB18030 (which includes GBK and GB2312) and UTF-16.

A byte order mark settles the encoding. Without one, a text is UTF-8, or GB18030 if it is not valid UTF-8.
`datasets_scripts` and `graph_iser` link to this file, because importing `modeling_iser` loads torch.
"""

from __future__ import annotations

import codecs
import io
import re
from pathlib import Path
from typing import BinaryIO, cast


BUFFER_BYTES = 2**20
"""Buffer of a file for `open_text`, whose content settles the encoding."""

GUESSED = "not UTF-8; read as GB18030"
"""What to tell the user when the encoding was guessed."""

NAME_IT = "Name the encoding, for example encoding='gb18030'."
"""What to tell the user when the encoding could not be detected, and there is an argument for it."""

# UTF-32 first: its little-endian mark begins with that of UTF-16.
_MARKS = {
    codecs.BOM_UTF8: "utf-8-sig",
    codecs.BOM_UTF32_LE: "utf-32",
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}
# Files declared as GB2312 or GBK often hold characters that only GB18030 has.
_WIDER = {"utf-8": "utf-8-sig", "gb2312": "gb18030", "gbk": "gb18030"}
_UNDECODED = re.compile("[\udc80-\udcff]")


def known_encoding(name: str) -> str:
    """
    The codec for an encoding; for GB2312 and GBK that for GB18030, which includes them.

    Raises:
        ValueError: if Python has no such codec for text.
    """
    try:
        "".encode(name)
        return _WIDER.get(codecs.lookup(name).name, name)
    except (LookupError, ValueError):
        raise ValueError(f"encoding={name!r} is not known. Examples are utf-8, gb18030, utf-16-le and big5.") from None


def detect_encoding(beginning: bytes, whole: bool = True) -> str:
    """
    The codec for a text: `"utf-8-sig"`, `"utf-16"`, `"utf-32"` or `"gb18030"`. A text that is none of these cannot be
    decoded with the first.

    Args:
        beginning: the text, or its first bytes.
        whole: whether it is the text. Otherwise its last character may be incomplete.

    Raises:
        ValueError: for what looks like UTF-16 without a byte order mark.
    """
    for mark, codec in _MARKS.items():
        if beginning.startswith(mark):
            return codec
    if _is_unmarked_utf16(beginning):
        raise ValueError("UTF-16 without a byte order mark")
    if not _decoded(beginning, "utf-8", whole) and (text := _decoded(beginning, "gb18030", whole)):
        # What other encodings hold is often valid GB18030, but consists of rare characters then.
        ascii, common = (len(text.encode(codec, "ignore").decode(codec)) for codec in ("ascii", "gb2312"))
        if 2 * (common - ascii) > len(text) - ascii and "\0" not in text:
            return "gb18030"
    return "utf-8-sig"


def _is_unmarked_utf16(data: bytes) -> bool:
    """Whether every second byte tends to be null, as in UTF-16 the first or the second byte of each ASCII character."""
    counts = sorted((data[::2].count(0), data[1::2].count(0)))
    return len(data) >= 16 and counts[0] == 0 and 8 * counts[1] > len(data)


def _decoded(data: bytes, codec: str, whole: bool) -> str:
    """The text; empty if it cannot be decoded."""
    try:
        return codecs.getincrementaldecoder(codec)().decode(data, whole)
    except UnicodeDecodeError:
        return ""


def decode(data: bytes, encoding: str | None = None) -> tuple[str, str | None]:
    """
    Decode a text.

    Args:
        encoding: `None` to detect it. A byte order mark takes precedence.

    Returns:
        The text without its byte order mark, and `GUESSED` or `None`.

    Raises:
        ValueError: if the text cannot be decoded, with the line.
    """
    codec = _codec(data, encoding, whole=True)
    try:
        text = data.decode(codec)
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        raise ValueError(f"line {line}: {_failure(encoding)}") from None
    return text.removeprefix("\ufeff"), _guessed(codec, encoding)


def read_text(path: Path, encoding: str | None = None) -> tuple[str, str | None]:
    """
    Read a text file; see `decode`.

    Raises:
        ValueError: if it cannot be decoded, with file and line.
    """
    try:
        return decode(path.read_bytes(), encoding)
    except ValueError as error:
        raise ValueError(f"{path}, {error}") from None


def open_text(
    stream: BinaryIO, encoding: str | None = None, newline: str = "\n"
) -> tuple[io.TextIOWrapper, str | None]:
    """
    Decode a stream that may be too large for `decode`.

    Args:
        stream: a buffered stream, whose buffer settles the encoding.
        encoding: `None` to detect it. A byte order mark takes precedence.
        newline: as in `open`.

    Returns:
        The text, where `check_decoded` finds what could not be decoded, and `GUESSED` or `None`.

    Raises:
        ValueError: for what looks like UTF-16 without a byte order mark.
    """
    buffered = cast(io.BufferedReader, stream)
    codec = _codec(buffered.peek(1), encoding, whole=False)
    text = io.TextIOWrapper(buffered, codec, errors="surrogateescape", newline=newline)
    return text, _guessed(codec, encoding)


def check_decoded(text: str, encoding: str | None = None) -> None:
    """
    Raises:
        ValueError: if a part of a text from `open_text` could not be decoded.
    """
    if _UNDECODED.search(text):
        raise ValueError(_failure(encoding, "not UTF-8"))


def _codec(beginning: bytes, encoding: str | None, whole: bool) -> str:
    if encoding is None or beginning.startswith(tuple(_MARKS)):
        return detect_encoding(beginning, whole)
    return known_encoding(encoding)


def _guessed(codec: str, encoding: str | None) -> str | None:
    return GUESSED if encoding is None and codec == "gb18030" else None


def _failure(encoding: str | None, detected: str = "neither UTF-8 nor GB18030") -> str:
    return detected if encoding is None else f"not {encoding}"


__all__ = ["BUFFER_BYTES", "GUESSED", "NAME_IT", "check_decoded", "decode", "known_encoding", "open_text", "read_text"]
