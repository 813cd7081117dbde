"""Loading CoNLL04 from SpERT's files: content, cache, broken records."""

from __future__ import annotations

import copy
import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from datasets_scripts import load_conll04
from datasets_scripts.conll04.builder import CONLL04_ENTITY_TYPES, CONLL04_RELATION_TYPES, parse_conll04
from datasets_scripts.documents import DOCUMENT_FEATURES, BrokenRecordError

from .conftest import shared


RECORD = {
    "tokens": ["Per", "Falk", "lives", "in", "Umea", "."],
    "entities": [{"type": "Peop", "start": 0, "end": 2}, {"type": "Loc", "start": 4, "end": 5}],
    "relations": [{"type": "Live_In", "head": 0, "tail": 1}],
    "orig_id": 7,
}


def write(directory: Path, **splits: Any) -> Path:
    for name in ("train", "dev", "test"):
        records = splits.get(name, [RECORD])
        text = records if isinstance(records, str) else json.dumps(records)
        (directory / f"conll04_{name}.json").write_text(text, encoding="utf-8")
    return directory


def changed(change: Callable[[dict], Any]) -> dict[str, Any]:
    record = copy.deepcopy(RECORD)
    change(record)
    return record


def test_documents(tmp_path: Path) -> None:
    splits = load_conll04(write(tmp_path))
    assert list(splits) == ["train", "validation", "test"]
    assert splits["train"].features == DOCUMENT_FEATURES
    assert splits["validation"][0] == {
        "id": "dev-7",
        "text": "Per Falk lives in Umea .",
        "tokens": RECORD["tokens"],
        "entities": [{"start": 0, "end": 2, "type": "Peop"}, {"start": 4, "end": 5, "type": "Loc"}],
        "relations": [{"head": 0, "tail": 1, "type": "Live_In"}],
    }


def test_sizes_of_the_corpus() -> None:
    splits = load_conll04(shared("data/conll04"))
    counts = {
        name: (len(split), sum(len(d["entities"]) for d in split), sum(len(d["relations"]) for d in split))
        for name, split in splits.items()
    }
    assert counts == {"train": (922, 3377, 1283), "validation": (231, 893, 343), "test": (288, 1079, 422)}


def test_only_edited_files_are_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    load_conll04(write(tmp_path))
    from datasets_scripts.documents import DocumentsBuilder

    def forbidden(*_: Any) -> Any:
        raise AssertionError("an unchanged file was parsed again")

    with monkeypatch.context() as patch:
        patch.setattr(DocumentsBuilder, "_generate_examples", forbidden)
        assert load_conll04(tmp_path)["train"][0]["tokens"][0] == "Per"
    write(tmp_path, train=[changed(lambda r: r["tokens"].__setitem__(0, "Ida"))])
    assert load_conll04(tmp_path)["train"][0]["tokens"][0] == "Ida"


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda r: r.update(tokens=[]), "'tokens' must be a list of at least one word"),
        (lambda r: r["tokens"].__setitem__(1, " "), "'tokens' must be a list of non-empty words"),
        (lambda r: r["entities"][0].update(end=7), "entity 0:7 lies outside the 6 words"),
        (lambda r: r["entities"][0].update(start=2), "entity 2:2 lies outside the 6 words or is empty"),
        (lambda r: r["entities"][0].update(start="0"), "'start' must be an integer, not '0'"),
        (
            lambda r: r["entities"][1].update(type="Place"),
            "unknown type 'Place'. CoNLL04 has: Loc, Org, Other, Peop",
        ),
        (lambda r: r["relations"][0].update(type="Lives"), "unknown type 'Lives'"),
        (lambda r: r["relations"][0].update(tail=2), "relation has the tail 2, but there are 2 entities"),
        (lambda r: r["relations"][0].update(tail=0), "relation joins entity 0 to itself"),
        (lambda r: r.pop("entities"), "'entities' must be a list of objects"),
    ],
)
def test_broken_records(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, change: Callable[[dict], Any], reason: str
) -> None:
    write(tmp_path, train=[RECORD, {**changed(change), "orig_id": 8}, {**RECORD, "orig_id": 9}])
    with pytest.raises(BrokenRecordError) as error:
        load_conll04(tmp_path)
    for part in ("conll04_train.json", "record 1 (orig_id 8)", reason):
        assert part in str(error.value)
    for _ in range(2):  # The second time, documents and report come from the cache.
        caplog.clear()
        with caplog.at_level(logging.WARNING):
            splits = load_conll04(tmp_path, on_error="skip")
        assert [document["id"] for document in splits["train"]] == ["train-7", "train-9"]
        assert "Skipped 1 broken records of conll04" in caplog.text
        assert "record 1 (orig_id 8)" in caplog.text
        assert reason in caplog.text


def test_broken_files(tmp_path: Path) -> None:
    for text, message in [
        ("{", "line 1: not JSON"),
        ('{"a": 1}', "must contain a list of records, not a dict"),
        (json.dumps([RECORD, RECORD]), "the id 'test-7' occurs twice in the file"),
        ("[3]", "a record must be an object, not 3"),
    ]:
        with pytest.raises(BrokenRecordError, match=r"conll04_test\.json") as error:
            load_conll04(write(tmp_path, test=text))
        assert message in str(error.value)
    (tmp_path / "conll04_test.json").write_bytes(b"[\n\xff]")
    with pytest.raises(BrokenRecordError, match="line 2: neither UTF-8 nor GB18030"):
        load_conll04(tmp_path)
    with pytest.raises(ValueError, match="must be 'raise' or 'skip', not 'ignore'"):
        load_conll04(tmp_path, on_error="ignore")


def test_errors_for_missing_files_say_what_to_download(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(
        FileNotFoundError, match=r"lacks conll04_train\.json, conll04_dev\.json, conll04_test\.json"
    ) as error:
        load_conll04(tmp_path)
    assert "--data_dir" in str(error.value)
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(FileNotFoundError, match="could not be fetched from the Hub") as error:
        load_conll04()
    assert "Download conll04_train.json, conll04_dev.json, conll04_test.json" in str(error.value)


@st.composite
def records(draw: st.DrawFn) -> dict[str, Any]:
    word = st.text(st.characters(exclude_categories=("C", "Z")), min_size=1, max_size=5)
    tokens = draw(st.lists(word, min_size=1, max_size=8))
    entities = []
    for _ in range(draw(st.integers(0, 4))):
        start = draw(st.integers(0, len(tokens) - 1))
        end = draw(st.integers(start + 1, len(tokens)))
        entities.append({"start": start, "end": end, "type": draw(st.sampled_from(CONLL04_ENTITY_TYPES))})
    pairs = [(h, t) for h in range(len(entities)) for t in range(len(entities)) if h != t]
    relations = [
        {"head": h, "tail": t, "type": draw(st.sampled_from(CONLL04_RELATION_TYPES))}
        for h, t in (draw(st.lists(st.sampled_from(pairs), max_size=4)) if pairs else [])
    ]
    return {"tokens": tokens, "entities": entities, "relations": relations}


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(records(), max_size=4))
def test_parsing_preserves_records(tmp_path: Path, content: list[dict[str, Any]]) -> None:
    path = tmp_path / "conll04_train.json"
    path.write_text(json.dumps(content, ensure_ascii=False), encoding="utf-8")
    documents = [document for _, document in parse_conll04(path)]
    assert [{key: d[key] for key in ("tokens", "entities", "relations")} for d in documents] == content
