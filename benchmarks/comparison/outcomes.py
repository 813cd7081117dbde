"""Outcomes of a run as counts per sentence, their precision, recall and F1, and the paired bootstrap."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np


Run = dict[str, Any]
"""A result of `benchmarks.reproduce`."""


def spans(document: dict[str, Any]) -> set[tuple[int, int, str]]:
    """Entities as `(start, end, type)`."""
    return {(e["start"], e["end"], e["type"]) for e in document["entities"]}


def triples(
    document: dict[str, Any], threshold: float = 0.0
) -> set[tuple[tuple[int, int, str], tuple[int, int, str], str]]:
    """Relations as `(head, tail, type)`; those with a score below the threshold are dropped."""
    places = [(e["start"], e["end"], e["type"]) for e in document["entities"]]
    return {
        (places[r["head"]], places[r["tail"]], r["type"])
        for r in document["relations"]
        if r.get("score", 1.0) >= threshold
    }


def micro_f1(pairs: Iterable[tuple[set[Any], set[Any]]]) -> float:
    """F1 in percent over `(gold, found)` sets; NaN, which figures leave blank, if all sets are empty."""
    right = total = 0
    for gold, found in pairs:
        right += len(gold & found)
        total += len(gold) + len(found)
    return 200 * right / total if total else math.nan


def _totals(rows: Sequence[Sequence[int]], task: int) -> tuple[int, int, int]:
    """Numbers of correct, predicted and gold entities (`task` 0) or relations (1)."""
    right, found, there = (sum(row[3 * task + column] for row in rows) for column in range(3))
    return right, found, there


def precision(rows: Sequence[Sequence[int]], task: int) -> float:
    """Micro precision in percent of entities (`task` 0) or relations (1) over outcome rows."""
    right, found, _ = _totals(rows, task)
    return 100 * right / found if found else 0.0


def recall(rows: Sequence[Sequence[int]], task: int) -> float:
    """Micro recall in percent."""
    right, _, there = _totals(rows, task)
    return 100 * right / there if there else 0.0


def f1(rows: Sequence[Sequence[int]], task: int) -> float:
    """Micro F1 in percent."""
    right, found, there = _totals(rows, task)
    return 200 * right / (found + there) if found + there else 0.0


def outcomes(
    references: Iterable[dict[str, Any]], predictions: Iterable[dict[str, Any]], threshold: float = 0.0
) -> list[list[int]]:
    """
    Outcome rows: for each sentence the numbers of correct, predicted and gold entities, then those of relations.

    Matching is strict; predicted relations with a score below the threshold do not count.
    """
    rows = []
    for reference, prediction in zip(references, predictions, strict=True):
        pairs = ((spans(reference), spans(prediction)), (triples(reference), triples(prediction, threshold)))
        rows.append([count for gold, found in pairs for count in (len(gold & found), len(found), len(gold))])
    return rows


def paired_bootstrap(
    first: Sequence[Sequence[Sequence[int]]],
    second: Sequence[Sequence[Sequence[int]]],
    task: int,
    samples: int = 2000,
    seed: int = 0,
) -> float:
    """
    One-sided p-value of the hypothesis that `first` is not better than `second`.

    Args:
        first, second: outcome rows of each seed, all of the same sentences in the same order.
        task: 0 for entities, 1 for relations.
        samples: number of times the sentences are drawn with replacement; a sample's score is the mean over seeds.
    """
    count = len(first[0])
    # How often each sentence was drawn, `(samples, count)`.
    weights = np.random.default_rng(seed).multinomial(count, [1 / count] * count, samples)

    def scores(runs: Sequence[Sequence[Sequence[int]]]) -> Any:
        sums = weights @ np.array(runs)[:, :, 3 * task : 3 * task + 3]  # (seeds, samples, 3)
        right, found, there = np.moveaxis(sums, -1, 0)
        return (200 * right / np.maximum(found + there, 1)).mean(axis=0)

    not_better = int((scores(first) <= scores(second)).sum())
    return (not_better + 1) / (samples + 1)
