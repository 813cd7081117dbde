"""
Formats of annotated corpora, one module each.

Each module has

- `recognises(path)`: whether a file (for brat, a directory) looks like its format;
- `read(path)`: yields `(place, document or error)` for each record;
- `write(documents, path)`: writes a file and returns what the format could not hold, as kind of content → number.
"""

from __future__ import annotations

from pathlib import Path
from types import ModuleType

from ..documents import BrokenRecordError
from . import bio, brat, doccano, jsonl, label_studio, spert, spo
from .records import records


FORMATS: dict[str, ModuleType] = {
    "spert": spert,
    "jsonl": jsonl,
    "spo": spo,
    "doccano": doccano,
    "label-studio": label_studio,
    "brat": brat,
    "bio": bio,
}


def recognise(path: Path) -> str:
    """
    Detect the format of a file or directory from its content.

    Raises:
        ValueError: if no format fits, or several do; the message says how to name one.
        BrokenRecordError: if no format fits because a record is not JSON.
    """
    found = [name for name, module in FORMATS.items() if module.recognises(path)]
    if len(found) == 1:
        return found[0]
    if not found and path.suffix in (".json", ".jsonl"):  # Broken JSON fits no format.
        for place, record in records(path):
            if isinstance(record, ValueError):
                raise BrokenRecordError(f"{path}, {place}: {record}")
    problem = f"could be {' or '.join(found)}" if found else "has no known format"
    raise ValueError(f"{path} {problem}. Name its format: format={'|'.join(FORMATS)} (each module shows an example).")


__all__ = ["FORMATS", "recognise"]
