"""
The paper's format (section 4.1.2): JSON lines whose triples refer to entities by name.

    {"text": "Anna lives in Lund.",
     "spo_list": [{"predicate": "Live_In", "subject": "Anna", "subject_type": "Peop",
                   "object": {"@value": "Lund"}, "object_type": {"@value": "Loc"}}]}

`object` and `object_type` may also be plain strings. The subject is the head, the object the tail. An optional list
`entities` of `{"text", "start", "end", "type"}`, with character offsets, keeps repeated mentions and entities without
relations; `subject_entity` and `object_entity` of a relation may then give indices in that list.

A name that occurs more than once means, with `entities`, the first of them with that text. Otherwise it means the
prompt before `@` if it is the whole prompt; else the first occurrence after `@` that is not part of a longer name of
the record, as 阿司匹林 is of 阿司匹林肠溶片; else the first occurrence.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from .. import words
from ..documents import Document
from ..words import Annotations, Relation, Span, document_of_text, has_own_words
from .records import Read, first_record, integer_of, items_of, label_of, name_of, read_records, words_of, write_lines


def recognises(path: Path) -> bool:
    return "spo_list" in first_record(path)


def read(path: Path) -> Read:
    return read_records(path, parse)


def parse(name: str, record: Mapping[str, Any]) -> Document:
    """Convert a record to a document."""
    return document_of_text(name_of(record, name, "id"), *annotations_of(record), words_of(record))


def annotations_of(record: Mapping[str, Any]) -> Annotations:
    """
    Text, entities with character offsets in the order of the text, and relations of a record.

    Raises:
        ValueError: if the record is broken; the message gives the reason.
    """
    text = record.get("text")
    if not isinstance(text, str) or not text.strip():
        raise ValueError("'text' must be a non-empty string.")
    if "spo_list" not in record:
        raise ValueError("'spo_list' must be a list of objects.")
    items = items_of(record, "spo_list")
    triples = [_triple(item) for item in items]
    if "entities" in record:
        entities = [_entity(item, text) for item in items_of(record, "entities")]
    else:
        named = {(name, kind) for head, _, tail in triples for name, kind in (head, tail)}
        names = {name for name, _ in named}
        entities = sorted({(*locate(name, text, names), kind) for name, kind in named})
    index_of: dict[tuple[str, str], int] = {}
    for index, (start, end, kind) in enumerate(entities):
        index_of.setdefault((text[start:end], kind), index)
    relations = []
    for item, (head, predicate, tail) in zip(items, triples, strict=True):
        places = []
        for role, (name, kind) in (("subject", head), ("object", tail)):
            if (name, kind) not in index_of:
                raise ValueError(f"{name!r} ({kind}) of a relation is not among the record's 'entities'.")
            index = item.get(f"{role}_entity", index_of[name, kind])
            if index not in range(len(entities)) or text[slice(*entities[index][:2])] != name:
                raise ValueError(f"'{role}_entity' {index!r} is not an entity with the text {name!r}.")
            places.append(index)
        relations.append((places[0], places[1], predicate))
    order = sorted(range(len(entities)), key=lambda index: entities[index])
    place = {old: new for new, old in enumerate(order)}
    return (
        text,
        [entities[index] for index in order],
        sorted((place[head], place[tail], kind) for head, tail, kind in relations),
    )


def _triple(item: Mapping[str, Any]) -> tuple[tuple[str, str], str, tuple[str, str]]:
    subject, tail = ((_value(item, role), _value(item, f"{role}_type")) for role in ("subject", "object"))
    return subject, label_of(item, "predicate"), tail


def _value(item: Mapping[str, Any], key: str) -> str:
    value = item.get(key)
    if isinstance(value, Mapping):
        value = value.get("@value")
    if not isinstance(value, str) or not value:
        raise ValueError(f"{key!r} of a relation must be a string, or an object with a string under '@value'.")
    return value


def _entity(item: Mapping[str, Any], text: str) -> Span:
    start, end = integer_of(item, "start"), integer_of(item, "end")
    if not 0 <= start < end <= len(text):
        raise ValueError(f"the entity {dict(item)} lies outside the text's {len(text)} characters.")
    if text[start:end] != item.get("text"):
        raise ValueError(f"the entity is {item.get('text')!r}, but the text at {start}:{end} is {text[start:end]!r}.")
    return start, end, label_of(item, "type")


def locate(name: str, text: str, names: Iterable[str]) -> tuple[int, int]:
    """Character range of the occurrence that a name means, by the rule in the docstring of this module."""
    starts = [match.start() for match in re.finditer(f"(?={re.escape(name)})", text)]
    if not starts:
        raise ValueError(f"{name!r} does not occur in {text!r}.")
    prompt, at, _ = text.partition("@")
    if at and name == prompt:
        return 0, len(name)
    longer = [
        (match.start(), match.start() + len(other))
        for other in names
        if len(other) > len(name)
        for match in re.finditer(f"(?={re.escape(other)})", text)
    ]
    prompt_end = len(prompt) + 1 if at else 0

    def rank(start: int) -> tuple[bool, bool, int]:
        inside_longer = any(first <= start and start + len(name) <= last for first, last in longer)
        return inside_longer, start < prompt_end, start

    start = min(starts, key=rank)
    return start, start + len(name)


def record_of(text: str, entities: Sequence[Span], relations: Sequence[Relation]) -> dict[str, Any]:
    """The record of a text whose entities have character offsets."""
    index_of: dict[tuple[str, str], int] = {}
    for index, (start, end, kind) in enumerate(entities):
        index_of.setdefault((text[start:end], kind), index)
    spo_list = []
    for head, tail, relation in relations:
        (subject, subject_type), (thing, object_type) = (
            (text[slice(*entities[index][:2])], entities[index][2]) for index in (head, tail)
        )
        item: dict[str, Any] = {
            "predicate": relation,
            "subject": subject,
            "subject_type": subject_type,
            "object": {"@value": thing},
            "object_type": {"@value": object_type},
        }
        for role, index, key in (
            ("subject", head, (subject, subject_type)), ("object", tail, (thing, object_type))
        ):  # fmt: skip
            if index_of[key] != index:
                item[f"{role}_entity"] = index
        spo_list.append(item)
    named = [{"text": text[start:end], "start": start, "end": end, "type": kind} for start, end, kind in entities]
    return {"text": text, "spo_list": spo_list, "entities": named}


def write(documents: Iterable[Document], path: Path) -> dict[str, int]:
    records = []
    for document in documents:
        own = {"tokens": document["tokens"]} if has_own_words(document) else {}
        records.append({"id": document["id"], **record_of(*words.annotations_of(document)), **own})
    write_lines(records, path)
    return {}
