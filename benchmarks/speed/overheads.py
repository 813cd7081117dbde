"""
Overheads that should be negligible, importing the package and collating batches; and whether `torch.compile` helps.

    python -m benchmarks.speed.overheads --encoder DIR [--threads N]
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from functools import partial

import torch

from benchmarks.speed.metric import median_seconds
from benchmarks.speed.systems import calibrate, synthetic_documents, untrained_model
from modeling_iser import IserCollator, prepare_sentences
from modeling_iser.collation_iser import encode_sentences, tokenize_words


LIBRARIES = "import torch; from transformers import AutoModel, AutoTokenizer, Pipeline, PreTrainedModel"
IMPORTS = {"torch and transformers": LIBRARIES, "the same and modeling_iser": f"{LIBRARIES}; import modeling_iser"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--encoder", required=True, help="directory or name of the encoder")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--repeats", type=int, default=7)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)

    print("| what | seconds |\n|---|---|")
    for name, code in IMPORTS.items():
        program = partial(subprocess.run, [sys.executable, "-c", code], check=True)
        seconds = median_seconds(program, arguments.repeats)
        print(f"| import: {name} | {seconds:.2f} |", flush=True)

    torch.manual_seed(0)
    model = untrained_model(arguments.encoder, "iser", max_span_width=20)
    documents = synthetic_documents(64, 50)
    sentences, _ = prepare_sentences(documents, model.tokenizer, model.config)
    collator = IserCollator(model.tokenizer, model.config)
    batch = sentences[:8]
    words = [document["tokens"] for document in documents]
    calibrate(model.eval(), encode_sentences(tokenize_words(model.tokenizer, words[:8]), model.tokenizer), share=0.02)

    def step() -> None:
        model(**collator(batch)).loss.backward()
        model.zero_grad()

    def measure(name: str) -> None:
        model.train()
        step()
        print(f"| {name}: training step, batch 8 | {median_seconds(step, arguments.repeats):.3f} |", flush=True)
        model.eval()
        model.extract(words, batch_size=8)
        seconds = median_seconds(lambda: model.extract(words, batch_size=8), 3)
        print(f"| {name}: extraction, 64 sentences of 50 characters | {seconds:.3f} |", flush=True)

    print(
        f"| collating a batch of 8 | {median_seconds(lambda: collator(batch), arguments.repeats):.4f} |",
        flush=True,
    )
    measure("as it is")
    model.iser.encoder = torch.compile(model.iser.encoder, dynamic=True)
    start = time.perf_counter()
    step()
    print(f"| encoder compiled: first step | {time.perf_counter() - start:.1f} |", flush=True)
    measure("encoder compiled")


if __name__ == "__main__":
    main()
