"""Data sets of `datasets` as corpora, and entities that begin or end within words."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pytest
from datasets import ClassLabel, Dataset, DatasetDict, Features, List, Value

from datasets_scripts import load_corpus
from datasets_scripts.__main__ import main
from datasets_scripts.documents import DOCUMENT_FEATURES
from datasets_scripts.formats import FORMATS
from datasets_scripts.words import annotations_of

from .conftest import DOCUMENTS


def contents(split: Any) -> list[Any]:
    return [(d["tokens"], d["entities"], d["relations"]) for d in split.to_list()]


EXPECTED = [(d["tokens"], d["entities"], d["relations"]) for d in DOCUMENTS]


def test_documents_as_a_data_set(tmp_path: Path) -> None:
    whole = Dataset.from_list(DOCUMENTS, DOCUMENT_FEATURES)
    assert contents(load_corpus(whole)["train"]) == EXPECTED
    splits = DatasetDict(train=whole, dev=whole.select([0]))
    loaded = load_corpus(splits)
    assert list(loaded) == ["train", "validation"]
    assert loaded.labels.entity_types == ("Loc", "Org", "Peop")
    splits.save_to_disk(tmp_path / "saved")
    assert contents(load_corpus(tmp_path / "saved")["validation"]) == EXPECTED[:1]
    whole.save_to_disk(tmp_path / "one")
    assert contents(load_corpus(tmp_path / "one")["train"]) == EXPECTED
    (tmp_path / "parquet").mkdir()
    whole.to_parquet(tmp_path / "parquet" / "train.parquet")
    whole.to_parquet(tmp_path / "parquet" / "test.parquet")
    assert contents(load_corpus(tmp_path / "parquet")["test"]) == EXPECTED
    assert contents(load_corpus(tmp_path / "parquet" / "test.parquet")["train"]) == EXPECTED


def test_renamed_columns(tmp_path: Path) -> None:
    rows = []
    for document in DOCUMENTS:
        text, entities, relations = annotations_of(document)
        rows.append(
            {
                "abstract": text, "pmid": int.from_bytes(document["id"].encode()),
                "spans": [{"from": start, "to": end, "label": kind} for start, end, kind in entities],
                "links": [{"source": head, "target": tail, "label": kind} for head, tail, kind in relations],
            }
        )  # fmt: skip
    columns = {
        "text": "abstract", "id": "pmid", "entities": "spans", "relations": "links", "start": "from", "end": "to",
        "type": "label", "head": "source", "tail": "target",
    }  # fmt: skip
    corpus = load_corpus(Dataset.from_list(rows), columns=columns)
    assert contents(corpus["train"]) == EXPECTED
    assert corpus["train"]["id"][0] == str(rows[0]["pmid"])
    Dataset.from_list(rows).to_parquet(tmp_path / "abstracts.parquet")
    pairs = [f"{ours}={theirs}" for ours, theirs in columns.items()]
    out = tmp_path / "out"
    assert main(["convert", str(tmp_path / "abstracts.parquet"), str(out), "--to", "spert", "--columns", *pairs]) == 0
    assert contents(load_corpus(out)["train"]) == EXPECTED


@pytest.mark.parametrize("as_names", [True, False])
def test_tags_as_class_labels_or_names(as_names: bool) -> None:
    names = ["O", "B-Peop", "I-Peop", "B-Loc", "I-Loc", "B-Org", "I-Org"]
    rows = []
    for document in DOCUMENTS:
        tags = ["O"] * len(document["tokens"])
        for entity in document["entities"]:
            for index in range(entity["start"], entity["end"]):
                tags[index] = f"{'B' if index == entity['start'] else 'I'}-{entity['type']}"
        rows.append(
            {"tokens": document["tokens"], "ner_tags": tags if as_names else [names.index(tag) for tag in tags]}
        )
    inner = Value("string") if as_names else ClassLabel(names=names)
    data_set = Dataset.from_list(rows, Features({"tokens": List(Value("string")), "ner_tags": List(inner)}))
    found = load_corpus(data_set)["train"]
    key = lambda entity: (entity["start"], entity["end"])  # noqa: E731
    assert [d["entities"] for d in found] == [sorted(d["entities"], key=key) for d in DOCUMENTS]
    assert not any(d["relations"] for d in found)


def test_wrong_columns_and_rows(caplog: pytest.LogCaptureFixture) -> None:
    data_set = Dataset.from_list([{"words": ["a"], "tags": ["B-x"]}, {"words": ["b"], "tags": ["B-x", "O"]}])
    with pytest.raises(ValueError, match=r"has no column spans, which columns= names\. It has: words, tags"):
        load_corpus(data_set, columns={"entities": "spans"})
    with pytest.raises(ValueError, match=r"columns= has the unknown name word\. Choose from: id, text"):
        load_corpus(data_set, columns={"word": "words"})
    with pytest.raises(ValueError, match=r"needs tokens or text, and entities or tags.*It has: a"):
        load_corpus(Dataset.from_list([{"a": 1}]))
    with pytest.raises(ValueError, match="Split train, row 1: there are 2 tags for 1 words"):
        load_corpus(data_set)
    with caplog.at_level(logging.WARNING):
        assert len(load_corpus(data_set, on_error="skip")["train"]) == 1
    assert "Skipped 1 broken records of split train:\n  row 1: there are 2 tags" in caplog.text
    with pytest.raises(ValueError, match="has no format"):
        load_corpus(data_set, format="spert")


@pytest.mark.parametrize("name", ["doccano", "label-studio", "spo", "brat"])
def test_grow_entities_extends_to_whole_words(tmp_path: Path, name: str, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / ("train" + {"label-studio": ".json", "brat": ""}.get(name, ".jsonl"))
    if name == "brat":
        path.mkdir()
        (path / "a.txt").write_text("Annas house in Lundby")
        (path / "a.ann").write_text("T1\tPeop 0 4\tAnna\nT2\tLoc 15 19\tLund\nR1\tLive_In Arg1:T1 Arg2:T2\n")
    else:
        document = {
            "id": "a", "text": "Annas house in Lundby", "tokens": ["Anna", "s", "house", "in", "Lund", "by"],
            "entities": [{"start": 0, "end": 1, "type": "Peop"}, {"start": 4, "end": 5, "type": "Loc"}],
            "relations": [{"head": 0, "tail": 1, "type": "Live_In"}],
        }  # fmt: skip
        FORMATS[name].write([document], path)
        text = path.read_text().replace('"tokens": ["Anna", "s", "house", "in", "Lund", "by"]', '"x": 0')
        path.write_text(text if name != "label-studio" else text.replace('"tokens"', '"other"'))
    with pytest.raises(ValueError, match=r"'Anna' .Peop. begins or ends within a word"):
        load_corpus(path)
    with caplog.at_level(logging.WARNING):
        (document,) = load_corpus(path, grow_entities=True)["train"].to_list()
    assert [(e["start"], e["end"], e["type"]) for e in document["entities"]] == [(0, 1, "Peop"), (3, 4, "Loc")]
    assert document["tokens"] == ["Annas", "house", "in", "Lundby"]
    assert document["relations"] == [{"head": 0, "tail": 1, "type": "Live_In"}]
    assert "extended 2 entities to whole words:" in caplog.text and "'Anna' (Peop) → 'Annas'" in caplog.text
    with pytest.raises(ValueError, match="within a word"):  # The cache must tell the two apart.
        load_corpus(path)
