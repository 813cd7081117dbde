"""Results of `iser-extract` → triples: JSON lines with everything, or the flat rows of CSV and Parquet files."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .names import DRUG


@dataclass(frozen=True)
class Triple:
    """
    A relation that was found in a text.

    Attributes:
        source, line: where the text is from.
        text: the text.
        drug: the drug whose leaflet it is from, if any.
        head, tail: names as they are written; the leaflet's drug by its name.
        head_type, tail_type: entity types.
        head_span, tail_span: characters in the text, or `None` for the leaflet's drug.
        score: of the relation.
    """

    source: str
    line: int
    text: str
    drug: str | None
    head: str
    head_type: str
    head_span: tuple[int, int] | None
    relation: str
    tail: str
    tail_type: str
    tail_span: tuple[int, int] | None
    score: float


FORMULA_SIGNS = ("=", "+", "-", "@", "\t", "\r")
"""What a cell begins with that a spreadsheet program takes for a formula."""

Line = tuple[str, int, list[Triple]]
"""Source, line and what was found there."""


def read_triples(path: str | Path) -> Iterator[Line]:
    """
    What was found in each line, from a file of results.

    Raises:
        ValueError: for a file of another kind, and a record that is no result, with file and line.
    """
    path = Path(path)
    readers = {".jsonl": _json_lines, ".csv": _csv_rows, ".parquet": _parquet_rows}
    if path.suffix not in readers:
        raise ValueError(f"{path}: results are {', '.join(readers)} files, as iser-extract writes them.")
    for number, record in readers[path.suffix](path):
        try:
            yield _of_result(record) if "relations" in record else _of_row(record)
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError(
                f"{path}, record {number}: no result of iser-extract ({type(error).__name__}: {error})."
            ) from None


def _json_lines(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    with path.open(encoding="utf-8") as stream:
        for number, line in enumerate(stream, 1):
            try:
                record = json.loads(line)
            except ValueError as error:
                raise ValueError(f"{path}, record {number}: no JSON ({error}).") from None
            if not isinstance(record, dict):
                raise ValueError(f"{path}, record {number}: no JSON object.")
            yield number, record


def _csv_rows(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    with path.open(encoding="utf-8-sig", newline="") as stream:
        for number, row in enumerate(csv.DictReader(stream), 1):
            yield number, {name: _without_guard(value) for name, value in row.items()}


def _without_guard(value: Any) -> Any:
    """A cell without the `'` that keeps spreadsheets from taking it for a formula."""
    guarded = isinstance(value, str) and value[:1] == "'" and value[1:2] in (*FORMULA_SIGNS, "'")
    return value[1:] if guarded else value


def _parquet_rows(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    from pyarrow import parquet

    number = 0
    with parquet.ParquetFile(path) as file:
        for batch in file.iter_batches():
            for record in batch.to_pylist():
                number += 1
                yield number, record


def _of_result(record: Mapping[str, Any]) -> Line:
    source, line = str(record["source"]), int(record["line"])
    drug = record["drug"]["text"] if record["drug"] else None

    def end(entity: Mapping[str, Any]) -> tuple[str, str, tuple[int, int] | None]:
        return entity["text"], entity["type"], _span(entity["start"], entity["end"])

    triples = [
        Triple(
            source, line, record["text"], drug, *end(relation["head"]), relation["type"], *end(relation["tail"]),
            float(relation["score"]),
        )
        for relation in record["relations"]
    ]  # fmt: skip
    return source, line, triples


def _of_row(row: Mapping[str, Any]) -> Line:
    source, line = str(row["source"]), int(row["line"])
    head, tail = (_span(row[f"{role}_start"], row[f"{role}_end"]) for role in ("head", "tail"))
    triple = Triple(
        source, line, row["text"], row["drug"] or None, row["head"], DRUG, head,
        row["relation"], row["tail"], DRUG, tail, float(row["score"]),
    )  # fmt: skip
    return source, line, [triple]


def _span(start: Any, end: Any) -> tuple[int, int] | None:
    return None if start in (None, "") else (int(start), int(end))


__all__ = ["Triple", "read_triples"]
