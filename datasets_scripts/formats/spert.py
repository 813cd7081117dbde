"""
SpERT's JSON: a list of sentences, split into words, with word offsets.

    [{"tokens": ["Anna", "lives", "in", "Lund"],
      "entities": [{"type": "Peop", "start": 0, "end": 1}, {"type": "Loc", "start": 3, "end": 4}],
      "relations": [{"type": "Live_In", "head": 0, "tail": 1}], "orig_id": 5}]

A file `…types.json` beside it may define the order of the labels and the symmetric relations.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from ..documents import Document, read_text
from ..words import document_of_words, locate_words
from .records import Read, first_record, integer_of, items_of, label_of, name_of, read_records, words_of


def recognises(path: Path) -> bool:
    return path.suffix == ".json" and "tokens" in first_record(path) and read_text(path).lstrip().startswith("[")


def read(path: Path) -> Read:
    return read_records(path, parse)


def parse(name: str, record: Mapping[str, Any]) -> Document:
    """Convert a record with word offsets to a document."""
    tokens = words_of(record)
    if not tokens:
        raise ValueError("'tokens' must be a list of at least one word.")
    entities = [
        (integer_of(item, "start"), integer_of(item, "end"), label_of(item, "type"))
        for item in items_of(record, "entities")
    ]
    relations = [
        (integer_of(item, "head"), integer_of(item, "tail"), label_of(item, "type"))
        for item in items_of(record, "relations")
    ]
    text = record.get("text")
    if text is not None:
        if not isinstance(text, str):
            raise ValueError(f"'text' must be a string, not {text!r:.60}.")
        locate_words(text, tokens)
    return document_of_words(name_of(record, name, "id", "orig_id"), tokens, entities, relations, text)


def write(documents: Iterable[Document], path: Path) -> dict[str, int]:
    # The text is written only if it is not its words joined by spaces.
    records = [
        {
            **{key: document[key] for key in ("tokens", "entities", "relations")},
            **({} if document["text"] == " ".join(document["tokens"]) else {"text": document["text"]}),
            "orig_id": document["id"],
        }
        for document in documents
    ]
    path.write_text(json.dumps(records, ensure_ascii=False, indent=1) + "\n", encoding="utf-8", newline="\n")
    return {}
