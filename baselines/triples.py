"""What systems share that find triples of unnamed entities: CasRel, OneRel and SPN4RE."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from modeling_iser import JointExtractionConfig


@dataclass(frozen=True)
class Triple:
    """A relation between two ranges of words, `(first word, word after the last)`."""

    head: tuple[int, int]
    relation: int
    tail: tuple[int, int]
    score: float


class TriplesConfig(JointExtractionConfig):
    """
    Configuration of a system that finds triples alone.

    Args (beside those of [`JointExtractionConfig`]):
        end_types: for each relation the types of its head and tail, which the system does not tell; by default the
            first entity type. Training takes the most frequent ones of its documents.
    """

    tasks = ("relation",)

    def __init__(self, *args: Any, end_types: dict[str, Sequence[str]] | None = None, **kwargs: Any) -> None:
        self.end_types = {name: list(types) for name, types in (end_types or {}).items()}
        # Entities of different triples may well share words, and nothing tells which is more probable.
        kwargs.setdefault("overlapping_entities", True)
        super().__init__(*args, **kwargs)

    def types_of_ends(self, relation: str) -> tuple[str, str]:
        """Types of a relation's head and tail."""
        head, tail = self.end_types.get(relation, (self.entity_types[0], self.entity_types[0]))
        return head, tail

    def _validate(self) -> None:
        super()._validate()
        if not self.relation_types:
            raise ValueError(f"{self.model_type} finds relations, and relation_types is empty.")
        for relation, types in self.end_types.items():
            if relation not in self.relation_types or len(types) != 2 or not set(types) <= set(self.entity_types):
                raise ValueError(f"end_types: {relation!r}: {types!r} is no relation with two entity types.")


def found_triples(
    triples: Iterable[Triple], config: TriplesConfig, relation_threshold: float
) -> dict[str, list[dict[str, Any]]]:
    """Triples of a sentence as its entities and relations; of equal ones the best score counts."""
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
        # A symmetric relation is found once, from the entity that begins first.
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
