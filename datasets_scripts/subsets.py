"""Parts of a corpus to learn from: splits, labels, and what the documents of both allow."""

from __future__ import annotations

import math
import random
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from .corpus import Labels
from .documents import Document


def group_of(document: Mapping[str, Any]) -> str:
    """
    Documents that belong together: those of one prompt (the drug before `@`), else those of one text, so that no
    document is held out whose like is trained on.
    """
    prompt, at, _ = document["text"].partition("@")
    return prompt if at else document["text"]


def frequent_end_types(documents: Iterable[Mapping[str, Any]]) -> dict[str, list[str]]:
    """For each relation the most frequent pair of types of its head and tail."""
    counts: dict[str, Counter[tuple[str, str]]] = {}
    for document in documents:
        types = [entity["type"] for entity in document["entities"]]
        for relation in document["relations"]:
            ends = (types[relation["head"]], types[relation["tail"]])
            counts.setdefault(relation["type"], Counter())[ends] += 1
    return {relation: list(of_relation.most_common(1)[0][0]) for relation, of_relation in sorted(counts.items())}


def found_labels(*splits: Iterable[Mapping[str, Any]] | None) -> Labels:
    """The entity and relation types that occur in the documents, sorted."""
    entities: set[str] = set()
    relations: set[str] = set()
    for split in splits:
        for document in split or ():
            entities.update(entity["type"] for entity in document["entities"])
            relations.update(relation["type"] for relation in document["relations"])
    return Labels(tuple(sorted(entities)), tuple(sorted(relations)))


def labels_to_learn(
    found: Labels,
    known: Labels,
    entity_types: Sequence[str] = (),
    relation_types: Sequence[str] = (),
    symmetric_relations: Sequence[str] = (),
) -> Labels:
    """
    The labels that a model gets: those that are chosen, or else all, the known ones first and in their order.

    Args:
        found: labels that occur in the documents.
        known: labels of the corpus, which may hold more and give the order.
        entity_types, relation_types, symmetric_relations: what is chosen; none: all, and those known to be symmetric.

    Raises:
        ValueError: for a chosen label that no document has.
    """
    for setting, chosen, there in (
        ("entity_types", entity_types, found.entity_types),
        ("relation_types", relation_types, found.relation_types),
        ("symmetric_relations", symmetric_relations, found.relation_types),
    ):
        if unknown := [label for label in chosen if label not in there]:
            raise ValueError(
                f"{setting}: no document has {', '.join(unknown)}. The data has: {', '.join(there) or 'none'}."
            )
    entities, relations = (
        tuple(chosen) or (*known_ones, *(label for label in there if label not in known_ones))
        for chosen, known_ones, there in (
            (entity_types, known.entity_types, found.entity_types),
            (relation_types, known.relation_types, found.relation_types),
        )
    )
    symmetric = symmetric_relations or known.symmetric_relations
    return Labels(entities, relations, tuple(label for label in symmetric if label in relations))


def keep_labels(document: Mapping[str, Any], labels: Labels) -> tuple[Document, Counter[str]]:
    """
    The document with the entities and relations of these labels alone.

    Returns:
        The document, and how often a label was left out, by label. A relation goes with its entities.
    """
    left_out: Counter[str] = Counter()
    place: dict[int, int] = {}
    entities: list[Any] = []
    for index, entity in enumerate(document["entities"]):
        if entity["type"] in labels.entity_types:
            place[index] = len(entities)
            entities.append(entity)
        else:
            left_out[entity["type"]] += 1
    relations = []
    for relation in document["relations"]:
        kept_ends = relation["head"] in place and relation["tail"] in place
        if relation["type"] in labels.relation_types and kept_ends:
            relations.append({**relation, "head": place[relation["head"]], "tail": place[relation["tail"]]})
        else:
            left_out[relation["type"]] += 1
    kept: Any = {**document, "entities": entities, "relations": relations}
    return kept, left_out


def relation_signatures(documents: Iterable[Mapping[str, Any]], labels: Labels) -> list[list[str]]:
    """The triples (head's type, relation, tail's type) that occur; of symmetric relations in both directions."""
    triples: set[tuple[str, str, str]] = set()
    for document in documents:
        for relation in document["relations"]:
            head, tail = (document["entities"][relation[role]]["type"] for role in ("head", "tail"))
            triples.add((head, relation["type"], tail))
            if relation["type"] in labels.symmetric_relations:
                triples.add((tail, relation["type"], head))
    return [list(triple) for triple in sorted(triples)]


def fitting_span_width(documents: Iterable[Mapping[str, Any]]) -> int:
    """Words that cover 99.9 % of the entities; at least the paper's 10, and at most 30, since width costs time."""
    widths = sorted(entity["end"] - entity["start"] for document in documents for entity in document["entities"])
    covering = widths[math.ceil(0.999 * len(widths)) - 1] if widths else 0
    return min(max(covering, 10), 30)


def divide(
    documents: Sequence[Document], groups: Sequence[str], shares: Mapping[str, float], seed: int
) -> dict[str, list[Document]]:
    """
    Divide documents into `train` and splits of some shares, groups staying whole, each label in each split about as
    often as its share demands.

    The groups come in random order, the largest first; each goes to the split that lacks most of what it holds, counted
    in documents and labels, rare labels counting as much as frequent ones.
    """
    members: dict[str, list[int]] = {}
    for index, group in enumerate(groups):
        members.setdefault(group, []).append(index)
    contents = {group: sum((_content(documents[i]) for i in rows), Counter[str]()) for group, rows in members.items()}
    total = sum(contents.values(), Counter[str]())
    wanted = {"train": 1 - sum(shares.values()), **shares}
    held = {name: Counter[str]() for name in wanted}
    order = sorted(members)
    random.Random(seed).shuffle(order)
    order.sort(key=lambda group: -len(members[group]))
    chosen: dict[str, str] = {}
    for group in order:

        def lack(name: str, group: str = group) -> float:
            return sum(
                count / total[what] * (wanted[name] - held[name][what] / total[what])
                for what, count in contents[group].items()
            ) / max(wanted[name], 1e-9)

        best = max((name for name in wanted if wanted[name] > 0), key=lack)
        chosen[group] = best
        held[best] += contents[group]
    splits: dict[str, list[Document]] = {name: [] for name in wanted if wanted[name] > 0}
    for index, group in enumerate(groups):
        splits[chosen[group]].append(documents[index])
    return splits


def _content(document: Mapping[str, Any]) -> Counter[str]:
    kinds = [f"{key} {item['type']}" for key in ("entities", "relations") for item in document[key]]
    return Counter(["document", *kinds])
