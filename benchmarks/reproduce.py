"""
Reproduce the paper's comparison of systems: runs, tables, significance.

    python -m benchmarks.reproduce --profile quick
    python -m benchmarks.reproduce --profile full --encoder bert-base-cased --conll04 DIR --datasets conll04
    python -m benchmarks.reproduce --profile small --encoder DIR --systems iser --set dropout=0.3

Each run has a directory `OUTPUT/PROFILE/DATASET/ENCODER/SYSTEM/seed-N` with two files. `result.json` holds settings,
seed, commit, machine, scores by type, time, peak memory, losses, and the counts of each test sentence that the paired
bootstrap needs. `documents.json` holds the gold and the predicted documents, with relations down to a score of 0.01,
and the cross-attention of one sentence.

Finished runs are skipped, interrupted ones are resumed, and a failed run does not stop the others. `--jobs` runs
several at a time. Several of these commands can share the work, since every run is locked by the process that works on
it. `--set` overrides settings of train.py, and the result counts as a system of its own. All results of the profile go
into the tables in `OUTPUT/PROFILE/tables.md` (`benchmarks/figures/tables.py`) and the figures beside them
(`benchmarks/figures/plots.py`). `benchmarks/results` holds the results behind comparison.md.

`quick` takes about nine minutes on two cores and needs nothing but this repository: the bundled model's encoder, a few
sentences, a few epochs. It shows that everything runs, not which system is best. `full` has the paper's 70 epochs.
`short` and `small` are budgets for a small encoder on two cores.
"""

from __future__ import annotations

import argparse
import concurrent.futures
import contextlib
import dataclasses
import fcntl
import json
import multiprocessing
import os
import platform
import resource
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import evaluate
import torch
from transformers import AutoModel


ROOT = Path(__file__).resolve().parent.parent
if not __package__:  # run as a file, which puts this directory on the path, not the repository
    sys.path[0] = str(ROOT)

from benchmarks.comparison.encoder import bundled_encoder  # noqa: E402
from benchmarks.comparison.outcomes import outcomes  # noqa: E402
from benchmarks.figures.plots import draw_all  # noqa: E402
from benchmarks.figures.tables import SYSTEMS, read_results, tables  # noqa: E402
from modeling_iser.decoding_iser import drop_overlaps  # noqa: E402
from modeling_iser.figures import cross_attention  # noqa: E402
from train import METRIC, Settings, load_splits, parse_settings, train  # noqa: E402


# Which splits are trained on and which are scored. `conll04` is the paper's protocol: SpERT's training file, scored on
# its development file. `conll04_standard` is the field's: both files, scored on the test file. The `…_development`
# entries are for choosing settings: a fifth of the training file is held out and scored, and no other file is read.
_HELD_OUT = {
    "train_split": "train",
    "test_splits": [],
    "validation_split": "held_out",
    "validation_fraction": 0.2,
    "evaluate_every": 1000,
}
_CH_DDI = {"dataset": "ch_ddi", "max_span_width": 20, "negative_spans": 50, "negative_pairs": 50}
SETTINGS: dict[str, dict[str, Any]] = {
    "conll04": {
        "dataset": "conll04",
        "train_split": "train",
        "test_splits": ["validation"],
        "validation_split": "none",
    },
    "conll04_standard": {
        "dataset": "conll04",
        "train_split": "train+validation",
        "test_splits": ["test"],
        "validation_split": "none",
    },
    "conll04_development": {"dataset": "conll04", **_HELD_OUT},
    "ch_ddi": {**_CH_DDI, "test_splits": ["test"]},
    "ch_ddi_development": {**_CH_DDI, **_HELD_OUT},
}
PROFILES: dict[str, dict[str, Any]] = {
    "quick": {
        "num_epochs": 5, "batch_size": 4, "learning_rate": 2e-4, "new_layers_learning_rate": 2e-3,
        "max_train_documents": 48, "max_evaluation_documents": 24, "negative_spans": 60, "negative_pairs": 20,
    },
    "short": {
        "num_epochs": 5, "batch_size": 8, "learning_rate": 2e-4, "new_layers_learning_rate": 1e-3,
        "mixed_precision": "bf16",
    },
    "small": {
        "num_epochs": 8, "batch_size": 8, "learning_rate": 2e-4, "new_layers_learning_rate": 1e-3,
        "mixed_precision": "bf16",
    },
    "full": {"num_epochs": 70, "batch_size": 2, "learning_rate": 2e-5},
}  # fmt: skip

# Settings that differ from the profile's for a data set, a system, or a system on a data set; the more specific wins.
# The learning rates were the best of the trials on held-out documents (comparison.md); the dropout is the paper's.
_SPERT = {"learning_rate": 5e-4, "new_layers_learning_rate": 5e-4}
_OF_PROFILE = {"learning_rate": 2e-4, "new_layers_learning_rate": 1e-3}  # where those for CoNLL04 do not hold
_ISER_CH_DDI = {"learning_rate": 1e-4}
_TRIPLES = {"learning_rate": 2e-4, "new_layers_learning_rate": 1e-2}
_PAIRS = {"learning_rate": 2e-4, "new_layers_learning_rate": 3e-3}
_QUERIES = {"learning_rate": 1e-4, "new_layers_learning_rate": 3e-4}
EXCEPTIONS: dict[tuple[str, str], dict[str, Any]] = {
    ("short", "spert"): _SPERT,
    ("short", "ster"): _SPERT,
    ("short", "casrel"): _TRIPLES,
    ("short", "onerel"): _TRIPLES,
    ("short", "multihead"): _PAIRS,
    ("short", "graphrel_1p"): _PAIRS,
    ("short", "graphrel_2p"): _PAIRS,
    ("short", "spn4re"): _QUERIES,
    # About as many steps as `conll04` has, or half as many again on CH-DDI-Open.
    ("short", "conll04_standard"): {"num_epochs": 4},
    ("short", "ch_ddi"): {"num_epochs": 2},
    ("short", "ch_ddi_development"): {"num_epochs": 2},
    ("short", "ch_ddi iser"): _ISER_CH_DDI,
    ("short", "ch_ddi_development iser"): _ISER_CH_DDI,
    ("short", "ch_ddi spert"): _OF_PROFILE,
    ("short", "ch_ddi ster"): _OF_PROFILE,
    ("short", "ch_ddi onerel"): {"learning_rate": 1e-4, "new_layers_learning_rate": 3e-3},
    ("short", "ch_ddi spn4re"): _OF_PROFILE,
    ("short", "ch_ddi graphrel_1p"): _OF_PROFILE,
    ("short", "ch_ddi graphrel_2p"): _OF_PROFILE,
    ("short", "ch_ddi_development spert"): _OF_PROFILE,
    ("small", "spert"): _SPERT,
    ("small", "ster"): _SPERT,
    ("small", "ch_ddi spert"): _OF_PROFILE,
    ("small", "ch_ddi_development spert"): _OF_PROFILE,
    ("full", "ch_ddi"): {"dropout": 0.75},
}

HEAT_MAP_WORDS = 48
"""Length, in words, of the longest sentence whose cross-attention may be drawn."""
_NOT_TO_CHANGE = {
    "dataset", "data_dir", "train_split", "validation_split", "validation_fraction", "test_splits",
    "encoder", "system", "seed", "output_dir", "evaluation_batch_size",
}  # fmt: skip
MIN_SCORE = 0.01
"""Lowest score of the relations that are kept for the sweep over relation thresholds."""


def run(dataset: str, system: str, seed: int, directory: Path, options: argparse.Namespace) -> None:
    """Train, score and write `result.json`, unless it exists or another process is working on this run."""
    result_file = directory / "result.json"
    directory.mkdir(parents=True, exist_ok=True)
    with _lock(directory) as ours:
        if result_file.exists():
            return
        if not ours:
            print(f"{directory}: another process is working on it", file=sys.stderr)
            return
        values = settings_of(options.profile, dataset, system, seed) | options.set
        places = {"encoder": str(options.encoder), "output_dir": str(directory / "run")}
        if dataset.startswith("conll04"):
            places["data_dir"] = str(options.conll04)
        settings = parse_settings([*arguments_of(values | places), "--resume"])
        interrupted = (directory / "run").exists()
        start = time.monotonic()
        # Training need not score the test split, which is scored below, in single precision.
        train(dataclasses.replace(settings, test_splits=[]))
        seconds = time.monotonic() - start
        (split,) = settings.test_splits or [settings.validation_split]
        documents = _documents(settings, directory / "run", split)
        references, predictions = documents["references"], documents["predictions"]
        threshold = documents["threshold"]
        result = {
            "dataset": dataset,
            "encoder": Path(options.encoder).name,
            "system": _system_name(system, options),
            "seed": seed,
            "settings": values,
            "commit": _commit(),
            "machine": f"{platform.machine()}, {torch.get_num_threads()} threads, torch {torch.__version__}"
            + (f", {torch.cuda.get_device_name()}" if torch.cuda.is_available() else ""),
            "scores": _scores(references, predictions, threshold),
            "seconds": None if interrupted else round(seconds, 1),  # the time before the interruption is unknown
            "peak_megabytes": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024),
            "losses": _losses(directory / "run" / "logs"),
            "outcomes": outcomes(references, predictions, threshold),
            "flat_outcomes": outcomes(
                references, [{**document, **drop_overlaps(document)} for document in predictions], threshold
            ),
        }
        (directory / "documents.json").write_text(json.dumps(documents, ensure_ascii=False), encoding="utf-8")
        temporary = directory / "result.tmp"
        temporary.write_text(json.dumps(result, ensure_ascii=False), encoding="utf-8")
        os.replace(temporary, result_file)
        if not options.keep_models:
            shutil.rmtree(directory / "run")


@contextlib.contextmanager
def _lock(directory: Path) -> Iterator[bool]:
    """Yield whether this process holds the directory's lock; a process that dies releases its lock."""
    with (directory / "lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
        else:
            yield True


def settings_of(profile: str, dataset: str, system: str, seed: int) -> dict[str, Any]:
    """The settings of a run without its paths: the profile's and the data set's, overridden by the exceptions."""
    values = {**PROFILES[profile], **SETTINGS[dataset]}
    for part in (dataset, system, f"{dataset} {system}"):
        values |= EXCEPTIONS.get((profile, part), {})
    # Decoding as in the paper; scores without overlapping entities are computed from the same documents.
    decoding = {"overlapping_entities": True, "constrain_relations": False}
    return values | decoding | {"system": system, "seed": seed, "evaluation_batch_size": 16}


def _scores(references: list[dict[str, Any]], predictions: list[dict[str, Any]], threshold: float) -> dict[str, Any]:
    """The metric's scores, overall and by type; relations below the threshold do not count."""
    found = [{**d, "relations": [r for r in d["relations"] if r["score"] >= threshold]} for d in predictions]
    metric = evaluate.load(METRIC, experiment_id=f"process-{os.getpid()}")
    return metric.compute(predictions=found, references=references)


def arguments_of(values: dict[str, Any]) -> list[str]:
    """The settings as command-line arguments of train.py."""
    words = []
    for name, value in values.items():
        words += [f"--{name}", *map(str, value if isinstance(value, list) else [value])]
    return words


def _commit() -> str:
    found = subprocess.run(["git", "describe", "--always", "--dirty"], cwd=ROOT, capture_output=True, text=True)
    return found.stdout.strip() or "unknown"


def _documents(settings: Settings, directory: Path, split: str) -> dict[str, Any]:
    """
    The gold and the predicted documents of a split, the relation threshold, and the cross-attention of one sentence.

    Where the threshold is only a filter, predicted relations are kept down to a score of `MIN_SCORE`. The sentence is
    the one with the most relations among those of at most `HEAT_MAP_WORDS` words.
    """
    # This package's code is what is measured, not the copy saved beside the weights.
    model: Any = AutoModel.from_pretrained(directory, trust_remote_code=False).eval()
    threshold = model.config.relation_threshold
    _, validation, tests, _ = load_splits(settings)
    documents = {settings.validation_split: validation, **tests}[split].to_list()
    words = [document["tokens"] for document in documents]
    found = model.extract(words, batch_size=16, relation_threshold=MIN_SCORE if model.threshold_filters else threshold)
    references, predictions = (
        [{"words": len(d["tokens"]), "entities": d["entities"], "relations": d["relations"]} for d in side]
        for side in (documents, found)
    )
    attention = None
    short = [document for document in documents if 1 < len(document["tokens"]) <= HEAT_MAP_WORDS]
    if getattr(model.config, "fusion", "none") == "interactive" and short:
        sentence, *weights = cross_attention(model, max(short, key=lambda d: len(d["relations"]))["tokens"])
        entity, relation = ([[round(w, 4) for w in row] for row in side.tolist()] for side in weights)
        attention = {"words": sentence, "entity": entity, "relation": relation}
    return {"references": references, "predictions": predictions, "threshold": threshold, "attention": attention}


def _losses(logs: Path) -> list[tuple[int, float]]:
    """The logged training losses as `(step, loss)`, from the run's TensorBoard files."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    points: dict[int, float] = {}
    for file in sorted(logs.rglob("events.out.tfevents.*")):
        events = EventAccumulator(str(file))
        events.Reload()
        if "loss" in events.Tags()["scalars"]:
            points |= {event.step: round(event.value, 4) for event in events.Scalars("loss")}
    return sorted(points.items())


def _system_name(system: str, options: argparse.Namespace) -> str:
    """The system with the settings that `--set` overrides, such as `iser dropout=0.3`."""
    return " ".join([system, *(f"{name}={value}" for name, value in sorted(options.set.items()))])


def _changes(parser: argparse.ArgumentParser, options: argparse.Namespace) -> dict[str, str]:
    """The settings of `--set`; an invalid one ends the program before the first run."""
    for part in options.set:
        name, sign, _ = part.partition("=")
        if not sign:
            parser.error(f"--set takes NAME=VALUE, not {part!r}")
        if name in _NOT_TO_CHANGE:
            parser.error(f"--set: {name} is chosen by another option or by this program")
    changes = dict(part.split("=", 1) for part in options.set)
    try:
        values = {"dataset": "ch_ddi", "encoder": "…", "output_dir": "…", **PROFILES[options.profile], **changes}
        parse_settings(arguments_of(values))
    except ValueError as error:
        parser.error(f"--set: {error}")
    return changes


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--profile", choices=tuple(PROFILES), default="quick")
    parser.add_argument(
        "--encoder",
        help="name or directory; required unless the profile is quick. Results are filed under its last component, "
        "in which two encoders must differ",
    )
    parser.add_argument("--conll04", type=Path, help="directory of SpERT's files; without it, CoNLL04 is skipped")
    parser.add_argument(
        "--datasets",
        nargs="+",
        choices=tuple(SETTINGS),
        default=[name for name in SETTINGS if not name.endswith("_development")],
    )
    parser.add_argument("--systems", nargs="+", choices=SYSTEMS, default=list(SYSTEMS))
    parser.add_argument("--seeds", nargs="+", type=int, help="default: 0 for quick, else 0 1 2")
    parser.add_argument(
        "--set", nargs="+", default=[], metavar="NAME=VALUE", help="settings of train.py to override in all runs"
    )
    parser.add_argument("--output", type=Path, default=Path("runs/reproduce"))
    parser.add_argument("--jobs", type=int, default=1, help="runs at a time, which share the cores and the GPU")
    parser.add_argument("--keep_models", action="store_true", help="keep the weights of every run")
    options = parser.parse_args()
    options.set = _changes(parser, options)
    if options.jobs < 1:
        parser.error("--jobs must be at least 1")
    directory = options.output / options.profile
    if options.profile == "quick":
        options.encoder = options.encoder or bundled_encoder(directory / "encoder")
    elif not options.encoder:
        parser.error("--encoder is required")
    seeds = options.seeds or ([0] if options.profile == "quick" else [0, 1, 2])
    datasets = [name for name in options.datasets if SETTINGS[name]["dataset"] != "conll04" or options.conll04]
    for name in set(options.datasets) - set(datasets):
        print(f"{name} is skipped: it needs --conll04, the directory of its files", file=sys.stderr)
    # Each run has its own process, forked from one that has imported everything and computed nothing.
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["benchmarks.reproduce"])
    pool = concurrent.futures.ProcessPoolExecutor(
        options.jobs,
        mp_context=context,
        initializer=torch.set_num_threads,
        initargs=(max(1, torch.get_num_threads() // options.jobs),),
        max_tasks_per_child=1,
    )
    with pool:
        futures = {}
        for seed in seeds:
            for dataset in datasets:
                for system in options.systems:
                    place = directory / dataset / Path(options.encoder).name / _system_name(system, options)
                    place /= f"seed-{seed}"
                    futures[pool.submit(run, dataset, system, seed, place, options)] = place
        failed = 0
        for future in concurrent.futures.as_completed(futures):
            if error := future.exception():
                failed += 1
                print(f"{futures[future]} failed, the others continue: {error!r}", file=sys.stderr)
            if results := read_results(directory):
                (directory / "tables.md").write_text(tables(results), encoding="utf-8")
    if not (directory / "tables.md").exists():
        sys.exit(f"There is no result in {directory}.")
    try:
        draw_all(directory)
    except ImportError as error:
        print(f"No figures: {error}. They need the extra `figures`.", file=sys.stderr)
    print((directory / "tables.md").read_text(encoding="utf-8"))
    if failed:
        sys.exit(f"{failed} of {len(futures)} runs failed. Run the same command again to retry them.")


if __name__ == "__main__":
    main()
