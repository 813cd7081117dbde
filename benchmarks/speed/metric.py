"""
Time of the metric on 10,000 documents.

    python -m benchmarks.speed.metric

Each time covers adding the documents and computing the scores, caches on disk included.
"""

from __future__ import annotations

import argparse
import random
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import evaluate


METRIC = str(Path(__file__).resolve().parents[2] / "evaluate_iser")
NUM_DOCUMENTS = 10_000
BATCH_SIZE = 64
REPETITIONS = 5
ENTITY_TYPES = ["Loc", "Org", "Other", "Peop"]
RELATION_TYPES = ["Kill", "Live_In", "Located_In", "OrgBased_In", "Work_For"]


def random_document(rng: random.Random, name: str) -> dict[str, Any]:
    """A document of 30 words, 2 to 6 entities and 1 to 3 relations."""
    entities = []
    for _ in range(rng.randint(2, 6)):
        start = rng.randrange(27)
        entities.append({"start": start, "end": start + rng.randint(1, 3), "type": rng.choice(ENTITY_TYPES)})
    relations = []
    for _ in range(rng.randint(1, 3)):
        head, tail = rng.sample(range(len(entities)), 2)
        relations.append({"head": head, "tail": tail, "type": rng.choice(RELATION_TYPES)})
    tokens = ["word"] * 30
    return {"id": name, "text": " ".join(tokens), "tokens": tokens, "entities": entities, "relations": relations}


def median_seconds(run: Callable[[], object], repetitions: int = REPETITIONS) -> float:
    """Median wall-clock time of the repetitions, in seconds."""
    times = []
    for _ in range(repetitions):
        begin = time.perf_counter()
        run()
        times.append(time.perf_counter() - begin)
    return statistics.median(times)


def main() -> None:
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    rng = random.Random(0)
    references = [random_document(rng, str(number)) for number in range(NUM_DOCUMENTS)]
    predictions = [rng.choice([reference, random_document(rng, reference["id"])]) for reference in references]

    with tempfile.TemporaryDirectory() as cache_dir:
        metric = evaluate.load(METRIC, cache_dir=cache_dir)

        def in_batches() -> None:
            for first in range(0, NUM_DOCUMENTS, BATCH_SIZE):
                batch = slice(first, first + BATCH_SIZE)
                metric.add_batch(predictions=predictions[batch], references=references[batch])
            metric.compute()

        def one_by_one() -> None:
            for prediction, reference in zip(predictions, references, strict=True):
                metric.add(prediction=prediction, reference=reference)
            metric.compute()

        rows = {
            "compute with all documents": lambda: metric.compute(predictions=predictions, references=references),
            f"add_batch with {BATCH_SIZE} documents, compute": in_batches,
            "add with one document, compute": one_by_one,
        }
        print(f"{NUM_DOCUMENTS:,} documents, median of {REPETITIONS} runs\n\n| | seconds |\n|---|---|")
        for name, run in rows.items():
            print(f"| {name} | {median_seconds(run):.2f} |", flush=True)


if __name__ == "__main__":
    main()
