"""
Speed and memory of ISER in extraction and training, next to SpERT and the encoder alone.

    python -m benchmarks.speed.systems --encoder DIR [--conll04 DIR --spert DIR --iser DIR] [--output FILE]

All rows of a table are measured in the same run, each in its own process, so that the peak memory is the row's own.
Trained checkpoints find as many entities and pass as many spans as in real use. Without a checkpoint, the weights are
random: no entities are found, and the bias of the first pass is shifted until the share `--passing` of the spans
passes.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import platform
import random
import resource
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import torch
from transformers import AutoConfig

from benchmarks.speed.literal import make_literal
from modeling_iser import VARIANTS, IserCollator, IserForJointExtraction, prepare_sentences
from modeling_iser.collation_iser import encode_sentences, tokenize_words
from modeling_iser.first_pass_iser import FirstPass


ROOT = Path(__file__).resolve().parents[2]
SYSTEMS = ("encoder alone", "SpERT", "ISER literal", "ISER exact", "ISER")
ENTITY_TYPES = ["Loc", "Org", "Other", "Peop"]
RELATION_TYPES = ["Kill", "Live_In", "Located_In", "OrgBased_In", "Work_For"]


def synthetic_documents(count: int, length: int, seed: int = 0) -> list[dict[str, Any]]:
    """Sentences of Chinese characters with a few entities and relations at random positions."""
    generator = random.Random(seed)
    characters = "片与合用可增强本品作用血药浓度升高降低应避免药物服期间胺酮洛尔他汀类抑制剂患者慎"
    documents = []
    for index in range(count):
        tokens = generator.choices(characters, k=length)
        starts = sorted(generator.sample(range(0, length - 4, 5), k=min(4, length // 8)))
        documents.append(
            {
                "id": str(index),
                "text": "".join(tokens),
                "tokens": tokens,
                "entities": [{"start": s, "end": s + 4, "type": "Other"} for s in starts],
                "relations": [{"head": i, "tail": 0, "type": "Kill"} for i in range(1, len(starts))],
            }
        )
    return documents


def conll04_documents(directory: Path) -> list[dict[str, Any]]:
    """The 231 sentences of SpERT's development file."""
    records = json.loads((directory / "conll04_dev.json").read_text(encoding="utf-8"))
    return [{"id": str(i), "text": " ".join(r["tokens"]), **r} for i, r in enumerate(records)]


def untrained_model(encoder: str, variant: str, **config_fields: Any) -> IserForJointExtraction:
    """A system with random weights on top of the encoder, biased to find no entities."""
    model = IserForJointExtraction.from_encoder(
        encoder, ENTITY_TYPES, RELATION_TYPES, **{**VARIANTS[variant], **config_fields}
    )
    with torch.no_grad():  # An untrained classifier would take thousands of spans for entities.
        model.entity_classifier.bias[0] = 4.0
    return model


def checkpoint_of(arguments: argparse.Namespace) -> str | None:
    """The trained checkpoint of the row's system, if one is given for its input."""
    if arguments.input != "conll04":
        return None
    return arguments.iser if arguments.system.startswith("ISER") else arguments.spert


def build_model(arguments: argparse.Namespace) -> IserForJointExtraction:
    """The row's system: its trained checkpoint if one is given, otherwise random weights on top of the encoder."""
    torch.manual_seed(0)
    system = arguments.system
    threshold = 0.1 if system == "ISER" else 0.0
    if checkpoint := checkpoint_of(arguments):
        model = IserForJointExtraction.from_pretrained(checkpoint, dtype=torch.float32)
        model.config.first_pass_threshold = threshold
        if threshold == 0:
            del model.first_pass
            model.first_pass = None
    else:
        variant = "iser" if system.startswith("ISER") else "spert"
        model = untrained_model(
            arguments.encoder, variant, max_span_width=arguments.width, first_pass_threshold=threshold
        )
    return (make_literal(model) if system == "ISER literal" else model).to(arguments.device)


@torch.no_grad()
def calibrate(model: IserForJointExtraction, batch: dict[str, torch.Tensor], share: float) -> None:
    """Shift the bias of the first pass so that the given share of candidate spans passes."""
    first_pass = model.first_pass
    assert isinstance(first_pass, FirstPass)
    logits = first_pass(model.iser(**batch).fused_states, batch["num_words"]).float()
    threshold = model.config.first_pass_threshold
    wanted = torch.quantile(logits[logits > -math.inf], 1 - share).item()
    first_pass.score.bias.add_(math.log(threshold / (1 - threshold)) - wanted)


def measure(arguments: argparse.Namespace) -> dict[str, Any]:
    """Measure one row: a system on an input at a batch size."""
    torch.set_num_threads(arguments.threads)
    if arguments.input == "conll04":
        documents = conll04_documents(arguments.conll04)
    else:
        documents = synthetic_documents(arguments.documents, arguments.length)
    model = build_model(arguments).eval()
    autocast = torch.autocast(arguments.device, torch.bfloat16, enabled=arguments.bf16)
    sentences = [document["tokens"] for document in documents][: arguments.documents]
    order = sorted(range(len(sentences)), key=lambda i: len(sentences[i]))
    tokens = tokenize_words(model.tokenizer, sentences)

    def on_device(batch: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        return {name: tensor.to(arguments.device) for name, tensor in batch.items()}

    middle = on_device(encode_sentences([tokens[i] for i in order[len(order) // 2 :][:8]], model.tokenizer))
    if arguments.system == "ISER" and not checkpoint_of(arguments):
        calibrate(model, middle, arguments.passing)

    def extract() -> None:
        if arguments.system != "encoder alone":
            model.extract(sentences, batch_size=arguments.batch_size)
            return
        words = tokenize_words(model.tokenizer, sentences)
        with torch.no_grad():
            for first in range(0, len(order), arguments.batch_size):
                batch = on_device(
                    encode_sentences([words[i] for i in order[first : first + arguments.batch_size]], model.tokenizer)
                )
                model.iser.encoder(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"])

    def timed(function: Any) -> float:
        if arguments.device == "cuda":
            torch.cuda.synchronize()
        start = time.perf_counter()
        function()
        if arguments.device == "cuda":
            torch.cuda.synchronize()
        return time.perf_counter() - start

    row: dict[str, Any] = {"system": arguments.system}
    with autocast:
        with torch.no_grad():  # Warm up: the first call is slow.
            model(**middle)
        row["sentences_per_second"] = len(sentences) / min(timed(extract) for _ in range(arguments.repeats))
        if arguments.train:
            prepared, _ = prepare_sentences(documents, model.tokenizer, model.config)
            collator = IserCollator(model.tokenizer, model.config)
            model.train()
            optimizer = torch.optim.AdamW(model.parameters(), lr=1e-6)

            def step(index: int) -> None:
                first = index * arguments.batch_size % max(1, len(prepared) - arguments.batch_size)
                batch = on_device(collator(prepared[first : first + arguments.batch_size]))
                if arguments.system == "encoder alone":
                    states = model.iser.encoder(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"])
                    states.last_hidden_state.float().pow(2).mean().backward()
                else:
                    model(**batch).loss.backward()
                optimizer.step()
                optimizer.zero_grad()

            def steps() -> None:
                for index in range(1, arguments.steps + 1):
                    step(index)

            step(0)
            row["steps_per_second"] = arguments.steps / timed(steps)
    if arguments.device == "cuda":
        row["peak_megabytes"] = torch.cuda.max_memory_allocated() / 2**20
    else:
        row["peak_megabytes"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return row


def run_row(system: str, options: dict[str, Any]) -> dict[str, Any]:
    """Measure a row in its own process."""
    command = [sys.executable, "-m", "benchmarks.speed.systems", "--system", system]
    for name, value in options.items():
        if value is True:
            command.append(f"--{name}")
        elif value not in (None, False):
            command += [f"--{name}", str(value)]
    result = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    if result.returncode:
        print(result.stderr[-2000:], file=sys.stderr)
        return {"system": system}
    return json.loads(result.stdout.splitlines()[-1])


def table(title: str, rows: list[dict[str, Any]]) -> str:
    """A Markdown table of rows; ratios are relative to the encoder alone and to SpERT in the same table."""
    by_system = {row["system"]: row for row in rows}
    encoder, spert = by_system.get("encoder alone", {}), by_system.get("SpERT", {})
    lines = [
        f"### {title}",
        "",
        "| system | sentences/s | time : encoder | throughput : SpERT | steps/s | step time : SpERT | peak MB |",
        "|---|---|---|---|---|---|---|",
    ]

    def ratio(a: float | None, b: float | None) -> str:
        return f"{a / b:.2f}" if a and b else "–"

    def number(value: float | None, digits: int) -> str:
        return f"{value:.{digits}f}" if value and value >= 0.1 else f"{value:.2g}" if value else "–"

    for row in rows:
        speed, steps = row.get("sentences_per_second"), row.get("steps_per_second")
        lines.append(
            f"| {row['system']} | {number(speed, 1)} | {ratio(encoder.get('sentences_per_second'), speed)} | "
            f"{ratio(speed, spert.get('sentences_per_second'))} | {number(steps, 2)} | "
            f"{ratio(spert.get('steps_per_second'), steps)} | {number(row.get('peak_megabytes'), 0)} |"
        )
    return "\n".join([*lines, ""])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--conll04", type=Path, help="directory of SpERT's CoNLL04 files; without it, that part is skipped"
    )
    parser.add_argument("--encoder", help="directory or name of the encoder; required")
    parser.add_argument("--output", type=Path, help="also write the tables to this file")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--bf16", action="store_true", help="autocast to bfloat16")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--passing", type=float, default=0.02, help="share of candidate spans that pass the first pass")
    parser.add_argument("--repeats", type=int, default=2)
    parser.add_argument("--steps", type=int, default=6)
    parser.add_argument("--batch_sizes", type=int, nargs="*", default=[1, 8, 32])
    parser.add_argument("--systems", nargs="*", choices=SYSTEMS, default=list(SYSTEMS))
    parts = ["conll04", "chinese", "sweep"]
    parser.add_argument("--parts", nargs="*", choices=parts, default=parts)
    parser.add_argument("--documents", type=int, default=231, help="sentences in the CoNLL04 tables")
    parser.add_argument("--spert", help="SpERT checkpoint trained on CoNLL04, for the CoNLL04 part")
    parser.add_argument("--iser", help="ISER checkpoint trained on CoNLL04, for the CoNLL04 part")
    for name in ("system", "input"):
        parser.add_argument(f"--{name}", help=argparse.SUPPRESS)
    for name in ("length", "width", "batch_size"):
        parser.add_argument(f"--{name}", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--train", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if not arguments.encoder:
        parser.error("--encoder is required")
    if arguments.system:
        print(json.dumps(measure(arguments)))
        return

    common = {
        name: getattr(arguments, name)
        for name in ("encoder", "device", "bf16", "threads", "passing", "repeats", "steps", "conll04", "spert", "iser")
    }
    encoder = AutoConfig.from_pretrained(arguments.encoder)
    device = torch.cuda.get_device_name() if arguments.device == "cuda" else f"{arguments.threads} CPU threads"
    tables = [
        f"Encoder: {encoder.model_type}, {encoder.num_hidden_layers} layers of {encoder.hidden_size}. "
        f"Machine: {device}, {platform.machine()}, torch {torch.__version__}, {'bf16' if arguments.bf16 else 'fp32'}. "
        f"With random weights, {arguments.passing:.0%} of the candidate spans pass the first pass.\n"
    ]
    jobs: list[tuple[str, dict[str, Any]]] = []
    for part in arguments.parts:
        if part == "conll04" and arguments.conll04:
            jobs += [
                (
                    f"CoNLL04, {arguments.documents} sentences, width 10, batch {size}",
                    {
                        "input": "conll04",
                        "width": 10,
                        "batch_size": size,
                        "train": size == 8,
                        "documents": arguments.documents,
                    },
                )
                for size in arguments.batch_sizes
            ]
        elif part == "chinese":
            jobs += [
                (
                    f"Chinese, 64 sentences of 50 characters, width 20, batch {size}",
                    {
                        "input": "chinese",
                        "length": 50,
                        "width": 20,
                        "batch_size": size,
                        "train": size == 8,
                        "documents": 64,
                    },
                )
                for size in arguments.batch_sizes
            ]
        elif part == "sweep":
            jobs += [
                (
                    f"{length} words, width 20, batch 1",
                    {
                        "input": "sweep",
                        "length": length,
                        "width": 20,
                        "batch_size": 1,
                        "documents": max(1, 256 // length),
                    },
                )
                for length in (32, 64, 128, 256, 500)
            ]
    for title, options in jobs:
        rows = []
        for system in arguments.systems:
            if system == "ISER literal" and options["input"] == "sweep" and options["length"] > 128:
                continue  # Minutes per sentence, and the growth is plain by then.
            rows.append(run_row(system, {**common, **options}))
        tables.append(table(title, rows))
        print(tables[-1], flush=True)
    if arguments.output:
        arguments.output.write_text("\n".join(tables), encoding="utf-8")


if __name__ == "__main__":
    main()
