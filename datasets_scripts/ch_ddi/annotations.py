"""
Files of annotated sentences: the annotators' short form, the paper's JSON lines, doccano and Label Studio.

A reader yields `(place, sentence or what is wrong with it)`; nothing that a file holds is passed over in silence.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from ..documents import BrokenRecord, read_json_list, read_text
from .records import DRUG, AnnotatedSentence, check_relation_type, from_record


Read = Iterator[tuple[str, AnnotatedSentence | ValueError]]


def from_names(record: Any) -> AnnotatedSentence:
    """
    A sentence from the annotators' short form `{"text", "entities": [name], "relations": [[head, relation, tail]]}`.

    Names come in the order of the text. `X` means the first occurrence of X behind the entity before it, in a
    relation the first entity that reads X. `X#2` means the second occurrence of X in the whole text.

    Raises:
        ValueError: for a name that does not occur, or a relation with a drug that is not among the entities.
    """
    if not isinstance(record, dict) or not {"text", "entities", "relations"} <= record.keys():
        raise ValueError(f"an annotation has 'text', 'entities' and 'relations', not {record!r:.60}.")
    text: str = record["text"]
    entities: list[tuple[int, int]] = []
    behind = 0
    for name in record["entities"]:
        drug, number = _split_name(name)
        start = _occurrence(text, drug, number) if number else text.find(drug, behind)
        if start < behind:
            raise ValueError(f"the drug {name!r} is not in the text behind position {behind}; the text is {text!r}.")
        behind = start + len(drug)
        entities.append((start, behind))

    def index(name: str) -> int:
        drug, number = _split_name(name)
        for position, (start, end) in enumerate(entities):
            if text[start:end] == drug and (number is None or start == _occurrence(text, drug, number)):
                return position
        raise ValueError(f"the drug {name!r} of a relation is not among the entities of {text!r}.")

    relations = [(index(head), index(tail), check_relation_type(kind)) for head, kind, tail in record["relations"]]
    return AnnotatedSentence.of(text, entities, relations)


def to_names(sentence: AnnotatedSentence) -> dict[str, Any]:
    """The annotators' short form of a sentence; numbers stand only where a name alone would mean another mention."""
    names, behind = [], 0
    for index, (start, end) in enumerate(sentence.entities):
        drug = sentence.drug(index)
        numbered = f"{drug}#{_number(sentence.text, drug, start)}"
        names.append(drug if sentence.text.find(drug, behind) == start and "#" not in drug else numbered)
        behind = end

    def argument(index: int) -> str:
        drug = sentence.drug(index)
        first = next(i for i in range(len(names)) if sentence.drug(i) == drug)
        start = sentence.entities[index][0]
        return drug if index == first and "#" not in drug else f"{drug}#{_number(sentence.text, drug, start)}"

    relations = [[argument(head), relation, argument(tail)] for head, tail, relation in sentence.relations]
    return {"text": sentence.text, "entities": names, "relations": relations}


def _split_name(name: Any) -> tuple[str, int | None]:
    if not isinstance(name, str) or not name:
        raise ValueError(f"the name of a drug is a text, not {name!r}.")
    numbered = re.fullmatch(r"(.+)#(\d+)", name, re.DOTALL)
    return (numbered[1], int(numbered[2])) if numbered else (name, None)


def _starts(text: str, drug: str) -> list[int]:
    return [match.start() for match in re.finditer(f"(?={re.escape(drug)})", text)]


def _occurrence(text: str, drug: str, number: int) -> int:
    starts = _starts(text, drug)
    if not 1 <= number <= len(starts):
        raise ValueError(f"{drug!r} occurs {len(starts)} times in {text!r}, not {number} times.")
    return starts[number - 1]


def _number(text: str, drug: str, start: int) -> int:
    return _starts(text, drug).index(start) + 1


def _from_doccano(record: Any) -> AnnotatedSentence:
    if not isinstance(record, dict) or not isinstance(record.get("text"), str):
        raise ValueError("a doccano record is an object with a 'text'.")
    index_of: dict[Any, int] = {}
    entities: list[tuple[int, int]] = []
    for item in record.get("entities", []):
        _check_label(item["label"])
        index_of[item["id"]] = len(entities)
        entities.append((item["start_offset"], item["end_offset"]))
    relations = [
        (_known(index_of, item["from_id"]), _known(index_of, item["to_id"]), check_relation_type(item["type"]))
        for item in record.get("relations", [])
    ]
    return AnnotatedSentence.of(record["text"], entities, relations)


def _to_doccano(number: int, sentence: AnnotatedSentence) -> dict[str, Any]:
    # doccano's ids are unique in a project, not in a record.
    first = number * 1000
    return {
        "id": number,
        "text": sentence.text,
        "entities": [
            {"id": first + index, "label": DRUG, "start_offset": start, "end_offset": end}
            for index, (start, end) in enumerate(sentence.entities)
        ],
        "relations": [
            {"id": first + index, "from_id": first + head, "to_id": first + tail, "type": relation}
            for index, (head, tail, relation) in enumerate(sentence.relations)
        ],
        "Comments": [],
    }


def _from_label_studio(task: Any) -> AnnotatedSentence:
    if not isinstance(task, dict) or not isinstance(task.get("data", {}).get("text"), str):
        raise ValueError("a Label Studio task is an object with a text under 'data'.")
    text = task["data"]["text"]
    annotations = [item for item in task.get("annotations", []) if not item.get("was_cancelled")]
    if len(annotations) != 1:
        raise ValueError(f"the task has {len(annotations)} annotations; leave one, or export every annotator apart.")
    index_of: dict[Any, int] = {}
    entities: list[tuple[int, int]] = []
    relations: list[tuple[int, int, str]] = []
    result = annotations[0]["result"]
    for item in result:
        if item["type"] == "labels":
            value = item["value"]
            for label in value["labels"]:
                _check_label(label)
            if value.get("text") not in (None, text[value["start"] : value["end"]]):
                reads = text[value["start"] : value["end"]]
                raise ValueError(f"the drug {value['text']!r} reads {reads!r} at {value['start']}:{value['end']}.")
            index_of[item["id"]] = len(entities)
            entities.append((value["start"], value["end"]))
        elif item["type"] != "relation":
            raise ValueError(f"a result of type {item['type']!r} is neither 'labels' nor 'relation'.")
    for item in result:
        if item["type"] == "relation":
            head, tail = _known(index_of, item["from_id"]), _known(index_of, item["to_id"])
            if item.get("direction", "right") == "left":
                head, tail = tail, head
            elif item.get("direction", "right") != "right":
                raise ValueError(f"a relation has the direction {item['direction']!r}; it must be 'right' or 'left'.")
            if not item.get("labels"):
                raise ValueError("a relation has no label.")
            relations += [(head, tail, check_relation_type(label)) for label in item["labels"]]
    return AnnotatedSentence.of(text, entities, relations)


def _to_label_studio(number: int, sentence: AnnotatedSentence) -> dict[str, Any]:
    drugs = [
        {
            "id": f"{number}-{index}",
            "from_name": "label",
            "to_name": "text",
            "type": "labels",
            "value": {"start": start, "end": end, "text": sentence.text[start:end], "labels": [DRUG]},
        }
        for index, (start, end) in enumerate(sentence.entities)
    ]
    relations = [
        {
            "from_id": f"{number}-{head}",
            "to_id": f"{number}-{tail}",
            "type": "relation",
            "direction": "right",
            "labels": [relation],
        }
        for head, tail, relation in sentence.relations
    ]
    return {"id": number, "data": {"text": sentence.text}, "annotations": [{"result": [*drugs, *relations]}]}


def _check_label(label: Any) -> None:
    if label != DRUG:
        raise ValueError(f"the entity label {label!r} is not known. Known: {DRUG}.")


def _known(index_of: dict[Any, int], name: Any) -> int:
    if name not in index_of:
        raise ValueError(f"a relation refers to the entity {name!r}, which the record does not have.")
    return index_of[name]


def _json_lines(path: Path) -> Iterator[tuple[str, Any]]:
    # Only line feeds end a line: JSON strings may hold other separators as they are.
    for number, line in enumerate(read_text(path).split("\n"), 1):
        if line.strip():
            try:
                yield f"line {number}", json.loads(line)
            except json.JSONDecodeError as error:
                yield f"line {number}", ValueError(f"not JSON ({error.msg} at column {error.colno}).")


def _json_list_or_lines(path: Path) -> Iterator[tuple[str, Any]]:
    if read_text(path).lstrip().startswith("["):
        yield from ((f"record {number}", record) for number, record in enumerate(read_json_list(path)))
    else:
        yield from _json_lines(path)


PARSERS: dict[str, Callable[[Any], AnnotatedSentence]] = {
    "paper": from_record,
    "names": from_names,
    "doccano": _from_doccano,
    "label-studio": _from_label_studio,
}
FORMATS = tuple(PARSERS)


def read_sentences(path: Path, file_format: str) -> Read:
    """
    The sentences of a file in one of `FORMATS`, each with its place.

    Raises:
        BrokenRecordError: for a file that is not UTF-8 or not JSON.
    """
    for place, record in _json_list_or_lines(path):
        try:
            if isinstance(record, ValueError):
                raise record
            yield place, PARSERS[file_format](record)
        except ValueError as error:
            yield place, error
        except (KeyError, TypeError, AttributeError) as error:
            yield place, ValueError(f"the record is not as {file_format} writes it ({type(error).__name__}: {error}).")


def read_all(path: Path, file_format: str) -> tuple[list[tuple[str, AnnotatedSentence]], list[BrokenRecord]]:
    """The sentences of a file with their places, and the broken records."""
    good, broken = [], []
    for place, sentence in read_sentences(path, file_format):
        if isinstance(sentence, AnnotatedSentence):
            good.append((place, sentence))
        else:
            broken.append(BrokenRecord(str(path), place, str(sentence)))
    return good, broken


def write_sentences(sentences: Iterable[AnnotatedSentence], path: Path, file_format: str) -> None:
    """Write sentences in one of `FORMATS`: JSON lines, for Label Studio a JSON list."""
    if file_format == "label-studio":
        tasks = [_to_label_studio(number, sentence) for number, sentence in enumerate(sentences, 1)]
        text = json.dumps(tasks, ensure_ascii=False, indent=1) + "\n"
    else:
        text = "".join(
            json.dumps(_to_line(number, sentence, file_format), ensure_ascii=False) + "\n"
            for number, sentence in enumerate(sentences, 1)
        )
    path.write_text(text, encoding="utf-8", newline="\n")


def _to_line(number: int, sentence: AnnotatedSentence, file_format: str) -> dict[str, Any]:
    if file_format == "paper":
        return sentence.to_record()
    return to_names(sentence) if file_format == "names" else _to_doccano(number, sentence)
