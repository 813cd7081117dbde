"""
Precision, recall and F1 of entities and relations, with the definitions of SpERT's evaluator.

Hugging Face `evaluate` loads this file in isolation, so it imports nothing from the project.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import datasets
import evaluate
import numpy as np


DESCRIPTION = """\
Precision, recall and F1 for joint entity and relation extraction: entities, strict relations (boundaries and types of
both entities, direction and relation type) and relations by boundaries only; with micro and macro averages and scores
per type. The definitions are those of SpERT's evaluator.
"""

INPUTS_DESCRIPTION = """
Args:
    predictions: list of documents, `{"entities": [{"start": int, "end": int, "type": str}],
        "relations": [{"head": int, "tail": int, "type": str}]}`. `start` and `end` count words, `end` is exclusive;
        `head` and `tail` are indices into the document's own `entities`. Other keys of a document are ignored.
    references: list of the same number of documents, in the same order.
    symmetric_relations: relation types whose direction has no meaning (`compute` only; default: none).
Returns:
    Fractions from 0 to 1 under `{task}_{average}_{score}`: task `entity`, `relation` (strict) or `relation_boundary`;
    average `micro` or `macro`; score `precision`, `recall` or `f1`. Also `per_type`: for each task and type
    `precision`, `recall`, `f1` and `support`, the number of distinct items of that type in the references.
Raises:
    ValueError: if the numbers of documents differ, a field is missing or invalid, a span does not satisfy
        0 <= start < end, or a head or tail is not an index into `entities`. The message names the document.
Examples:
    >>> metric = evaluate.load("evaluate_iser")
    >>> document = {"entities": [{"start": 0, "end": 2, "type": "Peop"}], "relations": []}
    >>> metric.compute(predictions=[document], references=[document])["entity_micro_f1"]
    1.0
"""

CITATION = """\
@misc{feng2025iser,
  title = {The Joint Entity-Relation Extraction Model Based on Span and Interactive Fusion Representation for Chinese
           Medical Texts with Complex Semantics},
  author = {Feng, Danni and Li, Runzhi and Wang, Jing and Yan, Siyu and Ma, Lihong and Xing, Yunli},
  year = {2025},
  eprint = {2502.09247},
  archivePrefix = {arXiv}
}
@inproceedings{eberts2020spert,
  title = {Span-based Joint Entity and Relation Extraction with Transformer Pre-training},
  author = {Eberts, Markus and Ulges, Adrian},
  booktitle = {24th European Conference on Artificial Intelligence},
  year = {2020}
}
"""

DOCUMENT = {
    "entities": datasets.List(
        {"start": datasets.Value("int64"), "end": datasets.Value("int64"), "type": datasets.Value("string")}
    ),
    "relations": datasets.List(
        {"head": datasets.Value("int64"), "tail": datasets.Value("int64"), "type": datasets.Value("string")}
    ),
}
INTEGER = (int, np.integer)

Item = tuple[Any, ...]
"""An entity or relation as a comparable value: its boundaries first, its type last."""


class EvaluateIser(evaluate.Metric):
    """The metric; README.md beside this file describes it."""

    def _info(self) -> evaluate.MetricInfo:
        return evaluate.MetricInfo(
            description=DESCRIPTION,
            citation=CITATION,
            inputs_description=INPUTS_DESCRIPTION,
            features=datasets.Features({"predictions": DOCUMENT, "references": DOCUMENT}),
            reference_urls=["https://arxiv.org/abs/2502.09247", "https://arxiv.org/abs/1909.07755"],
        )

    def add(self, *, prediction: Any = None, reference: Any = None) -> None:
        """Add one document; for many, `add_batch` is faster."""
        number = len(self)
        super().add(
            prediction=checked_document(prediction, "prediction", number),
            reference=checked_document(reference, "reference", number),
        )

    def add_batch(self, *, predictions: Any = None, references: Any = None) -> None:
        """Add a batch of documents."""
        if predictions is None or references is None:
            raise ValueError("Both predictions and references are required.")
        predictions, references = list(predictions), list(references)
        first = len(self)
        if len(predictions) != len(references):
            lacking = "prediction" if len(predictions) < len(references) else "reference"
            raise ValueError(
                f"There are {len(predictions)} predictions and {len(references)} references: document "
                f"{first + min(len(predictions), len(references))} has no {lacking}."
            )
        super().add_batch(
            predictions=[
                checked_document(document, "prediction", number) for number, document in enumerate(predictions, first)
            ],
            references=[
                checked_document(document, "reference", number) for number, document in enumerate(references, first)
            ],
        )

    def _compute(
        self,
        predictions: Iterable[Mapping[str, Any]],
        references: Iterable[Mapping[str, Any]],
        symmetric_relations: Sequence[str] = (),
    ) -> dict[str, Any]:
        if isinstance(symmetric_relations, str):
            raise ValueError(f"symmetric_relations must be a list of types; write [{symmetric_relations!r}].")
        symmetric = frozenset(symmetric_relations)
        counts = {task: TypeCounts() for task in ("entity", "relation", "relation_boundary")}
        for prediction, reference in zip(predictions, references, strict=True):
            counts["entity"].add(entity_items(prediction), entity_items(reference))
            predicted, expected = relation_items(prediction, symmetric), relation_items(reference, symmetric)
            counts["relation"].add(predicted, expected)
            counts["relation_boundary"].add(without_entity_types(predicted), without_entity_types(expected))

        scores: dict[str, Any] = {}
        for task, count in counts.items():
            for average, values in (("micro", count.micro()), ("macro", count.macro())):
                scores |= {f"{task}_{average}_{score}": value for score, value in values.items()}
        scores["per_type"] = {task: count.per_type() for task, count in counts.items()}
        return scores


class TypeCounts:
    """Counts of distinct items per type: predicted, expected, and both."""

    def __init__(self) -> None:
        self.correct: Counter[str] = Counter()
        self.predicted: Counter[str] = Counter()
        self.expected: Counter[str] = Counter()

    def add(self, predicted: set[Item], expected: set[Item]) -> None:
        """Count the items of one document."""
        self.correct.update(item[-1] for item in predicted & expected)
        self.predicted.update(item[-1] for item in predicted)
        self.expected.update(item[-1] for item in expected)

    def per_type(self) -> dict[str, dict[str, float]]:
        """Scores and support of every type that was predicted or expected at least once."""
        return {
            name: {
                **precision_recall_f1(self.correct[name], self.predicted[name], self.expected[name]),
                "support": self.expected[name],
            }
            for name in sorted(self.predicted | self.expected)
        }

    def micro(self) -> dict[str, float]:
        """Scores of all items together, whatever their type."""
        return precision_recall_f1(self.correct.total(), self.predicted.total(), self.expected.total())

    def macro(self) -> dict[str, float]:
        """Unweighted mean over the types; so the macro F1 is the mean F1, not the F1 of the mean."""
        rows = list(self.per_type().values())
        return {
            score: sum(row[score] for row in rows) / len(rows) if rows else 0.0
            for score in ("precision", "recall", "f1")
        }


def precision_recall_f1(correct: int, predicted: int, expected: int) -> dict[str, float]:
    """The three scores from counts; 0 where the denominator is 0."""
    return {
        "precision": correct / predicted if predicted else 0.0,
        "recall": correct / expected if expected else 0.0,
        "f1": 2 * correct / (predicted + expected) if predicted + expected else 0.0,
    }


def entity_items(document: Mapping[str, Any]) -> set[Item]:
    """The document's entities as (start, end, type)."""
    return {(entity["start"], entity["end"], entity["type"]) for entity in document["entities"]}


def relation_items(document: Mapping[str, Any], symmetric: frozenset[str]) -> set[Item]:
    """The document's relations as (head start, head end, head type, tail start, tail end, tail type, type)."""
    items = set()
    for relation in document["relations"]:
        head, tail = (document["entities"][relation[role]] for role in ("head", "tail"))
        # SpERT compares only starts: two entities with the same start keep the given order.
        if relation["type"] in symmetric and tail["start"] < head["start"]:
            head, tail = tail, head
        items.add(
            (head["start"], head["end"], head["type"], tail["start"], tail["end"], tail["type"], relation["type"])
        )
    return items


def without_entity_types(relations: set[Item]) -> set[Item]:
    """Relation items as (head start, head end, tail start, tail end, type)."""
    return {
        (head_start, head_end, tail_start, tail_end, relation_type)
        for head_start, head_end, _, tail_start, tail_end, _, relation_type in relations
    }


def checked_document(document: Any, side: str, number: int) -> dict[str, list[dict[str, Any]]]:
    """
    The document's entities and relations, without its other keys.

    Raises:
        ValueError: if the document cannot be scored; the message names it.
    """
    try:
        entities = [checked_entity(entity) for entity in field(document, "entities", Sequence)]
        relations = [checked_relation(relation, len(entities)) for relation in field(document, "relations", Sequence)]
    except ValueError as error:
        name = f", id {document['id']!r}" if isinstance(document, Mapping) and "id" in document else ""
        raise ValueError(f"The {side} of document {number} (counted from 0{name}) cannot be scored: {error}") from None
    return {"entities": entities, "relations": relations}


def checked_entity(entity: Any) -> dict[str, Any]:
    """Start, end and type of the entity."""
    start, end = field(entity, "start", INTEGER), field(entity, "end", INTEGER)
    if not 0 <= start < end:
        raise ValueError(f"the entity {entity} must satisfy 0 <= start < end; end is exclusive.")
    return {"start": start, "end": end, "type": field(entity, "type", str)}


def checked_relation(relation: Any, num_entities: int) -> dict[str, Any]:
    """Head, tail and type of the relation."""
    head, tail = field(relation, "head", INTEGER), field(relation, "tail", INTEGER)
    for position in (head, tail):
        if not 0 <= position < num_entities:
            raise ValueError(f"the relation {relation} needs entity {position}, but there are {num_entities} entities.")
    return {"head": head, "tail": tail, "type": field(relation, "type", str)}


def field(item: Any, name: str, kind: type | tuple[type, ...]) -> Any:
    """
    The item's value under the name.

    Raises:
        ValueError: if there is no such value, or it is not of the kind.
    """
    if not isinstance(item, Mapping):
        raise ValueError(f"{item!r} is not a dictionary with the key {name!r}.")
    if name not in item:
        raise ValueError(f"{dict(item)} has no {name!r}.")
    value = item[name]
    if not isinstance(value, kind) or (kind is Sequence and isinstance(value, str)):
        expected = {str: "a string", INTEGER: "an integer", Sequence: "a list"}[kind]
        raise ValueError(f"{name!r} must be {expected}, not {value!r}.")
    return value
