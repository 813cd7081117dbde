"""Contrast sets: their items, and the pass rates of the bundled model."""

from __future__ import annotations

from collections import Counter

import pytest
import yaml

from benchmarks.bundled_model.contrasts import FLOORS, Answer, Item, answer, pass_rates, read_items, unsteady_frames
from modeling_iser import DEFAULT_MODEL, DdiExtractionPipeline, IserForJointExtraction


ITEMS = read_items()


def test_every_family_has_ten_consistent_items() -> None:
    families = Counter(item.family for item in ITEMS)
    assert len(families) >= 40
    assert min(families.values()) >= 10
    assert read_items() == ITEMS, "the items must be deterministic"
    for item in ITEMS:
        assert "{" not in item.text
        for head, _, tail in item.expected:
            assert {head, tail} & {"P"}
            assert all(name == "P" or name in item.text for name in (head, tail))
    assert len({item.text for item in ITEMS}) > 0.9 * len(ITEMS)


def test_judgement_of_answers() -> None:
    def item(*triples: tuple[str, str, str]) -> Item:
        return Item("family", "frame", "甲片", "文", frozenset(triples))

    harmless, forbidden, nothing = item(("乙", "无关", "P")), item(("乙", "禁忌", "P")), item()
    assert Answer(harmless, {("乙", "无关", "P"): 0.4}).right
    assert not Answer(harmless, {("P", "无关", "乙"): 0.4}).right
    assert not Answer(nothing, {("乙", "无关", "P"): 0.4}).right
    assert Answer(harmless, {("P", "促进", "乙"): 0.6}).inversion
    assert not Answer(harmless, {("P", "促进", "乙"): 0.4}).inversion
    assert Answer(nothing, {("乙", "禁忌", "P"): 0.6}).inversion
    assert not Answer(nothing, {("乙", "无关", "P"): 0.6}).inversion
    assert Answer(forbidden, {("乙", "无关", "P"): 0.6}).inversion
    assert not Answer(forbidden, {}).inversion
    right, wrong = Answer(nothing, {}), Answer(nothing, {("乙", "无关", "P"): 0.6})
    assert pass_rates([right, wrong, right, right]) == {"family": 75.0}
    assert unsteady_frames([right, wrong]) == ["family: frame"]
    assert unsteady_frames([right, right]) == []


@pytest.fixture(scope="module")
def answers() -> list[Answer]:
    model = IserForJointExtraction.from_pretrained(DEFAULT_MODEL)
    return answer(DdiExtractionPipeline(model=model, tokenizer=model.tokenizer), ITEMS)


def test_bundled_model_reaches_the_pass_rates(answers: list[Answer]) -> None:
    floors = yaml.safe_load(FLOORS.read_text(encoding="utf-8"))
    rates = pass_rates(answers)
    assert floors.keys() == rates.keys()
    assert {family: rate for family, rate in rates.items() if rate < floors[family]} == {}
