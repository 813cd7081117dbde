"""
`iser-extract --engine ray`: the same results, computed by many processes on one machine or a cluster with Ray Data.

One task reads each file in parts of `PART` lines, and each part goes to the next free worker. A worker holds the model
and writes the results of a part atomically to a file named after its lines. So no line is lost or duplicated: a part
whose worker died is processed again, a part that is processed twice overwrites itself, and `--resume` skips existing
parts. In a directory of results, `_errors-…` lists the lines of a part that could not be read, `_settings.json` holds
the settings of the run, and `_SUCCESS` marks that all parts exist.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import shutil
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import count, islice
from pathlib import Path
from typing import Any
from uuid import uuid4

from .command_line import answer_items, lacks_drug, load_extractor, tell_what_is_missing
from .commands import extra
from .input_files import read_items
from .result_files import Result, write_results


PART = 512
"""
Lines per part: a few seconds of work on one core, which is all that a dead worker costs.

Batches are formed by length within a part. Not an option, since another number would make other parts.
"""

OBJECT_STORE_BYTES = 256 * 2**20
"""Shared memory of a Ray that we start: enough for a few parts per worker, each about as large as its text."""

SETTINGS = (
    "text_column", "drug_column", "drug", "whole", "encoding", "model", "entity_threshold", "relation_threshold",
    "min_confidence", "dtype", "backend", "format",
)  # fmt: skip
"""Options that the results depend on, in addition to the files."""

Report = Callable[[str, int, object], None]


def extract_parts(
    options: argparse.Namespace, sources: Sequence[tuple[str, str]], report: Report, directory: Path, output_format: str
) -> None:
    """
    Extract from files into a directory of parts, whose names sort in the order of the input.

    Args:
        options: options of `iser-extract`.
        sources: the files with their formats.
        report: called with source, line and error for each line that cannot be read.
        directory: a new or empty directory, or with `options.resume` that of an interrupted run.
        output_format: format of the parts.

    Raises:
        ValueError: if the directory contains other files, or parts made with other settings.
        ImportError: if Ray is not installed.
        OSError: if Ray does not start or fails.
    """
    ray = _import_ray()
    _begin(directory, _settings(options, sources, output_format), options.resume)
    done = {path.stem for path in directory.glob("part-*")}
    for errors in (directory / f"_errors-{part}.json" for part in sorted(done)):
        if errors.exists():
            _tell(report, errors.read_text(encoding="utf-8"))
    success = directory / "_SUCCESS"
    if success.exists():
        print(f"{directory} is complete.", file=sys.stderr)
        return
    with cluster(options.workers, options.gpus_per_worker):
        try:
            _run(ray, options, sources, report, directory, output_format, done)
        except ray.exceptions.RayTaskError as error:
            # Errors of our own code, such as a missing column, are reported as without Ray.
            raise error.cause from error
        except ray.exceptions.RayError as error:
            raise OSError(f"Ray failed. Run the same command with --resume to continue. {error}") from error
    for abandoned in directory.glob(".*"):
        abandoned.unlink()
    success.touch()


def join_parts(directory: Path, path: Path) -> None:
    """Concatenate parts of lines into one file, in the order of the input."""
    with path.open("wb") as joined:
        for part in sorted(directory.glob("part-*")):
            with part.open("rb") as stream:
                shutil.copyfileobj(stream, joined)


@contextmanager
def cluster(workers: int | None, gpus_per_worker: float = 0) -> Iterator[None]:
    """
    Connect to the Ray that is already running or to the one at `RAY_ADDRESS`, or start one that only this machine can
    reach.

    Raises:
        OSError: if Ray does not start.
        ValueError: if there are too few GPUs for the workers.
    """
    ray = _import_ray()
    if ray.is_initialized():
        yield
        return
    own: dict[str, Any] = {}
    if "RAY_ADDRESS" not in os.environ:
        own = {
            "address": "local",
            "num_cpus": (workers or os.cpu_count() or 1) + 1,  # one more for the task that reads
            "object_store_memory": OBJECT_STORE_BYTES,
            "include_dashboard": False,
        }
    try:
        ray.init(**own, logging_level="ERROR")
    except Exception as error:  # Ray raises a bare Exception if a busy machine does not start it in time.
        raise OSError(f"Ray does not start: {error}") from error
    try:
        if own and (gpus := ray.cluster_resources().get("GPU", 0)) < (workers or 1) * gpus_per_worker:
            raise ValueError(
                f"{workers or 1} workers with {gpus_per_worker:g} GPUs each are too many: there are {gpus:g} GPUs."
            )
        yield
    finally:
        ray.shutdown()


def _import_ray() -> Any:
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    if "RAY_ADDRESS" not in os.environ:
        # Makes a Ray that we start listen only on 127.0.0.1; despite its name, the switch also works on Linux.
        os.environ.setdefault("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0")
        # By default, workers have a low priority, and would starve on a busy machine.
        os.environ.setdefault("RAY_worker_niceness", "0")
    with extra("ray"):
        import ray
        import ray.data
    return ray


def _run(
    ray: Any,
    options: argparse.Namespace,
    sources: Sequence[tuple[str, str]],
    report: Report,
    directory: Path,
    output_format: str,
    done: set[str],
) -> None:
    from tqdm.auto import tqdm

    ray.data.DataContext.get_current().enable_progress_bars = False  # Our own counts texts.
    logging.getLogger("ray.data").setLevel(logging.WARNING)
    logging.getLogger("ray.data._internal.progress").setLevel(logging.ERROR)  # It logs that the bars are off.
    files = [
        {"number": number, "name": name, "format": input_format} for number, (name, input_format) in enumerate(sources)
    ]
    # File names are relative to the command's directory, and have to stay so in the results.
    where = {"options": options, "working_directory": os.getcwd()}
    dataset = (
        ray.data.from_items(files, override_num_blocks=len(files))
        .map_batches(_read_parts, batch_size=1, fn_kwargs={**where, "size": PART, "done": frozenset(done)})
        .repartition(target_num_rows_per_block=1)  # Otherwise, one worker would get many parts at once.
        .map_batches(
            _Worker,
            batch_size=1,
            fn_constructor_kwargs={**where, "directory": directory, "output_format": output_format},
            compute=ray.data.ActorPoolStrategy(size=options.workers or _workers(ray, options.gpus_per_worker)),
            num_cpus=1,
            num_gpus=options.gpus_per_worker or None,
        )
    )
    texts = relations = without_drug = 0
    with tqdm(unit=" texts", disable=options.quiet or None, file=sys.stderr) as progress:
        for row in dataset.iter_rows():
            _tell(report, row["errors"])
            progress.update(row["results"])
            texts, relations = texts + row["results"], relations + row["relations"]
            without_drug += row["without_drug"]
    tell_what_is_missing(options, texts, relations or len(done), without_drug)


def _workers(ray: Any, gpus_per_worker: float) -> int:
    resources = ray.cluster_resources()
    if gpus_per_worker:
        return max(1, int(resources.get("GPU", 0) / gpus_per_worker))
    return max(1, int(resources["CPU"]) - 1)


def _read_parts(
    batch: dict[str, Any], options: argparse.Namespace, working_directory: str, size: int, done: frozenset[str]
) -> Iterator[dict[str, list[str]]]:
    """
    Yield the parts of a file that are not done yet. Ray requests only as many as the workers can process.

    The lines of a part are encoded as JSON, since a column cannot hold a text with an unpaired surrogate.
    """
    os.chdir(working_directory)
    (number,), (name,), (input_format,) = batch["number"], batch["name"], batch["format"]
    items = read_items(name, input_format, options)
    for index in count():
        lines = list(islice(items, size))
        if not lines:
            return
        part = f"part-{number:06}-{index:08}"
        if part not in done:
            yield {"part": [part], "lines": [json.dumps(lines, default=str)]}  # Errors become strings.


class _Worker:
    """Holds the model, and writes the results of a part to a file. Ray replaces a worker that dies."""

    def __init__(
        self, options: argparse.Namespace, working_directory: str, directory: Path, output_format: str
    ) -> None:
        os.chdir(working_directory)
        if options.gpus_per_worker and options.device is None:
            options = argparse.Namespace(**{**vars(options), "device": "cuda"})
        self.options, self.directory, self.output_format = options, directory, output_format
        self.extractor = load_extractor(options)

    def __call__(self, batch: dict[str, Any]) -> dict[str, list[Any]]:
        (part,), (lines,) = batch["part"], batch["lines"]
        results, errors = self._extract(json.loads(lines))
        if errors:  # Written before the part, whose existence means that it is done.
            _replace(self.directory / f"_errors-{part}.json", json.dumps(errors))
        # A unique name, since a worker that Ray takes for dead may still be writing the same part.
        temporary = self.directory / f".{uuid4().hex}"
        write_results(results, temporary, self.output_format, "")
        os.replace(temporary, self.directory / f"{part}.{self.output_format}")
        return {
            "part": [part],
            "results": [len(results)],
            "relations": [sum(len(result["relations"]) for result in results)],
            "without_drug": [sum(map(lacks_drug, results))],
            "errors": [json.dumps(errors)],
        }

    def _extract(self, lines: list[tuple[str, int, dict[str, Any] | str]]) -> tuple[list[Result], list[Any]]:
        answers = iter(
            answer_items(self.extractor, [item for *_, item in lines if not isinstance(item, str)], self.options)
        )
        results, errors = [], []
        for source, line, item in lines:
            answer = item if isinstance(item, str) else next(answers)
            if isinstance(answer, str | ValueError):
                errors.append((source, line, str(answer)))
            else:
                results.append({"source": source, "line": line, **answer})
        return results, errors


def _tell(report: Report, errors: str) -> None:
    for source, line, error in json.loads(errors):
        report(source, line, error)


def _settings(options: argparse.Namespace, sources: Sequence[tuple[str, str]], output_format: str) -> dict[str, Any]:
    inputs = [[name, input_format, Path(name).stat().st_size] for name, input_format in sources]
    return {
        "inputs": inputs, "parts": [PART, output_format], **{name: getattr(options, name) for name in SETTINGS}
    }  # fmt: skip


def _begin(directory: Path, settings: dict[str, Any], resume: bool) -> None:
    """Ensure that all parts in a directory are made with the same settings from the same files."""
    directory.mkdir(parents=True, exist_ok=True)
    path = directory / "_settings.json"
    if not path.exists():
        if any(directory.iterdir()):
            raise ValueError(f"{directory} contains other files. Choose a new directory.")
        _replace(path, json.dumps(settings))
        return
    if not resume:
        raise ValueError(f"{directory} already contains results. Continue with --resume, or choose a new directory.")
    earlier = json.loads(path.read_text(encoding="utf-8"))
    if different := [name for name in settings if settings[name] != earlier.get(name)]:
        raise ValueError(f"--resume: the run in {directory} was started with a different {', '.join(different)}.")


def _replace(path: Path, text: str) -> None:
    """Write a file atomically."""
    temporary = path.with_name(f".{uuid4().hex}")
    temporary.write_text(text, encoding="utf-8")
    os.replace(temporary, path)


__all__ = ["cluster", "extract_parts", "join_parts"]
