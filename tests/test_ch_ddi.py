"""CH-DDI's format: alignment of drug strings, splits, broken records."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from datasets_scripts import load_ch_ddi
from datasets_scripts.ch_ddi.builder import SHIPPED, parse_ch_ddi
from datasets_scripts.ch_ddi.records import CH_DDI_RELATION_TYPES
from datasets_scripts.documents import DOCUMENT_FEATURES, BrokenRecordError
from modeling_iser.text_iser import split_words


def record(text: str, *triples: tuple[str, str, str], **extra: Any) -> dict[str, Any]:
    """A record of the paper's format from (subject, predicate, object)."""
    spo_list = [
        {
            "predicate": predicate,
            "subject": subject,
            "subject_type": "药物",
            "object": {"@value": tail},
            "object_type": {"@value": "药物"},
        }
        for subject, predicate, tail in triples
    ]
    return {"text": text, "spo_list": spo_list, **extra}


def parse(tmp_path: Path, *records: dict[str, Any]) -> list[Any]:
    path = tmp_path / "train.jsonl"
    path.write_text("".join(json.dumps(r, ensure_ascii=False) + "\n" for r in records), encoding="utf-8")
    return [document for _, document in parse_ch_ddi(path)]


def named(document: dict[str, Any]) -> list[tuple[str, int]]:
    """The text and the first word of each entity."""
    return [("".join(document["tokens"][e["start"] : e["end"]]), e["start"]) for e in document["entities"]]


def test_the_papers_example(tmp_path: Path) -> None:
    (document,) = parse(tmp_path, record("布美他尼片@与多巴胺合用,利尿作用加强", ("多巴胺", "协同", "布美他尼片")))
    assert document["tokens"][:8] == ["布", "美", "他", "尼", "片", "@", "与", "多"]
    assert named(document) == [("布美他尼片", 0), ("多巴胺", 7)]
    assert document["relations"] == [{"head": 1, "tail": 0, "type": "协同"}]


@pytest.mark.parametrize(
    ("text", "triples", "entities"),
    [
        # The prompt itself, although it also occurs in the sentence.
        ("甲片@甲片与乙合用", [("乙", "协同", "甲片")], [("甲片", 0), ("乙", 6)]),
        # After the @, although it also occurs in the prompt.
        ("甲片@甲与乙", [("乙", "协同", "甲")], [("甲", 3), ("乙", 5)]),
        # The first of several after the @.
        ("甲片@乙或乙", [("乙", "禁忌", "甲片")], [("甲片", 0), ("乙", 3)]),
        # Not the occurrence within a longer drug,
        (
            "甲片@乙钠不同于乙",
            [("乙钠", "协同", "甲片"), ("乙", "拮抗", "甲片")],
            [("甲片", 0), ("乙钠", 3), ("乙", 8)],
        ),
        # unless there is no other.
        ("甲片@丙乙钠", [("丙乙钠", "协同", "甲片"), ("乙", "拮抗", "甲片")], [("甲片", 0), ("丙乙钠", 3), ("乙", 4)]),
        # Occurrences in the prompt only.
        ("甲乙片@慎用", [("甲", "协同", "乙")], [("甲", 0), ("乙", 1)]),
        # No prompt.
        ("乙与甲", [("乙", "无关", "甲")], [("乙", 0), ("甲", 2)]),
        ("甲片@CYP3A4抑制剂 5mg", [("CYP3A4抑制剂", "促进", "甲片")], [("甲片", 0), ("CYP3A4抑制剂", 3)]),
    ],
)
def test_which_occurrence_a_drug_string_means(
    tmp_path: Path, text: str, triples: list[tuple[str, str, str]], entities: list[tuple[str, int]]
) -> None:
    (document,) = parse(tmp_path, record(text, *triples))
    assert named(document) == entities


def test_explicit_entities(tmp_path: Path) -> None:
    text = "甲片@丙,乙,乙"
    mentions = [{"text": text[s:e], "start": s, "end": e, "type": "药物"} for s, e in ((0, 2), (3, 4), (5, 6), (7, 8))]
    (document,) = parse(tmp_path, record(text, ("乙", "加成", "甲片"), entities=mentions))
    assert named(document) == [("甲片", 0), ("丙", 3), ("乙", 5), ("乙", 7)]
    assert document["relations"] == [{"head": 2, "tail": 0, "type": "加成"}]


def test_plain_strings_and_several_relations_of_one_pair(tmp_path: Path) -> None:
    plain = {"predicate": "协同", "subject": "乙", "subject_type": "药物", "object": "甲片", "object_type": "药物"}
    (document,) = parse(tmp_path, {"text": "甲片@乙", "spo_list": [plain, {**plain, "predicate": "禁忌"}]})
    assert [relation["type"] for relation in document["relations"]] == ["协同", "禁忌"]


@pytest.mark.parametrize(
    ("broken", "reason"),
    [
        (record("甲片@乙", ("丙", "协同", "甲片")), "'丙' does not occur in '甲片@乙'"),
        (record("甲片@乙", ("乙", "增强", "甲片")), "unknown relation '增强'. CH-DDI has: 拮抗, 抑制"),
        (record("甲片@乙", ("甲片", "协同", "甲片")), "'甲片' has the relation 协同 to itself"),
        (record("甲片@乙", ("乙", "协同", "甲片"), ("乙", "协同", "甲片")), "a relation is listed twice"),
        (record("甲片@CYP3A4", ("CYP3A", "协同", "甲片")), "begins or ends within a word"),
        (record("", ("乙", "协同", "甲片")), "'text' must be a non-empty string"),
        ({"text": "甲片@乙"}, "'spo_list' must be a list of objects"),
        ({"text": "甲", "spo_list": [{"predicate": "协同", "subject": 3}]}, "'subject' of a relation must be a string"),
        (
            record("甲@乙", entities=[{"text": "乙", "start": 1, "end": 2, "type": "药物"}]),
            "the entity is '乙', but the text at 1:2 is '@'",
        ),
        (
            record("甲@乙", entities=[{"text": "乙", "start": 2, "end": 9, "type": "药物"}]),
            "lies outside the text's 3 characters",
        ),
        (record("甲@乙", ("乙", "协同", "甲"), entities=[]), "is not among the record's 'entities'"),
        ([1], "a record must be an object"),
    ],
)
def test_broken_records(tmp_path: Path, caplog: pytest.LogCaptureFixture, broken: Any, reason: str) -> None:
    good = record("甲片@乙", ("乙", "协同", "甲片"))
    lines = [json.dumps(r, ensure_ascii=False) for r in (good, broken, good)]
    (tmp_path / "train.jsonl").write_text("\n".join([lines[0], "", *lines[1:]]), encoding="utf-8")
    with pytest.raises(BrokenRecordError) as error:
        load_ch_ddi(tmp_path)
    for part in ("train.jsonl, line 3", reason):
        assert part in str(error.value)
    with caplog.at_level(logging.WARNING):
        splits = load_ch_ddi(tmp_path, on_error="skip")
    assert [document["id"] for document in splits["train"]] == ["train-1", "train-4"]
    assert "Skipped 1 broken records of ch_ddi" in caplog.text
    assert "line 3" in caplog.text


def test_line_that_is_not_json(tmp_path: Path) -> None:
    (tmp_path / "dev.jsonl").write_text('{"text": "甲"', encoding="utf-8")
    with pytest.raises(BrokenRecordError, match="line 1: not JSON"):
        load_ch_ddi(tmp_path)


def test_files_and_splits(tmp_path: Path) -> None:
    good = record("甲片@乙", ("乙", "协同", "甲片"))
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "dev.jsonl").write_text(json.dumps(good), encoding="utf-8-sig")
    (tmp_path / "data" / "train.json").write_text(json.dumps([good, good]), encoding="utf-8")
    splits = load_ch_ddi(tmp_path)
    assert {name: len(split) for name, split in splits.items()} == {"train": 2, "validation": 1}
    assert splits["train"].features == DOCUMENT_FEATURES
    assert list(load_ch_ddi(data_files={"mine": tmp_path / "data" / "dev.jsonl"})) == ["mine"]
    (tmp_path / "data" / "valid.jsonl").write_text("", encoding="utf-8")
    with pytest.raises(ValueError, match="are both the split 'validation'"):
        load_ch_ddi(tmp_path)
    with pytest.raises(FileNotFoundError, match="There is no directory"):
        load_ch_ddi(tmp_path / "none")
    (tmp_path / "empty").mkdir()
    with pytest.raises(FileNotFoundError, match=r"holds no \.jsonl or \.json file"):
        load_ch_ddi(tmp_path / "empty")


def test_the_shipped_corpus() -> None:
    if not SHIPPED.is_dir():
        pytest.skip("no corpus is shipped yet")
    splits = load_ch_ddi()
    assert list(splits) == ["train", "leaflets", "test"]
    for split in splits.values():
        assert {r["type"] for d in split for r in d["relations"]} == set(CH_DDI_RELATION_TYPES)


@given(
    st.text("甲乙丙AB1 ,@", min_size=1, max_size=12),
    st.lists(st.tuples(st.integers(0, 11), st.integers(1, 4)), min_size=2, max_size=2),
)
def test_aligned_entity_has_the_text_of_the_drug(
    tmp_path_factory: pytest.TempPathFactory, text: str, cuts: list[tuple[int, int]]
) -> None:
    drugs = [text[start : start + size].strip() for start, size in cuts]
    if not all(drugs) or drugs[0] == drugs[1]:
        return
    (document,) = parse(tmp_path_factory.mktemp("x"), record(text, (drugs[0], "协同", drugs[1])))
    if isinstance(document, ValueError):
        assert "within a word" in str(document)
        return
    assert "".join(document["tokens"]) == "".join(text.split())
    (relation,) = document["relations"]
    for role, drug in (("head", drugs[0]), ("tail", drugs[1])):
        entity = document["entities"][relation[role]]
        assert "".join(document["tokens"][entity["start"] : entity["end"]]) == "".join(drug.split())


@pytest.mark.parametrize("text", ["β受体阻滞剂CYP3A4 5.5mg", "①DPP-4⑵A", "Ａ１é 𠮷_カ\u0301", "α1受体"])
def test_words_equal_those_of_the_model(tmp_path: Path, text: str) -> None:
    (document,) = parse(tmp_path, record(text))
    assert document["tokens"] == [text[start:end] for start, end in split_words(text)]
