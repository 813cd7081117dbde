"""CH-DDI's format (paper 4.1.2): one JSON object a sentence, `text` and `spo_list`, as documents."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from datasets import DatasetDict

from ..documents import Document, load_documents, read_json_list, read_text


CH_DDI_ENTITY_TYPES = ("药物",)
CH_DDI_RELATION_TYPES = ("拮抗", "抑制", "协同", "禁忌", "无关", "促进", "加成")

SHIPPED = Path(__file__).parent / "data"

# Words: a run of letters and digits, except that each Chinese or Japanese character is a word by itself; every
# other character but whitespace is a word too. The model splits raw text by the same rule.
_CHARACTER_SCRIPTS = "\u3005-\u3007\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
_WORD = re.compile(rf"[^\W_{_CHARACTER_SCRIPTS}]+|\S")

_SPLIT_NAMES = {"dev": "validation", "valid": "validation", "val": "validation"}


def load_ch_ddi(
    data_dir: str | Path | None = None,
    on_error: str = "raise",
    data_files: Mapping[str, str | Path] | None = None,
) -> DatasetDict:
    """
    Sentences with drug-drug interactions as documents.

    A record is `{"text": …, "spo_list": [{"predicate", "subject", "subject_type", "object": {"@value"},
    "object_type": {"@value"}}]}`; `object` and `object_type` may be plain strings too. Subject is the head,
    object the tail. `entities`, a list of `{"text", "start", "end", "type"}` with character offsets, may name
    the drugs explicitly, so that drugs in no relation and repeated mentions are kept.

    Which occurrence a drug string means, when it occurs more than once: with `entities`, the first of those that
    reads so. Without, the one before `@` where the string is the prompt itself; else the first occurrence behind
    the `@` that lies in no longer drug of the same record, as 阿司匹林 does in 阿司匹林肠溶片; else the first anywhere.

    Args:
        data_dir: directory of `.jsonl` and `.json` files, or one with such a `data` directory; a file's name is
            its split's name (dev, valid and val are called validation). `None`: the corpus shipped with this
            package.
        on_error: `"raise"`, or `"skip"` to leave broken records out, count and list them.
        data_files: split name → file, in place of `data_dir`.

    Raises:
        FileNotFoundError: where there are no such files.
        BrokenRecordError: for a broken record, with file, line and reason.
    """
    if data_files is None:
        data_files = _find_files(Path(data_dir) if data_dir is not None else SHIPPED)
    files = {split: Path(path) for split, path in data_files.items()}
    return load_documents(files, parse_ch_ddi, on_error, "ch_ddi")


def _find_files(directory: Path) -> dict[str, Path]:
    if not directory.is_dir():
        raise FileNotFoundError(f"There is no directory {directory}.")
    for place in (directory, directory / "data"):
        files: dict[str, Path] = {}
        for path in sorted([*place.glob("*.jsonl"), *place.glob("*.json")]):
            split = _SPLIT_NAMES.get(path.stem, path.stem)
            if split in files:
                raise ValueError(f"{files[split]} and {path} are both the split {split!r}. Name them in data_files.")
            files[split] = path
        if files:
            return dict(sorted(files.items(), key=lambda item: (item[0] != "train", item[0] != "validation", item[0])))
    raise FileNotFoundError(f"{directory} holds no .jsonl or .json file, nor does {directory / 'data'}.")


def parse_ch_ddi(path: Path) -> Iterator[tuple[str, Document | ValueError]]:
    """The records of a file as documents: `(place, document or what is wrong with it)`."""
    for number, place, record in _records(path):
        try:
            if isinstance(record, ValueError):
                raise record
            yield place, _document(f"{path.stem}-{number}", record)
        except ValueError as error:
            yield place, error


def _records(path: Path) -> Iterator[tuple[int, str, Any]]:
    """Number, place and content of every record, in a JSON list or one a line; blank lines are none."""
    text = read_text(path)
    if text.lstrip().startswith("["):
        for number, record in enumerate(read_json_list(path)):
            yield number, f"record {number}", record
        return
    # Only line feeds end a line: JSON strings may hold other separators as they are.
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        try:
            yield number, f"line {number}", json.loads(line)
        except json.JSONDecodeError as error:
            yield number, f"line {number}", ValueError(f"not JSON ({error.msg} at column {error.colno}).")


def _document(name: str, record: Any) -> Document:
    if not isinstance(record, dict):
        raise ValueError(f"a record is an object, not {record!r:.60}.")
    text = record.get("text")
    if not isinstance(text, str) or not text.strip():
        raise ValueError("'text' must be a text that is not empty.")
    triples = [_triple(item) for item in _list(record, "spo_list")]
    if "entities" in record:
        entities = [_entity(item, text) for item in _list(record, "entities")]
        if len(set(entities)) != len(entities):
            raise ValueError("'entities' names the same characters twice.")
    else:
        drugs = {(drug, kind) for subject, _, tail in triples for drug, kind in (subject, tail)}
        entities = sorted((*_locate(drug, text, {d for d, _ in drugs}), kind) for drug, kind in drugs)
    words = [match.span() for match in _WORD.finditer(text)]
    starts = {start: index for index, (start, _) in enumerate(words)}
    ends = {end: index + 1 for index, (_, end) in enumerate(words)}
    for start, end, _ in entities:
        if start not in starts or end not in ends:
            raise ValueError(f"the drug {text[start:end]!r} begins or ends within a word of {text!r}.")
    index_of: dict[tuple[str, str], int] = {}
    for index, (start, end, kind) in enumerate(entities):
        index_of.setdefault((text[start:end], kind), index)
    relations = []
    for subject, predicate, tail in triples:
        for drug, kind in (subject, tail):
            if (drug, kind) not in index_of:
                raise ValueError(f"the drug {drug!r} ({kind}) of a relation is not among the record's 'entities'.")
        if subject == tail:
            raise ValueError(f"{subject[0]!r} stands in the relation {predicate} to itself.")
        relations.append({"head": index_of[subject], "tail": index_of[tail], "type": predicate})
    unique = {(r["head"], r["tail"], r["type"]) for r in relations}
    if len(unique) != len(relations):
        raise ValueError("'spo_list' names the same relation twice.")
    return {
        "id": name,
        "text": text,
        "tokens": [text[start:end] for start, end in words],
        "entities": [{"start": starts[start], "end": ends[end], "type": kind} for start, end, kind in entities],
        "relations": relations,
    }


def _list(record: dict[str, Any], key: str) -> list[dict[str, Any]]:
    items = record.get(key)
    if not isinstance(items, list) or not all(isinstance(item, dict) for item in items):
        raise ValueError(f"{key!r} must be a list of objects.")
    return items


def _triple(item: dict[str, Any]) -> tuple[tuple[str, str], str, tuple[str, str]]:
    predicate = item.get("predicate")
    if predicate not in CH_DDI_RELATION_TYPES:
        raise ValueError(f"the relation {predicate!r} is not known. Known: {', '.join(CH_DDI_RELATION_TYPES)}.")
    subject = (_value(item, "subject"), _kind(_value(item, "subject_type")))
    return subject, predicate, (_value(item, "object"), _kind(_value(item, "object_type")))


def _value(item: dict[str, Any], key: str) -> str:
    value = item.get(key)
    if isinstance(value, dict):
        value = value.get("@value")
    if not isinstance(value, str) or not value:
        raise ValueError(f"{key!r} of a relation must be a text, or an object with a text under '@value'.")
    return value


def _kind(kind: str) -> str:
    if kind not in CH_DDI_ENTITY_TYPES:
        raise ValueError(f"the entity type {kind!r} is not known. Known: {', '.join(CH_DDI_ENTITY_TYPES)}.")
    return kind


def _entity(item: dict[str, Any], text: str) -> tuple[int, int, str]:
    start, end, kind = item.get("start"), item.get("end"), item.get("type")
    if not isinstance(start, int) or not isinstance(end, int) or not 0 <= start < end <= len(text):
        raise ValueError(f"the entity {item} has no offsets within the text's {len(text)} characters.")
    if text[start:end] != item.get("text"):
        raise ValueError(f"the entity {item.get('text')!r} reads {text[start:end]!r} at {start}:{end}.")
    return start, end, _kind(str(kind))


def _locate(drug: str, text: str, drugs: set[str]) -> tuple[int, int]:
    """Character range of the occurrence that a drug string means; the rule is in `load_ch_ddi`."""
    starts = [match.start() for match in re.finditer(f"(?={re.escape(drug)})", text)]
    if not starts:
        raise ValueError(f"the drug {drug!r} does not occur in {text!r}.")
    prompt, at, _ = text.partition("@")
    if at and drug == prompt:
        return 0, len(drug)
    longer = [
        (match.start(), match.start() + len(other))
        for other in drugs
        if len(other) > len(drug)
        for match in re.finditer(f"(?={re.escape(other)})", text)
    ]
    behind = len(prompt) + 1 if at else 0

    def rank(start: int) -> tuple[bool, bool, int]:
        inside_longer = any(first <= start and start + len(drug) <= last for first, last in longer)
        return inside_longer, start < behind, start

    start = min(starts, key=rank)
    return start, start + len(drug)
