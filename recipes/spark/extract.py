"""
Extraction with Spark: a table of texts in, a table of triples out. What to run it with is in docs/scale.md.

    spark-submit recipes/spark/extract.py sentences.parquet triples.parquet [--drug 华法林钠片] [--model CHECKPOINT]

The columns `text` and, if there is one, `drug` are read. The rows are those of `iser-extract --output triples.parquet`,
with `source` the file that a text is from and `line` its number in it, where the table has these columns.
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


SCHEMA = """
    source string, line long, drug string, text string, head string, head_start long, head_end long, relation string,
    tail string, tail_start long, tail_end long, score double
"""
COLUMNS = [column.split()[0] for column in SCHEMA.split(",")]


@cache
def load(model: str | None) -> Any:
    """The pipeline: once in every Python worker, which Spark keeps for many batches."""
    import torch
    from transformers import pipeline

    import modeling_iser

    torch.set_num_threads(1)  # Spark runs as many workers as there are cores.
    chosen = {"model": model, "pipeline_class": modeling_iser.DdiExtractionPipeline} if model else {}
    return pipeline("ddi-extraction", **chosen)


def triples(batches: Iterator[pd.DataFrame], model: str | None, drug: str | None) -> Iterator[pd.DataFrame]:
    """The relations in batches of texts, which Arrow brings from Spark and takes back."""
    from modeling_iser.result_files import triple_rows

    for batch in batches:
        records = batch.astype(object).where(batch.notna(), None).to_dict("records")
        items = [{"text": record["text"], "drug": record.get("drug") or drug} for record in records]
        answers = load(model)(items, batch_size=16)
        rows = [
            row
            for record, answer in zip(records, answers, strict=True)
            for row in triple_rows({"source": record.get("source"), "line": record.get("line"), **answer})
        ]
        yield pd.DataFrame(rows, columns=COLUMNS, dtype=object)


def main() -> None:
    """Read, extract, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("input", help="Parquet, also a directory of it, anywhere that Spark reads")
    parser.add_argument("output", help="directory of Parquet to write")
    parser.add_argument("--model", help="checkpoint, at a path that all machines have; default: the bundled model")
    parser.add_argument("--drug", help="the drug whose leaflet the texts are from")
    options = parser.parse_args()
    spark = SparkSession.builder.appName("iser").getOrCreate()
    # As a module that workers import, not as code that comes with every task: so what is loaded once stays.
    spark.sparkContext.addPyFile(__file__)
    work = importlib.import_module(Path(__file__).stem).triples
    model, drug = options.model, options.drug
    table = spark.read.parquet(options.input)
    table.mapInPandas(lambda batches: work(batches, model, drug), SCHEMA).write.parquet(options.output)
    spark.stop()


if __name__ == "__main__":
    main()
