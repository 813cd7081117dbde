"""
`iser-extract`: entities and relations of files of texts, from the command line.

Exit codes: 0, everything was extracted; 1, nothing could be done (no file, no model, wrong options); 2, done, but some
lines could not be read and were reported.
"""

from __future__ import annotations

import argparse
import csv
import io
import json
import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, TextIO


INPUT_FORMATS = ("txt", "jsonl", "csv", "parquet")
OUTPUT_FORMATS = ("jsonl", "csv", "parquet", "text")
# Columns of the flat outputs: one line a relation.
TRIPLE_COLUMNS = (
    "source", "line", "drug", "text", "head", "head_start", "head_end", "relation", "tail", "tail_start", "tail_end",
    "score",
)  # fmt: skip

Item = tuple[str, int, dict[str, Any] | ValueError]
"""Source, line (or row) number counted from 1, and `{"text", "drug"}` or what is wrong with the line."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; the exit code."""
    options = _parser().parse_args(arguments)
    try:
        return _run(options)
    except (OSError, ValueError, ImportError) as error:
        print(f"iser-extract: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("iser-extract: interrupted; the same command with --resume goes on", file=sys.stderr)
        return 130


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="iser-extract",
        description="Extract entities and relations from texts. Not for clinical decisions.",
        epilog="Exit codes: 0 all done, 1 nothing done, 2 done but some lines were broken and are reported.",
    )
    parser.add_argument("inputs", nargs="+", metavar="FILE", help=".txt (a text a line), .jsonl, .csv, .parquet, or -")
    parser.add_argument("--output", type=Path, help="file to write; without it, JSON lines go to standard output")
    parser.add_argument("--format", choices=OUTPUT_FORMATS, help="of the output; default: by the output's name")
    parser.add_argument("--input-format", choices=INPUT_FORMATS, help="default: by the name; txt for standard input")
    parser.add_argument("--model", help="directory or Hub name of an ISER checkpoint; default: the bundled model")
    parser.add_argument("--drug", help="the drug whose leaflet the texts are from")
    parser.add_argument("--text-column", default="text", help="column or JSON key of the text (default: text)")
    parser.add_argument("--drug-column", default="drug", help="column or JSON key of the drug (default: drug)")
    parser.add_argument("--whole", action="store_true", help="a .txt file is one text, not one a line")
    parser.add_argument("--entity-threshold", type=float, help="least probability of an entity")
    parser.add_argument("--relation-threshold", type=float, help="least score of a relation")
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--device", help="cpu, cuda:0, … (default: cpu)")
    parser.add_argument("--dtype", choices=("float32", "bfloat16", "float16"), help="default: the device's")
    parser.add_argument("--html", type=Path, help="write a page with pictures too")
    parser.add_argument("--resume", action="store_true", help="go on after an interruption; needs --output")
    parser.add_argument("--quiet", action="store_true", help="no progress bar")
    return parser


def _run(options: argparse.Namespace) -> int:
    suffix = options.output.suffix.lstrip(".").lower() if options.output else "jsonl"
    output_format = options.format or {"txt": "text"}.get(suffix, suffix)
    if output_format not in OUTPUT_FORMATS:
        raise ValueError(f"--format: {output_format!r} is not known. Known: {', '.join(OUTPUT_FORMATS)}.")
    if options.output is None and (options.resume or output_format == "parquet"):
        raise ValueError("--resume and Parquet need --output.")
    if options.batch_size < 1:
        raise ValueError("--batch-size must be at least 1.")
    # Everything that can be refused is refused before the model is loaded.
    sources = [(name, _input_format(name, options.input_format)) for name in options.inputs]
    for name, _ in sources:
        if name != "-" and not Path(name).is_file():
            raise FileNotFoundError(f"there is no file {name}")
        if name != "-" and options.output is not None and Path(name).resolve() == options.output.resolve():
            raise ValueError(f"{name} is both input and output.")
    if options.output is None:
        if isinstance(sys.stdout, io.TextIOWrapper):
            sys.stdout.reconfigure(encoding="utf-8")
        return _extract(options, sources, sys.stdout, None, output_format)
    options.output.parent.mkdir(parents=True, exist_ok=True)
    # Results gather line by line beside the output, which appears when all are there.
    partial = options.output.with_name(options.output.name + ".partial")
    if options.resume:
        _repair(partial)
    if options.resume and not partial.exists() and options.output.exists():
        print(f"{options.output} is complete.", file=sys.stderr)
        return 0
    with partial.open("a" if options.resume else "w", encoding="utf-8", newline="\n") as stream:
        code = _extract(options, sources, stream, partial if options.resume else None, "jsonl")
    if options.html:
        _write_html(_records(partial), options.html)
    _finish(partial, options.output, output_format)
    return code


def _extract(
    options: argparse.Namespace, sources: list[tuple[str, str]], stream: TextIO, done: Path | None, output_format: str
) -> int:
    """Write the results to `stream`; those that are in the file `done` are there already. The exit code."""
    from tqdm.auto import tqdm

    broken = 0

    def report(source: str, line: int, error: object) -> None:
        nonlocal broken
        broken += 1
        print(f"iser-extract: {source}, line {line}: {error}", file=sys.stderr)

    def good() -> Iterator[tuple[str, int, dict[str, Any]]]:
        for name, input_format in sources:
            for source, line, item in _read(name, input_format, options):
                if isinstance(item, ValueError):
                    report(source, line, item)
                else:
                    yield source, line, item

    items = good()
    skipped = 0
    for record in _records(done) if done else ():
        for source, line, _ in items:
            if (source, line) == (record["source"], record["line"]):
                skipped += 1
                break
            report(source, line, "there is no result of it, but of later lines")
        else:
            raise ValueError(
                f"--resume: the input has no line {record['line']} of {record['source']} where there is a result of it."
            )
    first = next(items, None)
    if first is None:
        return 2 if broken else 0
    extractor = _load(options)
    thresholds = {"entity_threshold": options.entity_threshold, "relation_threshold": options.relation_threshold}
    writer = csv.DictWriter(stream, TRIPLE_COLUMNS) if output_format == "csv" else None
    shown: list[Any] = []
    if writer:
        writer.writeheader()

    def rest() -> Iterator[tuple[str, int, dict[str, Any]]]:
        yield first
        yield from items

    with tqdm(unit="text", initial=skipped, disable=options.quiet, file=sys.stderr) as progress:
        # Several batches at a time, so that texts of like length can share one.
        for batch in _batches(rest(), 8 * options.batch_size):
            answers = _answers(extractor, [item for *_, item in batch], batch_size=options.batch_size, **thresholds)
            for (source, line, _), answer in zip(batch, answers, strict=True):
                if isinstance(answer, ValueError):
                    report(source, line, answer)
                    continue
                record = {"source": source, "line": line, **answer}
                if options.html and options.output is None:
                    shown.append(answer)
                if writer:
                    writer.writerows(_flat(record))
                elif output_format == "text":
                    stream.writelines(_lines(record))
                else:
                    stream.write(json.dumps(record, ensure_ascii=False) + "\n")
            stream.flush()
            progress.update(len(batch))
    if options.html and options.output is None:
        _write_html(shown, options.html)
    return 2 if broken else 0


def _answers(extractor: Any, items: list[dict[str, Any]], **arguments: Any) -> list[Any]:
    """What the pipeline finds in each text; where it can't take one, the error in its place."""
    try:
        return extractor(items, **arguments)
    except ValueError as error:
        if len(items) == 1:
            return [error]
        return [answer for item in items for answer in _answers(extractor, [item], **arguments)]


def _batches(items: Iterator[Any], size: int) -> Iterator[list[Any]]:
    while batch := list(islice(items, size)):
        yield batch


def _load(options: argparse.Namespace) -> Any:
    import torch
    from transformers import pipeline
    from transformers.utils import logging

    from . import DdiExtractionPipeline

    logging.disable_progress_bar()
    arguments: dict[str, Any] = {"device": options.device or "cpu"}
    if options.dtype:
        arguments["dtype"] = getattr(torch, options.dtype)
    if options.model:
        # The code of this package runs, not that which lies beside the weights.
        arguments |= {"model": options.model, "pipeline_class": DdiExtractionPipeline}
    load: Any = pipeline  # whose signature knows its own tasks only
    try:
        return load("ddi-extraction", **arguments)
    except (RuntimeError, AssertionError) as error:  # what torch raises for a device that is not there
        raise ValueError(f"the model cannot be loaded on {arguments['device']}: {error}") from error


def _input_format(name: str, chosen: str | None) -> str:
    if chosen:
        return chosen
    if name == "-":
        return "txt"
    suffix = Path(name).suffix.lstrip(".").lower()
    if suffix not in INPUT_FORMATS:
        raise ValueError(f"{name}: the format is not known by the name; --input-format {'|'.join(INPUT_FORMATS)}")
    return suffix


def _read(name: str, input_format: str, options: argparse.Namespace) -> Iterator[Item]:
    source = "standard input" if name == "-" else name
    if input_format == "parquet":
        from pyarrow import parquet

        number = 0
        file = parquet.ParquetFile(io.BytesIO(sys.stdin.buffer.read()) if name == "-" else name)
        _check_column(source, file.schema_arrow.names, options)
        for chunk in file.iter_batches():
            for row in chunk.to_pylist():
                number += 1
                yield source, number, _item(row, options)
        return
    data = sys.stdin.buffer.read() if name == "-" else Path(name).read_bytes()
    if input_format == "csv":
        yield from _read_csv(source, data, options)
        return
    data = data.removeprefix(b"\xef\xbb\xbf")
    for number, raw in enumerate([data] if input_format == "txt" and options.whole else data.split(b"\n"), 1):
        try:
            line = raw.decode()
        except UnicodeDecodeError as error:
            yield source, number, ValueError(f"not UTF-8 ({error.reason} at byte {error.start})")
            continue
        if not line.strip():
            continue
        if input_format == "txt":
            yield source, number, _item({options.text_column: line.removesuffix("\r")}, options)
            continue
        try:
            record = json.loads(line)
        except json.JSONDecodeError as error:
            yield source, number, ValueError(f"not JSON ({error.msg} at column {error.colno})")
            continue
        except (ValueError, RecursionError) as error:
            yield source, number, ValueError(f"JSON that cannot be read ({error})")
            continue
        yield source, number, _item({options.text_column: record} if isinstance(record, str) else record, options)


def _read_csv(source: str, data: bytes, options: argparse.Namespace) -> Iterator[Item]:
    csv.field_size_limit(2**31 - 1)
    reader = csv.DictReader(io.StringIO(data.decode("utf-8-sig", errors="surrogateescape"), newline=""))
    _check_column(source, reader.fieldnames or [], options)
    for row in reader:
        if any(isinstance(value, str) and not value.isprintable() and _not_utf8(value) for value in row.values()):
            yield source, reader.line_num, ValueError("not UTF-8")
        else:
            yield source, reader.line_num, _item(row, options)


def _check_column(source: str, names: Sequence[str], options: argparse.Namespace) -> None:
    if options.text_column not in names:
        raise ValueError(f"{source}: no column {options.text_column!r}; there are {', '.join(names)}")


def _not_utf8(value: str) -> bool:
    try:
        value.encode()
    except UnicodeEncodeError:
        return True
    return False


def _item(record: Any, options: argparse.Namespace) -> dict[str, Any] | ValueError:
    if not isinstance(record, dict):
        return ValueError(f"an object or a text is expected, not {record!r:.60}")
    text, drug = record.get(options.text_column), record.get(options.drug_column) or options.drug
    if not isinstance(text, str):
        return ValueError(f"{options.text_column!r} is not a text but {text!r:.60}")
    if drug is not None and not (isinstance(drug, str) and drug.strip()):
        return ValueError(f"{options.drug_column!r} is not a text but {drug!r:.60}")
    return {"text": text, "drug": drug}


def _repair(partial: Path) -> None:
    """Cut off a last line that was not written to its end."""
    if not partial.exists():
        return
    data = partial.read_bytes()
    whole = data[: data.rfind(b"\n") + 1]
    if len(whole) < len(data):
        with partial.open("r+b") as stream:
            stream.truncate(len(whole))


def _records(partial: Path) -> Iterator[dict[str, Any]]:
    with partial.open(encoding="utf-8", newline="\n") as stream:
        for line in stream:
            yield json.loads(line)


def _flat(record: dict[str, Any]) -> list[dict[str, Any]]:
    return [
        {
            "source": record["source"],
            "line": record["line"],
            "drug": record["drug"]["text"] if record["drug"] else None,
            "text": record["text"],
            "relation": relation["type"],
            "score": relation["score"],
            **{
                f"{role}{suffix}": relation[role][key]
                for role in ("head", "tail")
                for suffix, key in (("", "text"), ("_start", "start"), ("_end", "end"))
            },
        }
        for relation in record["relations"]
    ]


def _lines(record: dict[str, Any]) -> Iterator[str]:
    for row in sorted(_flat(record), key=lambda row: -row["score"]):
        yield f"{row['head']} —{row['relation']}→ {row['tail']}  ({row['score']:.2f})\n"


def _finish(partial: Path, output: Path, output_format: str) -> None:
    """Turn the gathered lines into the output, in one step as far as a reader of it can tell."""
    if output_format == "jsonl":
        os.replace(partial, output)
        return
    temporary = output.with_name(output.name + ".tmp")
    rows = (row for record in _records(partial) for row in _flat(record))
    if output_format == "text":
        with temporary.open("w", encoding="utf-8", newline="\n") as stream:
            stream.writelines(line for record in _records(partial) for line in _lines(record))
    elif output_format == "csv":
        # A byte order mark, so that spreadsheet programs read Chinese text.
        with temporary.open("w", encoding="utf-8-sig", newline="") as stream:
            writer = csv.DictWriter(stream, TRIPLE_COLUMNS)
            writer.writeheader()
            writer.writerows(rows)
    else:
        import pyarrow as pa
        from pyarrow import parquet

        kinds = {"line": pa.int64(), "score": pa.float64()} | {
            f"{role}_{edge}": pa.int64() for role in ("head", "tail") for edge in ("start", "end")
        }
        schema = pa.schema([(name, kinds.get(name, pa.string())) for name in TRIPLE_COLUMNS])
        with parquet.ParquetWriter(temporary, schema) as writer:
            for chunk in _batches(rows, 10_000):
                writer.write_table(pa.Table.from_pylist(chunk, schema=schema))
    os.replace(temporary, output)
    partial.unlink()


def _write_html(records: Iterable[dict[str, Any]], path: Path) -> None:
    from .visualization_iser import Extraction, write_html

    path.parent.mkdir(parents=True, exist_ok=True)
    write_html((Extraction(record) for record in records), path)


if __name__ == "__main__":
    sys.exit(main())
