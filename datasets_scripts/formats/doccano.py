"""
doccano's JSON lines, with character offsets. For relation extraction:

    {"id": 7, "text": "Anna lives in Lund.",
     "entities": [{"id": 1, "label": "Peop", "start_offset": 0, "end_offset": 4},
                  {"id": 2, "label": "Loc", "start_offset": 14, "end_offset": 18}],
     "relations": [{"id": 1, "from_id": 1, "to_id": 2, "type": "Live_In"}], "Comments": []}

For sequence labelling, with the text in `text` or `data`, and the spans in `label`, `labels` or `entities`:

    {"id": 7, "data": "Anna lives in Lund.", "label": [[0, 4, "Peop"], [14, 18, "Loc"]]}

An optional key `tokens` gives the words; doccano preserves unknown keys.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from .. import words
from ..documents import Document
from ..words import Annotations, Relation, Span, document_of_text, has_own_words
from .records import (
    Read,
    first_record,
    integer_of,
    items_of,
    label_of,
    name_of,
    position_of,
    read_records,
    text_of,
    words_of,
    write_lines,
)


_SPANS = ("label", "labels", "entities")


def recognises(path: Path) -> bool:
    record = first_record(path)
    spans = next((record[key] for key in _SPANS if isinstance(record.get(key), list)), None)
    if not isinstance(record.get("text", record.get("data")), str) or spans is None or "spo_list" in record:
        return False
    triples = all(isinstance(span, list) for span in spans)
    objects = all(isinstance(span, dict) and "start_offset" in span for span in spans)
    return (triples or objects) and not (spans == [] and "tokens" in record and "Comments" not in record)


def read(path: Path) -> Read:
    return read_records(path, parse)


def parse(name: str, record: Mapping[str, Any]) -> Document:
    """Convert a record of either kind to a document."""
    return document_of_text(name_of(record, name, "id"), *annotations_of(record), words_of(record))


def annotations_of(record: Mapping[str, Any]) -> Annotations:
    """Text, entities with character offsets and relations of a record of either kind."""
    text = text_of(record, "text", "data")
    entities, index_of = _entities(record)
    relations = []
    for item in items_of(record, "relations"):
        head, tail = (position_of(index_of, item.get(key)) for key in ("from_id", "to_id"))
        relations.append((head, tail, label_of(item, "type", "label")))
    return text, entities, relations


def _entities(record: Mapping[str, Any]) -> tuple[list[Span], dict[Any, int]]:
    """The spans, and the index of each span by its id."""
    key = next((key for key in _SPANS if record.get(key) is not None), "entities")
    entities: list[Span] = []
    index_of: dict[Any, int] = {}
    spans = record.get(key) or []
    if not isinstance(spans, list):
        raise ValueError(f"{key!r} must be a list, not {spans!r:.60}.")
    for span in spans:
        if isinstance(span, list) and len(span) == 3:
            span = dict(zip(("start_offset", "end_offset", "label"), span, strict=True))
        if not isinstance(span, Mapping):
            raise ValueError(f"{key!r} must contain objects or lists of start, end and label, not {span!r:.60}.")
        if span.get("id") is not None:
            if not isinstance(span["id"], int | str):
                raise ValueError(f"the id of an entity must be a number or a string, not {span['id']!r:.60}.")
            if span["id"] in index_of:
                raise ValueError(f"two entities have the id {span['id']!r}.")
            index_of[span["id"]] = len(entities)
        entities.append((integer_of(span, "start_offset"), integer_of(span, "end_offset"), label_of(span, "label")))
    return entities, index_of


def write(documents: Iterable[Document], path: Path) -> dict[str, int]:
    records = []
    first = 1
    for document in documents:
        own = {"tokens": document["tokens"]} if has_own_words(document) else {}
        records.append({"id": document["id"], **record_of(first, *words.annotations_of(document)), **own})
        first += max(len(document["entities"]), len(document["relations"]))
    write_lines(records, path)
    return {}


def record_of(first_id: int, text: str, entities: Sequence[Span], relations: Sequence[Relation]) -> dict[str, Any]:
    """
    A record for relation extraction, without an id of its own.

    Args:
        first_id: the first id of its entities and of its relations; doccano's ids are unique within a project.
    """
    return {
        "text": text,
        "entities": [
            {"id": first_id + index, "label": kind, "start_offset": start, "end_offset": end}
            for index, (start, end, kind) in enumerate(entities)
        ],
        "relations": [
            {"id": first_id + index, "from_id": first_id + head, "to_id": first_id + tail, "type": kind}
            for index, (head, tail, kind) in enumerate(relations)
        ],
        "Comments": [],
    }
