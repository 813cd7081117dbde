"""
Write the results of `iser-extract` in formats for programs, spreadsheets, people and annotation tools.

A result is the pipeline's output for a text, with the text's `source` and `line`.
"""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any
from xml.sax.saxutils import quoteattr


Result = dict[str, Any]

# Columns of the tables, which have one row per relation.
TRIPLE_COLUMNS = (
    "source", "line", "drug", "text", "head", "head_type", "head_start", "head_end", "relation", "tail", "tail_type",
    "tail_start", "tail_end", "score",
)  # fmt: skip
TRIPLE_NUMBERS: dict[str, type] = {
    **dict.fromkeys(("line", "head_start", "head_end", "tail_start", "tail_end"), int),
    "score": float,
}
"""The columns of `TRIPLE_COLUMNS` that hold numbers; the others hold text."""


ORDERS = ("input", "uncertain")


def certainty(result: Result) -> float:
    """The lowest score of the entities and relations in a text; 1 if there are none."""
    return min((item["score"] for item in (*result["entities"], *result["relations"])), default=1.0)


def read_results(path: Path, order: str = "input") -> Iterator[Result]:
    """
    Read the results in a file of JSON lines.

    Args:
        path: the file.
        order: one of `ORDERS`: `"input"` (the order of the file) or `"uncertain"` (lowest `certainty` first).
    """
    with path.open("rb") as stream:
        if order == "input":
            yield from map(json.loads, stream)
            return
        places: list[tuple[float, int]] = []
        place = 0
        for line in stream:
            places.append((certainty(json.loads(line)), place))
            place += len(line)
        for _, place in sorted(places):
            stream.seek(place)
            yield json.loads(stream.readline())


def write_results(results: Iterable[Result], path: Path, output_format: str, model: str) -> None:
    """Write a file in one of `OUTPUT_FORMATS`, atomically."""
    temporary = path.with_name(path.name + ".tmp")
    if output_format == "parquet":
        _write_parquet(results, temporary)
    else:
        # With a byte order mark, spreadsheet programs display Chinese text correctly.
        encoding = "utf-8-sig" if output_format == "csv" else "utf-8"
        with temporary.open("w", encoding=encoding, newline="") as stream:
            stream.writelines(TEXT_FORMATS[output_format](results, model))
    os.replace(temporary, path)


# ------------------------------------------------------------------------------------ lines and tables


def _json_lines(results: Iterable[Result], model: str) -> Iterator[str]:
    for result in results:
        yield _json(result) + "\n"


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


class _Echo:
    """A file whose `write` returns the text instead of storing it."""

    def write(self, text: str) -> str:
        return text


_GUARDED = ("=", "+", "-", "@", "\t", "\r", "'")
"""First characters that make a spreadsheet read a cell as a formula, and the `'` that prevents this."""


def _csv(results: Iterable[Result], model: str) -> Iterator[str]:
    """CSV that is safe in spreadsheets: a `'`, which offsets do not count, precedes cells that look like formulas."""
    writer: Any = csv.DictWriter(_Echo(), TRIPLE_COLUMNS)
    yield writer.writeheader()
    for result in results:
        for row in triple_rows(result):
            yield writer.writerow({name: _harmless(value) for name, value in row.items()})


def _harmless(value: Any) -> Any:
    return "'" + value if isinstance(value, str) and value.startswith(_GUARDED) else value


def _text(results: Iterable[Result], model: str) -> Iterator[str]:
    for result in results:
        for row in sorted(triple_rows(result), key=lambda row: -row["score"]):
            yield f"{row['head']} —{row['relation']}→ {row['tail']}  ({row['score']:.2f})\n"


def triple_rows(result: Result) -> list[dict[str, Any]]:
    """A row with the columns `TRIPLE_COLUMNS` for each relation in a result."""
    return [
        {
            "source": result["source"],
            "line": result["line"],
            "drug": result["drug"]["text"] if result["drug"] else None,
            "text": result["text"],
            "relation": relation["type"],
            "score": relation["score"],
            **{
                f"{role}{suffix}": relation[role][key]
                for role in ("head", "tail")
                for suffix, key in (("", "text"), ("_type", "type"), ("_start", "start"), ("_end", "end"))
            },
        }
        for relation in result["relations"]
    ]


def _write_parquet(results: Iterable[Result], path: Path) -> None:
    import pyarrow as pa
    from pyarrow import parquet

    kinds = {int: pa.int64(), float: pa.float64(), str: pa.string()}
    schema = pa.schema([(name, kinds[TRIPLE_NUMBERS.get(name, str)]) for name in TRIPLE_COLUMNS])
    rows = (row for result in results for row in triple_rows(result))
    with parquet.ParquetWriter(path, schema) as writer:
        while chunk := list(islice(rows, 10_000)):
            writer.write_table(pa.Table.from_pylist(chunk, schema=schema))


# ------------------------------------------------------------------------------------- pre-annotations


def _annotations(result: Result) -> tuple[str, list[tuple[int, int, str]], list[tuple[int, int, str]]]:
    """
    Text, entities (offsets counting characters) and relations of a result, as in a training corpus.

    The leaflet's drug is prepended as `drug@` and becomes an entity, so that the corrected text trains a model with the
    prompt that it gets in extraction.
    """
    drug = result["drug"]
    prompt = f"{drug['text']}@" if drug else ""
    entities = [(0, len(drug["text"]), drug["type"])] if drug else []
    position: dict[tuple[int | None, int | None], int] = {(None, None): 0}
    for entity in result["entities"]:
        position[entity["start"], entity["end"]] = len(entities)
        entities.append((entity["start"] + len(prompt), entity["end"] + len(prompt), entity["type"]))

    def place(entity: dict[str, Any]) -> int:
        return position[entity["start"], entity["end"]]

    relations = [(place(item["head"]), place(item["tail"]), item["type"]) for item in result["relations"]]
    return prompt + result["text"], entities, relations


def _add_scores(result: Result, entities: Sequence[dict[str, Any]], relations: Sequence[dict[str, Any]]) -> None:
    """Add scores to a tool's entities and relations, except to the leaflet's drug, which was given."""
    predicted = entities[1:] if result["drug"] else entities
    for annotation, item in zip((*predicted, *relations), (*result["entities"], *result["relations"]), strict=True):
        annotation["score"] = item["score"]


def _name(result: Result) -> str:
    return f"{result['source']}:{result['line']}"


def _doccano(results: Iterable[Result], model: str) -> Iterator[str]:
    from datasets_scripts.formats.doccano import record_of

    first_id = 1
    for result in results:
        record = record_of(first_id, *_annotations(result))
        _add_scores(result, record["entities"], record["relations"])
        first_id += max(len(record["entities"]), len(record["relations"]))
        yield _json({"id": _name(result), **record, "certainty": certainty(result), "model": model}) + "\n"


def _label_studio(results: Iterable[Result], model: str) -> Iterator[str]:
    from datasets_scripts.formats.label_studio import task_of

    separator = "["
    for number, result in enumerate(results, 1):
        text, entities, relations = _annotations(result)
        (annotation,) = task_of(number, text, entities, relations)["annotations"]
        spans, links = annotation["result"][: len(entities)], annotation["result"][len(entities) :]
        _add_scores(result, spans, links)
        prediction = {"model_version": model, "score": certainty(result), "result": spans + _one_a_pair(links)}
        yield f"{separator}\n{_json({'data': {'text': text, 'id': _name(result)}, 'predictions': [prediction]})}"
        separator = ","
    yield "[]\n" if separator == "[" else "\n]\n"


def _one_a_pair(relations: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """Merge the relations of each pair into one with all labels: Label Studio drops a pair's second relation."""
    pairs: dict[tuple[str, str], dict[str, Any]] = {}
    for relation in relations:
        first = pairs.setdefault((relation["from_id"], relation["to_id"]), relation)
        if first is not relation:
            first["labels"] = [*first["labels"], *relation["labels"]]
            first["score"] = min(first["score"], relation["score"])
    return list(pairs.values())


def labelling_interface(entity_types: Sequence[str], relation_types: Sequence[str]) -> str:
    """The labelling interface for tasks in Label Studio's format, as XML."""
    relations = [f"    <Relation value={quoteattr(name)}/>" for name in relation_types]
    lines = [
        "<View>",
        *(['  <Relations choice="multiple">', *relations, "  </Relations>"] if relations else []),
        '  <Labels name="label" toName="text">',
        *(f"    <Label value={quoteattr(name)}/>" for name in entity_types),
        "  </Labels>",
        '  <Text name="text" value="$text"/>',
        "</View>",
    ]
    return "\n".join(lines) + "\n"


TEXT_FORMATS: dict[str, Callable[[Iterable[Result], str], Iterator[str]]] = {
    "jsonl": _json_lines,
    "csv": _csv,
    "text": _text,
    "doccano": _doccano,
    "label-studio": _label_studio,
}
"""Functions that yield the pieces of a file from results and the model's name, which annotation tools display."""

ANNOTATION_FORMATS = ("doccano", "label-studio")
OUTPUT_FORMATS = (*TEXT_FORMATS, "parquet")
