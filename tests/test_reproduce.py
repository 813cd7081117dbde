"""The runner of the paper's comparison: outcomes, significance, tables."""

from __future__ import annotations

import random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.paper import PAPER
from benchmarks.reproduce import SYSTEMS, f1, outcomes, paired_bootstrap, tables

from .conftest import DOCUMENTS


def test_outcomes_are_those_of_the_metric() -> None:
    import evaluate

    from train import METRIC

    predictions: list[dict[str, Any]] = [
        {"entities": d["entities"][:-1], "relations": [r for r in d["relations"] if max(r["head"], r["tail"]) < 2]}
        for d in DOCUMENTS
    ]
    rows = outcomes(DOCUMENTS, predictions)
    scores = evaluate.load(METRIC).compute(predictions=predictions, references=DOCUMENTS)
    assert 0 < f1(rows, 1) < 100
    assert f1(rows, 0) == pytest.approx(100 * scores["entity_micro_f1"])
    assert f1(rows, 1) == pytest.approx(100 * scores["relation_micro_f1"])


def rows(right: float, count: int = 100, seed: int = 0) -> list[list[int]]:
    generator = random.Random(seed)
    return [[hit := int(generator.random() < right), 1, 1, hit, 1, 1] for _ in range(count)]


def test_bootstrap_tells_a_clear_difference_from_none() -> None:
    better, worse = [rows(0.9), rows(0.9, seed=1)], [rows(0.6, seed=2), rows(0.6, seed=3)]
    assert paired_bootstrap(better, worse, task=1, samples=200) < 0.01
    assert paired_bootstrap(worse, better, task=1, samples=200) > 0.99
    same = [rows(0.8, seed=seed) for seed in range(2)]
    assert paired_bootstrap(same, same, task=0, samples=50) == 1.0


@given(st.integers(0, 5), st.integers(0, 5), st.integers(0, 5))
def test_f1_by_its_definition(right: int, wrong: int, missed: int) -> None:
    found, there = right + wrong, right + missed
    precision, recall = right / found if found else 0, right / there if there else 0
    expected = 200 * precision * recall / (precision + recall) if precision + recall else 0
    assert f1([[right, found, there, 0, 0, 0]], 0) == pytest.approx(expected)


def test_tables_name_seeds_and_the_papers_figures() -> None:
    results = [
        {"dataset": "conll04", "system": system, "seed": seed, "outcomes": rows(right, 30, seed), "seconds": 60}
        for system, right in (("iser", 0.9), ("spert", 0.5))
        for seed in range(2)
    ]
    text = tables(results[:3])
    assert "### conll04\n" in text
    (spert,) = [line for line in text.splitlines() if line.startswith("| spert |")]
    cells = [cell.strip() for cell in spert.strip("|").split("|")]
    assert cells[1] == "1"
    assert cells[2] == f"{f1(results[2]['outcomes'], 0):.2f}"
    assert cells[4] == "86.74 / 68.31"
    assert float(cells[5].split(" / ")[0]) < 0.05
    assert "±" in next(line for line in text.splitlines() if line.startswith("| iser |"))
    assert "neither gives the printed F1" in text
    assert all(set(figures) == set(SYSTEMS) for figures in PAPER.values())
