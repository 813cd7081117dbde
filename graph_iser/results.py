"""Read triples from the output of `iser-extract`: complete JSON lines, or flat rows of CSV and Parquet files."""

from __future__ import annotations

import csv
import io
import json
import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .names import DRUG
from .text_files import BUFFER_BYTES, check_decoded, open_text


logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Triple:
    """
    A relation found in a text.

    Attributes:
        source, line: origin of the text.
        text: the text.
        drug: the drug whose leaflet the text comes from, if any.
        head, tail: names as written in the text, or the name of the leaflet's drug.
        head_type, tail_type: entity types.
        head_span, tail_span: character ranges in the text, or `None` for the leaflet's drug.
        score: score of the relation.
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
"""Characters at the start of a cell that make spreadsheet programs interpret it as a formula."""

Line = tuple[str, int, list[Triple]]
"""Source, line and the triples found there."""


def read_triples(path: str | Path) -> Iterator[Line]:
    """
    Yield the triples of each line in a file of results.

    Raises:
        OSError: if there is no such file.
        ValueError: if the file or a record in it is not a result of `iser-extract`; the message gives file and record.
    """
    path = Path(path)
    check_results(path)
    for number, record in _READERS[path.suffix.lower()](path):
        try:
            yield _of_result(record) if "relations" in record else _of_row(record)
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError(
                f"{path}, record {number}: not a result of iser-extract ({type(error).__name__}: {error})."
            ) from None


def check_results(path: Path) -> None:
    """
    Check that a file exists and has the extension of a file of results.

    Raises:
        OSError: if there is no such file.
        ValueError: if it has another extension.
    """
    if path.is_dir():
        raise IsADirectoryError(f"{path} is a directory. Name the files in it, such as {path / '*.parquet'}")
    if path.suffix.lower() not in _READERS:
        raise ValueError(f"{path}: results of iser-extract are {', '.join(_READERS)} files.")
    if not path.is_file():
        raise FileNotFoundError(f"there is no file {path}")


def _json_lines(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    with _text(path, newline="\n") as stream:
        for number, line in enumerate(stream, 1):
            if not line.strip():
                continue
            try:
                check_decoded(line)
                record = json.loads(line)
            except ValueError as error:
                raise ValueError(f"{path}, record {number}: not JSON ({error}).") from None
            if not isinstance(record, dict):
                raise ValueError(f"{path}, record {number}: not a JSON object.")
            yield number, record


def _csv_rows(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    with _text(path, newline="") as stream:
        for number, row in enumerate(csv.DictReader(stream), 1):
            try:
                check_decoded("".join(value for value in row.values() if isinstance(value, str)))
            except ValueError as error:
                raise ValueError(f"{path}, record {number}: {error}. Save the file as UTF-8.") from None
            yield number, {name: _without_guard(value) for name, value in row.items()}


@contextmanager
def _text(path: Path, newline: str) -> Iterator[io.TextIOWrapper]:
    with path.open("rb", buffering=BUFFER_BYTES) as stream:
        text, note = open_text(stream, newline=newline)
        if note is not None:
            logger.warning("%s: %s.", path, note)
        yield text


def _without_guard(value: Any) -> Any:
    """A cell without the `'` that keeps spreadsheet programs from interpreting it as a formula."""
    guarded = isinstance(value, str) and value[:1] == "'" and value[1:2] in (*FORMULA_SIGNS, "'")
    return value[1:] if guarded else value


def _parquet_rows(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    from pyarrow import parquet

    number = 0
    try:
        table = parquet.ParquetFile(path)
    except ValueError as error:
        raise ValueError(f"{path} is not a Parquet file ({error}).") from None
    with table as file:
        for batch in file.iter_batches():
            for record in batch.to_pylist():
                number += 1
                yield number, record


_READERS = {".jsonl": _json_lines, ".csv": _csv_rows, ".parquet": _parquet_rows}


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
        source, line, row["text"], row["drug"] or None, row["head"], row.get("head_type") or DRUG, head,
        row["relation"], row["tail"], row.get("tail_type") or DRUG, tail, float(row["score"]),
    )  # fmt: skip
    return source, line, [triple]


def _span(start: Any, end: Any) -> tuple[int, int] | None:
    return None if start in (None, "") else (int(start), int(end))


__all__ = ["Triple", "check_results", "read_triples"]
