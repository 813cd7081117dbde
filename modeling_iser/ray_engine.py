"""
`iser-extract --engine ray`: the same results from many processes, on this machine or on a cluster, by Ray Data.

Every file is read by one task, in parts of `PART` lines, and each part goes to whichever worker is free. A worker holds
the model, and writes what it finds as a file that appears in one step and is named for the lines it is of. So no line
is lost or doubled: a part whose worker was lost is done again, one that is done twice replaces itself, and `--resume`
leaves out the parts that are there. In a directory of results, `_errors-…` tells of the lines of a part that could not
be read, `_settings.json` what the parts were made with, and `_SUCCESS` that all are there.
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

from .command_line import answer_items, load_extractor, read_items
from .result_files import Result, write_results


PART = 512
"""
Lines of a part: some seconds of work on one core, which is what a lost worker costs.

All of a part's lines share the model's batches by length. Another number would be other parts, so it is no option.
"""

OBJECT_STORE_BYTES = 256 * 2**20
"""Shared memory of a Ray of our own: a few parts for each worker, each about as large as its text."""

SETTINGS = (
    "text_column", "drug_column", "drug", "whole", "model", "entity_threshold", "relation_threshold", "min_confidence",
    "dtype", "backend", "format",
)  # fmt: skip
"""Options on which the results depend, beside the files."""

Report = Callable[[str, int, object], None]


def extract_parts(
    options: argparse.Namespace, sources: Sequence[tuple[str, str]], report: Report, directory: Path, output_format: str
) -> None:
    """
    Extract from files into a directory of parts, whose names are in the order of the input.

    Args:
        options: of `iser-extract`.
        sources: the files with their formats.
        report: is told of source, line and error where a line cannot be read.
        directory: new or empty, or with `options.resume` what an earlier run left.

    Raises:
        ValueError: if the directory holds something else, or parts of other settings.
        ImportError: if Ray is not installed.
        OSError: if Ray gives up.
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
            # What our own code raised, such as for a column that is not there, is said as without Ray.
            raise error.cause from error
        except ray.exceptions.RayError as error:
            raise OSError(f"Ray gave up; the same command with --resume goes on. {error}") from error
    for abandoned in directory.glob(".*"):
        abandoned.unlink()
    success.touch()


def join_parts(directory: Path, path: Path) -> None:
    """Put parts of lines into one file, in the order of the input."""
    with path.open("wb") as joined:
        for part in sorted(directory.glob("part-*")):
            with part.open("rb") as stream:
                shutil.copyfileobj(stream, joined)


@contextmanager
def cluster(workers: int | None, gpus_per_worker: float = 0) -> Iterator[None]:
    """The Ray that runs already, the one at `RAY_ADDRESS`, or one of our own that only this machine can reach."""
    ray = _import_ray()
    if ray.is_initialized():
        yield
        return
    own: dict[str, Any] = {}
    if "RAY_ADDRESS" not in os.environ:
        own = {
            "address": "local",
            "num_cpus": (workers or os.cpu_count() or 1) + 1,  # and one that reads
            "object_store_memory": OBJECT_STORE_BYTES,
            "include_dashboard": False,
        }
    try:
        ray.init(**own, logging_level="ERROR")
    except Exception as error:  # Ray raises no other where the machine is too busy to start it in time
        raise OSError(f"Ray does not start: {error}") from error
    try:
        if own and (gpus := ray.cluster_resources().get("GPU", 0)) < (workers or 1) * gpus_per_worker:
            raise ValueError(f"{workers or 1} workers with {gpus_per_worker:g} GPUs each, but there are {gpus:g} GPUs.")
        yield
    finally:
        ray.shutdown()


def _import_ray() -> Any:
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # it says nothing to its makers
    if "RAY_ADDRESS" not in os.environ:
        # A Ray of our own listens on 127.0.0.1 alone; on Linux too, whatever the name of the switch says.
        os.environ.setdefault("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0")
        # Workers would give way to all else on the machine, and a busy one would stand still.
        os.environ.setdefault("RAY_worker_niceness", "0")
    try:
        import ray
        import ray.data
    except ImportError as error:
        raise ImportError('--engine ray needs Ray: pip install "iser[ray]"') from error
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

    ray.data.DataContext.get_current().enable_progress_bars = False  # ours counts texts
    logging.getLogger("ray.data").setLevel(logging.WARNING)
    logging.getLogger("ray.data._internal.progress").setLevel(logging.ERROR)  # which remarks that they are off
    files = [
        {"number": number, "name": name, "format": input_format} for number, (name, input_format) in enumerate(sources)
    ]
    # Names of files are relative to where the command runs, and so they stand in the results.
    where = {"options": options, "working_directory": os.getcwd()}
    dataset = (
        ray.data.from_items(files, override_num_blocks=len(files))
        .map_batches(_read_parts, batch_size=1, fn_kwargs={**where, "size": PART, "done": frozenset(done)})
        .repartition(target_num_rows_per_block=1)  # Without this, one worker would get many parts at once.
        .map_batches(
            _Worker,
            batch_size=1,
            fn_constructor_kwargs={**where, "directory": directory, "output_format": output_format},
            compute=ray.data.ActorPoolStrategy(size=options.workers or _workers(ray, options.gpus_per_worker)),
            num_cpus=1,
            num_gpus=options.gpus_per_worker or None,
        )
    )
    with tqdm(unit=" texts", disable=options.quiet or None, file=sys.stderr) as progress:
        for row in dataset.iter_rows():
            _tell(report, row["errors"])
            progress.update(row["results"])


def _workers(ray: Any, gpus_per_worker: float) -> int:
    resources = ray.cluster_resources()
    if gpus_per_worker:
        return max(1, int(resources.get("GPU", 0) / gpus_per_worker))
    return max(1, int(resources["CPU"]) - 1)


def _read_parts(
    batch: dict[str, Any], options: argparse.Namespace, working_directory: str, size: int, done: frozenset[str]
) -> Iterator[dict[str, list[str]]]:
    """
    The parts of a file that are not done yet, one by one. Ray asks for no more than the workers can take.

    A part is text, and not columns, since a line's text may be what no column holds: half a surrogate pair.
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
            yield {"part": [part], "lines": [json.dumps(lines, default=str)]}  # errors are strings


class _Worker:
    """Holds the model; makes a file of the results of a part. Ray starts another one where this is lost."""

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
        if errors:  # before the part, which says that all is done
            _replace(self.directory / f"_errors-{part}.json", json.dumps(errors))
        # A worker that was taken for lost may still be writing the same part, so each has a name of its own for it.
        temporary = self.directory / f".{uuid4().hex}"
        write_results(results, temporary, self.output_format, "")
        os.replace(temporary, self.directory / f"{part}.{self.output_format}")
        return {"part": [part], "results": [len(results)], "errors": [json.dumps(errors)]}

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
    """See to it that all parts in a directory are of one run: made with the same settings from the same files."""
    directory.mkdir(parents=True, exist_ok=True)
    path = directory / "_settings.json"
    if not path.exists():
        if any(directory.iterdir()):
            raise ValueError(f"{directory} holds other files. Give a new directory.")
        _replace(path, json.dumps(settings))
        return
    if not resume:
        raise ValueError(f"{directory} holds results. --resume goes on with them, or give a new directory.")
    earlier = json.loads(path.read_text(encoding="utf-8"))
    if different := [name for name in settings if settings[name] != earlier.get(name)]:
        raise ValueError(f"--resume: {directory} was begun with other {', '.join(different)}.")


def _replace(path: Path, text: str) -> None:
    """Write a file that is there as a whole or not at all."""
    temporary = path.with_name(f".{uuid4().hex}")
    temporary.write_text(text, encoding="utf-8")
    os.replace(temporary, path)


__all__ = ["cluster", "extract_parts", "join_parts"]
