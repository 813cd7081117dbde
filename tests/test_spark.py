"""The Spark job, without Spark: what its workers compute, and the columns that it declares."""

from __future__ import annotations

import importlib.util
import sys
import types
from typing import Any

import pandas as pd
import pytest

from modeling_iser import DEFAULT_MODEL
from modeling_iser.result_files import TRIPLE_COLUMNS

from .conftest import REPOSITORY


@pytest.fixture
def job(monkeypatch: pytest.MonkeyPatch) -> Any:
    sql = types.ModuleType("pyspark.sql")
    sql.SparkSession = None  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "pyspark", types.ModuleType("pyspark"))
    monkeypatch.setitem(sys.modules, "pyspark.sql", sql)
    spec = importlib.util.spec_from_file_location("extract", REPOSITORY / "recipes/spark/extract.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.skipif(not (DEFAULT_MODEL / "config.json").is_file(), reason="no model is bundled")
def test_rows_are_those_of_the_command(job: Any) -> None:
    declared = [column.split() for column in job.SCHEMA.split(",")]
    assert [name for name, _ in declared] == list(TRIPLE_COLUMNS)
    texts = pd.DataFrame(
        {"text": ["与多巴胺合用,本品的利尿作用加强", ""], "drug": ["布美他尼片", None], "line": [7, 8]}
    )
    (rows,) = job.triples(iter([texts]), None, None)
    (row,) = rows.to_dict("records")
    assert (row["head"], row["head_type"], row["relation"], row["tail"]) == ("多巴胺", "药物", "协同", "布美他尼片")
    assert row["line"] == 7 and row["source"] is None
    kinds = {"long": int | None, "double": float, "string": str | None}
    for name, kind in declared:
        assert isinstance(row[name], kinds[kind]), name
