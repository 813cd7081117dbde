"""Tags of words that mark entities: BIO and BIOES, 0 being outside."""

from __future__ import annotations

from collections.abc import Sequence


BEGIN, INSIDE, END, SINGLE = range(4)
"""BIOES tags of an entity of type i are 4i + 1 + these; BIO tags 2i + 1 where it begins and 2i + 2 where it goes on."""


def bio_tags(width: int, kind: int) -> list[int]:
    """Tags of the words of an entity of type `kind`."""
    return [2 * kind + 1, *[2 * kind + 2] * (width - 1)]


def read_bio(tags: Sequence[int]) -> list[tuple[int, int, int]]:
    """
    First word, the word after the last and type of the entities of a sequence of BIO tags. A tag inside an entity that
    does not go on with the type before it begins one.
    """
    found: list[tuple[int, int, int]] = []
    for word, tag in enumerate(tags):
        kind, begins = (tag - 1) // 2, tag % 2 == 1
        if tag == 0:
            continue
        if not begins and found and found[-1][1] == word and found[-1][2] == kind:
            found[-1] = (found[-1][0], word + 1, kind)
        else:
            found.append((word, word + 1, kind))
    return found


def bioes_tags(width: int, kind: int) -> list[int]:
    """Tags of the words of an entity of type `kind`."""
    parts = [SINGLE] if width == 1 else [BEGIN, *[INSIDE] * (width - 2), END]
    return [4 * kind + 1 + part for part in parts]


def read_bioes(tags: Sequence[int]) -> list[tuple[int, int, int]]:
    """First word, the word after the last and type of the entities whose tags are complete and of one type."""
    found, start = [], None
    for word, tag in enumerate(tags):
        kind, part = divmod(tag - 1, 4)
        if tag == 0 or (start is not None and kind != (tags[start] - 1) // 4):
            start = None
        if tag == 0:
            continue
        if part == SINGLE:
            found.append((word, word + 1, kind))
            start = None
        elif part == BEGIN:
            start = word
        elif part == END and start is not None:
            found.append((start, word + 1, kind))
            start = None
    return found
