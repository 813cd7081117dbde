"""Words of a text, and annotations in characters as annotations in words, and back."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any


# Words: a run of letters and digits, except that each Chinese or Japanese character, and each number in a circle,
# is a word by itself; every other character but whitespace is a word too. The model splits raw text by the same rule.
_CHARACTER_SCRIPTS = (
    "\u2460-\u24ff\u3005-\u3007\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
)
_WORD = re.compile(rf"[^\W_{_CHARACTER_SCRIPTS}]+|\S")

Span = tuple[int, int, str]
"""Start, end (exclusive) and type."""
Relation = tuple[int, int, str]
"""Positions of head and tail in a list of spans, and type."""
Annotations = tuple[str, list[Span], list[Relation]]
"""A text, its entities in characters, and their relations."""


_grown: ContextVar[list[str] | None] = ContextVar("grown", default=None)


@contextmanager
def growing_entities(enabled: bool = True) -> Iterator[list[str]]:
    """Within it, entities that begin or end within a word grow to whole words; the list tells which did."""
    grown: list[str] = []
    token = _grown.set(grown if enabled else None)
    try:
        yield grown
    finally:
        _grown.reset(token)


def split_words(text: str) -> list[tuple[int, int]]:
    """The words of a text as character ranges, `end` exclusive."""
    return [match.span() for match in _WORD.finditer(text)]


def locate_words(text: str, tokens: Sequence[str]) -> list[tuple[int, int]]:
    """
    Character ranges of the words that a text is said to consist of.

    Raises:
        ValueError: where the words do not stand in the text one after the other.
    """
    places, behind = [], 0
    for token in tokens:
        start = text.find(token, behind)
        if start < 0 or not token:
            raise ValueError(f"the word {token!r} of 'tokens' is not in the text behind character {behind}.")
        behind = start + len(token)
        places.append((start, behind))
    return places


def document_of_words(
    name: str, tokens: Sequence[str], entities: Sequence[Span], relations: Sequence[Relation], text: str | None = None
) -> dict[str, Any]:
    """
    A document from annotations in words.

    Raises:
        ValueError: for an entity outside the words, a relation with an entity that is not there, or one of an entity
            with itself.
    """
    for start, end, _ in entities:
        if not 0 <= start < end <= len(tokens):
            raise ValueError(f"the entity {start}:{end} lies outside the {len(tokens)} words or holds no word.")
    for head, tail, _ in relations:
        for role, index in (("head", head), ("tail", tail)):
            if not 0 <= index < len(entities):
                raise ValueError(f"the relation has the {role} {index}, but there are {len(entities)} entities.")
        if head == tail:
            raise ValueError(f"the relation joins entity {head} to itself.")
    return {
        "id": name,
        "text": " ".join(tokens) if text is None else text,
        "tokens": list(tokens),
        "entities": [{"start": start, "end": end, "type": kind} for start, end, kind in entities],
        "relations": [{"head": head, "tail": tail, "type": kind} for head, tail, kind in relations],
    }


def document_of_text(
    name: str,
    text: str,
    entities: Sequence[Span],
    relations: Sequence[Relation],
    tokens: Sequence[str] | None = None,
) -> dict[str, Any]:
    """
    A document from annotations in characters.

    Args:
        entities: character ranges with types. Blanks at their ends do not count.
        tokens: the text's words, where they are not those of `split_words`.

    Raises:
        ValueError: for an entity that begins or ends within a word, but within `growing_entities`; and see
            `document_of_words`.
    """
    places = split_words(text) if tokens is None else locate_words(text, tokens)
    starts = {start: index for index, (start, _) in enumerate(places)}
    ends = {end: index + 1 for index, (_, end) in enumerate(places)}
    in_words = []
    for start, end, kind in entities:
        if not 0 <= start < end <= len(text):
            raise ValueError(f"the entity {start}:{end} lies outside the text's {len(text)} characters.")
        read = text[start:end]
        first, last = start + len(read) - len(read.lstrip()), end - len(read) + len(read.rstrip())
        if first not in starts or last not in ends:
            if (grown := _grown.get()) is not None and (touched := _touched(places, first, last)):
                whole = text[places[touched[0]][0] : places[touched[1] - 1][1]]
                grown.append(f"{name}: {read!r} ({kind}) → {whole!r}")
                in_words.append((*touched, kind))
                continue
            around = text[max(0, start - 10) : end + 10]
            raise ValueError(
                f"the entity {read!r} ({kind}) begins or ends within a word of {around!r}; move its borders to those "
                "of the word, give the words as 'tokens', or let such entities grow (grow_entities)."
            )
        in_words.append((starts[first], ends[last], kind))
    words = [text[start:end] for start, end in places]
    return document_of_words(name, words, in_words, relations, text)


def _touched(places: Sequence[tuple[int, int]], first: int, last: int) -> tuple[int, int] | None:
    """The words that the characters from `first` to `last` touch, if any."""
    touched = [index for index, (start, end) in enumerate(places) if start < last and first < end]
    return (touched[0], touched[-1] + 1) if touched else None


def character_spans(document: Mapping[str, Any]) -> list[Span]:
    """
    The entities of a document in characters.

    Raises:
        ValueError: where its words do not stand in its text one after the other.
    """
    places = locate_words(document["text"], document["tokens"])
    return [
        (places[entity["start"]][0], places[entity["end"] - 1][1], entity["type"]) for entity in document["entities"]
    ]


def annotations_of(document: Mapping[str, Any]) -> Annotations:
    """A document with its entities in characters; see `character_spans`."""
    relations = [(relation["head"], relation["tail"], relation["type"]) for relation in document["relations"]]
    return document["text"], character_spans(document), relations


def has_own_words(document: Mapping[str, Any]) -> bool:
    """Whether the document's words are others than `split_words` finds in its text."""
    text = document["text"]
    return [text[start:end] for start, end in split_words(text)] != document["tokens"]
