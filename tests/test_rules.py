"""The rules for drug-drug interactions."""

from __future__ import annotations

import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modeling_iser.drugs_iser import core_name
from modeling_iser.rules_iser import RULES, apply_rules, chosen_rules


@pytest.mark.parametrize(
    ("name", "core"),
    [
        ("盐酸二甲双胍缓释片", "二甲双胍"),
        ("利伐沙班片", "利伐沙班"),
        ("注射用头孢曲松钠", "头孢曲松"),
        ("阿司匹林", "阿司匹林"),
        ("苯磺酸氨氯地平片", "氨氯地平"),
        ("甲苯磺酸艾多沙班片", "艾多沙班"),
        ("培哚普利叔丁胺片", "培哚普利"),
        ("克拉霉素分散片", "克拉霉素"),
        ("硝酸甘油片", "硝酸甘油"),
        ("碳酸钙片", "碳酸钙"),
        ("钙注射剂", "钙注射剂"),
        ("硫酸镁注射液", "硫酸镁"),
        ("氯化钾缓释片", "氯化钾"),
        ("碳酸锂", "碳酸锂"),
        ("芬太尼透皮贴剂", "芬太尼"),
        ("蒙脱石散", "蒙脱石"),
        ("维生素D2软胶囊", "维生素D2"),
        ("华法林钠片(3mg)", "华法林"),
        ("片", "片"),
    ],
)
def test_core_name_drops_salt_and_dosage_form(name: str, core: str) -> None:
    assert core_name(name) == core


@given(st.text(min_size=1).filter(str.strip))
def test_core_name_is_a_part_of_the_name(name: str) -> None:
    core = core_name(name)
    assert core in re.sub(r"[\s®™]|[(（][^()（）]*[)）]", "", name)
    assert core_name(core + "片") == core_name(core) or len(core) < 3


DRUG = "利伐沙班片"


def entity(text: str, start: int | None, score: float = 0.9) -> dict[str, Any]:
    return {
        "text": text,
        "type": "药物",
        "start": start,
        "end": None if start is None else start + len(text),
        "score": score,
    }


OWN = entity(DRUG, None)


def relation(head: dict[str, Any], kind: str, tail: dict[str, Any], score: float) -> dict[str, Any]:
    return {"type": kind, "head": head, "tail": tail, "score": score}


def triples(relations: list[dict[str, Any]]) -> list[tuple[str, str, str, float]]:
    return [(r["head"]["text"], r["type"], r["tail"]["text"], r["score"]) for r in relations]


def test_own_name_rule_recognises_the_leaflets_drug() -> None:
    short, other = entity("利伐沙班", 0), entity("酮康唑", 5)
    relations = [
        relation(short, "禁忌", OWN, 0.9), relation(other, "禁忌", short, 0.8), relation(other, "禁忌", OWN, 0.6),
        relation(other, "促进", OWN, 0.5),
    ]  # fmt: skip
    entities, found = apply_rules([short, other], relations, DRUG, ["own_name"])
    assert entities == [short, other]
    assert triples(found) == [("酮康唑", "禁忌", DRUG, 0.8), ("酮康唑", "促进", DRUG, 0.5)]
    assert all(r["tail"]["start"] is None for r in found)


def test_one_relation_rule_keeps_two_only_if_both_directions_are_certain() -> None:
    other, third = entity("酮康唑", 0), entity("利福平", 5)
    sure = [relation(other, "促进", OWN, 0.95), relation(OWN, "协同", other, 0.9)]
    doubtful = [
        relation(third, "抑制", OWN, 0.9),
        relation(OWN, "抑制", third, 0.5),
        relation(third, "禁忌", OWN, 0.89),
    ]
    _, found = apply_rules([other, third], [*doubtful, *sure], DRUG, ["one_relation"])
    assert triples(found) == [
        ("利福平", "抑制", DRUG, 0.9), ("酮康唑", "促进", DRUG, 0.95), (DRUG, "协同", "酮康唑", 0.9),
    ]  # fmt: skip


@pytest.mark.parametrize("word", ["药物", "本品", "其他药物", "酒精", "含酒精饮料", "补钾", "金属离子", "食物"])
def test_no_drug_rule_removes_words_that_are_not_drugs(word: str) -> None:
    wrong, right = entity(word, 0), entity("抗酸药", 9)
    relations = [relation(wrong, "协同", OWN, 0.9), relation(right, "抑制", OWN, 0.9)]
    entities, found = apply_rules([wrong, right], relations, DRUG, ["no_drug"])
    assert entities == [right]
    assert triples(found) == [("抗酸药", "抑制", DRUG, 0.9)]


@pytest.mark.parametrize("name", ["降压药", "口服抗凝药", "镇静药物", "含铝制剂", "避孕药", "钙剂", "中药"])
def test_no_drug_rule_keeps_drug_classes(name: str) -> None:
    drug = entity(name, 0)
    assert apply_rules([drug], [], DRUG, ["no_drug"])[0] == [drug]


def test_rules_are_chosen_by_name() -> None:
    assert chosen_rules(True) == tuple(RULES)
    assert chosen_rules(False) == ()
    assert chosen_rules(["one_relation", "no_drug"]) == ("no_drug", "one_relation")
    with pytest.raises(ValueError, match=r"rules='own_nam' is not known.*'own_name'"):
        chosen_rules(["own_nam"])
