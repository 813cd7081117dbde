"""BIO and BIOES tags that mark entities; tag 0 is "outside"."""

from __future__ import annotations

from collections.abc import Sequence


BEGIN, INSIDE, END, SINGLE = range(4)
"""Parts of BIOES tags: type i has the tags 4i + 1 + part. Its BIO tags are 2i + 1 (begin) and 2i + 2 (inside)."""


def bio_tags(width: int, kind: int) -> list[int]:
    """BIO tags of the `width` words of an entity of type `kind`."""
    return [2 * kind + 1, *[2 * kind + 2] * (width - 1)]


def read_bio(tags: Sequence[int]) -> list[tuple[int, int, int]]:
    """
    First word, word after the last, and type of the entities in a sequence of BIO tags. An "inside" tag that does not
    continue an entity of its type begins a new one.
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
    """BIOES tags of the `width` words of an entity of type `kind`."""
    parts = [SINGLE] if width == 1 else [BEGIN, *[INSIDE] * (width - 2), END]
    return [4 * kind + 1 + part for part in parts]


def read_bioes(tags: Sequence[int]) -> list[tuple[int, int, int]]:
    """First word, word after the last, and type of the entities whose BIOES tags are complete and of one type."""
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
