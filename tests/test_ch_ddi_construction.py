"""Corpus construction: raw leaflets → sentences → annotations → checked splits. All text is invented."""

from __future__ import annotations

import itertools
import json
import os
import random
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from datasets import load_dataset
from hypothesis import given
from hypothesis import strategies as st

from datasets_scripts import load_ch_ddi
from datasets_scripts.ch_ddi import annotators, baselines, checks, statistics
from datasets_scripts.ch_ddi.__main__ import main
from datasets_scripts.ch_ddi.annotation_files import FORMATS, from_names, read_all, to_names, write_sentences
from datasets_scripts.ch_ddi.builder import SHIPPED
from datasets_scripts.ch_ddi.corpus import choose_test_drugs, read_corpus, split_corpus
from datasets_scripts.ch_ddi.leaflets import (
    Leaflet,
    interaction_section,
    prompted_sentences,
    read_leaflets,
    segment,
    tidy,
)
from datasets_scripts.ch_ddi.records import CH_DDI_RELATION_TYPES, AnnotatedSentence
from datasets_scripts.documents import BrokenRecord

from .conftest import REPOSITORY


CORPUS = SHIPPED.parent


def leaflet(body: str, drug: str = "甲片") -> Leaflet:
    return Leaflet(drug, "", "", body, "leaflets.txt", 1)


def sentences(body: str) -> list[str]:
    """The sentences of a section, without their prompt."""
    return [text.removeprefix("甲片@") for text in prompted_sentences(leaflet("【药物相互作用】" + body))]


# ------------------------------------------------------------------------------------ segmentation


def test_the_papers_example_from_raw_text_to_json_line(tmp_path: Path) -> None:
    raw, annotations, data = (tmp_path / name for name in ("raw", "annotations", "data"))
    raw.mkdir(), annotations.mkdir()
    (raw / "高血压.txt").write_text(
        "<布美他尼片><药物相互作用><1.与多巴胺合用,利尿作用加强。2.肾上腺糖、盐皮质激素,促肾上腺皮质激素及雌激素"
        "能降低本药的利尿作用。3.与拟交感神经药物及抗惊厥药物合用,利尿作用减弱>\n",
        encoding="utf-8",
    )
    assert main(["segment", str(raw / "高血压.txt"), "--output", str(tmp_path / "sentences.txt")]) == 0
    texts = (tmp_path / "sentences.txt").read_text(encoding="utf-8").splitlines()
    assert texts == [
        "布美他尼片@与多巴胺合用,利尿作用加强",
        "布美他尼片@肾上腺糖、盐皮质激素,促肾上腺皮质激素及雌激素能降低本药的利尿作用",
        "布美他尼片@与拟交感神经药物及抗惊厥药物合用,利尿作用减弱",
    ]
    drugs = [["多巴胺"], ["肾上腺糖、盐皮质激素", "促肾上腺皮质激素", "雌激素"], ["拟交感神经药物", "抗惊厥药物"]]
    lines = [
        {
            "text": text,
            "entities": ["布美他尼片", *names],
            "relations": [[name, "协同" if "加强" in text else "拮抗", "布美他尼片"] for name in names],
        }
        for text, names in zip(texts, drugs, strict=True)
    ]
    (annotations / "高血压.jsonl").write_text("\n".join(map(json.dumps, lines)), encoding="utf-8")
    build = ["build", "--raw", str(raw), "--annotations", str(annotations), "--output", str(data)]
    assert main(build) == 0
    first = json.loads((data / "train.jsonl").read_text(encoding="utf-8").splitlines()[0])
    assert first["text"] == "布美他尼片@与多巴胺合用,利尿作用加强"
    assert first["spo_list"] == [
        {
            "predicate": "协同",
            "subject": "多巴胺",
            "subject_type": "药物",
            "object": {"@value": "布美他尼片"},
            "object_type": {"@value": "药物"},
        }
    ]
    assert main([*build, "--check"]) == 0
    (data / "train.jsonl").write_text("{}", encoding="utf-8")
    assert main([*build, "--check"]) == 1


def test_corrected_annotations_leave_the_split_unchanged(tmp_path: Path) -> None:
    raw, annotations = write_corpus(tmp_path)
    data = tmp_path / "data"
    build = ["build", "--raw", str(raw), "--annotations", str(annotations), "--output", str(data)]

    def test_split() -> list[str]:
        assert main(build) == 0
        return [json.loads(line)["text"] for line in (data / "test.jsonl").read_text(encoding="utf-8").splitlines()]

    before = test_split()
    chosen = before[0].partition("@")[0]
    for file in annotations.glob("*.jsonl"):
        lines = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
        for line in lines:
            line["relations"] = [] if line["text"].startswith(chosen) else line["relations"]
        file.write_text("\n".join(map(json.dumps, lines)), encoding="utf-8")
    assert test_split() == before
    (tmp_path / "test_drugs.txt").unlink()
    assert test_split() != before


def test_drugs_of_the_test_split_must_have_leaflets(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    raw, annotations = write_corpus(tmp_path)
    (tmp_path / "test_drugs.txt").write_text("不存在片\n", encoding="utf-8")
    build = ["build", "--raw", str(raw), "--annotations", str(annotations), "--output", str(tmp_path / "data")]
    assert main(build) == 1
    assert "不存在片" in capsys.readouterr().err


def test_further_split_from_a_file_of_drugs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    raw, annotations = write_corpus(tmp_path)
    build = ["build", "--raw", str(raw), "--annotations", str(annotations), "--output", str(tmp_path / "data")]
    assert main(build) == 0
    test_drugs = (tmp_path / "test_drugs.txt").read_text(encoding="utf-8").splitlines()
    drug = next(item.leaflet.drug for item in read_corpus(raw, annotations) if item.leaflet.drug not in test_drugs)
    (tmp_path / "hard_drugs.txt").write_text(f"{drug}\n", encoding="utf-8")
    assert main(build) == 0
    written = {path.stem: path.read_text(encoding="utf-8") for path in (tmp_path / "data").glob("*.jsonl")}
    assert written.keys() == {"train", "test", "hard"}
    assert drug in written["hard"]
    assert f'"{drug}@' not in written["train"] + written["test"]
    capsys.readouterr()
    (tmp_path / "hard_drugs.txt").write_text(f"{test_drugs[0]}\n", encoding="utf-8")
    assert main(build) == 1
    assert f"In two splits: {test_drugs[0]}" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        # Numbers of every kind, at line starts and after separators.
        ("1.与乙合用增强。2.与丙合用减弱。", ["与乙合用增强", "与丙合用减弱"]),
        ("\n1、与乙合用\n增强\n2、与丙合用减弱", ["与乙合用增强", "与丙合用减弱"]),
        ("（1）与乙合用增强；（2）与丙合用减弱", ["与乙合用增强", "与丙合用减弱"]),
        ("①与乙合用增强；②与丙合用减弱", ["与乙合用增强", "与丙合用减弱"]),
        ("一、与乙合用增强。\n二、与丙合用减弱", ["与乙合用增强", "与丙合用减弱"]),
        # A decimal does not begin an item.
        ("1.乙使AUC升至2.4倍,\n3.5小时后恢复。", ["乙使AUC升至2.4倍,3.5小时后恢复"]),
        # A list after a colon stays whole, up to the next item.
        (
            "1.增强本品的药:①乙;②丙,须减量。2.丁减弱本品。",
            ["增强本品的药:①乙;②丙,须减量", "丁减弱本品"],
        ),
        ("下列药物禁用：\n(1)乙；\n(2)丙。丁无妨。", ["下列药物禁用：(1)乙；(2)丙", "丁无妨"]),
        ("14:30服乙;16:30服丙", ["14:30服乙", "16:30服丙"]),
        # Continuation words, brackets, Latin words.
        ("与乙合用增强。因此应减量。与丙合用减弱。", ["与乙合用增强。因此应减量", "与丙合用减弱"]),
        ("乙(强效;口服)增强本品。此外丙减弱本品", ["乙(强效;口服)增强本品", "此外丙减弱本品"]),
        ("St John's wort 减弱\u3000本品 1.5 mg。", ["St John's wort减弱本品1.5 mg"]),
        # HTML remnants.
        ("1.乙<sup>®</sup>增强&nbsp;本品&lt;10%。<br/>2.丙<i>减弱</i>本品。<p>", ["乙增强本品<10%", "丙减弱本品"]),
        # The next section is ignored.
        ("乙增强本品。\n【药物过量】丙可解毒。", ["乙增强本品"]),
    ],
)
def test_segmentation(body: str, expected: list[str]) -> None:
    assert sentences(body) == expected


@pytest.mark.parametrize(
    "heading",
    [
        "【药物相互作用】",
        "[药物相互作用]：",
        "◆【与其他药物的相互作用】",
        "药物相互作用:",
        "<b>【药物相互作用】</b>",
        "\n■药物的相互作用\n",
    ],
)
def test_headings(heading: str) -> None:
    assert prompted_sentences(leaflet(f"{heading}1.与乙合用增强。")) == ["甲片@与乙合用增强"]


SECTIONS = st.text("甲乙丙本品因此其但CYP3 A4.．、,，。;；:：()（）[]【】①②一二12\n\u3000", min_size=1, max_size=80)


@given(SECTIONS)
def test_segmentation_removes_only_whitespace_numbers_and_separators(section: str) -> None:
    marker = r"(?:\d{1,2}[.．、)）]|[(（]\d{1,2}[)）]|[①-⑳]|[一二三四五六七八九十]{1,3}、)"
    position = 0
    for start, end in [*segment(section), (len(section), len(section))]:
        assert start >= position
        assert re.fullmatch(rf"(?:\s|[。;；]|{marker})*", section[position:start]), section[position:start]
        kept, whole = tidy(section[start:end]), section[start:end]
        assert "".join(kept.split()) == "".join(whole.split()).rstrip("。;；")
        position = end


def test_long_section() -> None:
    body = "1.与乙合用时,本品的作用增强。" * 200
    assert sentences(body) == ["与乙合用时,本品的作用增强"] * 200
    (whole,) = sentences("乙" * 3000)
    assert len(whole) == 3000
    assert any(
        "rarely needs more than" in p for p in checks.problems(AnnotatedSentence("甲片@" + whole, ((0, 2),), ()))
    )


def test_files_of_leaflets(tmp_path: Path) -> None:
    path = tmp_path / "leaflets.txt"
    text = "# 药品: 甲片\n# 疾病：高血压\n# 来源: 手册\n【药物相互作用】\n乙增强本品。\r\n# 药品: 丙片\n【用法】口服\n"
    for encoding in ("utf-8", "utf-8-sig", "gb18030"):
        path.write_bytes(text.encode(encoding))
        first, second = read_leaflets(path)
        assert isinstance(first, Leaflet)
        assert (first.drug, first.disease, first.source, first.line) == ("甲片", "高血压", "手册", 1)
        assert prompted_sentences(first) == ["甲片@乙增强本品"]
        assert isinstance(second, Leaflet)
        with pytest.raises(ValueError, match="丙片 has no heading such as"):
            prompted_sentences(second)
    path.write_bytes("甲\n".encode() + b"\xff\xff\xff")
    with pytest.raises(ValueError, match=r"leaflets\.txt, line 2: neither UTF-8 nor GB18030"):
        list(read_leaflets(path))
    path.write_text("正文\n# 疾病: 高血压\n# 药品: 甲片\n# 剂型: 片\n【药物相互作用】<br>\n", encoding="utf-8")
    *broken, empty = read_leaflets(path)
    reasons = [str(record) for record in broken if isinstance(record, BrokenRecord)]
    assert [re.findall(r"line \d", reason) for reason in reasons] == [["line 1"], ["line 2"], ["line 4"]]
    assert isinstance(empty, Leaflet)
    with pytest.raises(ValueError, match="the interaction section of 甲片 is empty"):
        interaction_section(empty)


def test_segment_reports_broken_leaflets(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "leaflets.txt"
    path.write_text("# 药品: 甲片\n口服。\n# 药品: 丙片\n【药物相互作用】乙增强本品。\n", encoding="utf-8")
    assert main(["segment", str(path)]) == 1
    captured = capsys.readouterr()
    assert captured.out == "丙片@乙增强本品\n"
    assert "leaflets.txt, line 1: the leaflet of 甲片 has no heading" in captured.err


# ------------------------------------------------------------------------------- annotation formats


@st.composite
def annotated(draw: st.DrawFn) -> AnnotatedSentence:
    text = draw(st.text("甲乙A1#@, ", min_size=1, max_size=20).filter(str.strip))
    ranges = st.tuples(st.integers(0, len(text) - 1), st.integers(1, 4)).map(
        lambda item: (item[0], min(len(text), sum(item)))
    )
    entities = draw(st.lists(ranges, unique=True, max_size=5))
    if draw(st.booleans()):  # The format `names` cannot express overlapping drugs.
        previous_end, apart = 0, []
        for start, end in sorted(entities):
            if start >= previous_end:
                apart.append((start, end))
                previous_end = end
        entities = apart
    pairs = [(h, t) for h in range(len(entities)) for t in range(len(entities)) if h != t]
    triples = st.tuples(st.sampled_from(pairs), st.sampled_from(CH_DDI_RELATION_TYPES)) if pairs else st.nothing()
    chosen = draw(st.lists(triples, unique=True, max_size=5)) if pairs else []
    return AnnotatedSentence.of(text, entities, [(h, t, kind) for (h, t), kind in chosen])


@given(st.lists(annotated(), max_size=4))
def test_round_trip_through_formats_is_lossless(
    tmp_path_factory: pytest.TempPathFactory, expected: list[AnnotatedSentence]
) -> None:
    path = tmp_path_factory.getbasetemp() / "sentences.jsonl"
    for file_format in FORMATS:
        if file_format == "names":
            continue
        write_sentences(expected, path, file_format)
        read, broken = read_all(path, file_format)
        assert not broken
        assert [sentence for _, sentence in read] == expected


@given(annotated())
def test_round_trip_through_names_is_lossless(sentence: AnnotatedSentence) -> None:
    ends = [0, *(end for _, end in sentence.entities)]
    if all(start >= end for (start, _), end in zip(sentence.entities, ends, strict=False)):
        assert from_names(json.loads(json.dumps(to_names(sentence)))) == sentence


def test_records_of_annotation_tools(tmp_path: Path) -> None:
    sentence = from_names(
        {"text": "甲片@乙增强本品,乙须减量", "entities": ["甲片", "乙", "乙#2"], "relations": [["乙", "协同", "甲片"]]}
    )
    path = tmp_path / "x"
    write_sentences([sentence], path, "doccano")
    record = json.loads(path.read_text(encoding="utf-8"))
    assert [(e["label"], e["start_offset"], e["end_offset"]) for e in record["entities"]] == [
        ("药物", 0, 2),
        ("药物", 3, 4),
        ("药物", 9, 10),
    ]
    (relation,) = record["relations"]
    ids = [e["id"] for e in record["entities"]]
    assert (relation["from_id"], relation["to_id"], relation["type"]) == (ids[1], ids[0], "协同")
    write_sentences([sentence], path, "label-studio")
    (task,) = json.loads(path.read_text(encoding="utf-8"))
    (arrow,) = [item for item in task["annotations"][0]["result"] if item["type"] == "relation"]
    assert (arrow["direction"], arrow["labels"]) == ("right", ["协同"])
    arrow["direction"], arrow["from_id"], arrow["to_id"] = "left", arrow["to_id"], arrow["from_id"]
    task["annotations"].append({"was_cancelled": True, "result": []})
    path.write_text(json.dumps([task]), encoding="utf-8")
    assert read_all(path, "label-studio") == ([("record 0", sentence)], [])


@pytest.mark.parametrize(
    ("file_format", "record", "reason"),
    [
        ("names", {"text": "甲片@乙", "entities": ["甲片", "丙"], "relations": []}, "'丙' is not in the text"),
        (
            "names",
            {"text": "甲片@乙", "entities": ["乙", "甲片"], "relations": []},
            "'甲片' is not in the text after character",
        ),
        ("names", {"text": "甲@乙", "entities": ["乙#2"], "relations": []}, "occurs 1 times"),
        ("names", {"text": "甲@乙", "entities": ["甲"], "relations": [["乙", "协同", "甲"]]}, "not among the entities"),
        (
            "names",
            {"text": "甲@乙", "entities": ["甲", "乙"], "relations": [["乙", "增强", "甲"]]},
            "unknown relation '增强'",
        ),
        ("names", {"text": "甲@乙", "entities": ["甲"], "relations": [["甲", "协同"]]}, "not enough values"),
        ("names", {"text": "甲@乙"}, "an annotation needs"),
        (
            "doccano",
            {"text": "甲", "entities": [{"id": 1, "label": "病", "start_offset": 0, "end_offset": 1}]},
            "unknown entity type '病'",
        ),
        (
            "doccano",
            {"text": "甲", "relations": [{"from_id": 1, "to_id": 2, "type": "协同"}]},
            "refers to the entity 1",
        ),
        ("doccano", {"text": "甲", "entities": [{"label": "药物"}]}, "'start_offset' must be an integer"),
        ("label-studio", {"data": {"text": "甲"}, "annotations": []}, "0 annotations"),
        (
            "label-studio",
            {"data": {"text": "甲"}, "annotations": [{"result": [{"type": "choices"}]}]},
            "neither 'labels' nor 'relation'",
        ),
        (
            "paper",
            {"text": "甲@乙", "spo_list": [{"predicate": "协同", "subject": "丙"}]},
            "'subject_type' of a relation",
        ),
    ],
)
def test_broken_annotations(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], file_format: str, record: dict[str, Any], reason: str
) -> None:
    path, out = tmp_path / "in.jsonl", tmp_path / "out.jsonl"
    good = AnnotatedSentence("甲片@乙", ((0, 2), (3, 4)), ((1, 0, "协同"),))
    write_sentences([good], path, file_format)
    content = path.read_text(encoding="utf-8")
    lines = [json.loads(line) for line in content.splitlines()] if content[0] == "{" else json.loads(content)
    path.write_text("\n".join(json.dumps(item) for item in [*lines, record]), encoding="utf-8")
    convert = ["convert", str(path), str(out), "--from", file_format, "--to", "paper"]
    assert main(convert) == 1
    assert not out.exists()
    error = capsys.readouterr().err
    assert "in.jsonl, line 2: " in error
    assert reason in error
    assert main([*convert, "--skip-errors"]) == 1
    assert [sentence for _, sentence in read_all(out, "paper")[0]] == [good]


# ----------------------------------------------------------------------------------- build and check


def write_corpus(directory: Path, count: int = 20) -> tuple[Path, Path]:
    """Leaflets of two diseases; sentence i of a leaflet has the i-th relation."""
    raw, annotations = directory / "raw", directory / "annotations"
    raw.mkdir(), annotations.mkdir()
    generator = random.Random(0)
    for disease in ("高血压", "糖尿病"):
        leaflets, lines = [], []
        for number in range(count):
            drug = f"{disease}药{number}片"
            body = []
            for index in range(generator.randint(1, 7)):
                relation = CH_DDI_RELATION_TYPES[index]
                other = f"药{chr(0x4E00 + generator.randrange(20000))}{generator.randrange(1000)}"
                text = "".join(chr(0x4E00 + generator.randrange(20000)) for _ in range(12))
                body.append(f"{index + 1}.{other},{text}。")
                lines.append(
                    {
                        "text": f"{drug}@{other},{text}",
                        "entities": [drug, other],
                        "relations": [[other, relation, drug]],
                    }
                )
            leaflets.append(f"# 药品: {drug}\n# 疾病: {disease}\n【药物相互作用】\n" + "\n".join(body) + "\n")
        (raw / f"{disease}.txt").write_text("\n".join(leaflets), encoding="utf-8")
        (annotations / f"{disease}.jsonl").write_text("\n".join(map(json.dumps, lines)), encoding="utf-8")
    return raw, annotations


def test_split_keeps_leaflets_whole_and_proportions_alike(tmp_path: Path) -> None:
    corpus = read_corpus(*write_corpus(tmp_path))
    splits = split_corpus(corpus, {"test": choose_test_drugs(corpus)})
    leaflets = {name: {sentence.leaflet for sentence in part} for name, part in splits.items()}
    assert leaflets["train"].isdisjoint(leaflets["test"])
    assert len(leaflets["test"]) == 8
    assert {drug[:3] for drug in leaflets["test"]} == {"高血压", "糖尿病"}
    counts = {name: statistics.relation_counts(part) for name, part in splits.items()}
    for relation in CH_DDI_RELATION_TYPES:
        share = counts["test"][relation] / (counts["test"][relation] + counts["train"][relation])
        assert 0.1 < share < 0.3
    assert choose_test_drugs(corpus[::-1]) == choose_test_drugs(corpus)
    assert sum(map(len, splits.values())) == sum(len(item.sentences) for item in corpus)


@pytest.mark.parametrize(
    ("file", "old", "new", "reason"),
    [
        ("raw/高血压.txt", "【药物相互作用】", "【用法】", "has no heading"),
        ("raw/高血压.txt", "# 疾病", "# 病", "unknown header"),
        ("annotations/高血压.jsonl", "@", "@@", "is expected here"),
        ("annotations/高血压.jsonl", CH_DDI_RELATION_TYPES[0], "增强", "unknown relation '增强'"),
    ],
)
def test_build_refuses_a_broken_corpus(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], file: str, old: str, new: str, reason: str
) -> None:
    raw, annotations = write_corpus(tmp_path, count=3)
    path = tmp_path / file
    text = path.read_text(encoding="utf-8")
    if file.endswith("jsonl"):  # `old` is written without escapes
        text = "\n".join(json.dumps(json.loads(line), ensure_ascii=False) for line in text.splitlines())
    assert old in text
    path.write_text(text.replace(old, new, 1), encoding="utf-8")
    out = tmp_path / "data"
    build = ["build", "--raw", str(raw), "--annotations", str(annotations), "--output", str(out)]
    assert main(build) == 1
    error = capsys.readouterr().err
    assert re.search(r"高血压\.(txt|jsonl), line \d+: ", error)
    assert reason in error
    assert not out.exists()


@pytest.mark.parametrize(
    ("text", "entities", "relations", "reason"),
    [
        ("甲片@CYP3A4", [(0, 2), (3, 6)], [], "begins or ends within a word"),
        ("甲片@乙 丙", [(0, 2), (3, 5)], [], "ends with whitespace"),
        ("甲片@乙丙丁", [(0, 2), (3, 5), (4, 6)], [], "overlap"),
        ("甲片@乙", [(3, 4)], [], "is not annotated before the '@'"),
        ("甲片@乙", [(0, 2), (3, 4)], [(1, 0, "协同"), (1, 0, "拮抗")], "contradictory labels"),
        ("甲片@乙", [(0, 2), (3, 4)], [(1, 0, "加成"), (0, 1, "加成")], "加成 has no agent"),
        ("甲片@乙", [(0, 2), (3, 4)], [(0, 1, "禁忌")], "禁忌 goes from the other drug"),
        ("甲片@乙增强。丙减弱", [(0, 2)], [], "more than one sentence"),
    ],
)
def test_checks(text: str, entities: list[tuple[int, int]], relations: list[tuple[int, int, str]], reason: str) -> None:
    assert reason in "\n".join(checks.problems(AnnotatedSentence.of(text, entities, relations)))
    assert list(checks.problems(AnnotatedSentence("甲片@乙增强", ((0, 2), (3, 4)), ((1, 0, "协同"),)))) == []


@given(st.lists(st.text("甲乙丙", max_size=14), min_size=2, max_size=8))
def test_duplicates_match_the_definition(texts: list[str]) -> None:
    def grams(text: str) -> set[str]:
        return {text[i : i + 5] for i in range(len(text) - 4)} or {text}

    expected = []
    for later, mine in enumerate(texts):
        for earlier, other in enumerate(texts[:later]):
            similarity = len(grams(mine) & grams(other)) / len(grams(mine) | grams(other))
            if similarity > 0.8:
                expected.append((later, earlier, pytest.approx(similarity)))
    assert list(checks.duplicates([AnnotatedSentence(f"丁@{text}", (), ()) for text in texts])) == expected


def test_check_of_files(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "train.jsonl"
    good = AnnotatedSentence("甲片@与乙合用增强", ((0, 2), (4, 5)), ((1, 0, "协同"),))
    write_sentences([good], path, "paper")
    assert main(["check", str(path)]) == 0
    write_sentences([good, good], path, "paper")
    path.write_text(path.read_text(encoding="utf-8") + "{\n", encoding="utf-8")
    assert main(["check", str(path)]) == 1
    captured = capsys.readouterr()
    assert "2 sentences, 2 problems, near-duplicates 50.0 %" in captured.out
    assert "line 3: not JSON" in captured.err
    assert f"line 2: equal to {path}, line 1" in captured.err


# ----------------------------------------------------------------------------------- figures


def test_agreement_computed_by_hand() -> None:
    def sentence(number: int, entities: list[tuple[int, int]], *relations: tuple[int, int, str]) -> AnnotatedSentence:
        return AnnotatedSentence.of(f"甲片@{number}乙丙丁", entities, list(relations))

    prompt, b, c, d = (0, 2), (4, 5), (5, 6), (6, 7)
    first = [sentence(1, [prompt, b, c], (1, 0, "协同"), (2, 0, "协同")), sentence(2, [prompt, b], (1, 0, "拮抗"))]
    second = [sentence(1, [prompt, b, d], (1, 0, "协同"), (2, 0, "协同")), sentence(2, [prompt, b], (1, 0, "抑制"))]
    result = annotators.agreement(first, [*second, sentence(3, [prompt])])
    assert result.sentences == 2
    assert result.span_f1 == pytest.approx(2 / 3)  # 乙 and 乙 agree; 丙 and 丁 do not
    assert result.relation_f1 == pytest.approx(1 / 3)
    # Both marked 乙 and 甲片 in two sentences, hence four ordered pairs: two of none-none, 协同-协同, 拮抗-抑制.
    assert result.pairs == 4
    assert result.kappa == pytest.approx((3 / 4 - (2 * 2 + 1) / 16) / (1 - 5 / 16))
    assert ("甲片@2乙丙丁", "乙", "甲片", "拮抗", "抑制") in result.disagreements
    assert result.by_relation["协同"] == pytest.approx(0.5)
    same = annotators.agreement(first, first)
    assert (same.span_f1, same.relation_f1, same.kappa, same.disagreements) == (1, 1, 1, [])
    with pytest.raises(ValueError, match="no sentence in common"):
        annotators.agreement(first, [sentence(9, [])])
    with pytest.raises(ValueError, match="occurs twice"):
        annotators.agreement([*first, *first], second)


@given(st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from("abc")), min_size=1, max_size=30))
def test_kappa_equals_that_of_scikit_learn(labels: list[tuple[str, str]]) -> None:
    from sklearn.metrics import cohen_kappa_score

    mine = annotators.cohens_kappa(labels)
    if len({label for pair in labels for label in pair}) > 1:
        assert mine == pytest.approx(cohen_kappa_score(*zip(*labels, strict=True)))
    else:
        assert mine == 1


def test_statistics_and_baselines(tmp_path: Path) -> None:
    corpus = read_corpus(*write_corpus(tmp_path))
    splits = split_corpus(corpus, {"test": choose_test_drugs(corpus)})
    table = statistics.statistics(splits)
    relations = sum(len(sentence.relations) for sentence in splits["train"])
    drugs = sum(len(sentence.entities) for sentence in splits["train"])
    assert f"| train | 32 | {len(splits['train'])} | {drugs} | {relations} | 585 / 1830 / 1276 |" in table
    assert "| 加成 | addition |" in table
    labels = baselines.gold(baselines.ordered_pairs(splits["test"]))
    predictions = baselines.majority(splits["train"], splits["test"])
    assert len(labels) == len(predictions) == 2 * len(splits["test"])
    # The first relation is the most frequent, and every sentence has one pair whose tail is the leaflet's drug.
    share = statistics.relation_counts(splits["test"])[CH_DDI_RELATION_TYPES[0]] / len(splits["test"])
    assert baselines.score(labels, predictions) == pytest.approx((100 * share,) * 3)
    assert baselines.score(["协同", "–", "拮抗"], ["协同", "协同", "–"]) == pytest.approx((50, 50, 50))


def test_tf_idf_uses_the_text_between_the_drugs() -> None:
    def sentence(number: int, words: str, relation: str) -> AnnotatedSentence:
        return AnnotatedSentence.of(
            f"甲片@药{number}{words}本品", [(0, 2), (3, 4 + len(str(number)))], [(1, 0, relation)]
        )

    kinds = {"增强": "协同", "减弱": "拮抗"}
    train = [sentence(n, words, kinds[words]) for n in range(20) for words in kinds]
    test = [sentence(n, words, kinds[words]) for n in range(30, 35) for words in kinds]
    labels = baselines.gold(baselines.ordered_pairs(test))
    assert baselines.score(labels, baselines.tf_idf(train, test))[2] == pytest.approx(100)


# ----------------------------------------------------------------------------------- shipped corpus


@pytest.mark.skipif(not SHIPPED.is_dir(), reason="no corpus is shipped")
class TestShippedCorpus:
    def test_is_built_from_leaflets_and_annotations(self, capsys: pytest.CaptureFixture[str]) -> None:
        assert main(["build", "--check"]) == 0, capsys.readouterr().err

    def test_passes_the_checks(self, capsys: pytest.CaptureFixture[str]) -> None:
        assert main(["check"]) == 0, capsys.readouterr().err
        assert "near-duplicates 0.0 %" in capsys.readouterr().out

    def test_figures_in_the_card(self, capsys: pytest.CaptureFixture[str]) -> None:
        assert main(["card", "--check"]) == 0, capsys.readouterr().err

    def test_sizes(self) -> None:
        corpus = read_corpus(CORPUS / "raw", CORPUS / "annotations")
        assert len(corpus) >= 150
        assert {item.leaflet.disease for item in corpus} >= {"冠心病", "慢阻肺", "糖尿病", "高血压", "骨质疏松"}
        assert all(item.leaflet.source for item in corpus)
        files = {path.stem.removesuffix("_drugs"): path for path in CORPUS.glob("*_drugs.txt")}
        splits = split_corpus(corpus, {name: path.read_text("utf-8").splitlines() for name, path in files.items()})
        assert sum(map(len, splits.values())) >= 800
        counts = {name: statistics.relation_counts(part) for name, part in splits.items()}
        assert counts["train"]["加成"] >= 30
        assert counts["test"]["加成"] >= 10
        drugs = {name: {sentence.leaflet for sentence in part} for name, part in splits.items()}
        for one, other in itertools.combinations(drugs.values(), 2):
            assert one.isdisjoint(other)

    def test_examples_in_the_guidelines(self) -> None:
        blocks = re.findall(r"```json\n(.*?)```", (CORPUS / "GUIDELINES.md").read_text(encoding="utf-8"), re.DOTALL)
        examples = [from_names(json.loads(line)) for block in blocks for line in block.splitlines()]
        assert len(examples) > 50
        assert [problem for example in examples for problem in checks.problems(example)] == []
        texts = {s.text for item in read_corpus(CORPUS / "raw", CORPUS / "annotations") for s in item.sentences}
        assert texts.isdisjoint(example.text for example in examples)

    def test_plain_load_dataset(self, tmp_path: Path) -> None:
        splits = load_dataset(str(CORPUS), cache_dir=str(tmp_path))
        # `datasets` recognises the splits train and test by their names, but not the third.
        ours = load_ch_ddi()
        assert {name: len(split) for name, split in splits.items()} == {name: len(ours[name]) for name in splits}
        assert set(splits) == {"train", "test"}
        assert {"text", "spo_list", "entities"} == set(splits["train"].features)


def test_command_line_does_not_import_torch(tmp_path: Path) -> None:
    path = tmp_path / "leaflets.txt"
    path.write_text("# 药品: 甲片\n【药物相互作用】乙增强本品。\n", encoding="utf-8")
    code = (
        "import sys; from datasets_scripts.ch_ddi.__main__ import main; "
        f"assert main(['segment', {str(path)!r}]) == 0; assert 'torch' not in sys.modules"
    )
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY), "USE_TORCH": "0"}
    subprocess.run([sys.executable, "-c", code], check=True, env=environment, cwd=tmp_path)
