"""
What the first pass costs: passing spans and scores of a trained model at each threshold, next to exact scoring.

    python -m benchmarks.comparison.first_pass CHECKPOINT --dataset conll04 --data_dir DIR --split validation

The weights are the same throughout. Exact scoring is a threshold of 0, which every span passes. With `--held_out`, the
documents are those of the training split that `benchmarks/reproduce.py` holds out for choosing settings.
"""

from __future__ import annotations

import argparse
import time
from typing import Any

import evaluate
import torch

from datasets_scripts import load_ch_ddi, load_conll04
from modeling_iser import IserForJointExtraction
from modeling_iser.collation_iser import encode_sentences, tokenize_words
from train import METRIC


THRESHOLDS = (0.0, 0.001, 0.003, 0.01, 0.03, 0.1, 0.2, 0.3, 0.5)


@torch.inference_mode()
def passing(model: IserForJointExtraction, documents: list[dict[str, Any]]) -> tuple[torch.Tensor, torch.Tensor]:
    """First-pass probabilities of all candidate spans, and whether each is a gold entity; both `(num_spans,)`."""
    assert model.first_pass is not None
    found, gold = [], []
    for document in documents:
        batch = encode_sentences(tokenize_words(model.tokenizer, [document["tokens"]]), model.tokenizer)
        logits = model.first_pass(model.iser(**batch).fused_states, batch["num_words"])[0]
        possible = logits > float("-inf")
        is_entity = torch.zeros_like(possible)
        for entity in document["entities"]:
            if entity["end"] - entity["start"] <= model.config.max_span_width:
                is_entity[entity["start"], entity["end"] - entity["start"] - 1] = True
        found.append(logits[possible].float().sigmoid())
        gold.append(is_entity[possible])
    return torch.cat(found), torch.cat(gold)


def scores(
    model: IserForJointExtraction, documents: list[dict[str, Any]], exact: bool
) -> tuple[float, float, int, float]:
    """Entity and relation micro F1 in percent, number of entities found, and sentences per second."""
    start = time.perf_counter()
    extracted = model.extract([document["tokens"] for document in documents], exact=exact)
    seconds = time.perf_counter() - start
    keys = ("entities", "relations")
    references = [{key: document[key] for key in keys} for document in documents]
    predictions = [
        {
            "entities": [{k: e[k] for k in ("start", "end", "type")} for e in document["entities"]],
            "relations": [{k: r[k] for k in ("head", "tail", "type")} for r in document["relations"]],
        }
        for document in extracted
    ]
    result = evaluate.load(METRIC).compute(predictions=predictions, references=references)
    found = sum(len(document["entities"]) for document in extracted)
    return 100 * result["entity_micro_f1"], 100 * result["relation_micro_f1"], found, len(documents) / seconds


def curve(model: IserForJointExtraction, documents: list[dict[str, Any]], exact: bool = True) -> str:
    """A Markdown table by threshold: shares of spans and of gold entities that pass, F1, speed."""
    probability, gold = passing(model, documents)
    lines = [
        "| threshold | spans that pass | for each entity found | gold entities that pass | entity F1 | relation F1 "
        "| sentences/s |",
        "|---|---|---|---|---|---|---|",
    ]
    default = model.config.first_pass_threshold
    for threshold in sorted({*THRESHOLDS, default}):
        if not (threshold or exact):
            continue
        passes = probability >= threshold
        model.config.first_pass_threshold = threshold or default
        entity, relation, found, speed = scores(model, documents, exact=threshold == 0)
        lines.append(
            f"| {f'{threshold:.3g}' if threshold else 'exact'}{' (default)' if threshold == default else ''} "
            f"| {100 * passes.float().mean():.2f} % | {passes.sum() / max(1, found):.2f} "
            f"| {100 * passes[gold].float().mean():.2f} % | {entity:.2f} | {relation:.2f} | {speed:.1f} |"
        )
    model.config.first_pass_threshold = default
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint", help="an ISER checkpoint that was trained with a first pass")
    parser.add_argument("--dataset", choices=("conll04", "ch_ddi"), default="conll04")
    parser.add_argument("--data_dir")
    parser.add_argument("--split", default="validation")
    parser.add_argument("--held_out", action="store_true", help="use the held-out part of the training split (seed 0)")
    parser.add_argument("--threads", type=int)
    parser.add_argument("--no-exact", dest="exact", action="store_false", help="skip exact scoring, which is slow")
    arguments = parser.parse_args()
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    model = IserForJointExtraction.from_pretrained(arguments.checkpoint, dtype=torch.float32).eval()
    load = load_conll04 if arguments.dataset == "conll04" else load_ch_ddi
    splits = load(arguments.data_dir)
    if arguments.held_out:
        splits = splits["train"].train_test_split(0.2, seed=0)
    documents = splits["test" if arguments.held_out else arguments.split].to_list()
    print(f"{arguments.checkpoint}, {arguments.dataset}, {len(documents)} documents\n")
    print(curve(model, documents, arguments.exact))


if __name__ == "__main__":
    main()
