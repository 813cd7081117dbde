"""Split raw text into words with character offsets, and sentences too long for the encoder into windows."""

from __future__ import annotations

import re
from collections.abc import Sequence


# Scripts written without spaces between words, and circled numbers: each character is a word.
_CHARACTER_SCRIPTS = (
    "\u2460-\u24ff\u3005-\u3007\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
)
_WORD = re.compile(rf"[^\W_{_CHARACTER_SCRIPTS}]+|\S")


def check_unicode(text: str) -> None:
    """Raise `ValueError` for a text with an unpaired surrogate, which no tokenizer accepts."""
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise ValueError(f"Character {error.start} is an unpaired surrogate, so this is not valid Unicode.") from None


def split_words(text: str) -> list[tuple[int, int]]:
    """
    The words of a text as character ranges, `end` exclusive.

    A run of letters and digits is a word, except that each Chinese or Japanese character is a word of its own. So is
    every other character except whitespace (punctuation, symbols, combining marks).
    """
    return [match.span() for match in _WORD.finditer(text)]


def split_windows(sizes: Sequence[int], limit: int, overlap: int) -> list[tuple[int, int]]:
    """
    Cover a sentence with overlapping windows of whole words that each fit into the encoder.

    Args:
        sizes: number of subword tokens of each word.
        limit: maximum number of subword tokens in a window. A single longer word is a window of its own.
        overlap: number of words that neighbouring windows share, as far as the limit allows.

    Returns:
        Word ranges `(start, end)`, `end` exclusive: one if the whole sentence fits, none if it has no words.
    """
    windows: list[tuple[int, int]] = []
    start = 0
    while start < len(sizes):
        end, total = start, 0
        while end < len(sizes) and (end == start or total + sizes[end] <= limit):
            total += sizes[end]
            end += 1
        windows.append((start, end))
        if end == len(sizes):
            break
        # Move on by at least half the window, so that a large overlap cannot stall the loop, and far enough to fit in
        # the next word.
        start = max(end - overlap, (start + end + 1) // 2)
        while start < end and sum(sizes[start : end + 1]) > limit:
            start += 1
    return windows


def window_territories(windows: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    """
    Assign each word to one of the overlapping windows: neighbours meet in the middle of their overlap.

    An entity is taken from the window in whose territory it starts, where it has the most context.
    """
    borders = [(windows[i][1] + windows[i + 1][0]) // 2 for i in range(len(windows) - 1)]
    starts = [windows[0][0], *borders] if windows else []
    ends = [*borders, windows[-1][1]] if windows else []
    return list(zip(starts, ends, strict=True))
