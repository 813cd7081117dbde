"""Split text into words, and convert annotations between character offsets and word offsets."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any


# A word is a run of letters and digits, a single Chinese or Japanese character or circled number, or any other single
# character that is not whitespace. The model splits raw text by the same rule.
_CHARACTER_SCRIPTS = (
    "\u2460-\u24ff\u3005-\u3007\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
)
_WORD = re.compile(rf"[^\W_{_CHARACTER_SCRIPTS}]+|\S")

Span = tuple[int, int, str]
"""Start, end (exclusive) and type."""
Relation = tuple[int, int, str]
"""Indices of head and tail in a list of spans, and type."""
Annotations = tuple[str, list[Span], list[Relation]]
"""A text, its entities with character offsets, and their relations."""


_grown: ContextVar[list[str] | None] = ContextVar("grown", default=None)


@contextmanager
def growing_entities(enabled: bool = True) -> Iterator[list[str]]:
    """A context that extends entities that begin or end within a word to whole words, and lists them."""
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
    Character ranges of the given words in a text.

    Raises:
        ValueError: if the words do not occur in the text in this order.
    """
    places, end = [], 0
    for token in tokens:
        start = text.find(token, end)
        if start < 0 or not token:
            raise ValueError(f"the word {token!r} of 'tokens' is not in the text after character {end}.")
        end = start + len(token)
        places.append((start, end))
    return places


def document_of_words(
    name: str, tokens: Sequence[str], entities: Sequence[Span], relations: Sequence[Relation], text: str | None = None
) -> dict[str, Any]:
    """
    Make a document from annotations with word offsets.

    Raises:
        ValueError: if an entity lies outside the words, or a relation refers to a missing entity or joins an entity to
            itself.
    """
    for start, end, _ in entities:
        if not 0 <= start < end <= len(tokens):
            raise ValueError(f"the entity {start}:{end} lies outside the {len(tokens)} words or is empty.")
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
    Make a document from annotations with character offsets.

    Args:
        entities: character ranges with types. Whitespace at their ends is ignored.
        tokens: the text's words, if they differ from those of `split_words`.

    Raises:
        ValueError: if an entity begins or ends within a word, except in `growing_entities`; see also
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
                f"the entity {read!r} ({kind}) begins or ends within a word of {around!r}; move its boundaries to "
                "those of the word, give the words as 'tokens', or extend such entities to whole words (grow_entities)."
            )
        in_words.append((starts[first], ends[last], kind))
    words = [text[start:end] for start, end in places]
    return document_of_words(name, words, in_words, relations, text)


def _touched(places: Sequence[tuple[int, int]], first: int, last: int) -> tuple[int, int] | None:
    """The range of words that overlap the characters from `first` to `last`, if any."""
    touched = [index for index, (start, end) in enumerate(places) if start < last and first < end]
    return (touched[0], touched[-1] + 1) if touched else None


def character_spans(document: Mapping[str, Any]) -> list[Span]:
    """
    The entities of a document with character offsets.

    Raises:
        ValueError: if its words do not occur in its text in order.
    """
    places = locate_words(document["text"], document["tokens"])
    return [
        (places[entity["start"]][0], places[entity["end"] - 1][1], entity["type"]) for entity in document["entities"]
    ]


def annotations_of(document: Mapping[str, Any]) -> Annotations:
    """The text, entities with character offsets and relations of a document; see `character_spans`."""
    relations = [(relation["head"], relation["tail"], relation["type"]) for relation in document["relations"]]
    return document["text"], character_spans(document), relations


def has_own_words(document: Mapping[str, Any]) -> bool:
    """Whether the document's words differ from those of `split_words`."""
    text = document["text"]
    return [text[start:end] for start, end in split_words(text)] != document["tokens"]
