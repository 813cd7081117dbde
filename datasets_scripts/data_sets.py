"""
Data sets of Hugging Face `datasets` as documents, by a mapping from our names to their columns.

    load_corpus(load_dataset("conll2003"), columns={"tags": "ner_tags"})
    load_corpus("my_parquet_files", columns={"tokens": "words", "entities": "spans", "type": "label"})

A row holds `tokens` or `text`, and `entities` and `relations`, or `tags`: names or class labels such as B-LOC, one for
each word, entities alone. Offsets count the words of `tokens`, or the characters of `text` where there are no tokens.
Names that a mapping may give: id, text, tokens, tags, entities, relations; and of their parts start, end, type, head,
tail.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from datasets import Dataset, DatasetDict, Features, load_dataset, load_from_disk

from .documents import Document
from .formats import bio, spert
from .words import document_of_text, document_of_words


COLUMNS = ("id", "text", "tokens", "tags", "entities", "relations")
PARTS = ("start", "end", "type", "head", "tail")
# What columns are called where nobody says.
_USUAL = {"tokens": ("words",), "tags": ("ner_tags", "labels"), "text": ("sentence",), "id": ("doc_id",)}


def is_data_set(path: Path) -> bool:
    """Whether a directory was written by `save_to_disk`, or a file or directory holds Parquet."""
    saved = path.is_dir() and any((path / name).is_file() for name in ("dataset_dict.json", "state.json"))
    return saved or path.suffix == ".parquet" or (path.is_dir() and any(path.glob("*.parquet")))


def read_data_set(path: Path) -> DatasetDict:
    """
    The data set that lies in a place for which `is_data_set` holds; Parquet files are splits by their names, as
    `datasets` reads them.
    """
    if path.suffix == ".parquet":
        return load_dataset("parquet", data_files={"train": str(path)})
    if any(path.glob("*.parquet")):
        return load_dataset(str(path))
    found = load_from_disk(str(path))
    return found if isinstance(found, DatasetDict) else DatasetDict(train=found)


def documents_of(
    data_set: Dataset, columns: Mapping[str, str], name: str
) -> Iterator[tuple[str, Document | ValueError]]:
    """
    The rows of a data set: place, and document or what is wrong with it.

    Args:
        columns: our name → theirs.
        name: begins the ids of rows that have none.

    Raises:
        ValueError: for a mapping that does not fit the columns.
    """
    theirs = _mapping(data_set, columns)
    label = _class_labels(data_set.features, theirs.get("tags"))
    for number, row in enumerate(data_set):
        record = {ours: row[their] for ours, their in theirs.items() if ours in COLUMNS and row[their] is not None}
        for key in ("entities", "relations"):
            if key in record:
                record[key] = _items(record[key], {part: theirs.get(part, part) for part in PARTS})
        try:
            yield f"row {number}", _document(f"{name}-{number}", record, label)
        except (ValueError, TypeError, AttributeError) as error:
            yield f"row {number}", ValueError(str(error))


def _mapping(data_set: Dataset, columns: Mapping[str, str]) -> dict[str, str]:
    there = data_set.column_names
    if unknown := sorted(set(columns) - {*COLUMNS, *PARTS}):
        raise ValueError(f"columns: {', '.join(unknown)} is none of {', '.join((*COLUMNS, *PARTS))}.")
    if missing := sorted({their for ours, their in columns.items() if ours in COLUMNS} - set(there)):
        raise ValueError(f"columns: the data set has no {', '.join(missing)}. It has: {', '.join(there)}.")
    found = dict(columns)
    for ours in COLUMNS:
        usual = [name for name in (ours, *_USUAL.get(ours, ())) if name in there]
        if ours not in found and usual:
            found[ours] = usual[0]
    if not {"tokens", "text"} & found.keys() or not {"entities", "tags"} & found.keys():
        raise ValueError(
            "A data set needs tokens or text, and entities or tags. Say which columns they are, columns={'tokens': …, "
            f"'tags': …}}. It has: {', '.join(there)}."
        )
    return found


def _class_labels(features: Features, column: str | None) -> Any:
    """What makes a tag's name of what stands in the column."""
    feature: Any = features[column] if column else None
    inner = getattr(feature, "feature", feature[0] if isinstance(feature, list) else None)
    return getattr(inner, "int2str", str)


def _items(value: Any, parts: Mapping[str, str]) -> list[dict[str, Any]]:
    """A list of objects with our names for their parts, of such a list or of an object of lists."""
    if isinstance(value, Mapping):
        value = [dict(zip(value, row, strict=True)) for row in zip(*value.values(), strict=True)]
    return [{ours: item[their] for ours, their in parts.items() if their in item} for item in value]


def _document(name: str, record: dict[str, Any], label: Any) -> Document:
    if "entities" not in record and "tags" in record:
        tokens, tags = list(record["tokens"]), [label(tag) for tag in record["tags"]]
        if len(tokens) != len(tags):
            raise ValueError(f"there are {len(tags)} tags for {len(tokens)} words.")
        return document_of_words(str(record.get("id", name)), tokens, bio.entities_of(tokens, tags), [])
    if "tokens" in record:
        return spert.parse(name, record)
    entities = [(item["start"], item["end"], str(item["type"])) for item in record.get("entities", ())]
    relations = [(item["head"], item["tail"], str(item["type"])) for item in record.get("relations", ())]
    return document_of_text(str(record.get("id", name)), record["text"], entities, relations)
