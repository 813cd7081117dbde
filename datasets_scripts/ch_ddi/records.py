"""A sentence with its drugs and interactions, and its JSON record (paper 4.1.2)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ..formats import spo
from ..words import Annotations


CH_DDI_ENTITY_TYPES = ("药物",)
CH_DDI_RELATION_TYPES = ("拮抗", "抑制", "协同", "禁忌", "无关", "促进", "加成")
DRUG = CH_DDI_ENTITY_TYPES[0]


@dataclass(frozen=True)
class AnnotatedSentence:
    """
    A sentence, the drugs in it and the relations between them.

    Attributes:
        text: `drug@sentence`, or any text.
        entities: character ranges `(start, end)` of the drugs, end exclusive, in the order of the text.
        relations: `(head, tail, relation)`; head and tail are indices in `entities`.

    Raises:
        ValueError: if a range lies outside the text, a drug or relation is listed twice, a relation is unknown, or a
            drug is related to itself.
    """

    text: str
    entities: tuple[tuple[int, int], ...]
    relations: tuple[tuple[int, int, str], ...]

    def __post_init__(self) -> None:
        if not self.text.strip():
            raise ValueError("'text' must be a non-empty string.")
        if list(self.entities) != sorted(set(self.entities)):
            raise ValueError("'entities' lists a range twice, or is not in the order of the text.")
        for start, end in self.entities:
            if not 0 <= start < end <= len(self.text):
                raise ValueError(f"the entity {start}:{end} lies outside the text's {len(self.text)} characters.")
        if len(set(self.relations)) != len(self.relations):
            raise ValueError("a relation is listed twice.")
        for head, tail, relation in self.relations:
            check_relation_type(relation)
            if head == tail:
                raise ValueError(f"{self.drug(head)!r} has the relation {relation} to itself.")

    @classmethod
    def of(cls, text: str, entities: list[tuple[int, int]], relations: list[tuple[int, int, str]]) -> AnnotatedSentence:
        """Make a sentence from entities in any order; relations refer to the given order."""
        order = sorted(range(len(entities)), key=lambda index: entities[index])
        place = {old: new for new, old in enumerate(order)}
        renumbered = sorted((place[head], place[tail], relation) for head, tail, relation in relations)
        return cls(text, tuple(entities[index] for index in order), tuple(renumbered))

    def drug(self, index: int) -> str:
        """The text of an entity."""
        start, end = self.entities[index]
        return self.text[start:end]

    @property
    def leaflet(self) -> str:
        """The drug before `@`, or an empty string."""
        prompt, at, _ = self.text.partition("@")
        return prompt if at else ""

    @property
    def annotations(self) -> Annotations:
        """The sentence in the form that `datasets_scripts.formats` uses."""
        return self.text, [(start, end, DRUG) for start, end in self.entities], list(self.relations)

    @classmethod
    def of_annotations(cls, annotations: Annotations) -> AnnotatedSentence:
        """
        Make a sentence from annotations with character offsets.

        Raises:
            ValueError: if CH-DDI does not have the entity type, and as described for the class.
        """
        text, entities, relations = annotations
        for *_, kind in entities:
            if kind not in CH_DDI_ENTITY_TYPES:
                raise ValueError(f"unknown entity type {kind!r}. CH-DDI has: {', '.join(CH_DDI_ENTITY_TYPES)}.")
        return cls.of(text, [(start, end) for start, end, _ in entities], relations)

    def to_record(self) -> dict[str, Any]:
        """The paper's JSON record; see `datasets_scripts.formats.spo`."""
        return spo.record_of(*self.annotations)


def check_relation_type(relation: Any) -> str:
    """Return the relation, or raise a `ValueError` that lists the known ones."""
    if relation not in CH_DDI_RELATION_TYPES:
        raise ValueError(f"unknown relation {relation!r}. CH-DDI has: {', '.join(CH_DDI_RELATION_TYPES)}.")
    return str(relation)
