"""
Formats of annotated corpora, a module each.

A module of a format has

- `recognises(path)`: whether a file (of brat: a directory) looks like one of its own;
- `read(path)`: its documents, each with its place: `(place, document or what is wrong with it)`;
- `write(documents, path)`, where the format can hold what a document holds or most of it: writes a file and returns
  how often something could not be held, by what it was.
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
    Name of the format of a file or directory, by its content.

    Raises:
        ValueError: where no format, or more than one, fits; the message says how to name one.
    """
    found = [name for name, module in FORMATS.items() if module.recognises(path)]
    if len(found) == 1:
        return found[0]
    if not found and path.suffix in (".json", ".jsonl"):  # A file that cannot be read looks like nothing.
        for place, record in records(path):
            if isinstance(record, ValueError):
                raise BrokenRecordError(f"{path}, {place}: {record}")
    what = f"looks like {' and '.join(found)}" if found else "looks like no format that is known"
    raise ValueError(f"{path} {what}. Say which it is: format={'|'.join(FORMATS)} (its module shows an example).")


__all__ = ["FORMATS", "recognise"]
