"""
What proposals cost: recall and scores of a trained model at every threshold, beside exact scoring.

    python -m benchmarks.proposals CHECKPOINT --dataset conll04 --data_dir DIR --split validation

The same weights throughout. A threshold of 0 lets every span pass, which is exact scoring.
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
from modeling_iser.modeling_iser import word_states
from modeling_iser.spans_iser import enumerate_spans
from train import METRIC


THRESHOLDS = (0.0, 0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 0.5)


def probabilities(model: IserForJointExtraction, documents: list[dict[str, Any]]) -> tuple[torch.Tensor, torch.Tensor]:
    """Proposal probabilities of all candidate spans, shape `(num_spans,)`, and whether each is a gold entity."""
    found, gold = [], []
    for document in documents:
        tokens = tokenize_words(model.tokenizer, [document["tokens"]])
        batch = encode_sentences(tokens, model.tokenizer)
        with torch.no_grad():
            states = word_states(model.iser(**batch), batch["num_words"])
            spans = enumerate_spans(batch["num_words"], model.config.max_span_width)
            found.append(model.score_proposals(model.span_features(states, spans)).float().sigmoid())
        entities = {(entity["start"], entity["end"]) for entity in document["entities"]}
        gold += [span in entities for span in zip(spans.start.tolist(), spans.end.tolist(), strict=True)]
    return torch.cat(found), torch.tensor(gold)


def scores(model: IserForJointExtraction, documents: list[dict[str, Any]], exact: bool) -> tuple[float, float, float]:
    """Entity and relation micro F1 in percent, and sentences a second."""
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
    return 100 * result["entity_micro_f1"], 100 * result["relation_micro_f1"], len(documents) / seconds


def curve(model: IserForJointExtraction, documents: list[dict[str, Any]]) -> str:
    """A Markdown table: threshold, share of spans that pass, gold entities among them, F1, speed."""
    probability, gold = probabilities(model, documents)
    lines = [
        "| threshold | spans that pass | gold entities that pass | entity F1 | relation F1 | sentences/s |",
        "|---|---|---|---|---|---|",
    ]
    default = model.config.proposal_threshold
    for threshold in THRESHOLDS:
        passing = probability >= threshold
        model.config.proposal_threshold = threshold or default
        entity, relation, speed = scores(model, documents, exact=threshold == 0)
        lines.append(
            f"| {threshold or 'exact'}{' (default)' if threshold == default else ''} "
            f"| {100 * passing.float().mean():.1f} % | {100 * passing[gold].float().mean():.2f} % "
            f"| {entity:.2f} | {relation:.2f} | {speed:.1f} |"
        )
    model.config.proposal_threshold = default
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint", help="an ISER checkpoint that was trained with proposals")
    parser.add_argument("--dataset", choices=("conll04", "ch_ddi"), default="conll04")
    parser.add_argument("--data_dir")
    parser.add_argument("--split", default="validation")
    parser.add_argument("--threads", type=int)
    arguments = parser.parse_args()
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    model = IserForJointExtraction.from_pretrained(arguments.checkpoint, dtype=torch.float32).eval()
    load = load_conll04 if arguments.dataset == "conll04" else load_ch_ddi
    documents = load(arguments.data_dir)[arguments.split].to_list()
    print(f"{arguments.checkpoint}, {arguments.dataset} {arguments.split}, {len(documents)} documents\n")
    print(curve(model, documents))


if __name__ == "__main__":
    main()
