"""
Where extraction spends its time: the share of each part of a model.

    python -m benchmarks.speed.shares CHECKPOINT … --dataset ch_ddi --split test [--data_dir DIR] [--batch_size 8]

Times are exclusive: the time of a part excludes that of the parts it calls.
"""

from __future__ import annotations

import argparse
import os
import time
from collections import defaultdict
from collections.abc import Callable
from typing import Any

import torch

from datasets_scripts import load_ch_ddi, load_conll04
from modeling_iser import IserForJointExtraction, extraction_iser, modeling_iser
from modeling_iser.spans_iser import RangeMax


PARTS = (
    "text", "encoder", "fusion", "first pass", "range max-pooling", "span context", "classifiers", "pairs", "decoding",
    "rest",
)  # fmt: skip


class Clock:
    """Exclusive times, in seconds, of parts that call one another."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = defaultdict(float)
        self._part = "rest"
        self._since = time.perf_counter()

    def _switch(self, part: str) -> str:
        now = time.perf_counter()
        self.seconds[self._part] += now - self._since
        before, self._part, self._since = self._part, part, now
        return before

    def timed(self, function: Callable[..., Any], part: str) -> Callable[..., Any]:
        """Wrap a function so that its time counts for the part."""

        def call(*args: Any, **kwargs: Any) -> Any:
            before = self._switch(part)
            try:
                return function(*args, **kwargs)
            finally:
                self._switch(before)

        return call

    def watch(self, owner: Any, name: str, part: str) -> None:
        """Replace a function of a module, class or object by its timed version."""
        setattr(owner, name, self.timed(getattr(owner, name), part))

    def start(self) -> None:
        self.seconds.clear()
        self._part, self._since = "rest", time.perf_counter()

    def stop(self) -> dict[str, float]:
        self._switch("rest")
        return dict(self.seconds)


def watch_parts(clock: Clock, model: IserForJointExtraction) -> None:
    """Make the clock time every part of the model."""
    for name in ("_text_and_words", "tokenize_words", "encode_sentences", "split_windows"):
        clock.watch(extraction_iser, name, "text")
    for name in ("choose_entities", "decode_sentences", "merge_windows", "drop_overlaps"):
        clock.watch(extraction_iser, name, "decoding")
    clock.watch(modeling_iser, "passing", "first pass")
    clock.watch(RangeMax, "__call__", "range max-pooling")
    clock.watch(model, "score_pairs", "pairs")
    modules = {
        "encoder": model.iser.encoder,
        "fusion": model.iser.fusion,
        "first pass": model.first_pass,
        "span context": model.span_context,
        "classifiers": model.entity_classifier,
    }
    for part, module in modules.items():
        if module is not None:
            clock.watch(module, "forward", part)
    if model.relation_classifier is not None:
        clock.watch(model.relation_classifier, "forward", "classifiers")


def shares(checkpoint: str, sentences: list[list[str]], batch_size: int) -> tuple[dict[str, float], float]:
    """Seconds spent in each part in the faster of two runs, and sentences per second."""
    model = IserForJointExtraction.from_pretrained(checkpoint, dtype=torch.float32).eval()
    clock = Clock()
    watch_parts(clock, model)
    model.extract(sentences[:batch_size], batch_size=batch_size)
    runs = []
    for _ in range(2):
        clock.start()
        model.extract(sentences, batch_size=batch_size)
        runs.append(clock.stop())
    best = min(runs, key=lambda run: sum(run.values()))
    return best, len(sentences) / sum(best.values())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoints", nargs="+")
    parser.add_argument("--dataset", choices=("conll04", "ch_ddi"), default="ch_ddi")
    parser.add_argument("--data_dir")
    parser.add_argument("--split", default="test")
    parser.add_argument("--documents", type=int, help="use only the first documents, this many; default: all")
    parser.add_argument("--batch_size", type=int, default=8)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    load = load_conll04 if options.dataset == "conll04" else load_ch_ddi
    sentences = load(options.data_dir)[options.split]["tokens"][: options.documents]
    print(
        f"{options.dataset} {options.split}, {len(sentences)} sentences, batch {options.batch_size}, "
        f"{options.threads} threads, torch {torch.__version__}\n"
    )
    print(f"| checkpoint | sentences/s | {' | '.join(PARTS)} |\n|{'---|' * (len(PARTS) + 2)}")
    for checkpoint in options.checkpoints:
        seconds, speed = shares(checkpoint, sentences, options.batch_size)
        total = sum(seconds.values())
        cells = (f"{100 * seconds.get(part, 0.0) / total:.1f} %" for part in PARTS)
        print(f"| {checkpoint} | {speed:.1f} | {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
