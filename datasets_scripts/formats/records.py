"""Shared by formats of JSON records: read lines and lists, and check the types of values."""

from __future__ import annotations

import functools
import itertools
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from ..documents import Document, read_json_list, read_text


Read = Iterator[tuple[str, Document | ValueError]]


def records(path: Path) -> Iterator[tuple[str, Any]]:
    """Yield the records of a file of JSON lines or of a JSON list: `(place, record or error)`."""
    text = read_text(path)
    if text.lstrip().startswith("["):
        yield from ((f"record {number}", record) for number, record in enumerate(read_json_list(path)))
        return
    # Only line feeds end a line, because JSON strings may contain other line separators unescaped.
    for number, line in enumerate(text.split("\n"), 1):
        if line.strip():
            try:
                yield f"line {number}", json.loads(line)
            except json.JSONDecodeError as error:
                yield f"line {number}", ValueError(f"not JSON ({error.msg} at column {error.colno}).")


_ANNOTATIONS = ("entities", "label", "labels", "spo_list", "annotations")


@functools.lru_cache(maxsize=1)
def _typical_record(path: Path, modified: int) -> Mapping[str, Any]:
    sample = [record for _, record in itertools.islice(records(path), 100) if isinstance(record, Mapping)]
    first = sample[0] if sample else {}
    return next((record for record in sample if any(record.get(key) for key in _ANNOTATIONS)), first)


def first_record(path: Path) -> Mapping[str, Any]:
    """
    The first annotated record of a JSON file (of the first 100), or else its first record; an empty one if the file is
    not JSON or has no objects.
    """
    if path.suffix not in (".json", ".jsonl") or not path.is_file():
        return {}
    try:
        return _typical_record(path, path.stat().st_mtime_ns)
    except ValueError:
        return {}


def read_records(path: Path, parse: Callable[[str, Mapping[str, Any]], Document]) -> Read:
    """
    Yield the documents of a file: `(place, document or error)`.

    Args:
        parse: makes a document from a default name and a record.
    """
    for place, record in records(path):
        try:
            if isinstance(record, ValueError):
                raise record
            if not isinstance(record, Mapping):
                raise ValueError(f"a record must be an object, not {record!r:.60}.")
            yield place, parse(f"{path.stem}-{place.split()[-1]}", record)
        except ValueError as error:
            yield place, error


def write_lines(items: Iterable[Any], path: Path) -> None:
    """Write JSON lines."""
    with path.open("w", encoding="utf-8", newline="\n") as file:
        file.writelines(json.dumps(item, ensure_ascii=False) + "\n" for item in items)


def text_of(record: Mapping[str, Any], *keys: str) -> str:
    """The text under the first of the keys that the record has."""
    for key in keys:
        if record.get(key) is not None:
            if not isinstance(record[key], str):
                raise ValueError(f"{key!r} must be a string, not {record[key]!r:.60}.")
            return record[key]
    raise ValueError(f"{' or '.join(map(repr, keys))} is missing.")


def words_of(record: Mapping[str, Any]) -> list[str] | None:
    """The words under `tokens`, or `None`."""
    tokens = record.get("tokens")
    if tokens is None:
        return None
    if not isinstance(tokens, list) or not all(isinstance(token, str) and token.strip() for token in tokens):
        raise ValueError("'tokens' must be a list of non-empty words.")
    return tokens


def items_of(record: Mapping[str, Any], key: str) -> list[Mapping[str, Any]]:
    """The list of objects under a key; an empty one if it is missing or null."""
    items = record.get(key)
    if items is None:
        return []
    if not isinstance(items, list) or not all(isinstance(item, Mapping) for item in items):
        raise ValueError(f"{key!r} must be a list of objects.")
    return items


def integer_of(item: Mapping[str, Any], key: str) -> int:
    """The integer under a key."""
    value = item.get(key)
    if not isinstance(value, int) or isinstance(value, bool):
        raise ValueError(f"{key!r} must be an integer, not {value!r:.60}.")
    return value


def label_of(item: Mapping[str, Any], *keys: str) -> str:
    """The label under the first of the keys that the item has: a string, or a list of one string."""
    for key in keys:
        label = item.get(key)
        if isinstance(label, list) and len(label) == 1:
            label = label[0]
        if label is not None:
            if not isinstance(label, str) or not label.strip():
                raise ValueError(f"{key!r} must be a non-empty string, not {label!r:.60}.")
            return label
    raise ValueError(f"{' or '.join(map(repr, keys))} is missing.")


def position_of(index_of: Mapping[Any, int], entity_id: Any) -> int:
    """The index of the entity that a relation refers to by its id."""
    if not isinstance(entity_id, int | str) or entity_id not in index_of:
        raise ValueError(f"a relation refers to the entity {entity_id!r}, which the record does not have.")
    return index_of[entity_id]


def name_of(record: Mapping[str, Any], default: str, *keys: str) -> str:
    """The record's own id under the first of the keys that it has, or the default."""
    value = next((record[key] for key in keys if record.get(key) is not None), default)
    return str(value)
