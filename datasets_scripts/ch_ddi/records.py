"""A sentence with its drugs and interactions, and the paper's JSON record of it (paper 4.1.2)."""

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
        relations: `(head, tail, relation)`; head and tail are positions in `entities`.

    Raises:
        ValueError: for a range outside the text, a drug or relation that stands twice, an unknown relation, or a
            drug related to itself.
    """

    text: str
    entities: tuple[tuple[int, int], ...]
    relations: tuple[tuple[int, int, str], ...]

    def __post_init__(self) -> None:
        if not self.text.strip():
            raise ValueError("'text' must be a text that is not empty.")
        if list(self.entities) != sorted(set(self.entities)):
            raise ValueError("'entities' names the same characters twice, or is not in the order of the text.")
        for start, end in self.entities:
            if not 0 <= start < end <= len(self.text):
                raise ValueError(
                    f"the entity {start}:{end} has no offsets within the text's {len(self.text)} characters."
                )
        if len(set(self.relations)) != len(self.relations):
            raise ValueError("names the same relation twice.")
        for head, tail, relation in self.relations:
            check_relation_type(relation)
            if head == tail:
                raise ValueError(f"{self.drug(head)!r} stands in the relation {relation} to itself.")

    @classmethod
    def of(cls, text: str, entities: list[tuple[int, int]], relations: list[tuple[int, int, str]]) -> AnnotatedSentence:
        """A sentence whose entities may come in any order; relations refer to the order given."""
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
        """The drug before `@`, or nothing."""
        prompt, at, _ = self.text.partition("@")
        return prompt if at else ""

    @property
    def annotations(self) -> Annotations:
        """The sentence as the formats of `datasets_scripts.formats` have it."""
        return self.text, [(start, end, DRUG) for start, end in self.entities], list(self.relations)

    @classmethod
    def of_annotations(cls, annotations: Annotations) -> AnnotatedSentence:
        """
        The sentence of annotations in characters.

        Raises:
            ValueError: for an entity type or a relation that CH-DDI does not have, and see the class.
        """
        text, entities, relations = annotations
        for *_, kind in entities:
            if kind not in CH_DDI_ENTITY_TYPES:
                raise ValueError(f"the entity type {kind!r} is not known. Known: {', '.join(CH_DDI_ENTITY_TYPES)}.")
        return cls.of(text, [(start, end) for start, end, _ in entities], relations)

    def to_record(self) -> dict[str, Any]:
        """The paper's JSON record; see `datasets_scripts.formats.spo`."""
        return spo.record_of(*self.annotations)


def check_relation_type(relation: Any) -> str:
    """The relation, or a `ValueError` that names the known ones."""
    if relation not in CH_DDI_RELATION_TYPES:
        raise ValueError(f"the relation {relation!r} is not known. Known: {', '.join(CH_DDI_RELATION_TYPES)}.")
    return str(relation)
