"""
What each system costs: parameters, training steps and extracted sentences per second, and memory.

    python -m benchmarks.speed.costs --encoder runs/e5-small-6 --conll04 CONLL04 [--output costs.md]

Each system is trained on a few batches with the settings of `benchmarks.reproduce --profile short`, in a process of its
own, and then extracts from the sentences that it would be scored on. STER's steps are the student's; its teachers,
which are trained before it, take as long again each. Without `--conll04`, the sentences are CH-DDI-Open's. Without
`--encoder`, it is the bundled model's.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import platform
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from transformers import AutoModel

from baselines import SYSTEMS
from benchmarks.comparison.encoder import bundled_encoder
from benchmarks.figures.tables import markdown
from benchmarks.reproduce import arguments_of, settings_of
from train import load_splits, parse_settings, train


BATCH_SIZE = 8
PAPER_SYSTEMS = ("spert", "iser", *(name for name in SYSTEMS if SYSTEMS[name].model is not SYSTEMS["iser"].model))


def measure(system: str, options: argparse.Namespace) -> dict[str, str]:
    """A row of the table."""
    dataset = "conll04" if options.conll04 else "ch_ddi"
    values = settings_of("short", dataset, system, 0) | {
        "num_epochs": 1,
        "batch_size": BATCH_SIZE,
        "max_train_documents": BATCH_SIZE * options.steps,
        "max_evaluation_documents": options.documents,
        "encoder": options.encoder,
    }
    if options.conll04:
        values["data_dir"] = str(options.conll04)
    with tempfile.TemporaryDirectory() as directory:
        settings = parse_settings(arguments_of(values | {"output_dir": directory}))
        (split,) = settings.test_splits
        train(dataclasses.replace(settings, test_splits=[]))
        model: Any = AutoModel.from_pretrained(directory, trust_remote_code=False).eval()
        words = load_splits(settings)[2][split]["tokens"]
        model.extract(words[:BATCH_SIZE], batch_size=BATCH_SIZE)  # warm-up
        start = time.perf_counter()
        model.extract(words, batch_size=BATCH_SIZE)
        seconds = time.perf_counter() - start
        rate = steps_per_second(Path(directory) / "logs")
    return {
        "system": system,
        "million parameters": f"{sum(parameter.numel() for parameter in model.parameters()) / 1e6:.1f}",
        "training steps/s": f"{rate:.2f}",
        "sentences/s": f"{len(words) / seconds:.1f}",
        "peak MB": f"{resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f}",
    }


def steps_per_second(logs: Path) -> float:
    """From the times at which losses were logged: every tenth step, which leaves out the first ten."""
    (file,) = logs.rglob("events.out.tfevents.*")
    events = EventAccumulator(str(file))
    events.Reload()
    first, *_, last = events.Scalars("loss")
    return (last.step - first.step) / (last.wall_time - first.wall_time)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--encoder")
    parser.add_argument("--conll04", type=Path, help="directory of SpERT's CoNLL04 files")
    parser.add_argument("--systems", nargs="+", choices=tuple(SYSTEMS), default=list(PAPER_SYSTEMS))
    parser.add_argument("--steps", type=int, default=60, help="training steps, at least 20 (default: %(default)s)")
    parser.add_argument("--documents", type=int, default=231, help="sentences to extract from (default: %(default)s)")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--output", type=Path, help="also write the table to this file")
    parser.add_argument("--row", help=argparse.SUPPRESS)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    if options.row:
        print(json.dumps(measure(options.row, options)))
        return
    rows: list[dict[str, str]] = []
    failed: list[str] = []
    machine = f"{options.threads} threads, {platform.machine()}, torch {torch.__version__}, batch {BATCH_SIZE}"
    with tempfile.TemporaryDirectory() as directory:
        encoder = options.encoder or str(bundled_encoder(Path(directory) / "encoder"))
        given = ["--encoder", encoder, "--steps", options.steps, "--documents", options.documents]
        given += ["--threads", options.threads, *(["--conll04", options.conll04] if options.conll04 else [])]
        for system in options.systems:
            command = [sys.executable, "-m", "benchmarks.speed.costs", "--row", system, *map(str, given)]
            done = subprocess.run(command, capture_output=True, text=True)
            if done.returncode:
                failed.append(system)
                print(f"{system} failed, the others continue:\n{done.stderr[-3000:]}", file=sys.stderr)
                continue
            rows.append(json.loads(done.stdout.splitlines()[-1]))
            text = f"Machine: {machine}.\n\n{markdown(list(rows[0]), [list(row.values()) for row in rows])}"
            if options.output:
                options.output.write_text(text + "\n", encoding="utf-8")
    if rows:
        print(text)
    if failed:
        sys.exit(f"Failed: {', '.join(failed)}.")


if __name__ == "__main__":
    main()
