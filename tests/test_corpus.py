"""`load_corpus`: round trips through every format, exports of real tools, broken files; and the command line."""

from __future__ import annotations

import json
import logging
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from datasets_scripts import Labels, load_corpus
from datasets_scripts.__main__ import main
from datasets_scripts.documents import BrokenRecordError
from datasets_scripts.formats import FORMATS, recognise
from datasets_scripts.subsets import divide
from datasets_scripts.words import split_words

from .conftest import DOCUMENTS, REPOSITORY, shared


SUFFIXES = {"spert": ".json", "label-studio": ".json", "bio": ".bio", "brat": ""}
LOSSLESS = [name for name in FORMATS if name not in ("bio", "brat")]


def write(name: str, documents: list[dict[str, Any]], directory: Path, split: str = "train") -> Path:
    path = directory / f"{split}{SUFFIXES.get(name, '.jsonl')}"
    FORMATS[name].write(documents, path)
    return path


# ---------------------------------------------------------------------------------------- round trips


LABELS = st.sampled_from(["Loc", "药物", "adverse event", "B-x"])


@st.composite
def documents(draw: st.DrawFn, own_words: bool = True) -> list[dict[str, Any]]:
    """Documents in any script, with overlapping and repeated entities, relations of every kind, ids of any shape."""
    result = []
    for index in range(draw(st.integers(1, 3))):
        if own_words and draw(st.booleans()):
            words = st.text(st.characters(exclude_categories=["C", "Z"]), min_size=1, max_size=5)
            tokens = draw(st.lists(words, min_size=1, max_size=8))
            text = " ".join(tokens)
        else:
            # Null characters could make a file look like UTF-16.
            characters = st.characters(codec="utf-8", exclude_characters="\0")
            text = draw(st.text(characters, min_size=1, max_size=25).filter(lambda text: bool(split_words(text))))
            text = text.encode("utf-8", "ignore").decode().replace("\r", " ") or "甲"
            tokens = [text[start:end] for start, end in split_words(text)] or ["甲"]
            text = text if split_words(text) else "甲"
        spans = st.tuples(st.integers(0, len(tokens) - 1), st.integers(1, 4), LABELS)
        entities = [
            {"start": start, "end": min(start + width, len(tokens)), "type": kind}
            for start, width, kind in sorted(draw(st.sets(spans, max_size=4)))
        ]
        entities = [dict(item) for item in dict.fromkeys(tuple(entity.items()) for entity in entities)]
        entities.sort(key=lambda e: (e["start"], e["end"], e["type"]))
        pairs = [(h, t) for h in range(len(entities)) for t in range(len(entities)) if h != t]
        chosen = draw(st.sets(st.tuples(st.sampled_from(pairs), LABELS), max_size=3)) if pairs else set()
        relations = [{"head": h, "tail": t, "type": kind} for (h, t), kind in sorted(chosen)]
        name = f"{index} {draw(st.text(st.characters(exclude_categories=['C']), max_size=4))}"
        result.append({"id": name, "text": text, "tokens": tokens, "entities": entities, "relations": relations})
    return result


def read(name: str, path: Path) -> list[dict[str, Any]]:
    found = [document for _, document in FORMATS[name].read(path)]
    assert not [item for item in found if isinstance(item, ValueError)], found
    return found


@pytest.mark.parametrize("name", LOSSLESS)
@settings(max_examples=60, suppress_health_check=list(HealthCheck))
@given(content=documents())
def test_round_trip_is_lossless(tmp_path: Path, name: str, content: list[dict[str, Any]]) -> None:
    assert FORMATS[name].write(content, tmp_path / "x.jsonl") == {}
    assert read(name, tmp_path / "x.jsonl") == content


@settings(max_examples=60, suppress_health_check=list(HealthCheck))
@given(content=documents(own_words=False))
def test_brat_round_trip(tmp_path: Path, content: list[dict[str, Any]]) -> None:
    for document in content:
        for item in (*document["entities"], *document["relations"]):
            item["type"] = item["type"].replace(" ", "_")
    shutil.rmtree(tmp_path / "brat", ignore_errors=True)
    assert FORMATS["brat"].write(content, tmp_path / "brat") == {}
    assert sorted(read("brat", tmp_path / "brat"), key=lambda d: d["id"]) == sorted(content, key=lambda d: d["id"])


@settings(max_examples=60, suppress_health_check=list(HealthCheck))
@given(content=documents())
def test_bio_round_trip(tmp_path: Path, content: list[dict[str, Any]]) -> None:
    lost = FORMATS["bio"].write(content, tmp_path / "x.bio")
    kept = 0
    for document, found in zip(content, read("bio", tmp_path / "x.bio"), strict=True):
        assert found["tokens"] == document["tokens"]
        assert [e for e in found["entities"] if e not in document["entities"]] == []
        kept += len(found["entities"])
    assert lost.get("relations", 0) == sum(len(document["relations"]) for document in content)
    overlapping = lost.get("overlapping entities", 0)
    assert kept + overlapping == sum(len(document["entities"]) for document in content)


# --------------------------------------------------------------------------------------- recognition


@pytest.mark.parametrize("name", list(FORMATS))
def test_format_detection(tmp_path: Path, name: str) -> None:
    path = write(name, DOCUMENTS, tmp_path)
    assert recognise(path) == name
    corpus = load_corpus(path)
    assert len(corpus["train"]) == len(DOCUMENTS)
    assert corpus.labels.entity_types == ("Loc", "Org", "Peop")
    assert corpus.labels.relation_types == (() if name == "bio" else ("Live_In", "Work_For"))


@pytest.mark.parametrize("encoding", ["gb18030", "utf-16", "utf-8-sig", "utf-16-le"])
@pytest.mark.parametrize("name", ["bio", "brat", "jsonl", "spo"])
def test_encodings(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str], name: str, encoding: str
) -> None:
    chinese = {
        "id": "1", "text": "与阿司匹林合用出血增加", "tokens": list("与阿司匹林合用出血增加"),
        "entities": [{"start": 1, "end": 5, "type": "药物"}, {"start": 7, "end": 9, "type": "症状"}],
        "relations": [{"head": 0, "tail": 1, "type": "加重"}],
    }  # fmt: skip
    path = write(name, [chinese], tmp_path)
    for file in sorted(path.iterdir()) if path.is_dir() else [path]:
        file.write_bytes(file.read_text(encoding="utf-8").encode(encoding))
    if encoding == "utf-16-le":
        # Told in one line that names the file, and no document is made of it.
        assert main(["statistics", str(path), "--from", name]) == 1
        (error,) = capsys.readouterr().err.splitlines()
        assert str(tmp_path) in error and ". Save it as UTF-8" in error
        return
    (found,) = load_corpus(path)["train"]
    assert [found[key] for key in ("tokens", "entities")] == [chinese[key] for key in ("tokens", "entities")]
    notes = [message for message in caplog.messages if "not UTF-8; read as GB18030" in message]
    assert len(notes) == len(set(notes)) and bool(notes) == (encoding == "gb18030")


def test_errors_name_the_commands_options(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "train.jsonl"
    path.write_text('{"text": "a", "spo_list": [{}]}\n', encoding="utf-8")
    assert main(["check", str(path)]) == 1
    error = capsys.readouterr().err
    assert "--skip-errors leaves broken records out" in error and "on_error" not in error
    path.write_text('{"sentence": "Lund"}\n', encoding="utf-8")
    assert main(["check", str(path)]) == 1
    error = capsys.readouterr().err
    assert "Name its format: --from spert|jsonl" in error and "format=" not in error
    path.write_text("\n", encoding="utf-8")
    good = write("jsonl", DOCUMENTS, tmp_path, "good")
    for arguments, message in [
        (["check", path, "--from", "jsonl"], f"There is no document in {path}"),
        (["split", good, tmp_path / "out", "--group", "["], "must be regular expressions (unterminated"),
        (["convert", good, path, "--to", "brat"], f"{path} is a file. Choose a new directory"),
    ]:
        assert main(list(map(str, arguments))) == 1
        (error,) = capsys.readouterr().err.splitlines()
        assert message in error


def test_unknown_formats_and_missing_files(tmp_path: Path) -> None:
    (tmp_path / "train.jsonl").write_text('{"sentence": "Lund"}\n')
    with pytest.raises(ValueError, match=r"has no known format\. Name its format: format=spert\|jsonl"):
        load_corpus(tmp_path)
    with pytest.raises(ValueError, match=r"Unknown format 'xml'\. Choose from: spert"):
        load_corpus(tmp_path, "xml")
    with pytest.raises(FileNotFoundError, match="There is no directory or file"):
        load_corpus(tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(FileNotFoundError, match=r"contains no corpus file \(\.json"):
        load_corpus(tmp_path / "empty")


# ------------------------------------------------------------------------------------ exports of tools


TEXT = "Anna lives in Lund."
ENTITIES = [{"start": 0, "end": 1, "type": "Peop"}, {"start": 3, "end": 4, "type": "Loc"}]
RELATIONS = [{"head": 0, "tail": 1, "type": "Live_In"}]


def labels(ident: str, start: int, end: int, label: str) -> dict[str, Any]:
    value = {"start": start, "end": end, "text": TEXT[start:end], "labels": [label]}
    return {"id": ident, "type": "labels", "from_name": "label", "to_name": "text", "value": value, "origin": "manual"}


def task(direction: str | None, *ends: str) -> dict[str, Any]:
    arrow = {"type": "relation", "from_id": ends[0], "to_id": ends[1], "labels": ["Live_In"]}
    arrow |= {"direction": direction} if direction else {}
    result = [labels("a", 0, 4, "Peop"), labels("b", 14, 18, "Loc"), arrow]
    return {"id": 3, "data": {"text": TEXT}, "annotations": [{"result": result, "was_cancelled": False}], "total": 1}


EXPORTS: dict[str, tuple[str, str, bool]] = {
    "doccano, relations": (
        json.dumps({
            "id": 7, "text": TEXT, "Comments": [],
            "relations": [{"id": 5, "from_id": 11, "to_id": 12, "type": "Live_In"}],
            "entities": [{"id": 11, "label": "Peop", "start_offset": 0, "end_offset": 4},
                         {"id": 12, "label": "Loc", "start_offset": 14, "end_offset": 18}],
        }), "jsonl", True,
    ),
    "doccano, old keys": (
        json.dumps({"id": 7, "data": TEXT, "label": [[0, 4, "Peop"], [14, 18, "Loc"]]}), "jsonl", False
    ),
    "doccano, labels": (json.dumps({"text": TEXT, "labels": [[0, 4, "Peop"], [13, 18, "Loc"]]}), "jsonl", False),
    "label studio": (json.dumps([task("right", "a", "b")]), "json", True),
    "label studio, from right to left": (json.dumps([task("left", "b", "a")]), "json", True),
    "label studio, no direction": (json.dumps([task(None, "a", "b")]), "json", True),
    "label studio, minimal": (
        json.dumps([{
            "id": 1, "text": TEXT, "annotator": 1, "annotation_id": 2, "lead_time": 3.5,
            "label": [{"start": 0, "end": 4, "text": "Anna", "labels": ["Peop"]},
                      {"start": 14, "end": 18, "text": "Lund", "labels": ["Loc"]}],
        }]), "json", False,
    ),
    "the paper's": (
        json.dumps({"text": TEXT, "spo_list": [{
            "predicate": "Live_In", "subject": "Anna", "subject_type": "Peop",
            "object": {"@value": "Lund"}, "object_type": {"@value": "Loc"},
        }]}), "jsonl", True,
    ),
    "spert": (
        json.dumps([{"tokens": ["Anna", "lives", "in", "Lund", "."], "entities": ENTITIES, "relations": RELATIONS}]),
        "json", True,
    ),
    "spert without relations": (
        json.dumps([{"tokens": ["Anna", "lives", "in", "Lund", "."], "entities": ENTITIES, "orig_id": 4}]),
        "json", False,
    ),
    "columns": ("-DOCSTART- -X- O O\r\n\r\nAnna NNP B-Peop\r\nlives VB O\r\nin IN O\r\nLund NNP B-Loc\r\n. . O\r\n",
                "conll", False),
    "columns, IOB1": ("Anna I-Peop\nlives O\nin O\nLund I-Loc\n. O\n", "txt", False),
    "columns, BIOES": ("Anna S-Peop\nlives O\nin O\nLund S-Loc\n. O\n\n", "tsv", False),
}  # fmt: skip


@pytest.mark.parametrize("byte_order_mark", [False, True])
@pytest.mark.parametrize("export", list(EXPORTS))
def test_exports(tmp_path: Path, export: str, byte_order_mark: bool) -> None:
    content, suffix, with_relations = EXPORTS[export]
    path = tmp_path / f"my_train.{suffix}"
    path.write_text(content, encoding="utf-8-sig" if byte_order_mark else "utf-8", newline="")
    (document,) = load_corpus(tmp_path)["train"].to_list()
    assert document["tokens"] == ["Anna", "lives", "in", "Lund", "."]
    assert document["entities"] == ENTITIES
    assert document["relations"] == (RELATIONS if with_relations else [])


def test_bidirectional_relation_becomes_two(tmp_path: Path) -> None:
    (tmp_path / "x.json").write_text(json.dumps([task("bi", "a", "b")]))
    (document,) = load_corpus(tmp_path)["train"]
    assert document["relations"] == [*RELATIONS, {"head": 1, "tail": 0, "type": "Live_In"}]


def test_brat_directories(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    for split in ("train", "dev"):
        (tmp_path / split).mkdir()
        (tmp_path / split / "7.txt").write_text(TEXT)
        lines = [
            "T1\tPeop 0 4\tAnna", "T2\tLoc 14 18\tLund", "R1\tLive_In Arg1:T1 Arg2:T2\t", "E1\tLive_In:T1",
            "A1\tOld T1", "#1\tAnnotatorNotes T1\tsure?",
        ]  # fmt: skip
        (tmp_path / split / "7.ann").write_text("\r\n".join(lines) + "\r\n", newline="")
    with caplog.at_level(logging.WARNING):
        corpus = load_corpus(tmp_path)
    assert set(corpus) == {"train", "validation"}
    assert corpus["train"][0]["entities"] == ENTITIES and corpus["train"][0]["relations"] == RELATIONS
    assert "1 attributes, 1 events, 1 notes" in caplog.text


# ---------------------------------------------------------------------------------- splits and labels


def test_splits_by_name(tmp_path: Path) -> None:
    for name in ("my_train_v2", "abstracts-dev", "TEST", "extra"):
        write("jsonl", [{**DOCUMENTS[0], "id": name}], tmp_path, name)
    corpus = load_corpus(tmp_path)
    assert list(corpus) == ["train", "validation", "test", "extra"]
    assert corpus["validation"]["id"] == ["abstracts-dev"]
    named = load_corpus(data_files={"train": [tmp_path / "TEST.jsonl", tmp_path / "extra.jsonl"]})
    assert named["train"]["id"] == ["TEST", "extra"]


def test_types_file_sets_label_order_and_symmetric_relations(tmp_path: Path) -> None:
    married = {"tokens": ["Ida", "and", "Per"], "entities": [{"start": 2, "end": 3, "type": "Peop"},
               {"start": 0, "end": 1, "type": "Peop"}], "relations": [{"head": 0, "tail": 1, "type": "Married"},
               {"head": 1, "tail": 0, "type": "Married"}]}  # fmt: skip
    (tmp_path / "x_train.json").write_text(json.dumps([married]))
    types = {"entities": {"Peop": {"short": "P"}, "Loc": {}},
             "relations": {"Works": {"symmetric": False}, "Married": {"symmetric": True}}}  # fmt: skip
    (tmp_path / "x_types.json").write_text(json.dumps(types))
    corpus = load_corpus(tmp_path)
    assert corpus.labels == Labels(("Peop", "Loc"), ("Works", "Married"), ("Married",))
    assert corpus["train"][0]["relations"] == [{"head": 1, "tail": 0, "type": "Married"}]
    assert len(load_corpus(tmp_path, symmetric_relations=[])["train"][0]["relations"]) == 2
    (tmp_path / "x_types.json").write_text('{"entities": ["Peop"]}')
    with pytest.raises(BrokenRecordError, match=r"x_types\.json: not a types file"):
        load_corpus(tmp_path)


def test_conll04() -> None:
    corpus = load_corpus(shared("data/conll04"))
    sizes = {name: (len(s), sum(map(len, s["entities"])), sum(map(len, s["relations"]))) for name, s in corpus.items()}
    assert sizes == {
        "train": (922, 3377, 1283), "validation": (231, 893, 343), "test": (288, 1079, 422),
        "conll04_train_dev": (1153, 4270, 1626),
    }  # fmt: skip
    assert corpus.labels.entity_types == ("Loc", "Org", "Peop", "Other")


# ---------------------------------------------------------------------------------------- broken files


BROKEN = {
    "doccano": ({"text": TEXT, "entities": [{"id": 1, "label": "Peop", "start_offset": 0, "end_offset": 2}]},
                "begins or ends within a word of 'Anna lives i'"),
    "label-studio": ({"data": {"text": TEXT}, "annotations": []}, "has 0 annotations, not one"),
    "spo": ({"text": TEXT, "spo_list": [{"predicate": "x", "subject": "Per", "subject_type": "P", "object": "Lund",
                                         "object_type": "L"}]}, "'Per' does not occur"),
    "jsonl": ({"tokens": ["a", "b"], "entities": [{"start": 1, "end": 3, "type": "X"}]}, "lies outside the 2 words"),
}  # fmt: skip


@pytest.mark.parametrize("name", list(BROKEN))
def test_broken_record_is_reported_and_can_be_skipped(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, name: str
) -> None:
    record, reason = BROKEN[name]
    path = write(name, DOCUMENTS[:1], tmp_path)
    good = path.read_text(encoding="utf-8")
    lines = [json.dumps(item) for item in json.loads(good)] if good.startswith("[") else good.splitlines()
    path = tmp_path / "train.jsonl"
    path.write_text("\n".join([*lines, json.dumps(record)]), encoding="utf-8")
    with pytest.raises(BrokenRecordError) as error:
        load_corpus(path, name)
    assert "train.jsonl, line 2" in str(error.value) and reason in str(error.value)
    with caplog.at_level(logging.WARNING):
        assert len(load_corpus(path, name, on_error="skip")["train"]) == 1
    assert "Skipped 1 broken records" in caplog.text and reason in caplog.text


@pytest.mark.parametrize(
    ("lines", "reason"),
    [
        ("T1\tPeop 0 2;3 4\tAn a", "is discontinuous (0 2;3 4)"),
        ("T1\tPeop 0 4\tAnne", "T1 is 'Anne', but the text at 0:4 is 'Anna'"),
        ("T1\tPeop x 4\tAnna", "needs a type and offsets"),
        ("T1\tPeop 0 4\tAnna\nR1\tx Arg1:T1 Arg2:T9", "line 2: the relation refers to T9"),
        ("hello", "'hello' is not a brat annotation"),
    ],
)
def test_broken_brat_annotations(tmp_path: Path, lines: str, reason: str) -> None:
    (tmp_path / "7.txt").write_text(TEXT)
    (tmp_path / "7.ann").write_text(lines)
    with pytest.raises(BrokenRecordError, match=r"7\.ann") as error:
        load_corpus(tmp_path)
    assert reason in str(error.value)


def test_brat_file_without_its_counterpart(tmp_path: Path) -> None:
    (tmp_path / "7.ann").write_text("")
    with pytest.raises(BrokenRecordError, match=r"there is no 7\.txt"):
        load_corpus(tmp_path)
    (tmp_path / "7.txt").write_text(TEXT)
    (tmp_path / "8.txt").write_text(TEXT)
    with pytest.raises(BrokenRecordError, match=r"8\.txt: there is no \.ann"):
        load_corpus(tmp_path)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("Anna B-Peop\nlives\n", "line 2: 'lives' is not a word with a tag"),
        ("Anna B-Peop\nBerg I-Loc\n", "line 2: 'Berg' has the tag I-Loc"),
        ("Anna S-Peop\nBerg E-Peop\n", "has the tag E-Peop"),
    ],
)
def test_broken_tags(tmp_path: Path, content: str, reason: str) -> None:
    (tmp_path / "train.bio").write_text(content)
    with pytest.raises(BrokenRecordError, match=r"train\.bio") as error:
        load_corpus(tmp_path, "bio")
    assert reason in str(error.value)


@pytest.mark.parametrize("name", ["spert", "jsonl", "spo", "doccano", "label-studio", "bio"])
@settings(max_examples=40, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_damaged_files_are_reported(tmp_path: Path, name: str, data: st.DataObject) -> None:
    """Truncated files, replaced bytes and other formats give documents, or errors that name the file."""
    whole = write(name, DOCUMENTS, tmp_path).read_bytes()
    cut = whole[: data.draw(st.integers(0, len(whole)))]
    place = data.draw(st.integers(0, max(0, len(cut) - 1)))
    damaged = cut[:place] + data.draw(st.binary(max_size=3)) + cut[place + 1 :]
    path = tmp_path / f"damaged{SUFFIXES.get(name, '.jsonl')}"
    path.write_bytes(damaged)
    for reader in FORMATS:
        if reader == "brat":
            continue
        message = path.name
        try:
            places = [(where, isinstance(item, dict | ValueError)) for where, item in FORMATS[reader].read(path)]
        except BrokenRecordError as error:
            places, message = [], str(error)
        assert path.name in message and all(where and known for where, known in places)


@pytest.mark.parametrize("value", [None, 3, "x", [], {}, [[]], [{}], [None], True])
@pytest.mark.parametrize("name", ["spert", "spo", "doccano", "label-studio"])
def test_values_of_the_wrong_type(tmp_path: Path, name: str, value: Any) -> None:
    path = write(name, DOCUMENTS[:1], tmp_path)
    content = path.read_text(encoding="utf-8")
    record = json.loads(content)[0] if content.startswith("[") else json.loads(content)
    damaged = [value, *({**record, key: value} for key in record)]
    damaged += [
        {**record, key: [{**item, inner: value}]}
        for key, items in record.items()
        if isinstance(items, list)
        for item in items[:1]
        if isinstance(item, dict)
        for inner in item
    ]
    path.write_text(json.dumps(damaged), encoding="utf-8")
    for where, document in FORMATS[name].read(path):
        assert where and isinstance(document, dict | ValueError)


# ---------------------------------------------------------------------------------------- command line


def run(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "datasets_scripts", *map(str, arguments)]
    return subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, timeout=120)


def test_convert_through_all_lossless_formats(tmp_path: Path) -> None:
    source = tmp_path / "start"
    source.mkdir()
    for split in ("train", "test"):
        write("jsonl", DOCUMENTS, source, split)
    for name in LOSSLESS:
        assert main(["convert", str(source), str(tmp_path / name), "--to", name]) == 0
        source = tmp_path / name
    assert load_corpus(source)["test"].to_list() == DOCUMENTS


def test_convert_reports_lost_content(tmp_path: Path) -> None:
    path = write("jsonl", DOCUMENTS, tmp_path)
    done = run("convert", path, tmp_path / "out", "--to", "bio")
    assert done.returncode == 2
    assert "bio cannot hold 5 relations." in done.stderr
    again = run("convert", path, tmp_path / "out", "--to", "bio")
    assert again.returncode == 1 and "is not empty" in again.stderr
    wrong = run("convert", tmp_path / "nowhere", tmp_path / "x", "--to", "bio")
    assert wrong.returncode == 1 and "There is no" in wrong.stderr and not (tmp_path / "x").exists()


def test_check(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    doubtful = {
        **DOCUMENTS[0], "id": "z", "entities": [*DOCUMENTS[0]["entities"], {"start": 0, "end": 1, "type": "Loc"}],
        "relations": [{"head": 0, "tail": 1, "type": "Live_In"}, {"head": 0, "tail": 1, "type": "Work_For"}],
    }  # fmt: skip
    write("jsonl", [*DOCUMENTS, doubtful], tmp_path)
    assert main(["check", str(tmp_path)]) == 2
    error = capsys.readouterr().err
    for part in (
        "'Anna' and 'Anna Berg' overlap",
        "several relations: Live_In, Work_For",
        "has the same words as train, a",
    ):
        assert part in error
    (tmp_path / "fine").mkdir()
    write("jsonl", DOCUMENTS, tmp_path / "fine")
    assert main(["check", str(tmp_path / "fine")]) == 0


def test_statistics(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write("jsonl", DOCUMENTS, tmp_path)
    assert main(["statistics", str(tmp_path)]) == 0
    text = capsys.readouterr().out
    entities = sum(len(document["entities"]) for document in DOCUMENTS)
    words = sum(len(document["tokens"]) for document in DOCUMENTS)
    assert f"| train | 6 | {words} | {entities} | 5 | 13 | 2 | 1 |" in text
    assert "| Live_In | 3 |" in text and "100.0 % at 5" in text


def test_split_keeps_groups_whole_and_labels_in_proportion(tmp_path: Path) -> None:
    many = [
        {**DOCUMENTS[index % 2], "id": f"{group}-{index}", "text": DOCUMENTS[index % 2]["text"]}
        for group in range(30)
        for index in range(4)
    ]
    write("jsonl", many, tmp_path)
    command = ["split", str(tmp_path / "train.jsonl"), str(tmp_path / "out"), "--group-by-id", r"^\d+"]
    assert main([*command, "--validation", "0.2", "--test", "0.2"]) == 0
    corpus = load_corpus(tmp_path / "out")
    groups = {name: {document.split("-")[0] for document in split["id"]} for name, split in corpus.items()}
    assert not groups["train"] & groups["test"] and not groups["train"] & groups["validation"]
    assert sorted(name for split in corpus.values() for name in split["id"]) == sorted(d["id"] for d in many)
    assert len(corpus["test"]) == 24 and len(corpus["validation"]) == 24


def test_split_renames_documents_with_the_same_id(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    for name in ("train", "test"):
        FORMATS["jsonl"].write(DOCUMENTS, tmp_path / "in" / f"{name}.jsonl")
    assert main(["split", str(tmp_path / "in"), str(tmp_path / "out"), "--validation", "0", "--test", "0.5"]) == 0
    ids = [name for split in load_corpus(tmp_path / "out").values() for name in split["id"]]
    assert sorted(ids) == sorted(f"{split}-{document['id']}" for split in ("train", "test") for document in DOCUMENTS)


@given(st.lists(st.tuples(st.integers(0, 8), st.sampled_from("abc")), min_size=1, max_size=40), st.integers(0, 99))
def test_divide_keeps_groups_whole_and_is_deterministic(rows: list[tuple[int, str]], seed: int) -> None:
    content = [
        {"id": str(i), "entities": [{"type": kind}], "relations": []} for i, (_, kind) in enumerate(rows)
    ]  # fmt: skip
    groups = [str(group) for group, _ in rows]
    splits = divide(content, groups, {"validation": 0.2, "test": 0.3}, seed)
    assert sorted(d["id"] for split in splits.values() for d in split) == sorted(d["id"] for d in content)
    split_of: dict[str, str] = {}
    for name, split in splits.items():
        for document in split:
            assert split_of.setdefault(groups[int(document["id"])], name) == name
    assert splits == divide(content, groups, {"validation": 0.2, "test": 0.3}, seed)
