"""Scores → entities and relations, and the results of windows → one document."""

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
    The spans that are entities: their most probable class is an entity type (Eq. 11) and its score reaches the
    threshold.

    Args:
        entity_logits: shape `(num_spans, num_entity_types + 1)`, class 0 being "no entity".
        threshold: least score.
        calibration: makes scores of the types' probabilities; without one, the probabilities are the scores.

    Returns:
        Indices of the chosen spans, their types' indices and scores, each of shape `(num_chosen,)`.
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
    Entities and relation scores of a batch → for each sentence its entities and relations, with their scores.

    Args:
        entities: index of the span, type and score of each entity.
        pair_head, pair_tail: scored pairs of entities as indices of spans, shape `(num_pairs,)`.
        relation_logits: shape `(num_pairs, num_relation_types)`.
        config: gives the labels, the relations that are symmetric, the triples that can be, and the calibration.
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
    Scores of the relations (Eq. 14), shape `(num_pairs, num_relation_types)`. Of a symmetric relation the mean of both
    directions counts, at the pair whose head begins first (or, beginning together, ends first); at the other it is 0.
    """
    scores = relation_logits.float().sigmoid()
    symmetric = [config.relation_types.index(name) for name in config.symmetric_relations]
    if not symmetric or not len(scores):
        return scores
    # Both directions of a pair have the same key when the smaller index comes first.
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
    Entities and relations of a sentence's windows → those of the sentence, without duplicates.

    An entity is taken from the window in whose territory it starts. A relation is taken from any window
    that found it between two entities that were taken; of several scores the highest counts.

    Args:
        results: entities and relations of each window, offsets counting from the window's first word.
        windows: word ranges of the windows.
        territories: the part of each window from which entities are taken.
        prompt: words of a prompt that stands before every window; its entities are those of all windows.
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
    A document of given entities with these entities in their order, whatever the windows made of them.

    Args:
        merged: entities and relations from `merge_windows`.
        given: the entities, offsets counting the document's words. Of equal ones the first has the relations.
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
    Without the entities that share a word with a more probable one, and without their relations. The paper's classifier
    looks at one span at a time, and takes overlapping spans for entities all.

    Args:
        found: scored entities and relations of a document.

    Returns:
        Entities and relations that stay, in their order.
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
    """Where an entity of a window lies in the sentence; one that begins in the prompt stays where it is."""
    shift = offset if entity["start"] >= prompt else 0
    return entity["start"] + shift, entity["end"] + shift, entity["type"]
