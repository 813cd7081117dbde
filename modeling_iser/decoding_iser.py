"""Scores → entities and relations, and the results of windows → one document."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor

from .spans_iser import Spans


def choose_entities(entity_logits: Tensor, threshold: float = 0.0) -> tuple[Tensor, Tensor, Tensor]:
    """
    The spans that are entities: their most probable class is an entity type (Eq. 11) and its probability
    reaches the threshold.

    Args:
        entity_logits: shape `(num_spans, num_entity_types + 1)`, class 0 being "no entity".
        threshold: least probability of the type.

    Returns:
        Indices of the chosen spans, their types' indices and probabilities, each of shape `(num_chosen,)`.
    """
    probability, label = entity_logits.float().softmax(dim=-1).max(dim=-1)
    chosen = ((label > 0) & (probability >= threshold)).nonzero(as_tuple=True)[0]
    return chosen, label[chosen] - 1, probability[chosen]


def decode_sentences(
    num_sentences: int,
    spans: Spans,
    entity_logits: Tensor,
    pair_head: Tensor,
    pair_tail: Tensor,
    relation_logits: Tensor,
    entity_types: Sequence[str],
    relation_types: Sequence[str],
    entity_threshold: float,
    relation_threshold: float,
) -> list[dict[str, list[dict[str, Any]]]]:
    """
    Scores of a batch → for each sentence its entities and relations, with their scores.

    Args:
        spans: the scored spans, with `entity_logits` of shape `(num_spans, num_entity_types + 1)`.
        pair_head, pair_tail: scored pairs of chosen spans as indices of spans, shape `(num_pairs,)`.
        relation_logits: shape `(num_pairs, num_relation_types)`.
    """
    results: list[dict[str, list[dict[str, Any]]]] = [{"entities": [], "relations": []} for _ in range(num_sentences)]
    chosen, label, probability = choose_entities(entity_logits, entity_threshold)
    place: dict[int, int] = {}
    rows = zip(
        chosen.tolist(),
        spans.sentence[chosen].tolist(),
        spans.start[chosen].tolist(),
        spans.end[chosen].tolist(),
        label.tolist(),
        probability.tolist(),
        strict=True,
    )
    for span, sentence, start, end, type_index, score in rows:
        entities = results[sentence]["entities"]
        place[span] = len(entities)
        entities.append({"start": start, "end": end, "type": entity_types[type_index], "score": score})
    scores = relation_logits.float().sigmoid()
    pair, relation = (scores >= relation_threshold).nonzero(as_tuple=True)
    for head, tail, type_index, score in zip(
        pair_head[pair].tolist(),
        pair_tail[pair].tolist(),
        relation.tolist(),
        scores[pair, relation].tolist(),
        strict=True,
    ):
        results[int(spans.sentence[head])]["relations"].append(
            {"head": place[head], "tail": place[tail], "type": relation_types[type_index], "score": score}
        )
    return results


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
