"""Decode scores into entities and relations, and merge the results of windows into one document."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from .calibration_iser import Calibration
from .configuration_iser import JointExtractionConfig
from .spans_iser import Spans


def choose_entities(
    entity_logits: Tensor, threshold: float = 0.0, calibration: Calibration | None = None
) -> tuple[Tensor, Tensor, Tensor]:
    """
    Choose the spans whose most probable class is an entity type (Eq. 11) with a score of at least `threshold`.

    Args:
        entity_logits: shape `(num_spans, num_entity_types + 1)`, class 0 being "no entity".
        threshold: minimum score.
        calibration: maps probabilities to scores; `None`: the probabilities are the scores.

    Returns:
        Indices of the chosen spans, indices of their types, and scores, each of shape `(num_chosen,)`.
    """
    score, label = entity_logits.float().softmax(dim=-1).max(dim=-1)
    if calibration is not None:
        score = calibration.entities(score)
    chosen = ((label > 0) & (score >= threshold)).nonzero(as_tuple=True)[0]
    return chosen, label[chosen] - 1, score[chosen]


def decode_sentences(
    num_sentences: int,
    spans: Spans,
    entities: Sequence[tuple[int, str, float]],
    pair_head: Tensor,
    pair_tail: Tensor,
    relation_logits: Tensor,
    config: JointExtractionConfig,
    relation_threshold: float,
) -> list[dict[str, list[dict[str, Any]]]]:
    """
    The entities and relations of each sentence in a batch, with their scores.

    Args:
        num_sentences: number of sentences in the batch.
        spans: all scored spans.
        entities: index of the span, type and score of each entity.
        pair_head, pair_tail: scored pairs of entities as indices of spans, shape `(num_pairs,)`.
        relation_logits: shape `(num_pairs, num_relation_types)`.
        config: provides the labels, the symmetric relations, the allowed triples and the calibration.
        relation_threshold: minimum score of a relation.
    """
    results: list[dict[str, list[dict[str, Any]]]] = [{"entities": [], "relations": []} for _ in range(num_sentences)]
    place: dict[int, int] = {}
    types: dict[int, str] = {}
    sentence, start, end = spans.sentence.tolist(), spans.start.tolist(), spans.end.tolist()
    for span, kind, score in entities:
        of_sentence = results[sentence[span]]["entities"]
        place[span], types[span] = len(of_sentence), kind
        of_sentence.append({"start": start[span], "end": end[span], "type": kind, "score": score})
    scores = relation_scores(relation_logits, spans, pair_head, pair_tail, config)
    if (calibration := Calibration.of(config)) is not None:
        certainty = scores.new_zeros(len(spans))
        certainty[[span for span, *_ in entities]] = scores.new_tensor([score for *_, score in entities])
        scores = calibration.relations(scores, certainty[pair_head], certainty[pair_tail], config.relation_types)
    pair, relation = ((scores >= relation_threshold) & (scores > 0)).nonzero(as_tuple=True)
    for head, tail, type_index, score in zip(
        pair_head[pair].tolist(),
        pair_tail[pair].tolist(),
        relation.tolist(),
        scores[pair, relation].tolist(),
        strict=True,
    ):
        kind = config.relation_types[type_index]
        if config.allows(types[head], kind, types[tail]):
            results[sentence[head]]["relations"].append(
                {"head": place[head], "tail": place[tail], "type": kind, "score": score}
            )
    return results


def relation_scores(
    relation_logits: Tensor, spans: Spans, pair_head: Tensor, pair_tail: Tensor, config: JointExtractionConfig
) -> Tensor:
    """
    Scores of the relations (Eq. 14), shape `(num_pairs, num_relation_types)`.

    For a symmetric relation, the pair whose head begins first (or, if both begin together, ends first) gets the mean of
    both directions, and the reverse pair gets 0.
    """
    scores = relation_logits.float().sigmoid()
    symmetric = [config.relation_types.index(name) for name in config.symmetric_relations]
    if not symmetric or not len(scores):
        return scores
    # With the smaller index first, both directions of a pair have the same key.
    low, high = torch.minimum(pair_head, pair_tail), torch.maximum(pair_head, pair_tail)
    pairs, place = (low * len(spans) + high).unique(return_inverse=True)
    total = scores.new_zeros(len(pairs), len(symmetric)).index_add(0, place, scores[:, symmetric])
    mean = total / place.bincount(minlength=len(pairs))[:, None]
    head_start, tail_start = spans.start[pair_head], spans.start[pair_tail]
    forward = (head_start < tail_start) | ((head_start == tail_start) & (spans.end[pair_head] < spans.end[pair_tail]))
    scores[:, symmetric] = mean[place] * forward[:, None]
    return scores


def merge_windows(
    results: Sequence[dict[str, list[dict[str, Any]]]],
    windows: Sequence[tuple[int, int]],
    territories: Sequence[tuple[int, int]],
    prompt: int = 0,
) -> dict[str, list[dict[str, Any]]]:
    """
    Merge the entities and relations of a sentence's windows, without duplicates.

    An entity is taken from the window in whose territory it starts. A relation between two such entities is kept if any
    window found it, with its highest score.

    Args:
        results: entities and relations of each window, offsets counting from the window's first word.
        windows: word ranges of the windows.
        territories: the part of each window from which entities are taken.
        prompt: number of words of a prompt before every window; its entities are taken from all windows.
    """
    entities: dict[tuple[int, int, str], dict[str, Any]] = {}
    for result, (offset, _), (first, last) in zip(results, windows, territories, strict=True):
        for entity in result["entities"]:
            start, end, kind = key = _place(entity, offset, prompt)
            if start < prompt or first <= start - prompt < last:
                known = entities.get(key)
                if known is None or known["score"] < entity["score"]:
                    entities[key] = {**entity, "start": start, "end": end, "type": kind}
    ordered = sorted(entities)
    place = {key: index for index, key in enumerate(ordered)}
    relations: dict[tuple[int, int, str], dict[str, Any]] = {}
    for result, (offset, _) in zip(results, windows, strict=True):
        keys = [_place(entity, offset, prompt) for entity in result["entities"]]
        for relation in result["relations"]:
            head, tail = place.get(keys[relation["head"]]), place.get(keys[relation["tail"]])
            if head is None or tail is None:
                continue
            known = relations.get((head, tail, relation["type"]))
            if known is None or known["score"] < relation["score"]:
                relations[head, tail, relation["type"]] = {**relation, "head": head, "tail": tail}
    return {
        "entities": [entities[key] for key in ordered],
        "relations": [relations[key] for key in sorted(relations)],
    }


def as_given(
    merged: dict[str, list[dict[str, Any]]], given: Sequence[Mapping[str, Any]]
) -> dict[str, list[dict[str, Any]]]:
    """
    Restore the given entities of a document in their original order, with the relations from its windows.

    Args:
        merged: entities and relations from `merge_windows`.
        given: the entities, offsets counting the document's words. Relations of duplicates refer to the first.
    """
    first: dict[tuple[int, int, str], int] = {}
    for index, entity in enumerate(given):
        first.setdefault((entity["start"], entity["end"], entity["type"]), index)
    place = [first[entity["start"], entity["end"], entity["type"]] for entity in merged["entities"]]
    return {
        "entities": [{**entity, "score": 1.0} for entity in given],
        "relations": [
            {**relation, "head": place[relation["head"]], "tail": place[relation["tail"]]}
            for relation in merged["relations"]
        ],
    }


def drop_overlaps(found: dict[str, list[dict[str, Any]]]) -> dict[str, list[dict[str, Any]]]:
    """
    Drop entities that share a word with a more probable entity, and their relations. The classifier scores each span
    independently, so it may accept several overlapping spans.

    Args:
        found: scored entities and relations of a document.

    Returns:
        The remaining entities and relations, in their order.
    """
    entities = found["entities"]
    taken: set[int] = set()
    kept = []
    for index in sorted(range(len(entities)), key=lambda index: -entities[index]["score"]):
        words = range(entities[index]["start"], entities[index]["end"])
        if taken.isdisjoint(words):
            taken.update(words)
            kept.append(index)
    place = {index: position for position, index in enumerate(sorted(kept))}
    return {
        "entities": [entities[index] for index in place],
        "relations": [
            {**relation, "head": place[relation["head"]], "tail": place[relation["tail"]]}
            for relation in found["relations"]
            if relation["head"] in place and relation["tail"] in place
        ],
    }


def _place(entity: dict[str, Any], offset: int, prompt: int) -> tuple[int, int, str]:
    """Start and end of a window's entity in the sentence, and its type. Entities in the prompt are not shifted."""
    shift = offset if entity["start"] >= prompt else 0
    return entity["start"] + shift, entity["end"] + shift, entity["type"]
