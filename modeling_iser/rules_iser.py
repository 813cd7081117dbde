"""
Rules for drug-drug interactions, which correct the model's predictions.

They apply if the leaflet's drug is given. Each can be switched off (`rules` of the pipeline);
`python -m benchmarks.bundled_model.rules` measures the effect of each.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any

from .configuration_iser import check_choice
from .drugs_iser import core_name


Found = tuple[list[dict[str, Any]], list[dict[str, Any]]]
"""Entities and relations as the pipeline returns them; the leaflet's drug as head or tail has no offsets."""

SECOND_DIRECTION = 0.7
"""Minimum score of both relations of a pair that has one in each direction."""

# Words that are not names of drugs: they refer to a drug or to drugs in general, or are food and drink (guidelines E2,
# E3).
_NO_DRUG = re.compile(
    r"(?:本|该|此|其|其他|其它|这些|那些|此类|本类|上述|下列|以下|两|二|三|某些|任何|合并|合用|伴随|同类)*(?:药物|药品|药|品|制剂|产品|药剂)"
    r"|(?:含)?(?:酒精|乙醇|酒)(?:类)?(?:饮料|饮品|性饮料)?|饮酒|食物|牛奶|葡萄柚汁?|西柚汁?|烟草|吸烟|补钾|金属离子|[钙镁铁铝锌]离子|血钾|血糖"
)


def _own_name(entities: list[dict[str, Any]], relations: list[dict[str, Any]], drug: str) -> Found:
    """
    Replace mentions of the leaflet's drug by name, with or without salt and dosage form, with the leaflet's drug in all
    relations, and drop its relations with itself (guidelines D4).
    """
    own = core_name(drug)

    def end(entity: dict[str, Any]) -> dict[str, Any]:
        if entity["start"] is not None and core_name(entity["text"]) == own:
            return {"text": drug, "type": entity["type"], "start": None, "end": None, "score": entity["score"]}
        return entity

    kept: dict[tuple[Any, ...], dict[str, Any]] = {}
    for relation in relations:
        head, tail = end(relation["head"]), end(relation["tail"])
        key = (relation["type"], _place(head), _place(tail))
        if _place(head) != _place(tail) and (key not in kept or kept[key]["score"] < relation["score"]):
            kept[key] = {**relation, "head": head, "tail": tail}
    return entities, list(kept.values())


def _one_relation(entities: list[dict[str, Any]], relations: list[dict[str, Any]], drug: str) -> Found:
    """
    Keep the relation of each pair with the highest score, and a second one in the other direction only if both score at
    least `SECOND_DIRECTION` (guidelines D6).
    """
    best: dict[frozenset[Any], list[dict[str, Any]]] = {}
    kept = set()
    for relation in sorted(relations, key=lambda relation: -relation["score"]):
        pair = best.setdefault(frozenset((_place(relation["head"]), _place(relation["tail"]))), [])
        reverse = pair and all(_place(one["head"]) != _place(relation["head"]) for one in pair)
        if not pair or (reverse and relation["score"] >= SECOND_DIRECTION):
            pair.append(relation)
            kept.add(id(relation))
    return entities, [relation for relation in relations if id(relation) in kept]


def _no_drug(entities: list[dict[str, Any]], relations: list[dict[str, Any]], drug: str) -> Found:
    """Drop words such as 药物, 本品 and 酒精, which are not drugs, and their relations (guidelines E2, E3)."""

    def is_drug(entity: dict[str, Any]) -> bool:
        return entity["start"] is None or not _NO_DRUG.fullmatch(entity["text"])

    return (
        [entity for entity in entities if is_drug(entity)],
        [relation for relation in relations if is_drug(relation["head"]) and is_drug(relation["tail"])],
    )


def _place(entity: dict[str, Any]) -> tuple[Any, Any]:
    return entity["start"], entity["end"]


RULES: dict[str, Callable[[list[dict[str, Any]], list[dict[str, Any]], str], Found]] = {
    "no_drug": _no_drug,
    "own_name": _own_name,
    "one_relation": _one_relation,
}
"""The rules by name, in the order in which they apply."""


def chosen_rules(rules: bool | Sequence[str]) -> tuple[str, ...]:
    """
    Names of the rules to apply: all for `True`, none for `False`, or the given ones.

    Raises:
        ValueError: if a name is unknown.
    """
    if isinstance(rules, bool):
        return tuple(RULES) if rules else ()
    for name in rules:
        check_choice("rules", name, tuple(RULES))
    return tuple(name for name in RULES if name in rules)


def apply_rules(
    entities: list[dict[str, Any]], relations: list[dict[str, Any]], drug: str, rules: Sequence[str]
) -> Found:
    """Apply rules to the entities and relations of a text from the leaflet of `drug`."""
    for name in rules:
        entities, relations = RULES[name](entities, relations, drug)
    return entities, relations
