"""Read the texts in the files given to `iser-extract`: lines, JSON lines, tables, and leaflets as documents."""

from __future__ import annotations

import argparse
import csv
import io
import json
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO

from .document_files import DOCUMENT_FORMATS, read_leaflet
from .result_files import ANNOTATION_FORMATS
from .text_files import BUFFER_BYTES, NAME_IT, check_decoded, open_text


INPUT_FORMATS = ("txt", "jsonl", "csv", "parquet", *DOCUMENT_FORMATS)
DRUG_COLUMN = "drug"
"""Default column or JSON key of the drug. Only a column that the user names must exist."""

Item = tuple[str, int, dict[str, Any] | ValueError]
"""Source, line (or row) number counted from 1, and `{"text", "drug"}` or an error that says what is wrong."""


def input_format(name: str, chosen: str | None = None) -> str:
    """
    The format of a file: the chosen one, or that of its extension.

    Raises:
        ValueError: if the extension does not say it.
    """
    if chosen:
        return chosen
    if name == "-":
        return "txt"
    suffix = Path(name).suffix.lstrip(".").lower()
    if suffix not in INPUT_FORMATS:
        raise ValueError(f"{name}: unknown file extension. Give --input-format {'|'.join(INPUT_FORMATS)}")
    return suffix


def read_items(name: str, file_format: str, options: argparse.Namespace) -> Iterator[Item]:
    """
    Stream the texts of a file, with errors for the lines that cannot be read.

    Args:
        name: path of the file, or `-` for standard input.
        file_format: one of `INPUT_FORMATS`.
        options: of `iser-extract`.

    Raises:
        ValueError: if the file has no column with texts.
    """
    for source, line, item in _read(name, file_format, options):
        if options.format in ANNOTATION_FORMATS and isinstance(item, dict) and not item["text"].strip():
            item = ValueError("a blank text has nothing to annotate")
        yield source, line, item


def tell(message: str) -> None:
    """Print a note for the user."""
    print(f"iser-extract: {message}", file=sys.stderr)


def _read(name: str, file_format: str, options: argparse.Namespace) -> Iterator[Item]:
    source = "standard input" if name == "-" else name
    if file_format in DOCUMENT_FORMATS:
        yield from _read_document(name, file_format, options)
    elif file_format == "parquet":
        yield from _read_parquet(source, io.BytesIO(sys.stdin.buffer.read()) if name == "-" else name, options)
    elif name == "-":
        yield from _read_text(source, sys.stdin.buffer, file_format, options)
    else:
        with Path(name).open("rb", buffering=BUFFER_BYTES) as stream:
            yield from _read_text(source, stream, file_format, options)


def _read_text(source: str, stream: BinaryIO, file_format: str, options: argparse.Namespace) -> Iterator[Item]:
    try:
        text, note = open_text(stream, options.encoding, newline="" if file_format == "csv" else "\n")
    except ValueError as error:
        yield source, 1, ValueError(f"{error}. {NAME_IT}")
        return
    if note is not None:
        tell(f"{source}: {note}. If that is wrong, name the encoding with --encoding.")
    number = 0
    try:
        for number, item in (_read_csv if file_format == "csv" else _read_lines)(source, text, file_format, options):
            yield source, number, item
    except csv.Error as error:
        yield source, number + 1, ValueError(f"the rest of the file is not CSV ({error})")
    except UnicodeDecodeError as error:  # of encodings whose errors `check_decoded` cannot find, such as UTF-16
        yield source, number + 1, ValueError(f"the rest of the file is not {error.encoding} ({error.reason})")
    finally:
        text.detach()


def _read_lines(
    source: str, text: io.TextIOWrapper, file_format: str, options: argparse.Namespace
) -> Iterator[tuple[int, dict[str, Any] | ValueError]]:
    lines: Iterable[str] = [text.read()] if file_format == "txt" and options.whole else text
    for number, line in enumerate(lines, 1):
        if number == 1:
            line = line.removeprefix("\ufeff")
        if not line.strip():
            continue
        if undecoded := _undecoded([line], options):
            yield number, undecoded
            continue
        if file_format == "txt":
            content = line if options.whole else line.removesuffix("\n").removesuffix("\r")
            yield number, _item({options.text_column: content}, options)
            continue
        try:
            record = json.loads(line)
        except json.JSONDecodeError as error:
            yield number, ValueError(f"not JSON ({error.msg} at column {error.colno})")
            continue
        except (ValueError, RecursionError) as error:
            yield number, ValueError(f"unreadable JSON ({error})")
            continue
        yield number, _item({options.text_column: record} if isinstance(record, str) else record, options)


def _read_csv(
    source: str, text: io.TextIOWrapper, file_format: str, options: argparse.Namespace
) -> Iterator[tuple[int, dict[str, Any] | ValueError]]:
    csv.field_size_limit(2**31 - 1)
    reader = csv.DictReader(text)
    if reader.fieldnames is None:
        return
    reader.fieldnames = [name.removeprefix("\ufeff") for name in reader.fieldnames]
    _check_columns(source, reader.fieldnames, options)
    for row in reader:
        yield reader.line_num, _undecoded(row.values(), options) or _item(row, options)


def _undecoded(cells: Iterable[Any], options: argparse.Namespace) -> ValueError | None:
    try:
        for cell in cells:
            check_decoded(str(cell), options.encoding)
    except ValueError as error:
        return error if options.encoding else ValueError(f"{error}. {NAME_IT}")
    return None


def _read_parquet(source: str, file: str | io.BytesIO, options: argparse.Namespace) -> Iterator[Item]:
    from pyarrow import parquet

    try:
        table = parquet.ParquetFile(file)
    except ValueError as error:
        yield source, 1, ValueError(f"not a Parquet file ({error})")
        return
    _check_columns(source, table.schema_arrow.names, options)
    number = 0
    for batch in table.iter_batches():
        for row in batch.to_pylist():
            number += 1
            yield source, number, _item(row, options)


def _read_document(name: str, document_format: str, options: argparse.Namespace) -> Iterator[Item]:
    try:
        leaflet = read_leaflet(name, options.encoding, document_format)
    except ValueError as error:
        yield name, 1, error
        return
    for note in leaflet.notes:
        tell(f"{name}: {note}")
    drug = (options.drug or leaflet.drug) if options.takes_drug else None
    if drug is None and options.takes_drug:
        tell(f"{name}: no drug name found; give it as --drug")
    for page, number, text in leaflet.paragraphs:
        # PDF viewers open a file at such a page.
        yield f"{name}#page={page}" if page else name, number, {"text": text, "drug": drug}


def _check_columns(source: str, names: Sequence[str], options: argparse.Namespace) -> None:
    named = [options.text_column, *([options.drug_column] if options.drug_column != DRUG_COLUMN else [])]
    for column in named:
        if column not in names:
            raise ValueError(f"{source}: no column {column!r}; the columns are {', '.join(names)}")


def _item(record: Any, options: argparse.Namespace) -> dict[str, Any] | ValueError:
    if not isinstance(record, Mapping):
        return ValueError(f"expected an object or a string, not {record!r:.60}")
    if options.text_column not in record:
        keys = ", ".join(map(str, record)) or "none"
        return ValueError(f"no {options.text_column!r}; the keys are {keys:.200}. --text-column names another")
    text, drug = record[options.text_column], record.get(options.drug_column)
    if isinstance(drug, Mapping):  # as in the results of iser-extract, which may be extracted from again
        drug = drug.get("text")
    if not isinstance(text, str):
        return ValueError(f"{options.text_column!r} must be a string, not {text!r:.60}")
    if drug and not options.takes_drug:
        if not options.drugs_ignored:
            tell(f"this model takes no drug, so {options.drug_column!r} is ignored.")
        options.drugs_ignored = True
        drug = None
    drug = drug or options.drug
    if drug is not None and not (isinstance(drug, str) and drug.strip()):
        return ValueError(f"{options.drug_column!r} must be a string that is not blank, not {drug!r:.60}")
    return {"text": text, "drug": drug}


__all__ = ["DRUG_COLUMN", "INPUT_FORMATS", "Item", "input_format", "read_items", "tell"]
