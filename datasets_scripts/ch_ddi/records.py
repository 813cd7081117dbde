"""A sentence with its drugs and interactions, and the paper's JSON record of it (paper 4.1.2)."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any


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

    def to_record(self) -> dict[str, Any]:
        """
        The paper's JSON record, with `entities` (character offsets) beside it.

        The paper names a drug by its text. Where that is not the first entity of this text, `subject_entity` or
        `object_entity` gives its position in `entities`.
        """
        spo_list = []
        for head, tail, relation in self.relations:
            item: dict[str, Any] = {
                "predicate": relation,
                "subject": self.drug(head),
                "subject_type": DRUG,
                "object": {"@value": self.drug(tail)},
                "object_type": {"@value": DRUG},
            }
            for role, index in (("subject", head), ("object", tail)):
                if self._first(self.drug(index)) != index:
                    item[f"{role}_entity"] = index
            spo_list.append(item)
        entities = [
            {"text": self.text[start:end], "start": start, "end": end, "type": DRUG} for start, end in self.entities
        ]
        return {"text": self.text, "spo_list": spo_list, "entities": entities}

    def _first(self, drug: str) -> int:
        return next(index for index in range(len(self.entities)) if self.drug(index) == drug)


def check_relation_type(relation: Any) -> str:
    """The relation, or a `ValueError` that names the known ones."""
    if relation not in CH_DDI_RELATION_TYPES:
        raise ValueError(f"the relation {relation!r} is not known. Known: {', '.join(CH_DDI_RELATION_TYPES)}.")
    return str(relation)


def from_record(record: Any) -> AnnotatedSentence:
    """
    The sentence of a JSON record in the paper's format; `load_ch_ddi` describes it.

    Raises:
        ValueError: for a record that is broken, with the reason.
    """
    if not isinstance(record, dict):
        raise ValueError(f"a record is an object, not {record!r:.60}.")
    text = record.get("text")
    if not isinstance(text, str) or not text.strip():
        raise ValueError("'text' must be a text that is not empty.")
    items = _list(record, "spo_list")
    triples = [_triple(item) for item in items]
    if "entities" in record:
        entities = [_entity(item, text) for item in _list(record, "entities")]
    else:
        drugs = {drug for subject, _, tail in triples for drug in (subject, tail)}
        entities = sorted({_locate(drug, text, drugs) for drug in drugs})
    index_of: dict[str, int] = {}
    for index, (start, end) in enumerate(entities):
        index_of.setdefault(text[start:end], index)
    relations = []
    for item, (subject, predicate, tail) in zip(items, triples, strict=True):
        head_and_tail = []
        for role, drug in (("subject", subject), ("object", tail)):
            if drug not in index_of:
                raise ValueError(f"the drug {drug!r} ({DRUG}) of a relation is not among the record's 'entities'.")
            index = item.get(f"{role}_entity", index_of[drug])
            if index not in range(len(entities)) or text[slice(*entities[index])] != drug:
                raise ValueError(f"'{role}_entity' {index!r} does not read {drug!r}.")
            head_and_tail.append(index)
        relations.append((*head_and_tail, predicate))
    return AnnotatedSentence.of(text, entities, relations)


def _list(record: dict[str, Any], key: str) -> list[dict[str, Any]]:
    items = record.get(key)
    if not isinstance(items, list) or not all(isinstance(item, dict) for item in items):
        raise ValueError(f"{key!r} must be a list of objects.")
    return items


def _triple(item: dict[str, Any]) -> tuple[str, str, str]:
    triple = _value(item, "subject"), check_relation_type(item.get("predicate")), _value(item, "object")
    for key in ("subject_type", "object_type"):
        _check_kind(_value(item, key))
    return triple


def _value(item: dict[str, Any], key: str) -> str:
    value = item.get(key)
    if isinstance(value, dict):
        value = value.get("@value")
    if not isinstance(value, str) or not value:
        raise ValueError(f"{key!r} of a relation must be a text, or an object with a text under '@value'.")
    return value


def _check_kind(kind: Any) -> None:
    if kind not in CH_DDI_ENTITY_TYPES:
        raise ValueError(f"the entity type {kind!r} is not known. Known: {', '.join(CH_DDI_ENTITY_TYPES)}.")


def _entity(item: dict[str, Any], text: str) -> tuple[int, int]:
    start, end = item.get("start"), item.get("end")
    if not isinstance(start, int) or not isinstance(end, int) or not 0 <= start < end <= len(text):
        raise ValueError(f"the entity {item} has no offsets within the text's {len(text)} characters.")
    if text[start:end] != item.get("text"):
        raise ValueError(f"the entity {item.get('text')!r} reads {text[start:end]!r} at {start}:{end}.")
    _check_kind(item.get("type"))
    return start, end


def _locate(drug: str, text: str, drugs: set[str]) -> tuple[int, int]:
    """Character range of the occurrence that a drug string means; the rule is in `load_ch_ddi`."""
    starts = [match.start() for match in re.finditer(f"(?={re.escape(drug)})", text)]
    if not starts:
        raise ValueError(f"the drug {drug!r} does not occur in {text!r}.")
    prompt, at, _ = text.partition("@")
    if at and drug == prompt:
        return 0, len(drug)
    longer = [
        (match.start(), match.start() + len(other))
        for other in drugs
        if len(other) > len(drug)
        for match in re.finditer(f"(?={re.escape(other)})", text)
    ]
    behind = len(prompt) + 1 if at else 0

    def rank(start: int) -> tuple[bool, bool, int]:
        inside_longer = any(first <= start and start + len(drug) <= last for first, last in longer)
        return inside_longer, start < behind, start

    start = min(starts, key=rank)
    return start, start + len(drug)
