"""
The best score that each system can reach: gold labels, encoded in its scheme and decoded again.

    python -m benchmarks.comparison.ceilings --dataset conll04 --data_dir CONLL04 --splits train validation test
    python -m benchmarks.comparison.ceilings --dataset ch_ddi --splits train test leaflets

The table shows how many documents come back changed, and the strict micro F1 of the decoded documents. Entities may
overlap where the scheme allows it, as in the comparison. Systems that extract only triples give each relation's head
and tail the types that are most frequent for that relation in the documents.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import evaluate
from transformers import AutoConfig, AutoTokenizer

from baselines import SYSTEMS
from baselines.triples import TriplesConfig
from datasets_scripts.corpus import found_labels
from datasets_scripts.subsets import fitting_span_width, frequent_end_types
from modeling_iser import DEFAULT_MODEL, prepare_sentences
from train import DATASETS, METRIC


# One system stands for all that share its scheme.
SCHEMES = {
    "spert": "SpERT, STER, ISER", "casrel": "CasRel", "onerel": "OneRel", "spn4re": "SPN4RE",
    "multihead": "multi-head selection", "graphrel_2p": "GraphRel", "w2ner": "W2NER",
}  # fmt: skip


class Ceiling(NamedTuple):
    """What is left of gold labels in a scheme; F1 in percent, `None` for a task that the system does not have."""

    system: str
    documents: int
    changed: int
    entity: float | None
    relation: float | None


def ceilings(documents: Sequence[dict[str, Any]]) -> Iterator[Ceiling]:
    """The ceiling of each scheme on the documents."""
    labels = found_labels(documents)
    tokenizer = AutoTokenizer.from_pretrained(DEFAULT_MODEL)
    encoder = AutoConfig.from_pretrained(DEFAULT_MODEL).encoder_config
    metric = evaluate.load(METRIC)
    for name in SCHEMES:
        system = SYSTEMS[name]
        fields: dict[str, Any] = dict(system.fields)
        if issubclass(system.model.config_class, TriplesConfig):
            fields["end_types"] = frequent_end_types(documents)
        config = system.model.config_class(
            encoder_config=encoder,
            entity_types=labels.entity_types,
            relation_types=labels.relation_types,
            max_span_width=fitting_span_width(documents),
            max_tokens=10**6,  # no splitting into windows, which is not part of a scheme
            overlapping_entities=True,
            **fields,
        )
        collator = system.model.collator_class(tokenizer, config)
        sentences = {sentence.document_id: sentence for sentence in prepare_sentences(documents, tokenizer, config)[0]}
        decoded = {name: collator.decode_labels(sentence) for name, sentence in sentences.items()}
        nothing: dict[str, Any] = {"entities": [], "relations": []}
        found = [{**document, **decoded.get(document["id"], nothing)} for document in documents]
        scores = metric.compute(predictions=found, references=list(documents))
        changed = sum(
            any(_items(one)[task] != _items(other)[task] for task in config.tasks)
            for one, other in zip(found, documents, strict=True)
        )
        entity, relation = (
            100 * scores[f"{task}_micro_f1"] if task in config.tasks else None for task in ("entity", "relation")
        )
        yield Ceiling(name, len(documents), changed, entity, relation)


def _items(document: dict[str, Any]) -> dict[str, set[Any]]:
    entities = [(entity["start"], entity["end"], entity["type"]) for entity in document["entities"]]
    relations = {(entities[r["head"]], r["type"], entities[r["tail"]]) for r in document["relations"]}
    return {"entity": set(entities), "relation": relations}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dataset", choices=[name for name in DATASETS if name != "corpus"], required=True)
    parser.add_argument("--data_dir", type=Path)
    parser.add_argument("--splits", nargs="+", required=True)
    options = parser.parse_args()
    splits = DATASETS[options.dataset](options.data_dir)
    documents = [
        {**document, "id": f"{name} {document['id']}"} for name in options.splits for document in splits[name].to_list()
    ]
    print("| scheme | documents that it changes | entity F1 at best | relation F1 at best |\n|---|---|---|---|")
    for row in ceilings(documents):
        cells = ("–" if value is None else f"{value:.2f}" for value in (row.entity, row.relation))
        print(f"| {SCHEMES[row.system]} | {row.changed} of {row.documents} | {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
