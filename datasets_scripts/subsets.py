"""Prepare a corpus for training: split it, choose labels, and derive settings from its documents."""

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
    The group of a document, which must not be divided between splits: documents with the same prompt (the drug before
    `@`) or, without a prompt, with the same text.
    """
    prompt, at, _ = document["text"].partition("@")
    return prompt if at else document["text"]


def frequent_end_types(documents: Iterable[Mapping[str, Any]]) -> dict[str, list[str]]:
    """Relation → the most frequent types of its head and tail."""
    counts: dict[str, Counter[tuple[str, str]]] = {}
    for document in documents:
        types = [entity["type"] for entity in document["entities"]]
        for relation in document["relations"]:
            pair = (types[relation["head"]], types[relation["tail"]])
            counts.setdefault(relation["type"], Counter())[pair] += 1
    return {relation: list(of_relation.most_common(1)[0][0]) for relation, of_relation in sorted(counts.items())}


def labels_to_learn(
    found: Labels,
    known: Labels,
    entity_types: Sequence[str] = (),
    relation_types: Sequence[str] = (),
    symmetric_relations: Sequence[str] = (),
) -> Labels:
    """
    The labels that a model is trained on: the chosen ones or, if none are chosen, all, with the known ones first.

    Args:
        found: labels that occur in the documents.
        known: labels of the corpus, in order; they need not occur.
        entity_types, relation_types, symmetric_relations: the chosen labels; if empty, all types, and the relations
            known to be symmetric.

    Raises:
        ValueError: if a chosen label occurs in no document.
    """
    for setting, chosen, available in (
        ("entity_types", entity_types, found.entity_types),
        ("relation_types", relation_types, found.relation_types),
        ("symmetric_relations", symmetric_relations, found.relation_types),
    ):
        if unknown := [label for label in chosen if label not in available]:
            raise ValueError(
                f"{setting}: no document has {', '.join(unknown)}. The data has: {', '.join(available) or 'none'}."
            )
    entities, relations = (
        tuple(chosen) or (*known_ones, *(label for label in available if label not in known_ones))
        for chosen, known_ones, available in (
            (entity_types, known.entity_types, found.entity_types),
            (relation_types, known.relation_types, found.relation_types),
        )
    )
    symmetric = symmetric_relations or known.symmetric_relations
    return Labels(entities, relations, tuple(label for label in symmetric if label in relations))


def keep_labels(document: Mapping[str, Any], labels: Labels) -> tuple[Document, Counter[str]]:
    """
    Remove the entities and relations with other labels from a document.

    Returns:
        The document, and label → number of entities or relations removed. A relation is removed with its entities.
    """
    removed: Counter[str] = Counter()
    new_index: dict[int, int] = {}
    entities: list[Any] = []
    for index, entity in enumerate(document["entities"]):
        if entity["type"] in labels.entity_types:
            new_index[index] = len(entities)
            entities.append(entity)
        else:
            removed[entity["type"]] += 1
    relations = []
    for relation in document["relations"]:
        kept_entities = relation["head"] in new_index and relation["tail"] in new_index
        if relation["type"] in labels.relation_types and kept_entities:
            head, tail = new_index[relation["head"]], new_index[relation["tail"]]
            relations.append({**relation, "head": head, "tail": tail})
        else:
            removed[relation["type"]] += 1
    kept: Any = {**document, "entities": entities, "relations": relations}
    return kept, removed


def relation_signatures(documents: Iterable[Mapping[str, Any]], labels: Labels) -> list[list[str]]:
    """The triples (head type, relation, tail type) that occur; those of symmetric relations in both directions."""
    triples: set[tuple[str, str, str]] = set()
    for document in documents:
        for relation in document["relations"]:
            head, tail = (document["entities"][relation[role]]["type"] for role in ("head", "tail"))
            triples.add((head, relation["type"], tail))
            if relation["type"] in labels.symmetric_relations:
                triples.add((tail, relation["type"], head))
    return [list(triple) for triple in sorted(triples)]


def fitting_span_width(documents: Iterable[Mapping[str, Any]]) -> int:
    """
    The span width, in words, that covers 99.9 % of the entities, but at least the paper's 10, and at most 30 to limit
    computation.
    """
    widths = sorted(entity["end"] - entity["start"] for document in documents for entity in document["entities"])
    covering = widths[math.ceil(0.999 * len(widths)) - 1] if widths else 0
    return min(max(covering, 10), 30)


def divide(
    documents: Sequence[Document], groups: Sequence[str], shares: Mapping[str, float], seed: int
) -> dict[str, list[Document]]:
    """
    Divide documents into `train` and splits with the given shares, without dividing groups. The labels of each split
    are about in proportion to its share.

    Groups are shuffled and then taken largest first. Each goes to the split that most lacks its content, measured in
    documents and labels, where rare labels weigh as much as frequent ones.

    Args:
        groups: the group of each document.
        shares: name of a split other than `train` → its share of the documents.
        seed: of the shuffle.
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
                count / total[item] * (wanted[name] - held[name][item] / total[item])
                for item, count in contents[group].items()
            ) / max(wanted[name], 1e-9)

        best = max((name for name in wanted if wanted[name] > 0), key=lack)
        chosen[group] = best
        held[best] += contents[group]
    splits: dict[str, list[Document]] = {name: [] for name in wanted if wanted[name] > 0}
    for index, group in enumerate(groups):
        splits[chosen[group]].append(documents[index])
    return splits


def _content(document: Mapping[str, Any]) -> Counter[str]:
    labels = [f"{key} {item['type']}" for key in ("entities", "relations") for item in document[key]]
    return Counter(["document", *labels])
