"""
What must not cost anything: importing the package, collating batches; and whether `torch.compile` helps.

    python -m benchmarks.overheads --encoder DIR [--threads N]
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable

import torch

from benchmarks.speed import ENTITY_TYPES, RELATION_TYPES, calibrate, synthetic_documents
from modeling_iser import IserCollator, IserForJointExtraction, prepare_sentences
from modeling_iser.collation_iser import encode_sentences, tokenize_words


LIBRARIES = "import torch; from transformers import AutoModel, AutoTokenizer, Pipeline, PreTrainedModel"
IMPORTS = {"torch and transformers": LIBRARIES, "the same and modeling_iser": f"{LIBRARIES}; import modeling_iser"}


def timed(function: Callable[[], object], repeats: int) -> float:
    """Median seconds of a call."""
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        function()
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--encoder", required=True, help="directory or name of the encoder")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--repeats", type=int, default=7)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)

    print("| what | seconds |\n|---|---|")
    for name, code in IMPORTS.items():
        seconds = timed(lambda code=code: subprocess.run([sys.executable, "-c", code], check=True), arguments.repeats)
        print(f"| import: {name} | {seconds:.2f} |", flush=True)

    torch.manual_seed(0)
    model = IserForJointExtraction.from_encoder(arguments.encoder, ENTITY_TYPES, RELATION_TYPES, max_span_width=20)
    with torch.no_grad():  # An untrained classifier would take thousands of spans for entities.
        model.entity_classifier.bias[0] = 4.0
    documents = synthetic_documents(64, 50)
    sentences, _ = prepare_sentences(documents, model.tokenizer, model.config)
    collator = IserCollator(model.tokenizer, model.config)
    batches = [sentences[first : first + 8] for first in range(0, 64, 8)]
    words = [document["tokens"] for document in documents]
    calibrate(model.eval(), encode_sentences(tokenize_words(model.tokenizer, words[:8]), model.tokenizer), share=0.02)

    def step() -> None:
        model(**collator(batches[0])).loss.backward()
        model.zero_grad()

    def measure(name: str) -> None:
        model.train()
        step()
        print(f"| {name}: training step, batch 8 | {timed(step, arguments.repeats):.3f} |", flush=True)
        model.eval()
        model.extract(words, batch_size=8)
        seconds = timed(lambda: model.extract(words, batch_size=8), 3)
        print(f"| {name}: extraction, 64 sentences of 50 characters | {seconds:.3f} |", flush=True)

    print(f"| collating a batch of 8 | {timed(lambda: collator(batches[0]), arguments.repeats):.4f} |", flush=True)
    measure("as it is")
    model.iser.encoder = torch.compile(model.iser.encoder, dynamic=True)
    start = time.perf_counter()
    step()
    print(f"| encoder compiled: first step | {time.perf_counter() - start:.1f} |", flush=True)
    measure("encoder compiled")


if __name__ == "__main__":
    main()
