"""
Relation F1 of finished runs, without constraints and constrained to the signatures of the training data.

    python -m benchmarks.comparison.constraints DATA_DIR runs/comparison/short/conll04 --split train

A signature is the types of head, relation and tail. The runs are those of `benchmarks.reproduce`, which decodes without
constraints and keeps its predictions in `documents.json`; DATA_DIR is the corpus they were trained on.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from datasets_scripts import Labels, load_corpus
from datasets_scripts.subsets import relation_signatures
from evaluate_iser.evaluate_iser import TypeCounts, relation_items


THRESHOLD = 0.4
"""The paper's relation threshold."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data_dir", type=Path)
    parser.add_argument("runs", type=Path)
    parser.add_argument("--split", nargs="+", default=["train"], help="splits that the runs were trained on")
    options = parser.parse_args()
    splits = load_corpus(options.data_dir)
    training = [document for name in options.split for document in splits[name].to_list()]
    allowed = {tuple(triple) for triple in relation_signatures(training, Labels())}
    print("| run | free P / R / F1 | constrained P / R / F1 |\n|---|---|---|")
    for file in sorted(options.runs.rglob("documents.json")):
        documents = json.loads(file.read_text(encoding="utf-8"))
        free, constrained = TypeCounts(), TypeCounts()
        for found, gold in zip(documents["predictions"], documents["references"], strict=True):
            expected = relation_items(gold, frozenset())
            certain = [relation for relation in found["relations"] if relation["score"] >= THRESHOLD]
            kept = [relation for relation in certain if signature(found, relation) in allowed]
            for counts, relations in ((free, certain), (constrained, kept)):
                counts.add(relation_items({**found, "relations": relations}, frozenset()), expected)
        name = file.parent.relative_to(options.runs)
        print(f"| {name} | {cells(free)} | {cells(constrained)} |")


def signature(document: dict[str, Any], relation: dict[str, Any]) -> tuple[str, str, str]:
    """The types of head, relation and tail."""
    head, tail = (document["entities"][relation[role]]["type"] for role in ("head", "tail"))
    return head, relation["type"], tail


def cells(counts: TypeCounts) -> str:
    """Micro precision, recall and F1 in percent."""
    return " / ".join(f"{100 * counts.micro()[name]:.2f}" for name in ("precision", "recall", "f1"))


if __name__ == "__main__":
    main()
