"""
Calibration: scores that say how often they are right.

A model is surer of itself than it is right. Two logistic regressions on documents that it has not been trained on turn
its scores into the share of such findings that are right (Platt scaling): one for entities, one for relations, which
looks at the scores of both entities as well, since a relation is wrong if one of them is.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import torch
from torch import Tensor


LEAST_FINDINGS = 100
"""Entities and relations that must be found in the documents for a calibration."""
LOWEST_SCORE = 0.02
"""Relations down to this score take part in the calibration."""
PRECISIONS = (70, 80, 90, 95, 99)
"""Precisions in percent for which a calibration knows the least score."""

# Beyond these a score's logarithm says more of the arithmetic than of the model.
_LEAST, _MOST = 1e-4, 1 - 1e-4
# An entity that is more certain than this says nothing more of its relations; given ones are wholly certain.
_CERTAIN = 0.99
# Ties the relations to each other, of which some are rare.
_OFFSET_PENALTY = 0.5


@dataclass(frozen=True)
class Calibration:
    """
    From scores to shares of right findings: `sigmoid(slope · logit(score) + offset)`.

    Attributes:
        entity_slope, entity_offset: of entities.
        relation_slope: of relations.
        relation_entity_slope: of the sum of the logits of both entities' calibrated scores, up to 0.99.
        relation_offsets: of each relation.
        min_confidence: precision in percent → least calibrated score at which relations are right that often in the
            documents of the calibration; without the precisions that no score reaches.
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
            relation_types: names of the columns.
        """
        offsets = scores.new_tensor([self.relation_offsets[name] for name in relation_types])
        entities = self.relation_entity_slope * _both(head, tail)
        calibrated = torch.sigmoid(self.relation_slope * logit(scores) + entities[:, None] + offsets)
        return calibrated.where(scores > 0, scores)


def logit(scores: Tensor) -> Tensor:
    """Logarithm of the odds, finite for 0 and 1."""
    clamped = scores.clamp(_LEAST, _MOST)
    return torch.log(clamped) - torch.log1p(-clamped)


def _both(head: Tensor, tail: Tensor) -> Tensor:
    """What the scores of both entities say of a relation between them."""
    return logit(head.clamp(max=_CERTAIN)) + logit(tail.clamp(max=_CERTAIN))


def fit_calibration(
    predictions: Sequence[Mapping[str, Any]], references: Sequence[Mapping[str, Any]], relation_types: Sequence[str]
) -> Calibration:
    """
    The calibration of a model from what it finds, uncalibrated, in documents that it has not been trained on.

    Args:
        predictions: documents from `extract` with `relation_threshold=LOWEST_SCORE`.
        references: the same documents with the right entities and relations.

    Raises:
        ValueError: where fewer than `LEAST_FINDINGS` entities or relations are found.
    """
    entities = [finding for pair in zip(predictions, references, strict=True) for finding in _entities(*pair)]
    if len(entities) < LEAST_FINDINGS:
        raise ValueError(f"{len(entities)} entities are found; a calibration takes {LEAST_FINDINGS} or more.")
    score, right = (torch.tensor(column, dtype=torch.float64) for column in zip(*entities, strict=True))
    slope, offset = _logistic_regression(torch.stack([logit(score), torch.ones_like(score)], dim=1), right).tolist()

    relations = [finding for pair in zip(predictions, references, strict=True) for finding in _relations(*pair)]
    if not relation_types:
        return Calibration(slope, offset, 1.0, 0.0, {})
    if len(relations) < LEAST_FINDINGS:
        raise ValueError(f"{len(relations)} relations are found; a calibration takes {LEAST_FINDINGS} or more.")
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
    presets = {str(percent): least_score(calibrated.tolist(), right.tolist(), percent / 100) for percent in PRECISIONS}
    return Calibration(
        **{**found.to_dict(), "min_confidence": {name: value for name, value in presets.items() if value is not None}}
    )


def relation_threshold(min_confidence: float | str, config: Any) -> float:
    """
    The least score of a relation for a confidence: a score between 0 and 1, or the share of relations that shall be
    right, such as `"95%"`.

    Raises:
        ValueError: for anything else, and for a share that the checkpoint's calibration does not know.
    """
    text = str(min_confidence).strip()
    try:
        value = float(text.removesuffix("%"))
    except ValueError:
        raise ValueError(f"min_confidence is a score such as 0.8 or a share such as 95%, not {text!r}.") from None
    if not text.endswith("%"):
        if not 0 <= value <= 1:
            raise ValueError(f"min_confidence must lie between 0 and 1, or end in %, not {text}.")
        return value
    if config.calibration is None:
        raise ValueError(f"min_confidence={text}: this checkpoint is not calibrated (train.py --calibrate true).")
    known = config.calibration["min_confidence"]
    if f"{value:g}" not in known:
        raise ValueError(f"min_confidence={text}: the calibration knows {', '.join(f'{name}%' for name in known)}.")
    return float(known[f"{value:g}"])


def least_score(scores: Sequence[float], right: Sequence[float], precision: float) -> float | None:
    """The lowest score from which on at least this share of the findings is right; `None` where there is none."""
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
    """Mean distance of score and share of right findings over bins of equal width, weighted by their findings."""
    return sum(count * abs(mean_score - share) for mean_score, share, count in reliability(scores, right, bins)) / max(
        1, len(scores)
    )


def reliability(scores: Sequence[float], right: Sequence[bool], bins: int = 10) -> list[tuple[float, float, int]]:
    """Mean score, share of right findings and number of findings of each bin that has any."""
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
    """Scores of the found entities and relations, and whether they are right, under `entity` and `relation`."""
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
    """Score of the relation, of its head and of its tail, whether it is right, and its type."""
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
    """Weights of least cross-entropy, with a penalty on their squares, shape `(num_features,)`."""
    weights = torch.zeros(features.shape[1], dtype=features.dtype, requires_grad=True)
    weights.data[0] = 1.0
    optimizer = torch.optim.LBFGS([weights], max_iter=500, line_search_fn="strong_wolfe", tolerance_grad=1e-9)

    def loss() -> Tensor:
        optimizer.zero_grad()
        value = torch.nn.functional.binary_cross_entropy_with_logits(features @ weights, labels, reduction="sum")
        # Findings that are all right would drive the weights to infinity.
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
