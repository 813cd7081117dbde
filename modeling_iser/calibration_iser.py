"""
Calibration: maps scores to the probability that a prediction is correct.

Models are overconfident. Two logistic regressions (Platt scaling), fitted on documents that the model was not trained
on, map its scores to the fraction of such predictions that are correct: one for entities, and one for relations, which
also takes the scores of both entities, since a relation is wrong if one of its entities is.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import torch
from torch import Tensor


MIN_FINDINGS = 100
"""Minimum number of predicted entities, and of predicted relations, that a calibration is fitted on."""
MIN_SCORE = 0.02
"""Minimum score of the relations that a calibration is fitted on."""
PRECISIONS = (70, 80, 90, 95, 99)
"""Precisions, in percent, whose minimum score a calibration determines."""

# Clamps scores, since logits of more extreme ones are dominated by rounding errors.
_MIN, _MAX = 1e-4, 1 - 1e-4
# Caps the scores of entities in the calibration of relations; given entities have a score of 1.
_CERTAIN = 0.99
# Regularises the offsets of the relations towards their common offset, since some relations are rare.
_OFFSET_PENALTY = 0.5


@dataclass(frozen=True)
class Calibration:
    """
    Maps scores to probabilities of being correct: `sigmoid(slope · logit(score) + offset)`.

    Attributes:
        entity_slope, entity_offset: slope and offset for entities.
        relation_slope: slope for relations.
        relation_entity_slope: slope of the sum of the logits of both entities' calibrated scores, capped at 0.99.
        relation_offsets: offset of each relation type.
        min_confidence: precision in percent → calibrated score such that the relations with at least this score had
            this precision in the calibration documents; without precisions that no score reaches.
    """

    entity_slope: float
    entity_offset: float
    relation_slope: float
    relation_entity_slope: float
    relation_offsets: dict[str, float]
    min_confidence: dict[str, float] = field(default_factory=dict)

    @classmethod
    def of(cls, config: Any) -> Calibration | None:
        """The calibration of a configuration, if it has one."""
        return cls(**config.calibration) if config.calibration is not None else None

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    def entities(self, scores: Tensor) -> Tensor:
        """Calibrated scores of entities, same shape."""
        return torch.sigmoid(self.entity_slope * logit(scores) + self.entity_offset)

    def relations(self, scores: Tensor, head: Tensor, tail: Tensor, relation_types: Sequence[str]) -> Tensor:
        """
        Calibrated scores of relations.

        Args:
            scores: shape `(num_pairs, num_relation_types)`.
            head, tail: calibrated scores of the entities, shape `(num_pairs,)`.
            relation_types: relation type of each column.

        Returns:
            Shape `(num_pairs, num_relation_types)`; scores of 0 stay 0.
        """
        offsets = scores.new_tensor([self.relation_offsets[name] for name in relation_types])
        entities = self.relation_entity_slope * _both(head, tail)
        calibrated = torch.sigmoid(self.relation_slope * logit(scores) + entities[:, None] + offsets)
        return calibrated.where(scores > 0, scores)


def logit(scores: Tensor) -> Tensor:
    """Log-odds of scores, clamped to be finite for 0 and 1."""
    clamped = scores.clamp(_MIN, _MAX)
    return torch.log(clamped) - torch.log1p(-clamped)


def _both(head: Tensor, tail: Tensor) -> Tensor:
    """Sum of the logits of both entities' scores."""
    return logit(head.clamp(max=_CERTAIN)) + logit(tail.clamp(max=_CERTAIN))


def fit_calibration(
    predictions: Sequence[Mapping[str, Any]], references: Sequence[Mapping[str, Any]], relation_types: Sequence[str]
) -> Calibration:
    """
    Fit a calibration to an uncalibrated model's predictions for documents that it was not trained on.

    Args:
        predictions: documents from `extract` with `relation_threshold=MIN_SCORE`.
        references: the same documents with the gold entities and relations.
        relation_types: the model's relation types.

    Raises:
        ValueError: if fewer than `MIN_FINDINGS` entities or relations are found.
    """
    entities = [finding for pair in zip(predictions, references, strict=True) for finding in _entities(*pair)]
    if len(entities) < MIN_FINDINGS:
        raise ValueError(f"{len(entities)} entities are found; calibration needs at least {MIN_FINDINGS}.")
    score, right = (torch.tensor(column, dtype=torch.float64) for column in zip(*entities, strict=True))
    slope, offset = _logistic_regression(torch.stack([logit(score), torch.ones_like(score)], dim=1), right).tolist()

    relations = [finding for pair in zip(predictions, references, strict=True) for finding in _relations(*pair)]
    if not relation_types:
        return Calibration(slope, offset, 1.0, 0.0, {})
    if len(relations) < MIN_FINDINGS:
        raise ValueError(f"{len(relations)} relations are found; calibration needs at least {MIN_FINDINGS}.")
    rows, kinds = [row[:4] for row in relations], [row[4] for row in relations]
    score, head, tail, right = torch.tensor(rows, dtype=torch.float64).unbind(1)
    first = Calibration(slope, offset, 1.0, 0.0, dict.fromkeys(relation_types, 0.0))
    both = _both(first.entities(head), first.entities(tail))
    of_type = torch.tensor([[kind == name for name in relation_types] for kind in kinds], dtype=torch.float64)
    features = torch.cat([torch.stack([logit(score), both, torch.ones_like(score)], dim=1), of_type], dim=1)
    penalty = torch.tensor([0.0, 0.0, 0.0] + [_OFFSET_PENALTY] * len(relation_types), dtype=torch.float64)
    weights = _logistic_regression(features, right, penalty).tolist()
    offsets = {name: weights[2] + weights[3 + index] for index, name in enumerate(relation_types)}
    found = Calibration(slope, offset, weights[0], weights[1], offsets)
    calibrated = torch.sigmoid(features @ torch.tensor(weights, dtype=torch.float64))
    presets = {str(percent): lowest_score(calibrated.tolist(), right.tolist(), percent / 100) for percent in PRECISIONS}
    return Calibration(
        **{**found.to_dict(), "min_confidence": {name: value for name, value in presets.items() if value is not None}}
    )


def relation_threshold(min_confidence: float | str, config: Any) -> float:
    """
    The minimum score of a relation for a confidence: a score between 0 and 1, or the percentage of relations that
    should be correct, such as `"95%"`.

    Raises:
        ValueError: if the confidence is neither, or the checkpoint is not calibrated for this percentage.
    """
    text = str(min_confidence).strip()
    try:
        value = float(text.removesuffix("%"))
    except ValueError:
        raise ValueError(
            f"min_confidence={text!r} is neither a score such as 0.8 nor a percentage such as 95%."
        ) from None
    if not text.endswith("%"):
        if not 0 <= value <= 1:
            raise ValueError(f"min_confidence={text!r} must lie between 0 and 1, or end in %, as {text}% does.")
        return value
    if config.calibration is None:
        raise ValueError(
            f"min_confidence={text!r}: this model is not calibrated, so only a score such as 0.8 is possible. "
            "Training with `--calibrate true` calibrates it."
        )
    known = config.calibration["min_confidence"]
    if f"{value:g}" not in known:
        percentages = ", ".join(f"{name}%" for name in known) or "no percentage"
        raise ValueError(f"min_confidence={text!r}: this model is calibrated for {percentages}.")
    return float(known[f"{value:g}"])


def lowest_score(scores: Sequence[float], right: Sequence[float], precision: float) -> float | None:
    """The lowest score such that predictions with at least this score have this precision, if there is one."""
    kept = correct = 0.0
    best = None
    ordered = sorted(zip(scores, right, strict=True), reverse=True)
    for place, (score, is_right) in enumerate(ordered):
        kept, correct = kept + 1, correct + is_right
        last_of_its_score = place + 1 == len(ordered) or ordered[place + 1][0] < score
        if last_of_its_score and correct / kept >= precision:
            best = score
    return math.floor(1e4 * best) / 1e4 if best is not None else None


def expected_calibration_error(scores: Sequence[float], right: Sequence[bool], bins: int = 10) -> float:
    """Mean absolute difference between score and precision over bins of equal width, weighted by their sizes."""
    return sum(count * abs(mean_score - share) for mean_score, share, count in reliability(scores, right, bins)) / max(
        1, len(scores)
    )


def reliability(scores: Sequence[float], right: Sequence[bool], bins: int = 10) -> list[tuple[float, float, int]]:
    """Mean score, precision and number of predictions of each bin that is not empty."""
    places: dict[int, list[tuple[float, bool]]] = {}
    for score, is_right in zip(scores, right, strict=True):
        places.setdefault(min(bins - 1, int(score * bins)), []).append((score, is_right))
    return [
        (sum(score for score, _ in found) / len(found), sum(is_right for _, is_right in found) / len(found), len(found))
        for _, found in sorted(places.items())
    ]


def scored_findings(
    predictions: Sequence[Mapping[str, Any]], references: Sequence[Mapping[str, Any]]
) -> dict[str, tuple[list[float], list[bool]]]:
    """Scores of the predicted entities and relations, and whether they are correct, by `entity` and `relation`."""
    entities = [finding for pair in zip(predictions, references, strict=True) for finding in _entities(*pair)]
    relations = [finding for pair in zip(predictions, references, strict=True) for finding in _relations(*pair)]
    return {
        "entity": ([row[0] for row in entities], [row[1] for row in entities]),
        "relation": ([row[0] for row in relations], [row[3] for row in relations]),
    }


def _entities(found: Mapping[str, Any], reference: Mapping[str, Any]) -> list[tuple[float, bool]]:
    gold = {_key(entity) for entity in reference["entities"]}
    return [(entity["score"], _key(entity) in gold) for entity in found["entities"]]


def _relations(found: Mapping[str, Any], reference: Mapping[str, Any]) -> list[tuple[float, float, float, bool, str]]:
    """For each relation its score, those of its head and tail, whether it is correct, and its type."""
    gold = {_triple(relation, reference["entities"]) for relation in reference["relations"]}
    entities = found["entities"]
    return [
        (
            relation["score"],
            entities[relation["head"]]["score"],
            entities[relation["tail"]]["score"],
            _triple(relation, entities) in gold,
            relation["type"],
        )
        for relation in found["relations"]
    ]


def _key(entity: Mapping[str, Any]) -> tuple[int, int, str]:
    return entity["start"], entity["end"], entity["type"]


def _triple(relation: Mapping[str, Any], entities: Sequence[Mapping[str, Any]]) -> tuple[Any, ...]:
    return _key(entities[relation["head"]]), relation["type"], _key(entities[relation["tail"]])


def _logistic_regression(features: Tensor, labels: Tensor, penalty: Tensor | None = None) -> Tensor:
    """Weights that minimise the cross-entropy plus a penalty on their squares, shape `(num_features,)`."""
    weights = torch.zeros(features.shape[1], dtype=features.dtype, requires_grad=True)
    weights.data[0] = 1.0
    optimizer = torch.optim.LBFGS([weights], max_iter=500, line_search_fn="strong_wolfe", tolerance_grad=1e-9)

    def loss() -> Tensor:
        optimizer.zero_grad()
        value = torch.nn.functional.binary_cross_entropy_with_logits(features @ weights, labels, reduction="sum")
        # If all predictions were correct, the weights would grow to infinity without this term.
        value = value + 1e-3 * (weights**2).sum()
        if penalty is not None:
            value = value + (penalty * weights**2).sum()
        value.backward()
        return value

    with torch.inference_mode(False), torch.enable_grad():
        optimizer.step(loss)
    return weights.detach()


__all__ = [
    "Calibration",
    "expected_calibration_error",
    "fit_calibration",
    "relation_threshold",
    "reliability",
    "scored_findings",
]
