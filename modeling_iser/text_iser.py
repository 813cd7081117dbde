"""Raw text → words with character offsets; windows over sentences that the encoder cannot take whole."""

from __future__ import annotations

import re
from collections.abc import Sequence


# Scripts written without spaces between words, and numbers in circles: each character is a word.
_CHARACTER_SCRIPTS = (
    "\u2460-\u24ff\u3005-\u3007\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
)
_WORD = re.compile(rf"[^\W_{_CHARACTER_SCRIPTS}]+|\S")


def check_unicode(text: str) -> None:
    """Raise `ValueError` where a text has half a surrogate pair, which is no character and which no tokenizer takes."""
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise ValueError(f"Character {error.start} is half a surrogate pair, not Unicode text.") from None


def split_words(text: str) -> list[tuple[int, int]]:
    """
    The words of a text as character ranges, `end` exclusive.

    A run of letters and digits is a word, except that each Chinese or Japanese character is a word by
    itself; every other character but whitespace (punctuation, symbols, combining marks) is a word too.
    """
    return [match.span() for match in _WORD.finditer(text)]


def split_windows(sizes: Sequence[int], limit: int, overlap: int) -> list[tuple[int, int]]:
    """
    Cover a sentence by overlapping windows of whole words that each fit into the encoder.

    Args:
        sizes: subword tokens of each word.
        limit: most subword tokens of a window. A single word of more is a window by itself.
        overlap: words that neighbouring windows share, as far as the limit allows it.

    Returns:
        Word ranges `(start, end)`; one range where the sentence fits whole, none for no words.
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
        # At least half of the window is given up, so that a large overlap cannot stall; and as much as it takes
        # for the next word to fit.
        start = max(end - overlap, (start + end + 1) // 2)
        while start < end and sum(sizes[start : end + 1]) > limit:
            start += 1
    return windows


def window_territories(windows: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    """
    Divide the words among overlapping windows: neighbours meet in the middle of their overlap.

    An entity is read from the window in whose territory it starts, which sees the most around it.
    """
    borders = [(windows[i][1] + windows[i + 1][0]) // 2 for i in range(len(windows) - 1)]
    starts = [windows[0][0], *borders] if windows else []
    ends = [*borders, windows[-1][1]] if windows else []
    return list(zip(starts, ends, strict=True))
