"""Code shared by the systems that extract triples whose entities have no types: CasRel, OneRel and SPN4RE."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from modeling_iser import JointExtractionConfig


@dataclass(frozen=True)
class Triple:
    """A relation, by its index, between two ranges of words, `(first word, word after the last)`."""

    head: tuple[int, int]
    relation: int
    tail: tuple[int, int]
    score: float


class TriplesConfig(JointExtractionConfig):
    """
    Configuration of a system that extracts only triples.

    Args (in addition to those of [`JointExtractionConfig`]):
        end_types: types of the head and the tail of each relation, which the system does not predict; default: the
            first entity type. `train.py` sets the most frequent types in the training documents.
    """

    tasks = ("relation",)

    def __init__(self, *args: Any, end_types: dict[str, Sequence[str]] | None = None, **kwargs: Any) -> None:
        self.end_types = {name: list(types) for name, types in (end_types or {}).items()}
        # Entities of different triples may share words, and have no scores of their own to choose by.
        kwargs.setdefault("overlapping_entities", True)
        super().__init__(*args, **kwargs)

    def types_of_ends(self, relation: str) -> tuple[str, str]:
        """Types of a relation's head and tail."""
        head, tail = self.end_types.get(relation, (self.entity_types[0], self.entity_types[0]))
        return head, tail

    def _validate(self) -> None:
        super()._validate()
        if not self.relation_types:
            raise ValueError(f"{self.model_type} extracts relations, but relation_types is empty.")
        for relation, types in self.end_types.items():
            if relation not in self.relation_types or len(types) != 2 or not set(types) <= set(self.entity_types):
                raise ValueError(
                    f"end_types: {relation!r}: {types!r} must be a relation type with the types of its head and tail, "
                    "all known to the model."
                )


def found_triples(
    triples: Iterable[Triple], config: TriplesConfig, relation_threshold: float
) -> dict[str, list[dict[str, Any]]]:
    """The entities and relations of a sentence from its triples; of duplicates, the highest score is kept."""
    best: dict[tuple[tuple[int, int], int, tuple[int, int]], float] = {}
    for triple in triples:
        key = (triple.head, triple.relation, triple.tail)
        if triple.score >= relation_threshold and triple.head != triple.tail:
            best[key] = max(triple.score, best.get(key, 0.0))
    entities: dict[tuple[int, int, str], float] = {}
    for (head, relation, tail), score in best.items():
        for span, kind in zip((head, tail), config.types_of_ends(config.relation_types[relation]), strict=True):
            entities[*span, kind] = max(score, entities.get((*span, kind), 0.0))
    place = {key: index for index, key in enumerate(sorted(entities))}
    relations = []
    for (head, relation, tail), score in sorted(best.items()):
        name = config.relation_types[relation]
        head_type, tail_type = config.types_of_ends(name)
        ends = {"head": place[*head, head_type], "tail": place[*tail, tail_type]}
        # A symmetric relation found in both directions is kept once, with the entity that begins first as head.
        if name in config.symmetric_relations and (tail, relation, head) in best and tail < head:
            continue
        if config.allows(head_type, name, tail_type):
            relations.append({**ends, "type": name, "score": score})
    return {
        "entities": [
            {"start": start, "end": end, "type": kind, "score": entities[start, end, kind]}
            for start, end, kind in place
        ],
        "relations": relations,
    }
