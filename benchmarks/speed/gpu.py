"""
Extraction and training steps on a GPU: the bundled model, its encoder alone and SpERT, in float32 and bfloat16.

    python -m benchmarks.speed.gpu [--output gpu.md]

Takes a few minutes and needs nothing but the repository: the encoder is the bundled model's, the sentences are the
test split of CH-DDI-Open. SpERT has random weights on top of the encoder and finds no entities, so its throughput is an
upper bound. The systems take turns, so that changes of the clock rate affect all alike. It also runs on a CPU.
"""

from __future__ import annotations

import argparse
import itertools
import platform
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from benchmarks.comparison.encoder import bundled_encoder
from benchmarks.speed.systems import table
from datasets_scripts import load_ch_ddi
from modeling_iser import DEFAULT_MODEL, VARIANTS, IserCollator, IserForJointExtraction, prepare_sentences
from modeling_iser.collation_iser import encode_sentences, tokenize_words


def build_models(device: str) -> dict[str, IserForJointExtraction]:
    """The bundled model, SpERT with the same encoder and span width, and the encoder alone."""
    iser = IserForJointExtraction.from_pretrained(DEFAULT_MODEL, dtype=torch.float32)
    torch.manual_seed(0)
    spert = IserForJointExtraction.from_encoder(
        bundled_encoder(Path("runs/gpu/encoder")),
        iser.config.entity_types,
        iser.config.relation_types,
        max_span_width=iser.config.max_span_width,
        **dict[str, Any](VARIANTS["spert"]),
    )
    with torch.no_grad():
        spert.entity_classifier.bias[0] = 4.0
    for model in (spert, iser):
        model.to(torch.device(device)).eval()  # type: ignore[arg-type]
    return {"encoder alone": spert, "SpERT": spert, "ISER": iser}


def extraction(
    name: str, model: IserForJointExtraction, sentences: list[list[str]], batch_size: int
) -> Callable[[], Any]:
    """The function that is timed for a row: extraction from all sentences, or a pass of the encoder over them."""
    if name != "encoder alone":
        return lambda: model.extract(sentences, batch_size=batch_size)
    ordered = sorted(sentences, key=len)

    def encode() -> None:
        tokens = tokenize_words(model.tokenizer, ordered)
        for first in range(0, len(tokens), batch_size):
            batch = encode_sentences(tokens[first : first + batch_size], model.tokenizer)
            with torch.inference_mode():
                model.iser.encoder(
                    input_ids=batch["input_ids"].to(model.device),
                    attention_mask=batch["attention_mask"].to(model.device),
                )

    return encode


def training(
    name: str, model: IserForJointExtraction, documents: list[dict[str, Any]], batch_size: int, steps: int
) -> Callable[[], Any]:
    """The function that is timed for a row: some training steps."""
    prepared, _ = prepare_sentences(documents, model.tokenizer, model.config)
    collator = IserCollator(model.tokenizer, model.config, 50, 50)
    batches = [collator(prepared[first : first + batch_size]) for first in range(0, steps * batch_size, batch_size)]
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-7)

    def train() -> None:
        model.train()
        for batch in batches:
            on_device = {key: tensor.to(model.device) for key, tensor in batch.items()}
            if name == "encoder alone":
                states = model.iser.encoder(
                    input_ids=on_device["input_ids"], attention_mask=on_device["attention_mask"]
                ).last_hidden_state
                loss = states.float().pow(2).mean()
            else:
                loss = model(**on_device).loss
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
        model.eval()

    return train


def seconds(functions: dict[str, Callable[[], Any]], device: str, bf16: bool, repeats: int) -> dict[str, float]:
    """Median time of each function in seconds; the functions take turns, and the first turn does not count."""

    def timed(function: Callable[[], Any]) -> float:
        start = time.perf_counter()
        with torch.autocast(device, torch.bfloat16, enabled=bf16):
            function()
        if device == "cuda":
            torch.cuda.synchronize()
        return time.perf_counter() - start

    times: dict[str, list[float]] = {name: [] for name in functions}
    for _, name in itertools.product(range(repeats + 1), functions):
        times[name].append(timed(functions[name]))
    return {name: statistics.median(values[1:]) for name, values in times.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--batch_sizes", type=int, nargs="+", default=[1, 8, 32, 128])
    parser.add_argument("--documents", type=int, default=352)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--output", type=Path, help="also write the tables to this file")
    options = parser.parse_args()
    documents = load_ch_ddi()["test"].to_list()[: options.documents]
    sentences = [document["tokens"] for document in documents]
    models = build_models(options.device)
    card = torch.cuda.get_device_name() if options.device == "cuda" else f"{torch.get_num_threads()} CPU threads"
    parts = [f"{card}, {platform.machine()}, torch {torch.__version__}; {len(sentences)} sentences of CH-DDI-Open.\n"]
    for bf16, size in itertools.product((False, True), options.batch_sizes):
        some = sentences[: max(size, len(sentences) // 8)] if size == 1 else sentences
        functions = {name: extraction(name, model, some, size) for name, model in models.items()}
        rows = [
            {"system": name, "sentences_per_second": len(some) / duration}
            for name, duration in seconds(functions, options.device, bf16, options.repeats).items()
        ]
        if size == 8:
            steps = min(options.steps, len(documents) // size)
            functions = {name: training(name, model, documents, size, steps) for name, model in models.items()}
            for row, duration in zip(
                rows, seconds(functions, options.device, bf16, options.repeats).values(), strict=True
            ):
                row["steps_per_second"] = steps / duration
        parts.append(table(f"{'bfloat16' if bf16 else 'float32'}, batch {size}", rows))
        print(parts[-1], flush=True)
    if options.output:
        options.output.write_text("\n".join(parts), encoding="utf-8")
    print(parts[0])


if __name__ == "__main__":
    main()
