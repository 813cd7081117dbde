"""
Read data sets of Hugging Face `datasets` as documents, with a mapping from our names to their columns.

    load_corpus(load_dataset("conll2003"), columns={"tags": "ner_tags"})
    load_corpus("my_parquet_files", columns={"tokens": "words", "entities": "spans", "type": "label"})

A row holds `tokens` or `text`, and either `entities` and `relations` or `tags`. Tags are names or class labels such as
B-LOC, one per word, and describe entities only. Offsets count the words of `tokens` or, without tokens, the characters
of `text`. A mapping may name the columns id, text, tokens, tags, entities and relations, and the fields start, end,
type, head and tail of entities and relations.
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
FIELDS = ("start", "end", "type", "head", "tail")
# Usual column names, tried where the mapping gives none.
_USUAL = {"tokens": ("words",), "tags": ("ner_tags", "labels"), "text": ("sentence",), "id": ("doc_id",)}


def is_data_set(path: Path) -> bool:
    """Whether a path is a directory written by `save_to_disk`, a Parquet file, or a directory of Parquet files."""
    saved = path.is_dir() and any((path / name).is_file() for name in ("dataset_dict.json", "state.json"))
    return saved or path.suffix == ".parquet" or (path.is_dir() and any(path.glob("*.parquet")))


def read_data_set(path: Path) -> DatasetDict:
    """
    Read a path for which `is_data_set` is true; `datasets` derives the splits of Parquet files from their names.
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
    Yield the place of each row with its document, or with the error if it is broken.

    Args:
        columns: our name → the name of the data set's column or field.
        name: prefix of the ids of rows without an id.

    Raises:
        ValueError: if the mapping does not fit the columns.
    """
    theirs = _mapping(data_set, columns)
    label = _class_labels(data_set.features, theirs.get("tags"))
    for number, row in enumerate(data_set):
        record = {ours: row[their] for ours, their in theirs.items() if ours in COLUMNS and row[their] is not None}
        for key in ("entities", "relations"):
            if key in record:
                record[key] = _items(record[key], {field: theirs.get(field, field) for field in FIELDS})
        try:
            yield f"row {number}", _document(f"{name}-{number}", record, label)
        except (ValueError, TypeError, AttributeError) as error:
            yield f"row {number}", ValueError(str(error))


def _mapping(data_set: Dataset, columns: Mapping[str, str]) -> dict[str, str]:
    available = data_set.column_names
    if unknown := sorted(set(columns) - {*COLUMNS, *FIELDS}):
        raise ValueError(
            f"columns= has the unknown name {', '.join(unknown)}. Choose from: {', '.join((*COLUMNS, *FIELDS))}."
        )
    if missing := sorted({their for ours, their in columns.items() if ours in COLUMNS} - set(available)):
        raise ValueError(
            f"The data set has no column {', '.join(missing)}, which columns= names. It has: {', '.join(available)}."
        )
    found = dict(columns)
    for ours in COLUMNS:
        usual = [name for name in (ours, *_USUAL.get(ours, ())) if name in available]
        if ours not in found and usual:
            found[ours] = usual[0]
    if not {"tokens", "text"} & found.keys() or not {"entities", "tags"} & found.keys():
        raise ValueError(
            "A data set needs tokens or text, and entities or tags. columns= names them: tokens=…, tags=…. "
            f"It has: {', '.join(available)}."
        )
    return found


def _class_labels(features: Features, column: str | None) -> Any:
    """A function from a value in the tag column to the name of the tag."""
    feature: Any = features[column] if column else None
    inner = getattr(feature, "feature", feature[0] if isinstance(feature, list) else None)
    return getattr(inner, "int2str", str)


def _items(value: Any, fields: Mapping[str, str]) -> list[dict[str, Any]]:
    """Rename the fields of a list of objects, which may be stored as an object of lists."""
    if isinstance(value, Mapping):
        value = [dict(zip(value, row, strict=True)) for row in zip(*value.values(), strict=True)]
    return [{ours: item[their] for ours, their in fields.items() if their in item} for item in value]


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
