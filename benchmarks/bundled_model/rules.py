"""
How each rule for drug-drug interactions changes the scores of the pipeline.

    python -m benchmarks.bundled_model.rules datasets_scripts/ch_ddi/data/test.jsonl \
        benchmarks/bundled_model/external_leaflets.jsonl

The rows are no rule, each rule by itself, and all of them. Precision, recall and F1 are those of the pipeline's
triples: relation, direction and the spans of both drugs must match, where the leaflet's drug has no span.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import Any

import torch
from transformers import pipeline

from datasets_scripts import load_ch_ddi
from modeling_iser import DdiExtractionPipeline
from modeling_iser.rules_iser import RULES, apply_rules
from modeling_iser.text_iser import split_words


Triple = tuple[tuple[int | None, int | None], str, tuple[int | None, int | None]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="+", type=Path)
    parser.add_argument("--model", help="checkpoint; default: the bundled model")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    chosen: dict[str, Any] = {"model": options.model} if options.model else {}
    load: Any = pipeline
    extractor = load("ddi-extraction", pipeline_class=DdiExtractionPipeline, **chosen)
    rows = [(), *((name,) for name in RULES), tuple(RULES)]
    print(f"| rules | {' | '.join(file.stem for file in options.files)} |\n|---|{'---|' * len(options.files)}")
    answers = {}
    for file in options.files:
        documents = load_ch_ddi(data_files={"file": file})["file"].to_list()
        texts = [document["text"].partition("@") for document in documents]
        inputs = [{"text": text, "drug": drug} for drug, _, text in texts]
        found = extractor(inputs, split_sentences=False, rules=False)
        answers[file] = list(zip(found, map(gold, documents), strict=True))
    for names in rows:
        cells = []
        for of_file in answers.values():
            correct = found = expected = 0
            for answer, wanted in of_file:
                _, relations = apply_rules(answer["entities"], answer["relations"], answer["drug"]["text"], names)
                triples = {(place(r["head"]), r["type"], place(r["tail"])) for r in relations}
                correct, found, expected = (
                    correct + len(triples & wanted), found + len(triples), expected + len(wanted)
                )  # fmt: skip
            precision, recall = correct / max(1, found), correct / max(1, expected)
            f1 = 2 * correct / max(1, found + expected)
            cells.append(f"{100 * precision:.2f} / {100 * recall:.2f} / {100 * f1:.2f}")
        print(f"| {', '.join(names) or 'none'} | {' | '.join(cells)} |")


def place(entity: dict[str, Any]) -> tuple[int | None, int | None]:
    """Character span of a drug in the text; that of the leaflet's drug is `(None, None)`."""
    return entity["start"], entity["end"]


def gold(document: dict[str, Any]) -> set[Triple]:
    """The triples of a document whose text is `drug@text`."""
    prompt = document["text"].index("@") + 1
    words = split_words(document["text"])
    places: list[tuple[int | None, int | None]] = []
    for entity in document["entities"]:
        start, end = words[entity["start"]][0] - prompt, words[entity["end"] - 1][1] - prompt
        places.append((start, end) if start >= 0 else (None, None))
    return {(places[r["head"]], r["type"], places[r["tail"]]) for r in document["relations"]}


if __name__ == "__main__":
    main()
