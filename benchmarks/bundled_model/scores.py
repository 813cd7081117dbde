"""
Scores of a checkpoint on files in CH-DDI's format.

    python -m benchmarks.bundled_model.scores CHECKPOINT datasets_scripts/ch_ddi/data/test.jsonl \
        benchmarks/bundled_model/external_leaflets.jsonl

`external_leaflets.jsonl` holds 40 sentences of leaflets on other diseases, in styles that CH-DDI-Open's test split
lacks (questions and answers, tables on one line, arrows and abbreviations, study reports). They were annotated before
any model had read them and are never trained on. The training split has since gained leaflets in such styles.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import evaluate
import torch

from datasets_scripts import load_ch_ddi
from modeling_iser import IserForJointExtraction
from train import METRIC, score_table


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint")
    parser.add_argument("files", nargs="+", type=Path)
    parser.add_argument("--exact", action="store_true", help="score every span, without a first pass")
    arguments = parser.parse_args()
    model = IserForJointExtraction.from_pretrained(arguments.checkpoint, dtype=torch.float32).eval()
    scores = {}
    for file in arguments.files:
        documents = load_ch_ddi(data_files={"file": file})["file"].to_list()
        predictions = model.extract([document["tokens"] for document in documents], exact=arguments.exact)
        scores[file.name] = evaluate.load(METRIC).compute(predictions=predictions, references=documents)
    print(score_table(scores))


if __name__ == "__main__":
    main()
