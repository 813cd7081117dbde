"""
Extraction with Spark: a table of texts in, a table of triples out. docs/scale.md describes how to run it.

    spark-submit recipes/spark/extract.py sentences.parquet triples.parquet [--drug 华法林钠片] [--model CHECKPOINT]

Reads the column `text` and the optional columns `drug`, `source` (the file that a text is from) and `line` (its line in
that file). The rows written are those of `iser-extract --output triples.parquet`.
"""

from __future__ import annotations

import argparse
import importlib
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pandas as pd
from pyspark.sql import SparkSession

from modeling_iser.result_files import TRIPLE_COLUMNS, TRIPLE_NUMBERS, triple_rows


KINDS = {int: "long", float: "double", str: "string"}
SCHEMA = ", ".join(f"{name} {KINDS[TRIPLE_NUMBERS.get(name, str)]}" for name in TRIPLE_COLUMNS)


@cache
def load(model: str | None) -> Any:
    """Load the pipeline, once in every Python worker, which Spark reuses for many batches."""
    import torch
    from transformers import pipeline

    import modeling_iser

    torch.set_num_threads(1)  # Spark runs one worker per core.
    chosen = {"model": model, "pipeline_class": modeling_iser.DdiExtractionPipeline} if model else {}
    return pipeline("ddi-extraction", **chosen)


def triples(batches: Iterator[pd.DataFrame], model: str | None, drug: str | None) -> Iterator[pd.DataFrame]:
    """Extract the relations from batches of texts."""
    for batch in batches:
        records = batch.astype(object).where(batch.notna(), None).to_dict("records")
        items = [{"text": record["text"], "drug": record.get("drug") or drug} for record in records]
        answers = load(model)(items, batch_size=16)
        rows = [
            row
            for record, answer in zip(records, answers, strict=True)
            for row in triple_rows({"source": record.get("source"), "line": record.get("line"), **answer})
        ]
        yield pd.DataFrame(rows, columns=TRIPLE_COLUMNS, dtype=object)


def main() -> None:
    """Read, extract, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("input", help="Parquet file or directory, at any path that Spark can read")
    parser.add_argument("output", help="Parquet directory to write")
    parser.add_argument("--model", help="checkpoint, at a path that exists on all machines; default: the bundled model")
    parser.add_argument("--drug", help="the drug whose leaflet the texts are from")
    options = parser.parse_args()
    spark = SparkSession.builder.appName("iser").getOrCreate()
    # Workers must import this file as a module: code sent with every task would load the pipeline every time.
    spark.sparkContext.addPyFile(__file__)
    extract = importlib.import_module(Path(__file__).stem).triples
    model, drug = options.model, options.drug
    table = spark.read.parquet(options.input)
    table.mapInPandas(lambda batches: extract(batches, model, drug), SCHEMA).write.parquet(options.output)
    spark.stop()


if __name__ == "__main__":
    main()
