"""
`iser-extract --engine ray` on many sentences: rows per second, and the memory of its processes over time.

    OMP_NUM_THREADS=1 python -m benchmarks.speed.scale --rows 1000000 --seconds 300 [--workers 2] [--price 0.05]

The sentences of CH-DDI-Open are repeated, each copy with its own id. Memory is read from `/proc`, which needs Linux.
"""

from __future__ import annotations

import argparse
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from itertools import cycle, islice
from pathlib import Path

from pyarrow import parquet
from pyarrow import table as arrow_table

from datasets_scripts import load_ch_ddi
from modeling_iser.ray_engine import PART


MANY = 10_000_000
"""Number of sentences that the time is extrapolated to."""

CHUNK = 50_000
"""Number of sentences written at a time."""


def write_sentences(path: Path, count: int) -> None:
    """Write `count` sentences of the corpus, with their drugs, to a Parquet file."""
    texts = [document["text"].partition("@") for split in load_ch_ddi().values() for document in split]
    rows = ({"id": number, "drug": drug, "text": text} for number, (drug, _, text) in enumerate(cycle(texts)))
    writer = None
    for start in range(0, count, CHUNK):
        chunk = list(islice(rows, min(CHUNK, count - start)))
        table = arrow_table({name: [row[name] for row in chunk] for name in chunk[0]})
        writer = writer or parquet.ParquetWriter(path, table.schema)
        writer.write_table(table)
    if writer:
        writer.close()


def processes(root: int) -> Iterator[tuple[str, int]]:
    """Command line and resident memory in MB of a process and of each of its descendants."""
    parents, memory, titles = {}, {}, {}
    for directory in Path("/proc").glob("[0-9]*"):
        try:
            status = dict(line.split(":", 1) for line in (directory / "status").read_text().splitlines())
            title = (directory / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:  # the process has just ended
            continue
        number = int(directory.name)
        parents[number], titles[number] = int(status["PPid"]), title
        memory[number] = int(status.get("VmRSS", "0 kB").split()[0]) // 1024
    family = {root}
    while more := {number for number, parent in parents.items() if parent in family} - family:
        family |= more
    return ((titles[number], memory[number]) for number in family if number in titles)


def measure(command: list[str], parts: Path, seconds: float, every: float) -> float:
    """Run the command, printing a table meanwhile; return the rows per second from the first part to the last."""
    print("| seconds | rows | rows/s | driver MB | workers MB | reader MB | Ray's own MB |")
    print("|---|---|---|---|---|---|---|", flush=True)
    process = subprocess.Popen(command)
    began = time.monotonic()
    first: tuple[float, int] | None = None
    before = rows = 0
    rate = 0.0
    while process.poll() is None and time.monotonic() - began < seconds:
        time.sleep(every)
        rows = PART * sum(1 for _ in parts.glob("part-*"))
        now = time.monotonic() - began
        if first is None and rows:
            first = (now, rows)
        elif first:
            rate = (rows - first[1]) / (now - first[0])
        family = list(processes(process.pid))
        of_driver = sum(memory for title, memory in family if "modeling_iser" in title)
        workers = [memory for title, memory in family if "MapWorker" in title]
        readers = sum(memory for title, memory in family if "_read_parts" in title)
        rest = sum(memory for _, memory in family) - of_driver - sum(workers) - readers
        speed = f"{(rows - before) / every:.1f}"
        print(
            f"| {now:.0f} | {rows:,} | {speed} | {of_driver} | {' + '.join(map(str, workers))} | {readers} | {rest} |",
            flush=True,
        )
        before = rows
    process.send_signal(signal.SIGINT)
    process.wait()
    return rate


def main() -> None:
    """Measure and extrapolate."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--seconds", type=float, default=600, help="duration of the run, including its start")
    parser.add_argument("--every", type=float, default=30, help="seconds between rows of the table")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--price", type=float, default=0.05, help="price of a core hour, in any currency")
    parser.add_argument("--model", help="default: the bundled model")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        path, parts = Path(directory) / "sentences.parquet", Path(directory) / "results"
        write_sentences(path, options.rows)
        print(f"{options.rows:,} sentences, {path.stat().st_size // 2**20} MB\n", flush=True)
        command = [sys.executable, "-m", "modeling_iser.command_line", str(path), "--output", str(parts), "--quiet"]
        command += ["--engine", "ray", "--workers", str(options.workers)]
        command += ["--model", options.model] if options.model else []
        rate = measure(command, parts, options.seconds, options.every)
    if not rate:
        raise SystemExit("no part was finished in that time: raise --seconds")
    hours = MANY / rate / 3600
    core_hours = hours * options.workers
    print(
        f"\n{rate:.1f} rows/s with {options.workers} workers. Extrapolated to {MANY:,} sentences: {hours:.1f} hours, "
        f"{core_hours:.0f} core hours, {core_hours * options.price:.2f} at {options.price} a core hour."
    )


if __name__ == "__main__":
    main()
