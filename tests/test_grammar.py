"""Generated sentences, on which the bundled model is trained in addition to the corpus."""

from __future__ import annotations

import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from datasets_scripts.ch_ddi.annotation_files import read_all
from datasets_scripts.ch_ddi.builder import SHIPPED
from datasets_scripts.ch_ddi.checks import problems
from datasets_scripts.ch_ddi.records import CH_DDI_RELATION_TYPES, AnnotatedSentence
from modeling_iser.drugs_iser import core_name
from modeling_iser.text_iser import split_words
from recipes.default_model import grammar

from .conftest import REPOSITORY


TRAINING = [sentence for _, sentence in read_all(SHIPPED / "train.jsonl", "paper")[0]]


@pytest.fixture(scope="module")
def sentences() -> list[AnnotatedSentence]:
    by_rule = grammar.make_grammar(TRAINING, seed=3)
    return [by_rule.sentence() for _ in range(6000)]


def named(sentence: AnnotatedSentence) -> set[tuple[str, str, str]]:
    return {(sentence.drug(head), relation, sentence.drug(tail)) for head, tail, relation in sentence.relations}


def test_sentences_follow_the_guidelines(sentences: list[AnnotatedSentence]) -> None:
    for sentence in sentences:
        # Unlike the corpus, the pipeline accepts semicolons within a sentence.
        assert [p for p in problems(sentence) if p != "the text is more than one sentence."] == [], sentence.text
        assert not re.search("[⟦⟧{}<>]|均均", sentence.text), sentence.text
        starts, ends = map(set, zip(*split_words(sentence.text), strict=True))
        assert all(start in starts and end in ends for start, end in sentence.entities), sentence.text
        own = core_name(sentence.leaflet)
        for head, tail, relation in sentence.relations:
            if 0 not in (head, tail):  # The leaflet's drug is not mentioned.
                assert not re.search("本品|本药", sentence.text)
                assert own not in sentence.text.partition("@")[2]
            assert relation not in ("禁忌", "加成") or tail == 0
            assert core_name(sentence.drug(head or tail)) != own
    kinds = Counter(relation for sentence in sentences for *_, relation in sentence.relations)
    assert set(kinds) == set(CH_DDI_RELATION_TYPES)
    assert 0.1 < sum(not sentence.relations for sentence in sentences) / len(sentences) < 0.3


VERBS = {
    "血药浓度": {"升高": "促进", "降低": "抑制", "不升高": "无关", "不降低": "无关"},
    "作用": {"增强": "协同", "减弱": "拮抗", "抑制": "拮抗", "不增强": "无关", "不减弱": "无关"},
    "疗效": {"提高": "协同", "降低": "拮抗", "抑制": "拮抗", "不减弱": "无关"},
    "吸收": {"促进": "促进", "增加": "促进", "抑制": "抑制", "减少": "抑制"},
    "排泄": {"促进": "抑制", "加快": "抑制", "抑制": "促进", "减少": "促进"},
    "代谢": {"促进": "抑制", "诱导": "抑制", "抑制": "促进", "减慢": "促进"},
}
"""Object → verb → relation, stated independently of the grammar."""


def test_negation_and_direction(sentences: list[AnnotatedSentence]) -> None:
    """The drug before the verb acts, 不 negates, and the object distinguishes levels from effects."""
    seen: Counter[str] = Counter()
    verbs = "|".join(sorted({verb for each in VERBS.values() for verb in each}, key=len, reverse=True))
    hedges = "(?:(?:据报道|有时|偶)?可?能?|会|明显)?"
    pattern = re.compile(f"(.{{2,20}}?){hedges}({verbs})(.{{2,20}}?)的({'|'.join(VERBS)})")
    for sentence in sentences:
        simple = pattern.fullmatch(sentence.text.partition("@")[2].rstrip("。"))
        if not simple or simple[2] not in VERBS[simple[4]]:
            continue
        ours = {"本品", "本药", core_name(sentence.leaflet)}
        others = {sentence.drug(index) for index in range(1, len(sentence.entities))} - ours
        actor, patient = (sentence.leaflet if name in ours else name for name in (simple[1], simple[3]))
        if len(others) != 1 or {actor, patient} != {sentence.leaflet, *others}:
            continue
        seen[simple[4]] += 1
        assert named(sentence) == {(actor, VERBS[simple[4]][simple[2]], patient)}, sentence.text
    assert seen.total() >= 10 and len(seen) >= 4


def test_negated_prohibitions(sentences: list[AnnotatedSentence]) -> None:
    """不可以 and 必须避免 are prohibitions; 可以, 并非不可 and 不必避免 are not."""
    allowed = re.compile("并非不|不是不|并不是不能|并非禁忌|不属禁忌|并不禁止|不必避免|没有理由避免|不受限制|无须停用")
    forbidden = re.compile("(?<!不是)不可以与|绝不能|切不可|必须避免|必须停用|并不能与|并不安全")
    seen = Counter()
    for sentence in sentences:
        for pattern, label in ((allowed, "无关"), (forbidden, "禁忌")):
            if pattern.search(sentence.text):
                seen[label] += 1
                assert {relation for *_, relation in sentence.relations} == {label}, sentence.text
    assert min(seen["无关"], seen["禁忌"]) >= 50


def test_level_of_the_drug_that_the_sentence_begins_with(sentences: list[AnnotatedSentence]) -> None:
    """X与本品合用时血药浓度升高: X is acted on; 本品与X合用时血药浓度升高: X acts."""
    together = "(?:合用|同用|同时服用|联合应用|并用|同时使用|联用)(?:时|后),?(?:可|会|可能|其)?"
    level = re.compile(f"(.*?)与(.*){together}(?:血药|血浆|血清)浓度(?:显著|明显)?(升高|增高|上升|降低|下降|减低)")
    seen = Counter()
    for sentence in sentences:
        if not (found := level.fullmatch(sentence.text.partition("@")[2].rstrip("。"))):
            continue
        first, _, change = found.groups()
        others = {sentence.drug(i) for i in range(1, len(sentence.entities))} - {core_name(sentence.leaflet)}
        acts = not any(name in first for name in others)
        assert {relation for *_, relation in sentence.relations} == {"抑制" if change[0] in "降下减" else "促进"}
        assert {head == 0 for head, *_ in sentence.relations} == {not acts}, sentence.text
        seen[acts] += 1
    assert min(seen[True], seen[False]) >= 10


def test_food_to_avoid_says_nothing_of_the_drugs(sentences: list[AnnotatedSentence]) -> None:
    aside = re.compile("(避免|不宜|禁止|不应|不得|不可|忌).{0,8}(葡萄柚|西柚|酒|牛奶|茶水|饮食|食物)[^,;]*$")
    followed = [sentence for sentence in sentences if aside.search(sentence.text) and sentence.relations]
    assert len(followed) >= 50
    assert not [s.text for s in followed if "禁忌" in {relation for *_, relation in s.relations}]


def test_the_same_seed_gives_the_same_sentences() -> None:
    first, second, other = (grammar.make_grammar(TRAINING, seed) for seed in (1, 1, 2))
    texts = [[each.sentence().text for _ in range(50)] for each in (first, second, other)]
    assert texts[0] == texts[1] != texts[2]


def test_training_data_excludes_contrast_sets(tmp_path: Path) -> None:
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
