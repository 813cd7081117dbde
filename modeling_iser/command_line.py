"""
`iser-extract`: entities and relations of files of texts, from the command line.

Exit codes: 0, everything was extracted; 1, nothing could be done (no file, no model, wrong options); 2, done, but some
lines could not be read and were reported.
"""

from __future__ import annotations

import argparse
import csv
import importlib.util
import io
import json
import os
import shutil
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import nullcontext
from itertools import chain, islice
from pathlib import Path
from typing import Any, BinaryIO

from .document_files import DOCUMENT_FORMATS, read_leaflet
from .result_files import (
    ANNOTATION_FORMATS,
    ORDERS,
    OUTPUT_FORMATS,
    TEXT_FORMATS,
    Result,
    labelling_interface,
    read_results,
    write_results,
)


INPUT_FORMATS = ("txt", "jsonl", "csv", "parquet", *DOCUMENT_FORMATS)
ENGINES = ("local", "ray")
DIRECTORY_FORMATS = ("parquet", "jsonl", "csv")
"""Formats of which a file's parts are files of the same format."""

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
    parser.add_argument(
        "inputs",
        nargs="+",
        metavar="FILE",
        help=".txt (a text a line), .jsonl, .csv, .parquet, - for standard input; or a leaflet, "
        f".{', .'.join(DOCUMENT_FORMATS)}: its drug, and its section on interactions",
    )
    parser.add_argument("--output", type=Path, help="file to write; without it, JSON lines go to standard output")
    parser.add_argument(
        "--format",
        choices=OUTPUT_FORMATS,
        help="of the output; default: by the output's name. doccano and label-studio are pre-annotations, which these "
        "tools import (see docs/annotation_loop.md)",
    )
    parser.add_argument(
        "--order",
        choices=ORDERS,
        default="input",
        help="of the output: as the input, or the texts first whose least certain entity or relation has the lowest "
        "score; needs --output",
    )
    parser.add_argument("--input-format", choices=INPUT_FORMATS, help="default: by the name; txt for standard input")
    parser.add_argument("--model", help="directory or Hub name of an ISER checkpoint; default: the bundled model")
    parser.add_argument("--drug", help="the drug whose leaflet the texts are from")
    parser.add_argument("--text-column", default="text", help="column or JSON key of the text (default: text)")
    parser.add_argument("--drug-column", default="drug", help="column or JSON key of the drug (default: drug)")
    parser.add_argument("--whole", action="store_true", help="a .txt file is one text, not one a line")
    parser.add_argument("--entity-threshold", type=float, help="least score of an entity")
    parser.add_argument("--relation-threshold", type=float, help="least score of a relation")
    parser.add_argument(
        "--min-confidence",
        metavar="SHARE",
        help="keep the relations of which so many are right, such as 95%% (of a calibrated checkpoint)",
    )
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--device", help="cpu, cuda:0, … (default: cpu)")
    parser.add_argument("--dtype", choices=("float32", "bfloat16", "float16"), help="default: the device's")
    parser.add_argument(
        "--backend",
        default="torch",
        help="torch, int8 (8-bit integers), onnx or onnx-int8; the last two need graphs that "
        "python -m modeling_iser.onnx_iser exports",
    )
    parser.add_argument(
        "--engine",
        choices=ENGINES,
        default=ENGINES[0],
        help="local: in this process; ray: in many, on this machine or a Ray cluster (RAY_ADDRESS), into a directory "
        "too, with a Parquet file for every few hundred lines (see docs/scale.md)",
    )
    parser.add_argument("--workers", type=int, help="processes with a model each (engine ray); default: what there is")
    parser.add_argument("--gpus-per-worker", type=float, default=0, help="GPUs of each, such as 1 or 0.5; default: 0")
    parser.add_argument("--html", type=Path, help="write a page with pictures too")
    parser.add_argument("--resume", action="store_true", help="go on after an interruption; needs --output")
    parser.add_argument(
        "--quiet", action="store_true", help="no progress bar (there is none either where nobody watches)"
    )
    return parser


def _run(options: argparse.Namespace) -> int:
    suffix = options.output.suffix.lstrip(".").lower() if options.output else "jsonl"
    if _to_directory(options):
        suffix = "parquet"
    options.format = options.format or {"txt": "text"}.get(suffix, suffix)
    sources = _check(options)
    reports = _Reports()
    if options.output is None:
        _to_standard_output(options, _extract(options, sources, reports))
    elif _to_directory(options):
        from .ray_engine import extract_parts

        extract_parts(options, sources, reports, options.output, options.format)
    else:
        _to_file(options, sources, reports)
    return reports.exit_code


def _to_directory(options: argparse.Namespace) -> bool:
    """Whether the output is a directory of parts: one that is there, or a name without ending."""
    output: Path | None = options.output
    return options.engine == "ray" and output is not None and (output.is_dir() or not output.suffix)


def _to_standard_output(options: argparse.Namespace, results: Iterator[Result]) -> None:
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(encoding="utf-8")
    shown: list[Result] = []
    for piece in TEXT_FORMATS[options.format](_keep(results, shown) if options.html else results, _model_name(options)):
        sys.stdout.write(piece)
        sys.stdout.flush()
    if options.html:
        _write_html(shown, options.html)


def _keep(results: Iterator[Result], kept: list[Result]) -> Iterator[Result]:
    for result in results:
        kept.append(result)
        yield result


def _to_file(options: argparse.Namespace, sources: list[tuple[str, str]], reports: _Reports) -> None:
    options.output.parent.mkdir(parents=True, exist_ok=True)
    # Results gather beside the output, which appears when all are there: line by line, or in files of parts.
    partial, parts = (options.output.with_name(options.output.name + end) for end in (".partial", ".parts"))
    if options.resume and not partial.exists() and not parts.exists() and options.output.exists():
        print(f"{options.output} is complete.", file=sys.stderr)
        return
    if options.engine == "ray":
        from .ray_engine import extract_parts, join_parts

        if not options.resume:
            shutil.rmtree(parts, ignore_errors=True)
        extract_parts(options, sources, reports, parts, "jsonl")
        join_parts(parts, partial)
    else:
        _gather(options, sources, reports, partial)
    if options.html:
        _write_html(read_results(partial, options.order), options.html)
    if options.format == "label-studio":
        _write_labelling_interface(options)
    if options.format == "jsonl" and options.order == "input":
        os.replace(partial, options.output)
    else:
        write_results(read_results(partial, options.order), options.output, options.format, _model_name(options))
        partial.unlink()
    if options.engine == "ray":
        shutil.rmtree(parts)


def _gather(options: argparse.Namespace, sources: list[tuple[str, str]], reports: _Reports, partial: Path) -> None:
    """Extract in this process, a line of `partial` for every result."""
    if options.resume:
        _repair(partial)
    with partial.open("a" if options.resume else "w", encoding="utf-8", newline="\n") as stream:
        for result in _extract(options, sources, reports, partial if options.resume else None):
            stream.write(json.dumps(result, ensure_ascii=False) + "\n")
            stream.flush()


def _check(options: argparse.Namespace) -> list[tuple[str, str]]:
    """Refuse what can be refused before the model is loaded; the input files with their formats."""
    if options.format not in OUTPUT_FORMATS:
        raise ValueError(f"--format: {options.format!r} is not known. Known: {', '.join(OUTPUT_FORMATS)}.")
    if options.output is None and (options.resume or options.format == "parquet" or options.order != "input"):
        raise ValueError("--resume, --order and Parquet need --output.")
    if options.batch_size < 1:
        raise ValueError("--batch-size must be at least 1.")
    if options.engine == "ray":
        _check_ray(options)
    elif options.workers is not None or options.gpus_per_worker:
        raise ValueError("--workers and --gpus-per-worker need --engine ray.")
    sources = [(name, _input_format(name, options.input_format)) for name in options.inputs]
    for name, input_format in sources:
        if name == "-" and input_format in DOCUMENT_FORMATS:
            raise ValueError(f"a .{input_format} document is read from a file, not from standard input")
        if name != "-" and not Path(name).is_file():
            raise FileNotFoundError(f"there is no file {name}")
        if name != "-" and options.output is not None and Path(name).resolve() == options.output.resolve():
            raise ValueError(f"{name} is both input and output.")
    if options.format in ANNOTATION_FORMATS:
        if len(set(options.inputs)) < len(options.inputs):
            raise ValueError(
                f"--format {options.format}: a file is given twice, and its texts would have the same ids."
            )
        if importlib.util.find_spec("datasets") is None:
            raise ImportError(f'--format {options.format} needs the package datasets: pip install -e ".[corpus]"')
    return sources


def _check_ray(options: argparse.Namespace) -> None:
    if options.output is None or "-" in options.inputs:
        raise ValueError("--engine ray reads files, not standard input, and needs --output.")
    if options.workers is not None and options.workers < 1:
        raise ValueError("--workers must be at least 1.")
    if options.gpus_per_worker < 0:
        raise ValueError("--gpus-per-worker must not be negative.")
    if _to_directory(options):
        if options.format not in DIRECTORY_FORMATS:
            raise ValueError(f"a directory holds files of the formats {', '.join(DIRECTORY_FORMATS)}.")
        if options.html or options.order != "input":
            raise ValueError("--html and --order need one file as the output, not a directory.")


class _Reports:
    """Tells of the lines that could not be read, and counts them."""

    count = 0

    def __call__(self, source: str, line: int, error: object) -> None:
        self.count += 1
        print(f"iser-extract: {source}, line {line}: {error}", file=sys.stderr)

    @property
    def exit_code(self) -> int:
        return 2 if self.count else 0


def _extract(
    options: argparse.Namespace, sources: list[tuple[str, str]], report: _Reports, done: Path | None = None
) -> Iterator[Result]:
    """The results of the texts in order; those that are in the file `done` are there already."""
    from tqdm.auto import tqdm

    def good() -> Iterator[tuple[str, int, dict[str, Any]]]:
        for name, input_format in sources:
            for source, line, item in read_items(name, input_format, options):
                if isinstance(item, ValueError):
                    report(source, line, item)
                else:
                    yield source, line, item

    items = good()
    skipped = 0
    for record in read_results(done) if done else ():
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
        return
    extractor = load_extractor(options)
    texts = relations = 0
    drug_known = False
    with tqdm(unit=" texts", initial=skipped, disable=options.quiet or None, file=sys.stderr) as progress:
        # Several batches at a time, so that texts of like length can share one.
        for batch in _batches(chain([first], items), 8 * options.batch_size):
            answers = answer_items(extractor, [item for *_, item in batch], options)
            for (source, line, _), answer in zip(batch, answers, strict=True):
                if isinstance(answer, ValueError):
                    report(source, line, answer)
                    continue
                texts, relations = texts + 1, relations + len(answer["relations"])
                drug_known = drug_known or bool(answer.get("drug"))
                yield {"source": source, "line": line, **answer}
            progress.update(len(batch))
    if texts and not relations and not options.quiet:
        print(f"iser-extract: no relation was found in {texts} text{'s' if texts > 1 else ''}.", file=sys.stderr)
        if "drug" in extractor.BESIDE and not drug_known:
            print("Whose leaflet is it? Without --drug, what 本品 does is not found.", file=sys.stderr)


def answer_items(extractor: Any, items: list[dict[str, Any]], options: argparse.Namespace) -> list[Any]:
    """What the pipeline finds in each text; where it can't take one, the error in its place."""
    try:
        return extractor(
            items,
            batch_size=options.batch_size,
            entity_threshold=options.entity_threshold,
            relation_threshold=options.relation_threshold,
            min_confidence=options.min_confidence,
        )
    except ValueError as error:
        if len(items) == 1:
            return [error]
        return [answer for item in items for answer in answer_items(extractor, [item], options)]


def _batches(items: Iterator[Any], size: int) -> Iterator[list[Any]]:
    while batch := list(islice(items, size)):
        yield batch


def load_extractor(options: argparse.Namespace) -> Any:
    """The pipeline that the options ask for."""
    import torch
    from transformers import pipeline
    from transformers.utils import logging

    from . import DdiExtractionPipeline

    logging.disable_progress_bar()
    arguments: dict[str, Any] = {"device": options.device or "cpu", "backend": options.backend}
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


def read_items(name: str, input_format: str, options: argparse.Namespace) -> Iterator[Item]:
    """The texts of a file one by one, however large it is, and what is wrong with its other lines."""
    for source, line, item in _read(name, input_format, options):
        if options.format in ANNOTATION_FORMATS and isinstance(item, dict) and not item["text"].strip():
            item = ValueError("a blank text has nothing to annotate")
        yield source, line, item


def _read(name: str, input_format: str, options: argparse.Namespace) -> Iterator[Item]:
    source = "standard input" if name == "-" else name
    if input_format in DOCUMENT_FORMATS:
        yield from _read_document(name, options)
        return
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
    with nullcontext(sys.stdin.buffer) if name == "-" else Path(name).open("rb") as stream:
        yield from (_read_csv if input_format == "csv" else _read_lines)(source, stream, input_format, options)


def _read_lines(source: str, stream: BinaryIO, input_format: str, options: argparse.Namespace) -> Iterator[Item]:
    whole = input_format == "txt" and options.whole
    for number, raw in enumerate([stream.read()] if whole else stream, 1):
        if number == 1:
            raw = raw.removeprefix(b"\xef\xbb\xbf")
        try:
            line = (raw if whole else raw.removesuffix(b"\n")).decode()
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


def _read_document(name: str, options: argparse.Namespace) -> Iterator[Item]:
    try:
        leaflet = read_leaflet(name)
    except ValueError as error:
        yield name, 1, error
        return
    for note in leaflet.notes:
        print(f"iser-extract: {name}: {note}", file=sys.stderr)
    drug = options.drug or leaflet.drug
    if drug is None:
        print(f"iser-extract: {name}: the drug's name is not found; give it as --drug", file=sys.stderr)
    for page, number, text in leaflet.paragraphs:
        # A part of the name that viewers of PDF files know.
        yield f"{name}#page={page}" if page else name, number, {"text": text, "drug": drug}


def _read_csv(source: str, stream: BinaryIO, input_format: str, options: argparse.Namespace) -> Iterator[Item]:
    csv.field_size_limit(2**31 - 1)
    text = io.TextIOWrapper(stream, encoding="utf-8-sig", errors="surrogateescape", newline="")
    reader = csv.DictReader(text)
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


def _write_html(results: Iterable[Result], path: Path) -> None:
    from .visualization_iser import Extraction, write_html

    path.parent.mkdir(parents=True, exist_ok=True)
    write_html((Extraction(result) for result in results), path)


def _write_labelling_interface(options: argparse.Namespace) -> None:
    """Write the labelling interface (Label Studio's XML) of the model's labels beside the tasks."""
    from transformers import AutoConfig

    from . import DEFAULT_MODEL

    config = AutoConfig.from_pretrained(options.model or DEFAULT_MODEL)
    path = options.output.with_suffix(".labels.xml")
    path.write_text(labelling_interface(config.entity_types, config.relation_types), encoding="utf-8", newline="\n")
    print(f"{path} is the labelling interface of these tasks.", file=sys.stderr)


def _model_name(options: argparse.Namespace) -> str:
    """What annotation tools show as the model: its name, and of a directory nothing of where it is."""
    if options.model is None:
        return "ISER"
    path = Path(options.model)
    return path.resolve().name if path.is_dir() else options.model


if __name__ == "__main__":
    sys.exit(main())
