"""
The documents of this package as JSON lines, with word offsets:

    {"id": "7", "text": "Anna lives in Lund.", "tokens": ["Anna", "lives", "in", "Lund", "."],
     "entities": [{"start": 0, "end": 1, "type": "Peop"}, {"start": 3, "end": 4, "type": "Loc"}],
     "relations": [{"head": 0, "tail": 1, "type": "Live_In"}]}

`id` and `text` are optional.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from ..documents import DOCUMENT_FEATURES, Document, read_text
from .records import Read, first_record, read_records, write_lines
from .spert import parse


def recognises(path: Path) -> bool:
    record = first_record(path)
    in_words = "tokens" in record and "spo_list" not in record and not isinstance(record.get("data"), str | dict)
    offsets = [item for item in record.get("entities") or [] if isinstance(item, dict) and "start_offset" in item]
    others = {"label", "Comments"} & record.keys()
    return in_words and not offsets and not others and not read_text(path).lstrip().startswith("[")


def read(path: Path) -> Read:
    return read_records(path, parse)


def write(documents: Iterable[Document], path: Path) -> dict[str, int]:
    write_lines(({key: document[key] for key in DOCUMENT_FEATURES} for document in documents), path)
    return {}
