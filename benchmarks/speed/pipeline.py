"""
The pipeline as users experience it: cold start, leaflet sentences per second, memory; and arbitrary Unicode strings.

    python -m benchmarks.speed.pipeline [--model CHECKPOINT] [--fuzz 10000]
"""

from __future__ import annotations

import argparse
import platform
import random
import resource
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from transformers import pipeline

from datasets_scripts import load_ch_ddi
from modeling_iser import DEFAULT_MODEL, DdiExtractionPipeline


COLD_START = """
import sys, time
start = time.perf_counter()
import modeling_iser
from transformers import pipeline
extractor = pipeline("ddi-extraction", model=sys.argv[1], pipeline_class=modeling_iser.DdiExtractionPipeline)
extractor("与多巴胺合用,本品的利尿作用加强", drug="布美他尼片")
print(time.perf_counter() - start)
"""


def fuzz(extractor: Any, count: int, seed: int) -> None:
    """Extract from `count` random strings of up to 5,000 characters; fails on any exception or wrong offset."""
    generator = random.Random(seed)

    @settings(max_examples=count, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    @given(text=st.text(max_size=200), drug=st.none() | st.text(min_size=1, max_size=8).filter(str.strip))
    def check(text: str, drug: str | None) -> None:
        if text and generator.random() < 0.01:  # Hypothesis rarely generates long strings.
            text = (text * 5000)[: generator.randint(200, 5000)]
        answer = extractor(text, drug=drug)
        assert answer["text"] == text
        for entity in answer["entities"]:
            assert text[entity["start"] : entity["end"]] == entity["text"]
        for mention in answer["drug"]["mentions"] if drug else []:
            assert text[mention["start"] : mention["end"]] == mention["text"]

    check()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default=str(DEFAULT_MODEL))
    parser.add_argument("--batch_size", type=int, default=16)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--fuzz", type=int, default=0, help="number of random strings to extract from")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    root = Path(__file__).resolve().parents[2]
    cold = [
        float(subprocess.run([sys.executable, "-c", COLD_START, arguments.model], cwd=root, capture_output=True,
                             check=True, text=True).stdout.split()[-1])
        for _ in range(3)
    ]  # fmt: skip
    # The overloads of `pipeline` cover only the tasks of transformers itself.
    extractor = pipeline(  # type: ignore[call-overload]
        "ddi-extraction", model=arguments.model, pipeline_class=DdiExtractionPipeline
    )
    sentences = [text.partition("@") for text in load_ch_ddi()["test"]["text"]]
    requests = [{"text": text, "drug": drug} for drug, _, text in sentences]
    extractor(requests[:32], batch_size=arguments.batch_size, split_sentences=False)
    best = min(_seconds(extractor, requests, arguments.batch_size) for _ in range(3))
    print(f"machine: {arguments.threads} threads, {platform.machine()}, torch {torch.__version__}")
    print(f"cold start to the first answer: {min(cold):.1f} s (best of 3; first {cold[0]:.1f} s)")
    print(f"sentences a second, batch {arguments.batch_size}: {len(requests) / best:.1f} ({len(requests)} sentences)")
    print(f"resident memory, peak: {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f} MB")
    if arguments.fuzz:
        start = time.perf_counter()
        fuzz(extractor, arguments.fuzz, arguments.seed)
        print(f"{arguments.fuzz} strings, no exception, no wrong offset ({time.perf_counter() - start:.0f} s)")


def _seconds(extractor: Any, requests: list[dict[str, Any]], batch_size: int) -> float:
    start = time.perf_counter()
    extractor(requests, batch_size=batch_size, split_sentences=False)
    return time.perf_counter() - start


if __name__ == "__main__":
    main()
