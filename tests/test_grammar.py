"""Sentences by rule, which the bundled model learns from beside the corpus."""

from __future__ import annotations

import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from datasets_scripts.ch_ddi.annotations import read_all
from datasets_scripts.ch_ddi.builder import SHIPPED
from datasets_scripts.ch_ddi.checks import problems
from datasets_scripts.ch_ddi.records import CH_DDI_RELATION_TYPES, AnnotatedSentence
from modeling_iser.rules_iser import core_name
from recipes.default_model import grammar

from .conftest import REPOSITORY


TRAINING = [sentence for _, sentence in read_all(SHIPPED / "train.jsonl", "paper")[0]]


@pytest.fixture(scope="module")
def sentences() -> list[AnnotatedSentence]:
    by_rule = grammar.make_grammar(TRAINING, seed=3)
    return [by_rule.sentence() for _ in range(6000)]


def named(sentence: AnnotatedSentence) -> set[tuple[str, str, str]]:
    return {(sentence.drug(head), relation, sentence.drug(tail)) for head, tail, relation in sentence.relations}


def test_sentences_are_as_the_guidelines_want_them(sentences: list[AnnotatedSentence]) -> None:
    for sentence in sentences:
        # A semicolon may stand within a sentence of the pipeline.
        assert [p for p in problems(sentence) if p != "the text is more than one sentence."] == [], sentence.text
        assert not re.search("[⟦⟧{}<>]|均均", sentence.text), sentence.text
        own = core_name(sentence.leaflet)
        for head, tail, relation in sentence.relations:
            if 0 not in (head, tail):  # Another drug acts on a third, and the leaflet's is not spoken of.
                assert not re.search("本品|本药", sentence.text)
                assert own not in sentence.text.partition("@")[2]
            assert relation not in ("禁忌", "加成") or tail == 0
            assert core_name(sentence.drug(head or tail)) != own
    kinds = Counter(relation for sentence in sentences for *_, relation in sentence.relations)
    assert set(kinds) == set(CH_DDI_RELATION_TYPES)
    assert 0.1 < sum(not sentence.relations for sentence in sentences) / len(sentences) < 0.3


def test_negation_and_direction_are_what_the_words_say(sentences: list[AnnotatedSentence]) -> None:
    """Read with patterns of our own: whoever stands before the verb acts, and 不 and 未 make it irrelevant."""
    seen = 0
    for sentence in sentences:
        body = sentence.text.partition("@")[2]
        simple = re.fullmatch(
            r"(.{2,20}?)(?:可|能|会|可能)?(升高|降低|增强|减弱|不升高|不降低|不增强|不减弱)(.{2,20}?)的(血药浓度|作用|疗效)",
            body,
        )
        if not simple or len(sentence.entities) != 2:
            continue
        actor, verb, patient, _ = simple.groups()
        other = sentence.drug(1)
        if {actor, patient} != {"本品", other}:
            continue
        seen += 1
        label = "无关" if verb.startswith("不") else {"升高": "促进", "增强": "协同", "减弱": "拮抗"}.get(verb)
        label = label or ("抑制" if "浓度" in body else "拮抗")
        ends = (sentence.leaflet, other) if actor == "本品" else (other, sentence.leaflet)
        assert named(sentence) == {(ends[0], label, ends[1])}, sentence.text
    assert seen >= 3


def test_the_same_seed_gives_the_same_sentences() -> None:
    first, second, other = (grammar.make_grammar(TRAINING, seed) for seed in (1, 1, 2))
    texts = [[each.sentence().text for _ in range(50)] for each in (first, second, other)]
    assert texts[0] == texts[1] != texts[2]


def test_no_frame_of_the_contrast_sets_is_trained_on(tmp_path: Path) -> None:
    command = [sys.executable, "recipes/default_model/grammar.py", "--output", str(tmp_path), "--sentences", "1500"]
    subprocess.run(command, check=True, cwd=REPOSITORY)
    train, validation = (
        [sentence for _, sentence in read_all(tmp_path / f"{name}.jsonl", "paper")[0]]
        for name in ("train", "validation")
    )
    assert {sentence.leaflet for sentence in validation}.isdisjoint(s.leaflet for s in train[:-1500])
    assert len(train) - 1500 + len(validation) == len(TRAINING)
    tested = grammar.contrast_frames()
    assert len(tested) > 150
    assert not [sentence.text for sentence in train[-1500:] if grammar.masked(sentence) in tested]
    sentence = next(sentence for sentence in train if len(sentence.entities) > 1)
    assert grammar.masked(sentence).count("⟦⟧") == len(sentence.entities) - 1
