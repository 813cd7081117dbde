"""
`iser-extract`: extract entities and relations from files on the command line.

Exit codes: 0: all texts were processed; 1: the command failed (no file, no model, wrong options); 2: some lines could
not be read and were reported, all others were processed.
"""

from __future__ import annotations

import argparse
import io
import json
import logging
import os
import shutil
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain, islice
from pathlib import Path
from typing import Any

from .commands import check_model_place, extra, in_options
from .document_files import DOCUMENT_FORMATS, require_library
from .drugs_iser import OWN_DRUG
from .input_files import DRUG_COLUMN, INPUT_FORMATS, input_format, read_items, tell
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
from .text_files import known_encoding


ENGINES = ("local", "ray")
DIRECTORY_FORMATS = ("parquet", "jsonl", "csv")
"""Formats in which a directory of results may be written."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code."""
    options = _parser().parse_args(arguments)
    logging.getLogger("pypdf").setLevel(logging.ERROR)  # What matters of its warnings is in our notes and errors.
    try:
        return _run(options)
    except (OSError, ValueError, ImportError) as error:
        tell(in_options(str(error), option_names(options)))
        return 1
    except KeyboardInterrupt:
        tell(f"interrupted{'; run the same command with --resume to continue' if options.output else ''}")
        return 130


def option_names(options: argparse.Namespace) -> dict[str, str]:
    """The command's option for each Python argument of the same name."""
    return {name: f"--{name.replace('_', '-')}" for name in vars(options)}


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="iser-extract",
        description="Extract entities and relations from texts. Not for clinical decisions.",
        epilog="Exit codes: 0: all texts processed; 1: failed; 2: processed, except for lines reported as unreadable.",
    )
    parser.add_argument(
        "inputs",
        nargs="+",
        metavar="FILE",
        help=".txt (one text per line), .jsonl, .csv, .parquet, or - for standard input; or a leaflet as "
        f".{', .'.join(DOCUMENT_FORMATS)}, whose drug and section on interactions are detected",
    )
    parser.add_argument("--output", type=Path, help="file to write; default: JSON lines on standard output")
    parser.add_argument(
        "--format",
        choices=OUTPUT_FORMATS,
        help="output format; default: from the extension of --output. doccano and label-studio are pre-annotations to "
        "import into these tools (see docs/annotation_loop.md)",
    )
    parser.add_argument(
        "--order",
        choices=ORDERS,
        default="input",
        help="order of the output: that of the input, or by the lowest score of an entity or relation in each text, "
        "least certain texts first; needs --output",
    )
    parser.add_argument(
        "--input-format", choices=INPUT_FORMATS, help="default: from the file's extension; txt for standard input"
    )
    parser.add_argument(
        "--encoding",
        metavar="NAME",
        help="encoding of text, JSON lines, CSV, Markdown and HTML, such as gb18030 or utf-16-le; default: detected: "
        "UTF-16 by its byte order mark, else the encoding that an HTML file declares, else UTF-8, else GB18030",
    )
    parser.add_argument("--model", help="directory or Hub name of a checkpoint; default: the bundled model")
    parser.add_argument(
        "--drug", help="drug whose leaflet the texts are from; for models with the entity type 药物, 药品 or drug"
    )
    parser.add_argument("--text-column", default="text", help="column or JSON key of the text (default: text)")
    parser.add_argument("--drug-column", default=DRUG_COLUMN, help="column or JSON key of the drug (default: drug)")
    parser.add_argument("--whole", action="store_true", help="read a .txt file as one text, not one text per line")
    parser.add_argument("--entity-threshold", type=float, help="minimum score of an entity")
    parser.add_argument("--relation-threshold", type=float, help="minimum score of a relation")
    parser.add_argument(
        "--min-confidence",
        metavar="SHARE",
        help="minimum score of a relation or, for a calibrated checkpoint, the percentage of relations that should be "
        "correct, such as 95%%",
    )
    parser.add_argument("--batch-size", type=int, default=16, help="sentences per batch (default: 16)")
    parser.add_argument("--device", help="cpu, cuda:0, … (default: cpu)")
    parser.add_argument("--dtype", choices=("float32", "bfloat16", "float16"), help="default: the checkpoint's")
    parser.add_argument(
        "--backend",
        default="torch",
        help="torch, int8 (8-bit integers), onnx or onnx-int8; the last two need graphs exported with "
        "python -m modeling_iser.onnx_iser",
    )
    parser.add_argument(
        "--engine",
        choices=ENGINES,
        default=ENGINES[0],
        help="local: this process; ray: many processes on this machine or a Ray cluster (RAY_ADDRESS), which can also "
        "write a directory with a Parquet file for every few hundred lines (see docs/scale.md)",
    )
    parser.add_argument(
        "--workers", type=int, help="number of processes, each with a model (engine ray); default: all that fit"
    )
    parser.add_argument("--gpus-per-worker", type=float, default=0, help="GPUs per worker, such as 0.5; default: 0")
    parser.add_argument("--html", type=Path, help="also write an HTML page with pictures")
    parser.add_argument("--resume", action="store_true", help="continue an interrupted run; needs --output")
    parser.add_argument("--quiet", action="store_true", help="no progress bar (never shown outside a terminal)")
    return parser


def _run(options: argparse.Namespace) -> int:
    suffix = options.output.suffix.lstrip(".").lower() if options.output else "jsonl"
    if _to_directory(options):
        suffix = "parquet"
    options.format = options.format or {"txt": "text"}.get(suffix, suffix)
    sources = _check(options)
    _check_model(options)
    reports = _Reports(option_names(options))
    if options.output is None:
        _to_standard_output(options, _extract(options, sources, reports))
    elif _to_directory(options):
        from .ray_engine import extract_parts

        extract_parts(options, sources, reports, options.output, options.format)
    else:
        _to_file(options, sources, reports)
    return reports.exit_code


def _to_directory(options: argparse.Namespace) -> bool:
    """Whether the output is a directory of parts: an existing directory, or a name without extension."""
    output: Path | None = options.output
    return options.engine == "ray" and output is not None and (output.is_dir() or not output.suffix)


def _to_standard_output(options: argparse.Namespace, results: Iterator[Result]) -> None:
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(encoding="utf-8")
    shown: list[Result] = []
    pieces = TEXT_FORMATS[options.format](_keep(results, shown) if options.html else results, _model_name(options))
    try:
        for piece in pieces:
            sys.stdout.write(piece)
            sys.stdout.flush()
    except BrokenPipeError:  # Whoever read the output, such as `head`, has seen enough.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return
    if options.html:
        _write_html(shown, options.html)


def _keep(results: Iterator[Result], kept: list[Result]) -> Iterator[Result]:
    for result in results:
        kept.append(result)
        yield result


def _to_file(options: argparse.Namespace, sources: list[tuple[str, str]], reports: _Reports) -> None:
    options.output.parent.mkdir(parents=True, exist_ok=True)
    # Results are collected beside the output, line by line or in files of parts; the output appears when complete.
    partial, parts = (options.output.with_name(options.output.name + end) for end in (".partial", ".parts"))
    if options.resume and not partial.exists() and not parts.exists() and options.output.exists():
        _check_same_input(options, sources)
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


def _check_same_input(options: argparse.Namespace, sources: list[tuple[str, str]]) -> None:
    """
    Raises:
        ValueError: if a complete output has nothing of an input file; only JSON lines name all files.
    """
    if options.format != "jsonl":
        return
    known = {result["source"].partition("#page=")[0] for result in read_results(options.output)}
    for name, file_format in sources:
        if name in known:
            continue
        texts = (
            source for source, _, item in read_items(name, file_format, options) if not isinstance(item, ValueError)
        )
        first = next(texts, None)  # A file without texts has no results.
        if first is not None and first.partition("#page=")[0] not in known:
            raise ValueError(f"--resume: {options.output} is complete, without {name}. Name another --output.")


def _gather(options: argparse.Namespace, sources: list[tuple[str, str]], reports: _Reports, partial: Path) -> None:
    """Extract in this process, writing a line of `partial` for each result."""
    if options.resume:
        _repair(partial)
    with partial.open("a" if options.resume else "w", encoding="utf-8", newline="\n") as stream:
        for result in _extract(options, sources, reports, partial if options.resume else None):
            stream.write(json.dumps(result, ensure_ascii=False) + "\n")
            stream.flush()


def _check(options: argparse.Namespace) -> list[tuple[str, str]]:
    """
    Validate the options before the model is loaded, and return the input files with their formats.

    Raises:
        ValueError: if options are wrong or contradict each other.
        FileNotFoundError: if an input file does not exist.
        ImportError: if a format needs a package that is not installed.
    """
    for option, path in (("--html", options.html), ("--output", options.output)):
        if path is not None and path.is_dir() and not (option == "--output" and _to_directory(options)):
            raise ValueError(f"{option}: {path} is a directory. Name a file in it.")
    if options.format not in OUTPUT_FORMATS:
        raise ValueError(
            f"--output: the extension of {options.output} names no format. Give --format {'|'.join(OUTPUT_FORMATS)}."
        )
    if options.output is None and (options.resume or options.format == "parquet" or options.order != "input"):
        raise ValueError("--resume, --order and Parquet need --output.")
    if options.batch_size < 1:
        raise ValueError("--batch-size must be at least 1.")
    if options.drug is not None and not options.drug.strip():
        raise ValueError("--drug: the name is blank. Leave the option out if there is no drug.")
    if options.encoding is not None:
        known_encoding(options.encoding)
    if options.engine == "ray":
        _check_ray(options)
    elif options.workers is not None or options.gpus_per_worker:
        raise ValueError("--workers and --gpus-per-worker need --engine ray.")
    for name in options.inputs:
        _check_input(name, options)
    sources = [(name, input_format(name, options.input_format)) for name in options.inputs]
    for name, file_format in sources:
        if name == "-" and file_format in DOCUMENT_FORMATS:
            raise ValueError(f"a .{file_format} document must be a file, not standard input")
        require_library(file_format)
    if options.html is not None and options.output is not None and options.html.resolve() == options.output.resolve():
        raise ValueError(f"--html and --output: both name {options.output}.")
    if options.format in ANNOTATION_FORMATS:
        if len(set(options.inputs)) < len(options.inputs):
            raise ValueError(f"--format {options.format}: a file is given twice, so its texts would have the same ids.")
        with extra("corpus"):
            import datasets  # noqa: F401
    return sources


def _check_input(name: str, options: argparse.Namespace) -> None:
    if name == "-":
        return
    path = Path(name)
    if path.is_dir():
        raise IsADirectoryError(f"{name} is a directory. Name the files in it, such as {path / '*.txt'}")
    if not path.is_file():
        raise FileNotFoundError(f"there is no file {name}")
    if path.resolve() in [output.resolve() for output in (options.output, options.html) if output is not None]:
        raise ValueError(f"{name} is both input and output.")


def _check_model(options: argparse.Namespace) -> None:
    """
    Validate the options that depend on the model before it is loaded.

    Raises:
        ValueError: if `--model` is not a model, or the model does not support an option.
        OSError: if the model cannot be found.
    """
    from transformers import AutoConfig

    from . import DEFAULT_MODEL, JointExtractionConfig
    from .configuration_iser import check_choice
    from .pipeline_iser import BACKENDS, check_takes_drug, thresholds

    check_choice("backend", options.backend, BACKENDS)
    if options.model is not None:
        check_model_place(options.model, "model")
    config = AutoConfig.from_pretrained(options.model or DEFAULT_MODEL)
    if not isinstance(config, JointExtractionConfig):
        raise ValueError(f"--model: {options.model} is a {config.model_type} model, which finds no relations.")
    if options.drug is not None:
        check_takes_drug(config, options.drug)
    if options.drug_column != DRUG_COLUMN:
        check_takes_drug(config, options.drug_column, "drug_column")
    thresholds(config, options.entity_threshold, options.relation_threshold, options.min_confidence)
    options.takes_drug, options.drugs_ignored = config.drug_type is not None, False


def _check_ray(options: argparse.Namespace) -> None:
    if options.output is None or "-" in options.inputs:
        raise ValueError("--engine ray reads files, not standard input, and needs --output.")
    if options.workers is not None and options.workers < 1:
        raise ValueError("--workers must be at least 1.")
    if options.gpus_per_worker < 0:
        raise ValueError("--gpus-per-worker must not be negative.")
    if _to_directory(options):
        if options.format not in DIRECTORY_FORMATS:
            raise ValueError(f"a directory can only have the formats {', '.join(DIRECTORY_FORMATS)}.")
        if options.html or options.order != "input":
            raise ValueError("--html and --order need a file as output, not a directory.")


class _Reports:
    """Reports and counts the lines that could not be read."""

    def __init__(self, names: Mapping[str, str]) -> None:
        self.names, self.count = names, 0

    def __call__(self, source: str, line: int, error: object) -> None:
        self.count += 1
        tell(f"{source}, line {line}: {in_options(str(error), self.names)}")

    @property
    def exit_code(self) -> int:
        return 2 if self.count else 0


def _extract(
    options: argparse.Namespace, sources: list[tuple[str, str]], report: _Reports, done: Path | None = None
) -> Iterator[Result]:
    """The results of the texts in order, without those that are already in the file `done`."""
    from tqdm.auto import tqdm

    def good() -> Iterator[tuple[str, int, dict[str, Any]]]:
        for name, file_format in sources:
            for source, line, item in read_items(name, file_format, options):
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
            report(source, line, "the interrupted run has no result for this line, but for later ones")
        else:
            raise ValueError(
                f"--resume: the input has no line {record['line']} of {record['source']} where the interrupted run has "
                "a result for it. Resume with the same input."
            )
    first = next(items, None)
    if first is None:
        if not skipped and not report.count:
            tell(f"there is no text in {', '.join(options.inputs)}.")
        return
    extractor = load_extractor(options)
    texts = relations = 0
    without_drug = 0
    with tqdm(unit=" texts", initial=skipped, disable=options.quiet or None, file=sys.stderr) as progress:
        # Several batches at a time, so that texts of similar length can share one.
        for batch in _batches(chain([first], items), 8 * options.batch_size):
            answers = answer_items(extractor, [item for *_, item in batch], options)
            for (source, line, _), answer in zip(batch, answers, strict=True):
                if isinstance(answer, ValueError):
                    report(source, line, answer)
                    continue
                texts, relations = texts + 1, relations + len(answer["relations"])
                without_drug += lacks_drug(answer)
                yield {"source": source, "line": line, **answer}
            progress.update(len(batch))
    tell_what_is_missing(options, texts, relations or skipped, without_drug)


def lacks_drug(result: Mapping[str, Any]) -> bool:
    """Whether a text speaks of 本品, and it is not known which drug that is."""
    return not result.get("drug") and OWN_DRUG.search(result["text"]) is not None


def tell_what_is_missing(options: argparse.Namespace, texts: int, relations: int, without_drug: int) -> None:
    """
    Explain an output without relations, or without those of the leaflet's drug.

    Args:
        texts: number of texts.
        relations: number of relations in all of them.
        without_drug: number of texts of which `lacks_drug` is true.
    """
    if options.quiet or not texts:
        return
    if not relations:
        tell(f"no relation was found in {texts} text{'s' if texts > 1 else ''}.")
    if options.takes_drug and without_drug:
        say = "s say" if without_drug > 1 else " says"
        tell(f"{without_drug} text{say} 本品 (the leaflet's own drug), whose relations are found only with --drug.")


def answer_items(extractor: Any, items: list[dict[str, Any]], options: argparse.Namespace) -> list[Any]:
    """The pipeline's output for each text, or the error for a text that it rejects."""
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
    """
    The pipeline with the given options.

    Raises:
        ValueError: if the model cannot be loaded on the device.
    """
    import torch
    from transformers import pipeline
    from transformers.utils import logging

    from . import DdiExtractionPipeline

    logging.disable_progress_bar()
    arguments: dict[str, Any] = {"device": options.device or "cpu", "backend": options.backend}
    if options.dtype:
        arguments["dtype"] = getattr(torch, options.dtype)
    if options.model:
        # Runs the code of this package, not the code beside the weights.
        arguments |= {"model": options.model, "pipeline_class": DdiExtractionPipeline}
    load: Any = pipeline  # its signature lists only transformers' own tasks
    try:
        return load("ddi-extraction", **arguments)
    except (RuntimeError, AssertionError) as error:  # torch raises these for a device that does not exist
        raise ValueError(f"the model cannot be loaded on {arguments['device']}: {error}") from error


def _repair(partial: Path) -> None:
    """Cut off an incomplete last line."""
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
    """Write the labelling interface for the model's labels (Label Studio's XML) beside the tasks."""
    from transformers import AutoConfig

    from . import DEFAULT_MODEL

    config = AutoConfig.from_pretrained(options.model or DEFAULT_MODEL)
    path = options.output.with_suffix(".labels.xml")
    path.write_text(labelling_interface(config.entity_types, config.relation_types), encoding="utf-8", newline="\n")
    print(f"{path} is the labelling interface of these tasks.", file=sys.stderr)


def _model_name(options: argparse.Namespace) -> str:
    """The model's name for annotation tools; for a directory, without its path."""
    if options.model is None:
        return "ISER"
    path = Path(options.model)
    return path.resolve().name if path.is_dir() else options.model


if __name__ == "__main__":
    sys.exit(main())
