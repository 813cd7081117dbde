"""
Label Studio's JSON, with character offsets. The full export:

    [{"id": 7, "data": {"text": "Anna lives in Lund."},
      "annotations": [{"result": [
        {"id": "a", "type": "labels", "from_name": "label", "to_name": "text",
         "value": {"start": 0, "end": 4, "text": "Anna", "labels": ["Peop"]}},
        {"id": "b", "type": "labels", "from_name": "label", "to_name": "text",
         "value": {"start": 14, "end": 18, "text": "Lund", "labels": ["Loc"]}},
        {"type": "relation", "from_id": "a", "to_id": "b", "direction": "right", "labels": ["Live_In"]}]}]}]

JSON-MIN, which has entities only:

    [{"id": 7, "text": "Anna lives in Lund.", "label": [{"start": 0, "end": 4, "text": "Anna", "labels": ["Peop"]}]}]

A relation with the direction `left` goes from `to_id` to `from_id`, one with `bi` in both directions. A task must have
exactly one annotation, which may be empty: without one, nobody has labelled the task; with several, export the tasks of
each annotator separately.
"""

from __future__ import annotations

import json
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
)


def recognises(path: Path) -> bool:
    record = first_record(path)
    if isinstance(record.get("data"), Mapping):
        return True
    labels = record.get("label")
    minimal = isinstance(labels, list) and all(isinstance(item, Mapping) and "labels" in item for item in labels)
    return "text" in record and minimal and (labels != [] or "annotation_id" in record)


def read(path: Path) -> Read:
    return read_records(path, parse)


def parse(name: str, record: Mapping[str, Any]) -> Document:
    """Convert a task of either export to a document."""
    data = record.get("data")
    task = {**record, **data} if isinstance(data, Mapping) else record
    return document_of_text(name_of(task, name, "id"), *annotations_of(record), words_of(task))


def annotations_of(record: Mapping[str, Any]) -> Annotations:
    """Text, entities with character offsets and relations of a task of either export."""
    data = record.get("data", record)
    if not isinstance(data, Mapping):
        raise ValueError(f"'data' must be an object, not {data!r:.60}.")
    text = text_of(data, "text")
    result: list[Mapping[str, Any]] = (
        _result(record) if "data" in record else [{"value": item} for item in items_of(record, "label")]
    )
    return text, *_annotations(text, result)


def _result(record: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    annotations = [item for item in items_of(record, "annotations") if not item.get("was_cancelled")]
    if len(annotations) != 1:
        raise ValueError(
            f"the task has {len(annotations)} annotations, not one. Label it, or export each annotator separately."
        )
    return items_of(annotations[0], "result")


def _annotations(text: str, result: Iterable[Mapping[str, Any]]) -> tuple[list[Span], list[Relation]]:
    entities: list[Span] = []
    index_of: dict[Any, int] = {}
    links = []
    for item in result:
        if item.get("type") == "relation":
            links.append(item)
            continue
        if item.get("type", "labels") not in ("labels", "hypertextlabels"):
            raise ValueError(f"a result of type {item['type']!r} is neither 'labels' nor 'relation'.")
        value = item.get("value")
        if not isinstance(value, Mapping):
            raise ValueError("a result of type 'labels' has no 'value'.")
        start, end = integer_of(value, "start"), integer_of(value, "end")
        found = text[start:end] if 0 <= start < end <= len(text) else None
        if value.get("text") not in (None, found):
            raise ValueError(f"the entity is {value['text']!r}, but the text at {start}:{end} is {found!r}.")
        if isinstance(item.get("id"), int | str):
            index_of[item["id"]] = len(entities)
        entities.append((start, end, label_of(value, "labels", "hypertextlabels")))
    relations: list[Relation] = []
    for item in links:
        head, tail = position_of(index_of, item.get("from_id")), position_of(index_of, item.get("to_id"))
        direction = item.get("direction", "right")
        if direction not in ("right", "left", "bi"):
            raise ValueError(f"a relation has the direction {direction!r}; it must be 'right', 'left' or 'bi'.")
        labels = item.get("labels")
        if not isinstance(labels, list) or not labels:
            raise ValueError("a relation has no label: define labels for relations in the project, and assign one.")
        for label in labels:
            kind = label_of({"labels": label}, "labels")
            relations += [(head, tail, kind)] if direction != "left" else []
            relations += [(tail, head, kind)] if direction != "right" else []
    return entities, relations


def write(documents: Iterable[Document], path: Path) -> dict[str, int]:
    tasks = []
    for number, document in enumerate(documents, 1):
        task = task_of(number, *words.annotations_of(document))
        task["data"] |= {"id": document["id"]} | ({"tokens": document["tokens"]} if has_own_words(document) else {})
        tasks.append(task)
    path.write_text(json.dumps(tasks, ensure_ascii=False, indent=1) + "\n", encoding="utf-8", newline="\n")
    return {}


def task_of(number: int, text: str, entities: Sequence[Span], relations: Sequence[Relation]) -> dict[str, Any]:
    """A task with one annotation."""
    result: list[dict[str, Any]] = [
        {
            "id": f"{number}-{index}",
            "from_name": "label",
            "to_name": "text",
            "type": "labels",
            "value": {"start": start, "end": end, "text": text[start:end], "labels": [kind]},
        }
        for index, (start, end, kind) in enumerate(entities)
    ]
    result += [
        {
            "from_id": f"{number}-{head}",
            "to_id": f"{number}-{tail}",
            "type": "relation",
            "direction": "right",
            "labels": [kind],
        }
        for head, tail, kind in relations
    ]
    return {"id": number, "data": {"text": text}, "annotations": [{"result": result}]}
